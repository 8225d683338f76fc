/* Libraries that are loaded with RTLD_DEEPBIND would take malloc from the C library itself, past this one,
   while the C library's own functions go on taking it from here: blocks of the one heap would be released to
   the other. So they are loaded without. What is loaded may be a CPython, whose lines are told. */
#define _GNU_SOURCE
#include "os/next.h"
#include "stacks/python_frames.h"

#include <dlfcn.h>
#include <stddef.h>

typedef void *opener(const char *, int);
static opener *next_open;
HW_FOLLOWER follower = {"dlopen", &next_open};

/* The real one looks at its return address to know who asks, and searches where that one's libraries lie: so
   it has to be the last call in here, made by a jump. */
__attribute__((visibility("default"), optimize("O2", "optimize-sibling-calls"))) void *dlopen(const char *file,
                                                                                              int mode)
{
    if (!next_open)
        hw_find_nexts();
    opener *open = next_open;
    if (!open)
        return NULL;
    hw_python_may_come = true;
    return open(file, mode & ~RTLD_DEEPBIND);
}

/* CPython's own memory is looked at for as long as the process lives. */
__attribute__((visibility("default"))) int dlclose(void *library)
{
    typedef int closer(void *);
    NEXT("dlclose", closer, -1);
    const char *python = hw_python_file();
    if (next_open && python)
        next_open(python, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
    return next(library);
}
