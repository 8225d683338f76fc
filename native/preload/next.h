/* The functions that a program calls here and that go on to the ones behind the engine, libc's mostly. All of them are
   looked up before the program runs: doing that later would take away what its next dlerror() has to say, and in the
   child of a fork it would wait for ever where another thread was just loading a library. */
#ifndef HEAPWITNESS_NEXT_H
#define HEAPWITNESS_NEXT_H

#include "os/system.h"

#include <errno.h>
#include <stdatomic.h>

typedef void hw_function(void);

typedef struct hw_follower {
    const char *name;
    hw_function *_Atomic *known;
} hw_follower;

/* For who calls one before the engine's constructors; NULL: there is none. */
hw_function *hw_find_next(const hw_follower *next);

/* `next`, of a `type`, is the function of that name behind the engine; where there is none, which cannot be, the call
   fails. */
#define NEXT(name, type, failed)                                                                                       \
    static hw_function *_Atomic known;                                                                                 \
    static const hw_follower entry __attribute__((section("hw_nexts"), used)) = {name, &known};                        \
    hw_function *found = atomic_load_explicit(&known, memory_order_relaxed);                                           \
    if (HW_UNLIKELY(!found) && !(found = hw_find_next(&entry))) {                                                      \
        errno = ENOSYS;                                                                                                \
        return failed;                                                                                                 \
    }                                                                                                                  \
    type *next = (type *)found

#endif
