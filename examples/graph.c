/* Nodes of the graph are numbered from 0 to 3, but one edge starts at 4: a single store two words past the table.
   Under glibc: the size of the rest of the heap is overwritten: malloc(): corrupted top size, and the program is gone.
 */

#include <stdio.h>
#include <stdlib.h>

enum { NODES = 4 };

struct edge {
    unsigned from, to;
    double weight;
};

static const struct edge edges[] = {{0, 1, 1.5}, {1, 2, 2.25}, {2, 3, 0.5}, {4, 1, 8.0}, {3, 0, 1.0}};
enum { EDGES = sizeof edges / sizeof *edges };

static double *new_table(void)
{
    return calloc((size_t)NODES * NODES, sizeof(double));
}

int main(void)
{
    double *table = new_table();
    for (size_t i = 0; i < EDGES; i++)
        table[edges[i].from * NODES + edges[i].to] = edges[i].weight;

    double *order = malloc(sizeof *order * 1000);
    double around = 0;
    for (unsigned node = 0; node < NODES; node++) {
        order[node] = table[node * NODES + (node + 1) % NODES];
        around += order[node];
    }
    printf("once around: %.2f\n", around);
    free(order);
    free(table);
    return 0;
}
