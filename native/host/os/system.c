#define _GNU_SOURCE
#include "os/system.h"

#include "os/confined.h"

#if defined(__x86_64__)
#include <asm/prctl.h>
#endif
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

_Atomic bool hw_fences_are_uneven;

long hw_call_anyway(long number, long a, long b, long c, long d, long e, long f)
{
#if defined(__x86_64__)
    long result;
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
#else
    int before = errno;
    long result = syscall(number, a, b, c, d, e, f);
    if (result == -1)
        result = -errno;
    errno = before;
    return result;
#endif
}

long hw_call(long number, long a, long b, long c, long d, long e, long f)
{
    if (HW_UNLIKELY(hw_confined)) {
        long refused = hw_refusal(number, (const long[]){a, b, c, d, e, f});
        if (refused)
            return refused;
    }
    return hw_call_anyway(number, a, b, c, d, e, f);
}

bool hw_storage_looks_like_libcs(void)
{
#if defined(__x86_64__)
    uintptr_t first, third; /* libc's begins with its own address, twice */
    __asm__ volatile("movq %%fs:0, %0\n\tmovq %%fs:16, %1" : "=r"(first), "=r"(third));
    return first && first == third;
#else
    return true;
#endif
}

bool hw_has_libcs_storage(void)
{
#if defined(__x86_64__)
    const uintptr_t *base = NULL;
    if (hw_call(SYS_arch_prctl, ARCH_GET_FS, (long)&base, 0, 0, 0, 0) != 0)
        return hw_storage_looks_like_libcs();
    return base && base[0] == (uintptr_t)base && base[2] == (uintptr_t)base;
#else
    return true;
#endif
}

long hw_call_for_file(long number, long a, long b, long c, long d)
{
    enum { ROOM = 64 };
    long file = hw_call(number, a, b, c, d, 0, 0);
    uint64_t before[2], lifted[2]; /* soft, hard */
    if (file != -EMFILE || hw_call(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, (long)before, 0, 0) != 0)
        return file;
    lifted[1] = before[1];
    lifted[0] = before[0] + ROOM < before[1] ? before[0] + ROOM : before[1];
    if (hw_call(SYS_prlimit64, 0, RLIMIT_NOFILE, (long)lifted, 0, 0, 0) != 0)
        return file;
    file = hw_call(number, a, b, c, d, 0, 0);
    hw_call(SYS_prlimit64, 0, RLIMIT_NOFILE, (long)before, 0, 0, 0);
    return file;
}

size_t hw_page(void)
{
    static _Atomic size_t known;
    size_t page = atomic_load_explicit(&known, memory_order_relaxed);
    if (HW_UNLIKELY(!page)) {
        page = getauxval(AT_PAGESZ);
        atomic_store_explicit(&known, page, memory_order_relaxed);
    }
    return page;
}

bool hw_may_read(const void *start, size_t bytes)
{
    enum { NO_SUCH_HOW = -1 }; /* the mask is read first, and then not set */
    size_t page = hw_page();
    unsigned char there = 0;
    for (uintptr_t at = (uintptr_t)start & ~(page - 1); at < (uintptr_t)start + bytes; at += page)
        if (hw_call(SYS_mincore, (long)at, (long)page, (long)&there, 0, 0, 0) != 0 || !(there & 1) ||
            hw_call(SYS_rt_sigprocmask, NO_SUCH_HOW, (long)at, 0, sizeof(uint64_t), 0, 0) != -EINVAL)
            return false;
    return true;
}

/* No mask that was: SIGKILL cannot be blocked. */
static const uint64_t NONE_SET = UINT64_C(1) << (SIGKILL - 1);

uint64_t hw_signals_wait(void)
{
    static const int own[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS};
    uint64_t others = UINT64_MAX, before = 0;
    for (unsigned i = 0; i < sizeof own / sizeof own[0]; i++)
        others &= ~(UINT64_C(1) << (own[i] - 1));
    long status = hw_call(SYS_rt_sigprocmask, SIG_BLOCK, (long)&others, (long)&before, sizeof others, 0, 0);
    return status == 0 ? before : NONE_SET;
}

void hw_signals_come(uint64_t before)
{
    if (before != NONE_SET)
        hw_call(SYS_rt_sigprocmask, SIG_SETMASK, (long)&before, 0, sizeof before, 0, 0);
}

static void *mapped(size_t bytes, int protection, int sharing)
{
    long at = hw_call(SYS_mmap, 0, (long)bytes, protection, sharing | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return at < 0 && at >= -HW_LAST_ERROR ? NULL : (void *)at;
}

void *hw_map(size_t bytes)
{
    return mapped(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE);
}

void *hw_map_shared(size_t bytes)
{
    return mapped(bytes, PROT_READ | PROT_WRITE, MAP_SHARED);
}

void *hw_reserve(size_t bytes)
{
    return mapped(bytes, PROT_NONE, MAP_PRIVATE);
}

bool hw_commit(void *start, size_t bytes)
{
    return hw_call(SYS_mprotect, (long)start, (long)bytes, PROT_READ | PROT_WRITE, 0, 0, 0) == 0;
}

void hw_unmap(void *start, size_t bytes)
{
    hw_call(SYS_munmap, (long)start, (long)bytes, 0, 0, 0, 0);
}

void hw_discard(void *start, size_t bytes)
{
    hw_call(SYS_madvise, (long)start, (long)bytes, MADV_DONTNEED, 0, 0, 0);
}

static __thread uint32_t noted;

void hw_thread_note_id(void)
{
    noted = hw_thread_id();
}

/* Where it may not be asked, it is what was noted, or a number that no other thread has: its storage's address in units
   of 64 bytes. */
uint32_t hw_thread_id(void)
{
    long id = hw_call(SYS_gettid, 0, 0, 0, 0, 0, 0);
    if (HW_LIKELY(id > 0))
        return (uint32_t)id;
    return noted ? noted : (uint32_t)((uintptr_t)&noted >> 6) | UINT32_C(1) << 31;
}

/* Where it may not be asked it is the one that it was last: nor may new processes be made there, as a rule. */
static _Atomic uint32_t last;

uint32_t hw_process_id(void)
{
    long id = hw_call(SYS_getpid, 0, 0, 0, 0, 0, 0);
    if (id <= 0)
        return atomic_load_explicit(&last, memory_order_relaxed);
    if (HW_UNLIKELY(atomic_load_explicit(&last, memory_order_relaxed) != (uint32_t)id))
        atomic_store_explicit(&last, (uint32_t)id, memory_order_relaxed);
    return (uint32_t)id;
}

void hw_process_id_is(uint32_t id)
{
    atomic_store(&last, id);
}

uint32_t hw_parent_id(void)
{
    long id = hw_call(SYS_getppid, 0, 0, 0, 0, 0, 0);
    return id > 0 ? (uint32_t)id : 0;
}

/* --- time --------------------------------------------------------------------------------------- */

/* A thread that may neither sleep nor ask for the time counts how long it has been waiting, in microseconds: so that
   whatever is waited for so long comes to an end. */
static _Atomic uint64_t waited;

static void wait_idly(uint64_t microseconds)
{
    for (uint64_t turn = 0; turn < 50 * microseconds; turn++)
        atomic_signal_fence(memory_order_seq_cst);
    atomic_fetch_add_explicit(&waited, microseconds, memory_order_relaxed);
}

void hw_random(void *bytes, size_t length)
{
    if (hw_call(SYS_getrandom, (long)bytes, (long)length, 0, 0, 0, 0) == (long)length)
        return;
    /* No kernel that we know comes here; a weak key still finds every accident. */
    unsigned char *out = bytes;
    uint64_t x = (uint64_t)(uintptr_t)&out ^ hw_milliseconds() << 20;
    for (size_t i = 0; i < length; i++) {
        x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        out[i] = (unsigned char)(x >> 56);
    }
}

uint64_t hw_milliseconds(void)
{
    struct timespec now;
    if (hw_call(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&now, 0, 0, 0, 0) != 0)
        return atomic_load_explicit(&waited, memory_order_relaxed) / 1000;
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void hw_sleep(unsigned milliseconds)
{
    long least = 20000; /* of nanoseconds: the shortest nap that lets somebody else run */
    struct timespec span = {.tv_sec = milliseconds / 1000,
                            .tv_nsec = milliseconds ? milliseconds % 1000 * 1000000L : least};
    long slept = hw_call(SYS_nanosleep, (long)&span, 0, 0, 0, 0, 0);
    if (slept != 0 && slept != -EINTR)
        wait_idly(milliseconds ? milliseconds * UINT64_C(1000) : 20);
}

bool hw_thread_lives(uint32_t pid, uint32_t tid)
{
    return hw_call(SYS_tgkill, (long)pid, (long)tid, 0, 0, 0, 0) != -ESRCH;
}

/* Where the other way is forbidden or unknown, as in some containers and emulators: the kernel looks at what it is to
   write. Parts that end with a page are there as a whole or not at all, and a pipe has room for them. */
static size_t peek_through_pipe(void *into, uintptr_t address, size_t length)
{
    int ends[2];
    size_t done = 0;
    if (hw_call(SYS_pipe2, (long)ends, O_CLOEXEC | O_NONBLOCK, 0, 0, 0, 0) != 0)
        return 0;
    while (done < length) {
        uintptr_t at = address + done;
        size_t part = HW_LEAST_PAGE - at % HW_LEAST_PAGE, left = length - done;
        long wrote = hw_call(SYS_write, ends[1], (long)at, (long)(part < left ? part : left), 0, 0, 0);
        if (wrote <= 0 || hw_call(SYS_read, ends[0], (long)into + (long)done, wrote, 0, 0, 0) != wrote)
            break;
        done += (size_t)wrote;
    }
    hw_call(SYS_close, ends[0], 0, 0, 0, 0, 0);
    hw_call(SYS_close, ends[1], 0, 0, 0, 0, 0);
    return done;
}

bool hw_read_text(const char *path, char *text, size_t room)
{
    long file = hw_call(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0, 0, 0), got = 0;
    if (file >= 0) {
        got = hw_call(SYS_read, file, (long)text, (long)room - 1, 0, 0, 0);
        hw_call(SYS_close, file, 0, 0, 0, 0, 0);
    }
    text[got > 0 ? got : 0] = 0;
    return got > 0;
}

/* The kernel finds no memory by a process's id once its first thread has ended (pthread_exit in main); by that of
   another it does. */
static long peeked(const struct iovec *local, const struct iovec *remote, unsigned count)
{
    long got = hw_call(SYS_process_vm_readv, (long)hw_process_id(), (long)local, 1, (long)remote, count, 0);
    return HW_LIKELY(got != -ESRCH)
               ? got
               : hw_call(SYS_process_vm_readv, (long)hw_thread_id(), (long)local, 1, (long)remote, count, 0);
}

size_t hw_peek(void *into, uintptr_t address, size_t length)
{
    struct iovec local = {into, length}, remote = {(void *)address, length};
    long got = peeked(&local, &remote, 1);
    if (got == -ENOSYS || got == -EPERM)
        return peek_through_pipe(into, address, length);
    return got > 0 ? (size_t)got : 0;
}

unsigned hw_peek_many(void *into, const uint64_t *end, unsigned count, size_t length)
{
    struct iovec local = {into, count * length}, remote[HW_PEEKS];
    if (count > HW_PEEKS)
        count = HW_PEEKS;
    for (unsigned i = 0; i < count; i++)
        remote[i] = (struct iovec){(void *)(uintptr_t)(end[i] - length), length};
    long got = peeked(&local, remote, count);
    unsigned whole = 0;
    if (got == -ENOSYS || got == -EPERM)
        while (whole < count && peek_through_pipe((char *)into + whole * length, end[whole] - length, length) == length)
            whole++;
    return got > 0 ? (unsigned)((size_t)got / length) : whole;
}

void hw_fence_init(void)
{
#ifndef HW_EVEN_FENCES
    bool registered = hw_call(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0, 0, 0, 0) == 0;
    atomic_store_explicit(&hw_fences_are_uneven, registered, memory_order_release);
#endif
}

void hw_heavy_fence(void)
{
    atomic_thread_fence(memory_order_seq_cst);
    /* Forbidden to a program that has shut itself in: then the other side's store has time to be seen. */
    if (atomic_load(&hw_fences_are_uneven) &&
        hw_call(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0, 0, 0, 0) != 0)
        hw_sleep(2);
}

void hw_wait_while(_Atomic uint32_t *word, uint32_t value, unsigned milliseconds)
{
    struct timespec span = {.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000L};
    long waited_for = hw_call(SYS_futex, (long)word, FUTEX_WAIT_PRIVATE, (long)value, (long)&span, 0, 0);
    if (waited_for != 0 && waited_for != -EAGAIN && waited_for != -EINTR && waited_for != -ETIMEDOUT)
        wait_idly(20);
}

void hw_wake(_Atomic uint32_t *word)
{
    hw_call(SYS_futex, (long)word, FUTEX_WAKE_PRIVATE, 0x7FFFFFFF, 0, 0, 0);
}

bool hw_lock_try(hw_lock *lock)
{
    uint32_t free = 0;
    return atomic_compare_exchange_strong_explicit(lock, &free, 1, memory_order_acquire, memory_order_relaxed);
}

void hw_lock_take(hw_lock *lock)
{
    for (int spins = 0; spins < 100; spins++)
        if (hw_lock_try(lock))
            return;
    while (atomic_exchange_explicit(lock, 2, memory_order_acquire) != 0)
        hw_wait_while(lock, 2, 1000);
}

bool hw_lock_take_within(hw_lock *lock, unsigned milliseconds)
{
    for (int spins = 0; spins < 100; spins++)
        if (hw_lock_try(lock))
            return true;
    uint64_t end = hw_milliseconds() + milliseconds, now;
    while (atomic_exchange_explicit(lock, 2, memory_order_acquire) != 0) {
        if ((now = hw_milliseconds()) >= end)
            return false;
        hw_wait_while(lock, 2, (unsigned)(end - now));
    }
    return true;
}

void hw_lock_give(hw_lock *lock)
{
    if (atomic_exchange_explicit(lock, 0, memory_order_release) == 2)
        hw_call(SYS_futex, (long)lock, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0); /* who takes it leaves it awaited */
}
