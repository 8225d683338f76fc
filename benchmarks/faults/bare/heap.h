/* A pool that a random program has used, what it must hold, and what is left of that after damage. */
#ifndef FAULTS_HEAP_H
#define FAULTS_HEAP_H

#include "node.h"

/* SPARE: bytes behind the pool that overflows may reach, as the engine keeps them. */
enum { LARGEST = 32 << 10, SPARE = 8 << 10, BLOCKS = 192, NODES = 1024 };
enum did { DONE, DAMAGED, WRONG };

typedef struct block {
    uint32_t node;
    size_t bytes;
    unsigned char fill;
    bool cached;
    bool hit; /* its content is not its owner's any more */
} block;

typedef struct heap {
    unsigned log2, count, nodes;
    size_t size;
    block blocks[BLOCKS];
    uint32_t node[NODES]; /* all of them, the end node last, as they are before damage */
} heap;

/* What differs from the heap before damage, of that which something vouches for. */
typedef struct loss {
    size_t bytes;  /* how many */
    size_t beyond; /* those that are not in a cached block, whose poison may be in doubt */
    bool header;   /* a header has no good copy any more */
} loss;

extern unsigned char room[LARGEST + SPARE];
extern heap now;
#define POOL ((hw_pool *)(void *)room)

void seed(uint64_t value);
uint32_t pick(uint32_t below);

void make_heap(void);
void save_heap(void);
/* Back to what was saved. */
void restore_heap(void);
/* The bytes as they were saved. */
const unsigned char *saved(void);
loss look(void);

/* One random operation. DAMAGED: nothing was done; WRONG: it did what it must not. */
enum did step(void);
bool is_content_right(const block *b);
/* Whether each block that was not hit holds what it held and can be released, after which no fault is left. */
bool can_be_given_back(void);

/* Not by the pool's own word, which may be damaged. */
static inline size_t at_of(uint32_t node)
{
    return (size_t)node << now.log2;
}
static inline unsigned char *start_of(const block *b)
{
    return room + at_of(b->node) + HW_OVERHEAD;
}

#endif
