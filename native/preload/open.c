/* Libraries that are loaded with RTLD_DEEPBIND would take malloc from the C library itself, past this one,
   while the C library's own functions go on taking it from here: blocks of the one heap would be released to
   the other. So they are loaded without. What is loaded may be a CPython, whose lines are told. */
#define _GNU_SOURCE
#include "stacks/python_frames.h"

#include <dlfcn.h>
#include <stddef.h>

typedef void *opener(const char *, int);
static opener *next;

static __attribute__((noinline)) opener *find_next(void)
{
    opener *found;
    *(void **)&found = dlsym(RTLD_NEXT, "dlopen");
    __atomic_store_n(&next, found, __ATOMIC_RELAXED);
    return found;
}

/* The real one looks at its return address to know who asks, and searches where that one's libraries lie: so
   it has to be the last call in here, made by a jump. */
__attribute__((visibility("default"), optimize("O2", "optimize-sibling-calls"))) void *dlopen(const char *file,
                                                                                              int mode)
{
    opener *open = __atomic_load_n(&next, __ATOMIC_RELAXED);
    if (!open)
        open = find_next();
    if (!open)
        return NULL;
    hw_python_may_come = true;
    return open(file, mode & ~RTLD_DEEPBIND);
}

/* CPython's own memory is looked at for as long as the process lives. */
__attribute__((visibility("default"))) int dlclose(void *library)
{
    static int (*close)(void *);
    opener *open = __atomic_load_n(&next, __ATOMIC_RELAXED);
    const char *python = hw_python_file();
    int (*found)(void *) = __atomic_load_n(&close, __ATOMIC_RELAXED);
    if (!found) {
        *(void **)&found = dlsym(RTLD_NEXT, "dlclose");
        __atomic_store_n(&close, found, __ATOMIC_RELAXED);
    }
    if (open && python)
        open(python, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
    return found ? found(library) : -1;
}
