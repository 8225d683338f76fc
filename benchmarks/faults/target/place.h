/* Where a block's node lies, in a pool or in a run, and what is around it (docs/format.md). */
#ifndef FAULTS_PLACE_H
#define FAULTS_PLACE_H

#include "program.h"

enum { FREE, USED, CACHED, EDGE };

/* `stride`: bytes from a node to the next one of its run, 0 in a pool. `at` is NULL where there is none. */
typedef struct node {
    unsigned char *at;
    size_t stride;
} node;

node node_of(unsigned char *payload);
/* Behind the END of a run comes the sentinel of the one behind it; before the sentinel is nothing. */
node next_of(node n);
node before_of(node n);

static inline bool in_run(node n)
{
    return n.stride != 0;
}
/* Bytes of a header, and of a backup, which lies behind it. */
static inline unsigned width_of(node n)
{
    return in_run(n) ? 8 : 16;
}
static inline unsigned overhead_of(node n)
{
    return 2 * width_of(n);
}
static inline unsigned char *payload_of(node n)
{
    return n.at + overhead_of(n);
}
static inline uint32_t meta_of(node n)
{
    return *(uint32_t *)(void *)(in_run(n) ? n.at : n.at + 8);
}
static inline unsigned state_of(node n)
{
    return meta_of(n) >> 4 & 3;
}
bool is_sentinel(node n);
/* Behind its last byte; in a run the END goes on to the run's end. */
unsigned char *stop_of(node n);
/* How many bytes at its end are slack; of a block that is not the program's, those that its header has room for. */
size_t slack_of(node n);
/* What of the END's is the pattern up to the run's end: nothing, as long as there is room for nodes. */
size_t tail_of(node n);

/* Of an arena. */
unsigned char *pool_of(unsigned char *payload);

#endif
