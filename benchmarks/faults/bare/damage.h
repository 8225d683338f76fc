/* Damage of every kind to the heap, and wrong releases. */
#ifndef FAULTS_DAMAGE_H
#define FAULTS_DAMAGE_H

#include "heap.h"

/* Rows below WRITES overwrite something, those from there on release something wrongly. */
enum { WRITES = 16, ROWS = 18, LONGEST = 4096 };

/* One write, or two neighbouring ones with a gap: to be done with `write_all`. */
typedef struct damage {
    size_t at[8], length[8];
    unsigned parts;
} damage;

/* What is written, and how it is made: 0 a fill, 1 text, 2 words. */
extern unsigned char content[LONGEST];
void compose(size_t length, unsigned how);
/* False when the heap has no place for it. `length` is that of overflows and underflows, in bytes. */
bool plan(unsigned row, size_t length, damage *d);
/* Write it, and note the blocks whose content it hits. */
void inflict(const damage *d);
/* Release wrongly; whether that was refused and changed nothing, and `which` way it was. False in `*done` when the
   heap has no place for it. */
bool release_wrongly(unsigned row, bool *done);

#endif
