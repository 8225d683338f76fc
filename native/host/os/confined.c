#define _GNU_SOURCE
#include "os/confined.h"

#include "os/system.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
#define OUR_ARCH AUDIT_ARCH_X86_64
#else
#define OUR_ARCH AUDIT_ARCH_AARCH64
#endif

typedef struct filter {
    struct filter *next;
    bool strict; /* no filter, but the mode that leaves four calls */
    bool off;    /* it is not installed, or not yet */
    unsigned length;
    struct sock_filter code[];
} filter;

bool hw_confined;
static filter *_Atomic of_all;
static __thread filter *of_thread;

/* --- what a filter says ------------------------------------------------------------------------- */

static uint32_t word_at(const struct seccomp_data *data, uint32_t at)
{
    uint32_t word = 0;
    if (at <= sizeof *data - sizeof word)
        memcpy(&word, (const char *)data + at, sizeof word);
    return word;
}

static uint32_t calculate(unsigned operation, uint32_t a, uint32_t b)
{
    switch (operation) {
    case BPF_ADD:
        return a + b;
    case BPF_SUB:
        return a - b;
    case BPF_MUL:
        return a * b;
    case BPF_DIV:
        return b ? a / b : 0;
    case BPF_MOD:
        return b ? a % b : 0;
    case BPF_AND:
        return a & b;
    case BPF_OR:
        return a | b;
    case BPF_XOR:
        return a ^ b;
    case BPF_LSH:
        return b < 32 ? a << b : 0;
    case BPF_RSH:
        return b < 32 ? a >> b : 0;
    default:
        return -a; /* BPF_NEG */
    }
}

static bool compare(unsigned operation, uint32_t a, uint32_t b)
{
    switch (operation) {
    case BPF_JEQ:
        return a == b;
    case BPF_JGT:
        return a > b;
    case BPF_JGE:
        return a >= b;
    default:
        return a & b; /* BPF_JSET */
    }
}

/* As the kernel runs it, which has verified it, or will refuse it. What is not understood ends the process, for all
   that is known. Jumps lead forward only. */
static uint32_t answer(const filter *f, const struct seccomp_data *data)
{
    uint32_t a = 0, x = 0, memory[BPF_MEMWORDS] = {0};
    for (unsigned pc = 0; pc < f->length; pc++) {
        const struct sock_filter *step = &f->code[pc];
        uint32_t k = step->k, operand = BPF_SRC(step->code) == BPF_X ? x : k;
        uint32_t *into = BPF_CLASS(step->code) == BPF_LDX || BPF_CLASS(step->code) == BPF_STX ? &x : &a;
        switch (BPF_CLASS(step->code)) {
        case BPF_LD:
        case BPF_LDX:
            *into = BPF_MODE(step->code) == BPF_IMM   ? k
                    : BPF_MODE(step->code) == BPF_LEN ? (uint32_t)sizeof *data
                    : BPF_MODE(step->code) == BPF_MEM ? memory[k % BPF_MEMWORDS]
                                                      : word_at(data, k);
            break;
        case BPF_ST:
        case BPF_STX:
            memory[k % BPF_MEMWORDS] = *into;
            break;
        case BPF_ALU:
            a = calculate(BPF_OP(step->code), a, operand);
            break;
        case BPF_JMP:
            pc += BPF_OP(step->code) == BPF_JA ? k : compare(BPF_OP(step->code), a, operand) ? step->jt : step->jf;
            break;
        case BPF_RET:
            return BPF_RVAL(step->code) == BPF_A ? a : k;
        default:
            if (BPF_MISCOP(step->code) == BPF_TAX)
                x = a;
            else
                a = x;
        }
    }
    return SECCOMP_RET_KILL_PROCESS;
}

/* 0, or a negative error number: where the filter gives one, that. */
static long refusal_by(const filter *f, const struct seccomp_data *data)
{
    if (f->strict)
        return data->nr == SYS_read || data->nr == SYS_write || data->nr == SYS_exit || data->nr == SYS_rt_sigreturn
                   ? 0
                   : -HW_KILLS;
    uint32_t said = answer(f, data);
    switch (said & SECCOMP_RET_ACTION_FULL) {
    case SECCOMP_RET_ALLOW:
    case SECCOMP_RET_LOG:
        return 0;
    case SECCOMP_RET_ERRNO:
        return (said & SECCOMP_RET_DATA) ? -(long)(said & SECCOMP_RET_DATA) : -EPERM;
    default: /* it ends the thread or the process, is a signal, or somebody else's to answer */
        return -HW_KILLS;
    }
}

static long refusal_by_any(const filter *f, const struct seccomp_data *data)
{
    long refused = 0;
    for (; f && !refused; f = f->next)
        if (!f->off)
            refused = refusal_by(f, data);
    return refused;
}

/* A thread whose storage is not libc's has no list of its own that could be seen. */
static filter *own_filters(void)
{
    return hw_storage_looks_like_libcs() ? of_thread : NULL;
}

long hw_refusal(long number, const long arguments[6])
{
    struct seccomp_data data = {.nr = (int)number, .arch = OUR_ARCH, .instruction_pointer = (uintptr_t)&hw_call};
    for (unsigned i = 0; i < 6; i++)
        data.args[i] = (uint64_t)arguments[i];
    long refused = refusal_by_any(atomic_load(&of_all), &data);
    return refused ? refused : refusal_by_any(own_filters(), &data);
}

/* --- what the program installs ------------------------------------------------------------------ */

static uint32_t *wiped; /* zero in every process that has a copy of this memory */

void hw_memory_init(void)
{
    if (!wiped && (wiped = hw_map(sizeof *wiped)) &&
        hw_call(SYS_madvise, (long)wiped, sizeof *wiped, MADV_WIPEONFORK, 0, 0, 0) != 0) {
        hw_unmap(wiped, sizeof *wiped);
        wiped = NULL;
    }
    if (wiped)
        *wiped = hw_process_id();
}

bool hw_memory_is_own(void)
{
    return wiped && (*wiped == 0 || *wiped == hw_process_id());
}

/* Where that cannot be seen, too. */
static bool is_only_thread(void)
{
    struct stat threads;
    return hw_call(SYS_newfstatat, AT_FDCWD, (long)"/proc/self/task", (long)&threads, 0, 0, 0) != 0 ||
           threads.st_nlink <= 2 + 1;
}

/* Where the program has no memory left. */
static void *from_reserve(size_t bytes)
{
    enum { RESERVE = 64 << 10 };
    static _Alignas(16) unsigned char reserve[RESERVE];
    static _Atomic size_t used;
    bytes = hw_round_up(bytes, _Alignof(filter));
    size_t at = atomic_fetch_add(&used, bytes);
    return at < RESERVE && bytes <= RESERVE - at ? reserve + at : NULL;
}

/* Without memory for a copy hardly anything is permitted. */
static filter *copy_of(const struct sock_fprog *program)
{
    static filter nothing = {.strict = true};
    size_t bytes = sizeof(filter) + (program ? program->len * sizeof program->filter[0] : 0);
    filter *f = hw_map(bytes);
    if (!f)
        f = from_reserve(bytes);
    if (!program)
        return f;
    if (!f)
        return &nothing;
    f->length = program->len;
    memcpy(f->code, program->filter, program->len * sizeof program->filter[0]);
    return f;
}

void *hw_confines(const struct sock_fprog *program, bool whole)
{
    filter *f = copy_of(program);
    if (!f)
        return NULL;
    f->strict |= !program;
    if (whole || is_only_thread()) {
        f->next = atomic_load(&of_all);
        while (!atomic_compare_exchange_weak(&of_all, &f->next, f))
            ;
    } else {
        f->next = of_thread;
        of_thread = f;
    }
    hw_confined = true;
    return f;
}

/* The newest child of a vfork that confined itself. It shares this memory until it is another program, and its filters
   are nobody else's here. */
static filter *_Atomic of_child;
static _Atomic uint32_t child;

void hw_confines_child(const struct sock_fprog *program)
{
    filter *f = copy_of(program);
    if (!f)
        return;
    f->strict |= !program;
    f->next = atomic_load(&child) == hw_process_id() ? atomic_load(&of_child) : NULL;
    atomic_store(&child, hw_process_id());
    atomic_store(&of_child, f);
}

static bool is_that_child(void)
{
    const filter *f = atomic_load(&of_child);
    struct seccomp_data asks = {.nr = SYS_getpid, .arch = OUR_ARCH, .instruction_pointer = (uintptr_t)&hw_call};
    /* Who may not ask is the child: meanwhile its parent waits. */
    return f && (refusal_by_any(f, &asks) || atomic_load(&child) == hw_process_id());
}

bool hw_child_is_confined(void)
{
    return atomic_load(&of_child) && is_that_child();
}

void hw_confines_not(void *confinement, bool not)
{
    filter *f = confinement;
    if (f)
        f->off = not;
}

/* --- what is left for what --------------------------------------------------------------------- */

/* Whether none of these calls is the end; `done`: and all of them do something. */
static bool may(const long *numbers, size_t count, bool done)
{
    static const long none[6];
    const filter *of_this_child = hw_child_is_confined() ? atomic_load(&of_child) : NULL;
    for (size_t i = 0; i < count; i++) {
        struct seccomp_data data = {
            .nr = (int)numbers[i], .arch = OUR_ARCH, .instruction_pointer = (uintptr_t)&hw_call};
        long refused = refusal_by_any(of_this_child, &data);
        refused = refused ? refused : hw_refusal(numbers[i], none);
        if (refused == -HW_KILLS || (refused && done))
            return false;
    }
    return true;
}
#define MAY(done, ...)                                                                                                 \
    static const long numbers[] = {__VA_ARGS__};                                                                       \
    return may(numbers, sizeof numbers / sizeof numbers[0], done)

bool hw_may_end_by_signal(void)
{
    MAY(true, SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_tgkill, SYS_getpid, SYS_gettid);
}

bool hw_may_tell(void)
{
    static const long socket[6] = {AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC};
    if (hw_refusal(SYS_socket, socket) != 0)
        return false;
    MAY(true, SYS_connect, SYS_sendto, SYS_setsockopt, SYS_openat);
}

bool hw_may_map(void)
{
    MAY(true, SYS_mmap);
}

bool hw_may_trap(void)
{
    MAY(true, SYS_mprotect, SYS_mmap, SYS_munmap, SYS_madvise, SYS_rt_sigaction);
}

bool hw_may_wake(void)
{
    MAY(true, SYS_futex);
}

bool hw_may_be_loaded(void)
{
    MAY(false, SYS_mmap, SYS_munmap, SYS_mprotect, SYS_madvise, SYS_openat, SYS_close, SYS_read, SYS_pread64, SYS_fstat,
        SYS_newfstatat, SYS_fcntl, SYS_getpid, SYS_gettid, SYS_getppid, SYS_prctl, SYS_socket, SYS_connect, SYS_sendto,
        SYS_setsockopt, SYS_getsockopt, SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_sigaltstack, SYS_membarrier,
        SYS_getrandom, SYS_prlimit64, SYS_clock_gettime, SYS_futex, SYS_process_vm_readv);
}

bool hw_is_strictly_confined(void)
{
    for (const filter *f = atomic_load(&of_all); f; f = f->next)
        if (f->strict && !f->off)
            return true;
    return false;
}
