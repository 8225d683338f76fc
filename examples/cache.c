/* Evicting an entry frees its value but leaves the pointer in the table; closing the cache frees it again.
   Under glibc: free(): double free detected in tcache 2, and the program is gone. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ENTRIES = 4 };

struct entry {
    int hits;
    char *value;
};

static struct entry table[ENTRIES];

static void cache_put(int slot, const char *value)
{
    table[slot].value = strdup(value);
    table[slot].hits = 0;
}

static void cache_evict(int slot)
{
    table[slot].hits = 0;
    free(table[slot].value);
}

static void cache_close(void)
{
    for (int slot = 0; slot < ENTRIES; slot++)
        free(table[slot].value);
}

int main(void)
{
    cache_put(0, "the quick brown fox");
    cache_put(1, "jumps over");
    cache_put(2, "the lazy dog");
    cache_evict(1);
    printf("%s %s\n", table[0].value, table[2].value);
    cache_close();
    puts("closed");
    return 0;
}
