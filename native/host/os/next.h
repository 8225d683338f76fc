/* The functions that a program calls here and that go on to the ones behind the engine, libc's mostly. All of them are
   looked up before the program runs: later another thread may be just loading a library, or unloading one. */
#ifndef HEAPWITNESS_NEXT_H
#define HEAPWITNESS_NEXT_H

#include "os/system.h"

#include <errno.h>
#include <stdatomic.h>

typedef void hw_function(void);

/* A function's name, and where a pointer to it is kept; NULL there: there is none. */
typedef struct hw_follower {
    const char *name;
    void *kept;
} hw_follower;

/* One of them, without a gap to the others. */
#define HW_FOLLOWER __attribute__((section("hw_nexts"), aligned(sizeof(hw_follower)), used)) static const hw_follower

/* For who is called before the engine's constructors. */
void hw_find_nexts(void);

/* `next`, of a `type`, is the function of that name behind the engine; where there is none, which cannot be, the call
   fails. */
#define NEXT(name, type, failed)                                                                                       \
    static hw_function *_Atomic known;                                                                                 \
    HW_FOLLOWER entry = {name, &known};                                                                                \
    hw_function *found = atomic_load_explicit(&known, memory_order_relaxed);                                           \
    if (HW_UNLIKELY(!found)) {                                                                                         \
        hw_find_nexts();                                                                                               \
        if (!(found = atomic_load_explicit(&known, memory_order_relaxed))) {                                           \
            errno = ENOSYS;                                                                                            \
            return failed;                                                                                             \
        }                                                                                                              \
    }                                                                                                                  \
    type *next = (type *)found

#endif
