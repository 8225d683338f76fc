/* Sites with Python lines: a native site, and the Python frames that led there.

   In a process with an interpreter whose frames can be read (python_frames.h), allocations of one C function that
   different Python lines ask for are different sites. Elsewhere nothing here is ever called on the usual way. */
#ifndef HEAPWITNESS_PYTHON_SITES_H
#define HEAPWITNESS_PYTHON_SITES_H

#include "stacks/sites.h"

/* As hw_site_learn. */
uint32_t hw_python_learn(hw_site_cache *cache, const hw_caller *caller, uint32_t prior);
/* The cache is new, another thread's, or the settings are known now: `most` says how native frames are followed. */
void hw_python_renew(hw_site_cache *cache);

#endif
