#define _GNU_SOURCE
#include "next.h"

#include <dlfcn.h>

extern const hw_follower first[] __asm__("__start_hw_nexts") __attribute__((visibility("hidden")));
extern const hw_follower behind[] __asm__("__stop_hw_nexts") __attribute__((visibility("hidden")));

HW_COLD hw_function *hw_find_next(const hw_follower *next)
{
    hw_function *found;
    *(void **)&found = dlsym(RTLD_NEXT, next->name);
    atomic_store_explicit(next->known, found, memory_order_relaxed);
    return found;
}

__attribute__((constructor(102))) static void find_all(void)
{
    for (const hw_follower *next = first; next != behind; next++)
        if (!atomic_load_explicit(next->known, memory_order_relaxed))
            hw_find_next(next);
    dlerror(); /* what this libc does not have is no error of the program's */
}
