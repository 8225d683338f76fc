/* CPython's own allocators, set to the checked heap.

   That is done before it starts: an interpreter that reads no environment (-I, -E) does not see PYTHONMALLOC, and what
   started it may have left that out. What it reads there, if it does, it sets over this: malloc for all of them. Then
   they are set again as soon as it runs, so that it is known which of them a block came from. Whatever the order,
   blocks come from the same heap. */
#define _GNU_SOURCE
#define HW_SITES_BY_PYTHON 1
#include "python.h"

#include "heap/heap_fast.h"
#include "os/settings.h"
#include "stacks/domains.h"
#include "stacks/named.h"
#include "stacks/python_frames.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

typedef struct allocator {
    void *context;
    void *(*malloc)(void *, size_t);
    void *(*calloc)(void *, size_t, size_t);
    void *(*realloc)(void *, void *, size_t);
    void (*free)(void *, void *);
} allocator;

enum domain { RAW, MEMORY, OBJECTS };
extern void PyMem_SetAllocator(int domain, allocator *) __attribute__((weak));
extern void PyMem_GetAllocator(int domain, allocator *) __attribute__((weak));
#ifdef DLFO_STRUCT_HAS_EH_DBASE
extern int _dl_find_object(void *pc, struct dl_find_object *result) __attribute__((weak));
#endif
extern int Py_IsInitialized(void) __attribute__((weak));

/* CPython asks for a block of no bytes, too, and wants each to be another one. */
static size_t at_least_one(size_t bytes)
{
    return bytes ? bytes : 1;
}

static void *take(void *context, size_t bytes)
{
    return hw_allocate_fast(at_least_one(bytes), HW_MALLOC, HW_HERE_IN(context));
}

static void *take_cleared(void *context, size_t count, size_t each)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, each, &bytes))
        return NULL;
    void *payload = hw_allocate_fast(at_least_one(bytes), HW_MALLOC, HW_HERE_IN(context));
    if (payload)
        memset(payload, 0, hw_bytes_to_clear(payload, at_least_one(bytes)));
    return payload;
}

static void *resize(void *context, void *pointer, size_t bytes)
{
    return pointer ? hw_resize_fast(pointer, at_least_one(bytes), HW_HERE_IN(context))
                   : hw_allocate_fast(at_least_one(bytes), HW_MALLOC, HW_HERE_IN(context));
}

static void give_back(void *context, void *pointer)
{
    if (pointer)
        hw_release_fast(pointer, HW_MALLOC, HW_HERE_IN(context));
}

static void set(int domain)
{
    static const enum hw_domain names[] = {[RAW] = HW_OF_RAW, [MEMORY] = HW_OF_MEMORY, [OBJECTS] = HW_OF_OBJECTS};
    PyMem_SetAllocator(domain, &(allocator){hw_python_context(names[domain]), take, take_cleared, resize, give_back});
}

/* Where the interpreter's code lies is known from glibc 2.35 on. */
static void begin_domains(void)
{
#ifdef DLFO_STRUCT_HAS_EH_DBASE
    struct dl_find_object found;
    if (&_dl_find_object && _dl_find_object((void *)(uintptr_t)&PyMem_SetAllocator, &found) == 0)
        hw_domains_begin((uintptr_t)found.dlfo_map_start, (uintptr_t)found.dlfo_map_end);
#endif
}

/* Once it has read the environment all of them are malloc. The raw one is changed for a while whenever the interpreter
   starts or ends, and what it released then is looked at with that in mind (release.h). */
static bool set_again(void)
{
    allocator raw, objects;
    if (!&Py_IsInitialized || !Py_IsInitialized())
        return false;
    PyMem_GetAllocator(RAW, &raw);
    PyMem_GetAllocator(OBJECTS, &objects);
    if (objects.malloc == raw.malloc || objects.malloc == take) {
        for (int domain = RAW; domain <= OBJECTS; domain++)
            set(domain);
        begin_domains();
        if (hw_setting.poison || hw_traps_on)
            hw_python_free_lists_end();
    }
    return true;
}

static void meet(uintptr_t pc)
{
    static _Atomic bool asked;
    if (!atomic_load_explicit(&asked, memory_order_relaxed) && set_again())
        atomic_store_explicit(&asked, true, memory_order_relaxed);
    if (hw_python_is_own(pc)) /* most are, and it is no NumPy */
        return;
    if (hw_numpy_met(pc) && atomic_load_explicit(&asked, memory_order_relaxed))
        hw_site_met = NULL;
}

__attribute__((constructor(102))) static void set_allocators(void)
{
    const char *asked = getenv("PYTHONMALLOC");
    if (!PyMem_SetAllocator || !PyMem_GetAllocator || (asked && *asked && strcmp(asked, "malloc") != 0))
        return;
    if (hw_python_here())
        for (int domain = MEMORY; domain <= OBJECTS; domain++)
            set(domain);
    hw_site_met = meet;
}
