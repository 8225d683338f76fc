/* What the environment asks of the engine. Read once, when the library is initialised; until then
   the defaults hold. What is atomic may be changed while the program runs. */
#ifndef HEAPWITNESS_SETTINGS_H
#define HEAPWITNESS_SETTINGS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum hw_stacks { HW_STACKS_CALLER, HW_STACKS_FAST, HW_STACKS_FULL };

typedef struct hw_settings {
    _Atomic bool unusual; /* operations take the long way: check_every, even fences, or nothing is read yet */
    enum hw_stacks stacks;
    _Atomic bool poison;
    char on_error;                /* 'g' go on, 'a' abort, 's' stop: when nobody answers */
    unsigned wait_ms;             /* how long a thread waits for an answer */
    _Atomic uint64_t check_every; /* operations of one thread between checks of everything, 0 for never */
    int check_signal;             /* 0 for none */
    bool python_lines;            /* sites of Python programs are their lines */
    bool map;                     /* whoever listens draws the heap: wait until it was read, at the end and at checks */
    const char *traps;    /* allocation sites to trap (stacks/named.h); in the environment, so for the start only */
    bool trap_found;      /* ... and those at which damage is found */
    unsigned trap_sample; /* of all blocks one in so many, 0 for none */
    char socket[108];     /* path, empty for none */
    char log[1024];       /* path, empty for none */
} hw_settings;

extern hw_settings hw_setting;

void hw_settings_read(void);

/* How long others may have to be waited for, in milliseconds: `least`, and what their findings may take, each of which
   waits for its answer. */
static inline uint64_t hw_patience(unsigned least)
{
    return least + 3 * (uint64_t)hw_setting.wait_ms;
}

#endif
