/* Allocators for Python and NumPy. Their context is the domain (sites.h) as it stands above an address. */
#ifndef HEAPWITNESS_PYTHON_H
#define HEAPWITNESS_PYTHON_H

#include "stacks/sites.h"

/* As HW_HERE, by an allocator of that context. */
#define HW_HERE_IN(context)                                                                                            \
    ((hw_caller){(void *)((uintptr_t)__builtin_return_address(0) | (uintptr_t)(context)),                              \
                 (void **)__builtin_frame_address(0)})

static inline void *hw_python_context(enum hw_domain domain)
{
    return (void *)((uintptr_t)domain << HW_DOMAIN_AT);
}

/* The program called the heap from there: where that is NumPy, its arrays get their data from the heap, too. Whether
   they do by now. */
bool hw_numpy_met(uintptr_t pc);

#endif
