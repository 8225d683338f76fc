/* Memory that stands in for a program's while the kernel stores into it, or reads it: at a trapped block's guard the
   kernel does not fault but fails. What it stored is copied then, where a trap catches it. */
#ifndef HEAPWITNESS_LOAN_H
#define HEAPWITNESS_LOAN_H

#include "os/next.h"
#include "stacks/named.h"
#include "traps/blocks.h"

#include <errno.h>

#define EXPORT __attribute__((visibility("default"), optimize("O2", "optimize-sibling-calls")))

static inline bool hw_leaves(const void *start, size_t bytes)
{
    return HW_UNLIKELY(hw_traps_on) && hw_trap_leaves(start, bytes);
}

/* Not libc's: what is caught in it is told as the program's call of the function above. */
static __attribute__((noinline, unused)) void hw_copy(void *to, const void *from, size_t bytes)
{
    volatile char *target = to;
    const volatile char *source = from;
    for (size_t i = 0; i < bytes; i++)
        target[i] = source[i];
}

/* Where the kernel's bytes go in between; NULL: there is no memory for them, and the kernel is asked as it is. */
static inline char *hw_room_for(size_t bytes)
{
    return hw_map(hw_round_up(bytes, hw_page()));
}

/* What one call has on loan. More is not lent: then the kernel is asked as it is. */
enum { HW_LOANS = 8 };
typedef struct hw_loans {
    unsigned count;
    struct hw_loan {
        void *own;
        char *room;
        size_t bytes;
    } loan[HW_LOANS];
} hw_loans;

enum hw_lending { HW_EMPTY, HW_FILLED };

/* Where the kernel is to store, or read: `own`, or where that leaves a trapped block other memory, filled with it if
   the kernel looks at it first. */
static inline __attribute__((always_inline)) void *hw_lend(hw_loans *loans, void *own, size_t bytes,
                                                           enum hw_lending how)
{
    if (!own || loans->count == HW_LOANS || !hw_leaves(own, bytes))
        return own;
    char *room = hw_room_for(bytes);
    if (!room)
        return own;
    if (how == HW_FILLED)
        hw_copy(room, own, bytes);
    loans->loan[loans->count++] = (struct hw_loan){own, room, bytes};
    return room;
}

/* The kernel stored so many bytes there, as far as it was lent; they are the program's now. */
static inline __attribute__((always_inline)) void hw_settle(const hw_loans *loans, const void *room, size_t bytes)
{
    for (unsigned i = 0; i < loans->count; i++)
        if (loans->loan[i].room == room)
            hw_copy(loans->loan[i].own, room, bytes < loans->loan[i].bytes ? bytes : loans->loan[i].bytes);
}

static inline void hw_end_loans(hw_loans *loans)
{
    for (unsigned i = 0; i < loans->count; i++)
        hw_unmap(loans->loan[i].room, hw_round_up(loans->loan[i].bytes, hw_page()));
    loans->count = 0;
}

/* `result name parameters`, which stores so many at `to` as it returns, `count` at most, each of so many bytes: the
   real one is called with `arguments`, in which `into` stands for `to`. */
#define COUNTS(result, name, to, each, count, parameters, arguments)                                                   \
    EXPORT result name parameters                                                                                      \
    {                                                                                                                  \
        typedef result type parameters;                                                                                \
        NEXT(#name, type, (result)(-1));                                                                               \
        void *into = (void *)(to);                                                                                     \
        if (HW_LIKELY(!hw_leaves(into, (size_t)(count) * (each))))                                                     \
            return next arguments;                                                                                     \
        hw_loans loans = {0};                                                                                          \
        into = hw_lend(&loans, into, (size_t)(count) * (each), HW_EMPTY);                                              \
        result done = next arguments;                                                                                  \
        if (done > 0)                                                                                                  \
            hw_settle(&loans, into, (size_t)done * (each));                                                            \
        hw_end_loans(&loans);                                                                                          \
        return done;                                                                                                   \
    }

#endif
