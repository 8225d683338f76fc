/* A program that confines itself by seccomp: before it does, the engine gets ready to do without what will be
 * forbidden. */
#ifndef HEAPWITNESS_SHUT_IN_H
#define HEAPWITNESS_SHUT_IN_H

#include <stdbool.h>

struct sock_fprog;

/* Before the call, and with what that gave after it. NULL for `filter`: the mode without one. */
void *hw_shut_in_begins(const struct sock_fprog *filter, bool whole);
void hw_shut_in_ends(void *confinement, bool done);

#endif
