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

/* A handler of array data, as NumPy has it since 1.22. */
typedef struct hw_array_handler {
    char name[127];
    uint8_t version;
    void *context;
    void *(*malloc)(void *, size_t);
    void *(*calloc)(void *, size_t, size_t);
    void *(*realloc)(void *, void *, size_t);
    void (*free)(void *, void *, size_t);
} hw_array_handler;

/* The program called the heap from there: where that is NumPy, its arrays get their data from the heap, too. Whether
   they do by now. */
bool hw_numpy_met(uintptr_t pc);

/* Lists, tuples, dicts and floats go back to the heap from now on, not into the interpreter's free lists: as long as
   released blocks are watched, objects are to be among them. Once it runs; it stays so. */
void hw_python_free_lists_end(void);

#endif
