/* What the damaged program is: blocks of many sizes, made, resized, handed over and released by some threads. */
#ifndef FAULTS_PROGRAM_H
#define FAULTS_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BLOCKS = 160, THREADS = 3, LONGEST = 4096, BIG = 512 << 10, IN_RUNS = 8192 };

/* The operators of C++, when whoever is preloaded brings them. */
void *_Znwm(size_t) __attribute__((weak));
void *_Znam(size_t) __attribute__((weak));
void _ZdlPv(void *) __attribute__((weak));
void _ZdaPv(void *) __attribute__((weak));

typedef struct block {
    unsigned char *at;
    size_t size;
    void *maker;
    unsigned char fill;
    unsigned char family; /* 0 malloc, 1 new, 2 new[] */
} block;

typedef struct worker {
    uint64_t state;
    uint32_t usual; /* the size of about half of its blocks */
    unsigned count;
    block blocks[BLOCKS];
} worker;

/* The main thread's is the first; `threads` others take part. */
extern worker workers[1 + THREADS];
extern unsigned threads;

uint32_t pick(worker *w, uint32_t below);
/* Most wrong sizes are small. */
size_t some_length(worker *w, size_t most);
block make(worker *w, size_t size);
void drop(const block *b);
bool is_filled(const block *b);
/* All threads at once for a while; the main thread is one of them. */
void together(void);
/* Forget the blocks that were released outside of the program's own steps. */
void forget_holes(void);
/* The program's own block there; NULL where it has none. */
const block *our_block(const unsigned char *payload);
/* A block that fits, of any thread; NULL when there is none. */
block *some_block(worker *w, bool (*fits)(const block *));
bool is_any(const block *b);
bool is_small(const block *b);
/* Not big, but too large for a run. */
bool is_pooled(const block *b);
bool is_big(const block *b);
bool has_inside(const block *b);

#endif
