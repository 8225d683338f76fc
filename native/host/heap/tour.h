/* --check-every: checks that go on where the last one stopped.

   All of the heap's pools are gone through in turn, a part at a time, by whichever thread's turn it is; then it begins
   anew. Where it stopped is written by who holds the lock of all checks (check.c), and is but a hint: nodes, and big
   blocks, come and go between two parts. */
#ifndef HEAPWITNESS_TOUR_H
#define HEAPWITNESS_TOUR_H

#include "tell/channel.h"

/* For who holds the lock of checks, and is neither inside of an arena nor on a visit. */
void hw_tour_go_on(const hw_context *context);
/* Begin anew: in the child of a fork another thread may have been in the middle. */
void hw_tour_forget(void);

#endif
