/* Whether a block goes back through the allocator that it came from: of Python's, a program must not mix them
   (docs/python.md, "Domains").

   That is looked at where a release takes the long way, as the first one of each pair of sites does: the usual way of a
   release relies on knowing its site. Python's code itself is believed: while the interpreter starts and ends it
   exchanges its allocators. */
#ifndef HEAPWITNESS_DOMAINS_H
#define HEAPWITNESS_DOMAINS_H

#include "stacks/sites.h"

/* From now on domains are known; the interpreter's code lies there. */
void hw_domains_begin(uintptr_t low, uintptr_t high);
/* Whether what was allocated at a site is released by the allocator of another domain. */
bool hw_domain_differs(uint32_t allocated, const hw_caller *caller);

#endif
