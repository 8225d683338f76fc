/* The same campaign on runs of small blocks (docs/format.md, "Run"): one run that a random program has used, damage of
   every kind to it, and what came of that. */
#ifndef FAULTS_RUN_H
#define FAULTS_RUN_H

#include "heap.h"
#include "heapwitness/run.h"

/* Of the rows of main.c that are of runs, by number among them; the last two release something wrongly. */
enum {
    RUN_FILL,
    RUN_TEXT,
    RUN_WORDS,
    RUN_SKIPPING,
    RUN_SLACK,
    RUN_UNDERFLOW,
    RUN_BIT,
    RUN_WORD,
    RUN_HEADER,
    RUN_BACKUP,
    RUN_BOTH,
    RUN_LINKS,
    RUN_POISON,
    RUN_DESCRIPTION,
    RUN_ASIDE,
    RUN_ENTRY,
    RUN_TAIL,
    RUN_DOUBLE,
    RUN_NOWHERE,
    RUN_ROWS
};

enum { RUN_BLOCKS = 256 };

typedef struct run_block {
    uint32_t node; /* 0: none */
    size_t bytes;
    unsigned char fill;
    bool held, hit; /* hit: its content is not its owner's any more */
} run_block;

/* Everything of a run, as it can be saved and restored. `base` is somewhere in `room`. */
typedef struct run_state {
    hw_run run;
    hw_run_aside aside;
    hw_run_key key;
    size_t least, most; /* bytes of its class */
    unsigned count;
    run_block blocks[RUN_BLOCKS];
} run_state;

/* What differs from the run before damage, of that which something vouches for. */
typedef struct run_loss {
    size_t bytes;
    bool header; /* a node has no good copy of its header any more */
    bool list;   /* more than one number of the list of free nodes is gone */
} run_loss;

extern run_state one;

char *run_memory(void);
void make_run(void);
void save_run(void);
void restore_run(void);
/* As it was saved. */
const run_state *saved_run(void);
run_loss look_at_run(void);

enum did run_step(void);
size_t run_start_of(const run_block *b);
bool run_repair(void);
bool run_can_be_given_back(void);

/* One run of the campaign, on the run that was made. `length` is that of overflows and underflows. */
void damage_run(unsigned row, size_t length);

#endif
