/* The few things the engine asks of the kernel, by bare system calls: no cancellation points, nothing
   that a program may have interposed, nothing that allocates. All leave errno as it was. */
#ifndef HEAPWITNESS_SYSTEM_H
#define HEAPWITNESS_SYSTEM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HW_LIKELY(x) __builtin_expect(!!(x), 1)
#define HW_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define HW_COLD __attribute__((noinline, cold))

/* The kernel's page, in bytes, a power of two: 4 KiB, on AArch64 also 16 or 64. Mappings begin and end there. */
size_t hw_page(void);
/* No page is smaller: what lies in so many bytes from a multiple of it on lies in one page. */
enum { HW_LEAST_PAGE = 4096 };
/* System calls give no result from -HW_LAST_ERROR to -1: those are errors. */
enum { HW_LAST_ERROR = 4095 };

static inline size_t hw_round_up(size_t bytes, size_t unit)
{
    return (bytes + unit - 1) & ~(unit - 1);
}

/* Where the program's own seccomp filters answer it by more than an error, the call is not made, and fails
   (confined.h). */
long hw_call(long number, long a, long b, long c, long d, long e, long f);
/* Whatever comes of it: for what the program, or the user, has asked for. */
long hw_call_anyway(long number, long a, long b, long c, long d, long e, long f);

/* A call that gives a descriptor. Where the program has all that it may have, or may have none, its own limit is lifted
   for that moment, if it can be. */
long hw_call_for_file(long number, long a, long b, long c, long d);

/* From here on the thread's signals wait, but for those that come of what it does itself: no handler runs that could
   leave by longjmp what has to be done as a whole. hw_signals_come takes what it returned; where the kernel may not be
   asked, nothing waits. */
uint64_t hw_signals_wait(void);
void hw_signals_come(uint64_t before);

/* Zeroed memory that costs nothing until it is touched; NULL when there is none. */
void *hw_map(size_t bytes);
/* The same, shared with the children of forks. */
void *hw_map_shared(size_t bytes);
/* Address space without memory; NULL when there is none. */
void *hw_reserve(size_t bytes);
bool hw_commit(void *start, size_t bytes);
void hw_unmap(void *start, size_t bytes);
/* Whether all of these bytes are there and may be read, found out without touching them. What the kernel may not be
   asked for does not count as readable. */
bool hw_may_read(const void *start, size_t bytes);
/* Give the pages back; they read as zero when touched again. */
void hw_discard(void *start, size_t bytes);

/* False: the thread storage is not libc's (a runtime's, or of a child of clone with CLONE_SETTLS), so there is no
   errno, and no variable of a thread may be touched. Where that cannot be seen (not on x86-64) it is true. */
bool hw_has_libcs_storage(void);
/* The same without a system call: the storage is taken to be there. */
bool hw_storage_looks_like_libcs(void);
uint32_t hw_thread_id(void);
/* For when it may not be asked any more. */
void hw_thread_note_id(void);
uint32_t hw_process_id(void);
/* What it is for when it may not be asked. */
void hw_process_id_is(uint32_t id);
uint32_t hw_parent_id(void);
void hw_random(void *bytes, size_t length);
uint64_t hw_milliseconds(void);
void hw_sleep(unsigned milliseconds);
bool hw_thread_lives(uint32_t pid, uint32_t tid);
/* The beginning of a file of the kernel's: what has room in `text`, ended by 0. False: there is none. */
bool hw_read_text(const char *path, char *text, size_t room);
/* What can be read of `length` bytes at an address that may be anything; 0 for nothing. */
size_t hw_peek(void *into, uintptr_t address, size_t length);
/* The same of the `length` bytes before each of `count` addresses, by one call; returns of how many all could be read,
   one after the other up to the first of which that is not so. */
enum { HW_PEEKS = 8 };
unsigned hw_peek_many(void *into, const uint64_t *end, unsigned count, size_t length);

/* A number in decimal digits with a NUL behind them, right before `end`, where 21 bytes suffice; returns the first. */
static inline char *hw_decimal(char *end, unsigned long number)
{
    *--end = 0;
    do
        *--end = (char)('0' + number % 10);
    while (number /= 10);
    return end;
}

/* After it, every thread of the process sees what this one stored before, and the other way round.
   `hw_light_fence` is its cheap half on the frequent side. Who finds the fences uneven must not have looked before at
   what the fence is about, hence the acquiring load: without it a processor may look ahead. */
extern _Atomic bool hw_fences_are_uneven;
void hw_fence_init(void);
void hw_heavy_fence(void);
static inline void hw_light_fence(void)
{
    if (HW_LIKELY(atomic_load_explicit(&hw_fences_are_uneven, memory_order_acquire)))
        atomic_signal_fence(memory_order_seq_cst);
    else
        atomic_thread_fence(memory_order_seq_cst);
}

/* A lock of one word: 0 free, 1 held, 2 held and awaited. */
typedef _Atomic uint32_t hw_lock;
void hw_lock_take(hw_lock *lock);
bool hw_lock_try(hw_lock *lock);
bool hw_lock_take_within(hw_lock *lock, unsigned milliseconds);
void hw_lock_give(hw_lock *lock);
/* Wait until the word is no longer `value`, at most so long. */
void hw_wait_while(_Atomic uint32_t *word, uint32_t value, unsigned milliseconds);
void hw_wake(_Atomic uint32_t *word);

#endif
