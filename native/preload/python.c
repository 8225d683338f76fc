/* CPython's own allocators, set to the checked heap before it starts: an interpreter that reads no environment (-I, -E)
   does not see PYTHONMALLOC. What it reads there, if it does, it sets over this. */
#define _GNU_SOURCE
#include "heap/heap_fast.h"
#include "stacks/python_frames.h"

#include <stdlib.h>
#include <string.h>

typedef struct allocator {
    void *context;
    void *(*malloc)(void *, size_t);
    void *(*calloc)(void *, size_t, size_t);
    void *(*realloc)(void *, void *, size_t);
    void (*free)(void *, void *);
} allocator;

enum domain { MEMORY = 1, OBJECTS }; /* the first one, "raw", asks malloc anyway */
extern void PyMem_SetAllocator(int domain, allocator *) __attribute__((weak));

/* CPython asks for a block of no bytes, too, and wants each to be another one. */
static size_t at_least_one(size_t bytes)
{
    return bytes ? bytes : 1;
}

static void *take(void *context, size_t bytes)
{
    (void)context;
    return hw_allocate_fast(at_least_one(bytes), HW_MALLOC, HW_HERE);
}

static void *take_cleared(void *context, size_t count, size_t each)
{
    size_t bytes;
    (void)context;
    if (__builtin_mul_overflow(count, each, &bytes))
        return NULL;
    void *payload = hw_allocate_fast(at_least_one(bytes), HW_MALLOC, HW_HERE);
    if (payload)
        memset(payload, 0, hw_bytes_to_clear(payload, at_least_one(bytes)));
    return payload;
}

static void *resize(void *context, void *pointer, size_t bytes)
{
    (void)context;
    return pointer ? hw_resize_fast(pointer, at_least_one(bytes), HW_HERE)
                   : hw_allocate_fast(at_least_one(bytes), HW_MALLOC, HW_HERE);
}

static void give_back(void *context, void *pointer)
{
    (void)context;
    if (pointer)
        hw_release_fast(pointer, HW_MALLOC, HW_HERE);
}

__attribute__((constructor(102))) static void set_allocators(void)
{
    const char *asked = getenv("PYTHONMALLOC");
    if (!hw_python_here() || !PyMem_SetAllocator || !asked || strcmp(asked, "malloc") != 0)
        return;
    for (int domain = MEMORY; domain <= OBJECTS; domain++)
        PyMem_SetAllocator(domain, &(allocator){NULL, take, take_cleared, resize, give_back});
}
