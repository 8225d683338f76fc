/* Programs that forbid themselves system calls, and would be killed for one more: `seccomp CASE`. Each ends with status
   0. Where a case writes past a block, that has to be told. */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { MOST = 64 };
static int kill_by = SECCOMP_RET_KILL_PROCESS;

static void install(struct sock_filter *code, unsigned length, int flags)
{
    struct sock_fprog program = {length, code};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    if (flags < 0)
        CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
    else
        CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program) == 0);
}

/* Only these calls, or all but these. */
static void confine(const int *numbers, unsigned count, int only, int flags)
{
    struct sock_filter code[2 * MOST + 2], *at = code;
    *at++ = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (unsigned i = 0; i < count; i++) {
        *at++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, numbers[i], 0, 1);
        *at++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, only ? SECCOMP_RET_ALLOW : kill_by);
    }
    *at++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, only ? kill_by : SECCOMP_RET_ALLOW);
    install(code, at - code, flags);
}
#define ONLY(...) confine((const int[]){__VA_ARGS__}, sizeof((const int[]){__VA_ARGS__}) / sizeof(int), 1, -1)
#define ALL_BUT(number) confine((const int[]){number}, 1, 0, -1)

__attribute__((noinline)) static void write_past_a_block(void)
{
    char *block = malloc(24);
    CHECK(block);
    ((char *)hidden(block))[24] = 'x';
    free(block);
}
static void use_the_heap(int count, size_t most)
{
    static char *blocks[4096];
    CHECK(count <= 4096);
    for (int i = 0; i < count; i++) {
        size_t size = 1 + i * 7919u % most;
        blocks[i] = malloc(size);
        if (!blocks[i])
            abort();
        blocks[i][0] = blocks[i][size - 1] = (char)i;
        if (i % 3 == 0)
            blocks[i] = realloc(blocks[i], size + size / 2);
    }
    for (int i = 0; i < count; i++)
        free(blocks[i]);
}

static void strictly(void)
{
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0);
    use_the_heap(100, 500);
    write_past_a_block();
    syscall(SYS_exit, 0);
}
static void reads_and_writes_only(void)
{
    ONLY(SYS_read, SYS_write, SYS_exit_group);
    use_the_heap(100, 500);
    write_past_a_block();
    _exit(0);
}
static void may_neither_connect_nor_write(void)
{
    confine((const int[]){SYS_socket, SYS_connect, SYS_write}, 3, 0, -1);
    use_the_heap(100, 500);
    write_past_a_block();
}
static void has_brk_and_no_mappings(void)
{
    ONLY(SYS_brk, SYS_write, SYS_exit_group);
    use_the_heap(4096, 8000);
    write_past_a_block();
    exit(0);
}
static void has_mappings(void)
{
    ONLY(SYS_brk, SYS_mmap, SYS_munmap, SYS_mremap, SYS_write, SYS_exit_group);
    use_the_heap(300, 1 << 20);
    exit(0);
}

/* The calls that the engine makes, here and there. Each is forbidden to a child. */
static const int each[] = {
    SYS_socket,
    SYS_connect,
    SYS_sendto,
    SYS_recvfrom,
    SYS_setsockopt,
    SYS_getsockopt,
    SYS_close,
    SYS_getpid,
    SYS_gettid,
    SYS_getppid,
    SYS_geteuid,
    SYS_membarrier,
    SYS_process_vm_readv,
    SYS_prlimit64,
    SYS_clock_gettime,
    SYS_nanosleep,
    SYS_ppoll,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigpending,
    SYS_rt_sigtimedwait,
    SYS_tgkill,
    SYS_kill,
    SYS_getrandom,
    SYS_madvise,
    SYS_mprotect,
    SYS_mremap,
    SYS_openat,
    SYS_fstat,
    SYS_newfstatat,
    SYS_pread64,
    SYS_fcntl,
    SYS_lseek,
    SYS_ftruncate,
    SYS_prctl,
    SYS_sigaltstack,
    SYS_timer_create,
    SYS_timer_settime,
    SYS_timer_delete,
    SYS_clone,
    SYS_wait4,
    SYS_futex,
#ifdef SYS_arch_prctl
    SYS_arch_prctl,
#endif
};
static void use_and_leave(void)
{
    use_the_heap(300, 3000);
    write_past_a_block();
    exit(0);
}
static void each_in_a_child(void (*run)(void))
{
    for (unsigned i = 0; i < sizeof each / sizeof each[0]; i++) {
        int status;
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            ALL_BUT(each[i]);
            run();
        }
        CHECK(waitpid(child, &status, 0) == child);
        if (status != 0)
            dprintf(2, "without call %d the status is %x\n", each[i], status);
    }
}
static void does_without_any(void)
{
    each_in_a_child(use_and_leave);
}
static void gets_signals_for_them(void)
{
    kill_by = SECCOMP_RET_TRAP;
    each_in_a_child(use_and_leave);
}
static void gets_errors_for_them(void)
{
    kill_by = SECCOMP_RET_ERRNO | ENOSYS;
    each_in_a_child(use_and_leave);
}

static void is_ended_by_a_signal(void)
{
    int status;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        ONLY(SYS_read, SYS_write, SYS_pause, SYS_exit_group);
        write(1, "ready\n", 6);
        for (;;)
            syscall(SYS_pause);
    }
    usleep(200000);
    CHECK(kill(child, SIGTERM) == 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

static void becomes_another_program(void)
{
    char *words[] = {"true", NULL};
    ALL_BUT(SYS_socket);
    execve("/bin/true", words, environ);
    abort();
}
static void starts_another_program_as_vfork_does(void)
{
    pid_t child = vfork();
    if (child == 0) {
        ALL_BUT(SYS_socket);
        char *words[] = {"true", NULL};
        execve("/bin/true", words, environ);
        _exit(1);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(socket(1, 1, 0) >= 0);
    write_past_a_block();
}

static volatile int stage;
static void *confined_alone(void *unused)
{
    free(malloc(10));
    ONLY(SYS_read, SYS_write, SYS_exit, SYS_sched_yield);
    stage = 1;
    while (stage < 2)
        syscall(SYS_sched_yield);
    use_the_heap(50, 300);
    stage = 3;
    syscall(SYS_exit, 0);
    return NULL;
}
static void confines_one_thread(void)
{
    pthread_t thread;
    free(malloc(10));
    CHECK(pthread_create(&thread, NULL, confined_alone, NULL) == 0);
    while (stage < 1)
        usleep(1000);
    char *large[200];
    for (int i = 0; i < 200; i++) { /* more than was set aside for anybody */
        large[i] = malloc(900000);
        CHECK(large[i]);
        memset(large[i], 1, 900000);
    }
    for (int i = 0; i < 200; i++)
        free(large[i]);
    stage = 2;
    while (stage < 3)
        usleep(1000);
    write_past_a_block();
}

static void *use_in_a_thread(void *unused)
{
    free(malloc(1));
    stage = 1;
    while (stage < 2)
        ;
    use_the_heap(50, 300);
    stage = 3;
    for (;;)
        ;
}
static void confines_all_threads(void)
{
    static const int calls[] = {SYS_read, SYS_write, SYS_exit_group};
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, use_in_a_thread, NULL) == 0);
    while (stage < 1)
        ;
    confine(calls, 3, 1, SECCOMP_FILTER_FLAG_TSYNC);
    stage = 2;
    while (stage < 3)
        ;
    write_past_a_block();
    exit(0);
}
/* What is refused by the kernel confines nobody. */
static void fails_to(void)
{
    struct sock_filter senseless[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 3), BPF_STMT(BPF_RET | BPF_K, 0)};
    struct sock_fprog program = {2, senseless};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == -1 && errno == EINVAL);
    CHECK(prctl(PR_SET_NAME, "renamed") == 0);
    use_the_heap(300, 1 << 20);
    write_past_a_block();
}

static const test_case cases[] = {
    {"strictly", strictly},
    {"reads_and_writes_only", reads_and_writes_only},
    {"may_neither_connect_nor_write", may_neither_connect_nor_write},
    {"has_brk_and_no_mappings", has_brk_and_no_mappings},
    {"has_mappings", has_mappings},
    {"does_without_any", does_without_any},
    {"gets_signals_for_them", gets_signals_for_them},
    {"gets_errors_for_them", gets_errors_for_them},
    {"is_ended_by_a_signal", is_ended_by_a_signal},
    {"becomes_another_program", becomes_another_program},
    {"starts_another_program_as_vfork_does", starts_another_program_as_vfork_does},
    {"confines_one_thread", confines_one_thread},
    {"confines_all_threads", confines_all_threads},
    {"fails_to", fails_to},
};

int main(int argc, char **argv)
{
    free(malloc(1)); /* glibc's heap gets ready: it needs more calls for that than later */
    return RUN_CASE(cases, argc, argv);
}
