/* The truth about one damage, told before it is done, and what of the heap must be as before once it was mended. */
#ifndef FAULTS_TRUTH_H
#define FAULTS_TRUTH_H

#include "place.h"

enum { OVERFLOW = 1, UNDERFLOW = 2, HEADER = 4, AFTER_FREE = 8, DOUBLE = 16, INVALID = 32, MISMATCHED = 64 };
enum { LINEAR = 1, TERMINATED = 2, CHECK = 4, NO_CULPRIT = 8, BACKWARD = 16 };

typedef struct truth {
    const char *row;
    block of;
    unsigned char *start, *stop, *wrote, *wrote_end, *seen, *seen_end, *pointer;
    unsigned kinds, alike, flags;
    bool lost;
} truth;

void forget_watches(void);
void watch(unsigned char *at, unsigned length);
void watch_many(unsigned char *at, unsigned char *stop);
/* Everything that is vouched for from a node up to `stop`: headers, backups, links, slack. */
void watch_nodes(node from, unsigned char *stop);
/* The first bytes of a released payload. */
void watch_links(node n);
/* Whether all that is watched is as it was; says on standard output what is not. */
bool is_restored(unsigned long number);

/* Write `content` and complete the truth, told before. False when no watched byte would change. */
extern unsigned char content[2 * LONGEST];
void compose(worker *w, size_t length, const char *what);
bool inflict(truth *t, unsigned char *at, size_t length, unsigned long number);
void tell(const truth *t, unsigned long number);

#endif
