/* What a program sees of signals that would end it, and how it ends by them. Each case is the same with glibc's heap.
 */
#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

extern char **environ;
typedef void (*handler)(int);
handler bsd_signal(int, handler);
handler sysv_signal(int, handler);

static const int all[] = {SIGHUP,  SIGINT,    SIGQUIT,   SIGTRAP, SIGUSR1, SIGUSR2, SIGPIPE, SIGALRM,
                          SIGTERM, SIGSTKFLT, SIGVTALRM, SIGPROF, SIGXCPU, SIGXFSZ, SIGIO,   SIGPWR,
                          SIGSYS,  SIGSEGV,   SIGBUS,    SIGILL,  SIGFPE,  SIGABRT, 34,      64};
enum { COUNT = sizeof all / sizeof all[0] };

static volatile sig_atomic_t calls;
static void counts(int number)
{
    (void)number;
    calls++;
}

__attribute__((noinline)) static void spoil(void)
{
    char *volatile block = malloc(24);
    memset(block, 'x', 27);
}

/* --- what it sees ----------------------------------------------------------------------------- */

static void starts_with_defaults(void)
{
    for (int i = 0; i < COUNT; i++) {
        struct sigaction seen;
        memset(&seen, 1, sizeof seen);
        CHECK(sigaction(all[i], NULL, &seen) == 0);
        CHECK(seen.sa_handler == SIG_DFL && seen.sa_flags == 0 && seen.sa_restorer == NULL);
        for (int number = 1; number < 65; number++)
            CHECK(sigismember(&seen.sa_mask, number) <= 0);
    }
}

static void reads_back_what_it_set(void)
{
    static const int flags[] = {0, SA_RESTART, SA_ONSTACK, SA_SIGINFO, SA_NODEFER | SA_RESETHAND, SA_NOCLDWAIT};
    static const handler handlers[] = {SIG_DFL, SIG_IGN, counts};
    for (int i = 0; i < COUNT; i++)
        for (int k = 0; k < 6 * 3 * 2; k++) {
            struct sigaction set = {.sa_handler = handlers[k % 3], .sa_flags = flags[k / 3 % 6]}, seen, again;
            if (k >= 18)
                sigaddset(&set.sa_mask, SIGUSR2);
            CHECK(sigaction(all[i], &set, k % 2 ? &again : NULL) == 0);
            CHECK(sigaction(all[i], NULL, &seen) == 0);
            CHECK(seen.sa_handler == set.sa_handler);
            CHECK((seen.sa_flags & ~0x04000000) == set.sa_flags);
            CHECK(sigismember(&seen.sa_mask, SIGUSR2) == (k >= 18) && sigismember(&seen.sa_mask, SIGHUP) == 0);
            CHECK(sigaction(all[i], &seen, &again) == 0);
            CHECK(again.sa_handler == set.sa_handler && again.sa_flags == seen.sa_flags);
        }
}

static void every_function_gives_what_was_there(void)
{
    /* What libc adds to an action that was set is the same for each of the functions. */
    struct sigaction set, interrupted;
    CHECK(siginterrupt(SIGALRM, 1) == 0 && sigaction(SIGALRM, NULL, &interrupted) == 0);
    CHECK(sigaction(SIGALRM, &(struct sigaction){.sa_handler = SIG_DFL}, NULL) == 0);
    CHECK(sigaction(SIGALRM, NULL, &set) == 0 && set.sa_flags == interrupted.sa_flags);
    CHECK(siginterrupt(SIGALRM, 0) == 0);
    for (int i = 0; i < COUNT; i++) {
        int number = all[i];
        struct sigaction seen;
        CHECK(signal(number, counts) == SIG_DFL && signal(number, SIG_DFL) == counts);
        CHECK(sigaction(number, NULL, &seen) == 0 && seen.sa_handler == SIG_DFL);
        CHECK((seen.sa_flags & SA_RESTART) && sigismember(&seen.sa_mask, number) == 1);
        CHECK(bsd_signal(number, SIG_IGN) == SIG_DFL && bsd_signal(number, SIG_DFL) == SIG_IGN);
        CHECK(ssignal(number, SIG_DFL) == SIG_DFL);
        CHECK(sysv_signal(number, SIG_DFL) == SIG_DFL);
        CHECK(sigaction(number, NULL, &seen) == 0 && seen.sa_handler == SIG_DFL);
        CHECK((seen.sa_flags & SA_RESETHAND) && !(seen.sa_flags & SA_RESTART));
        CHECK(sigset(number, SIG_IGN) == SIG_DFL && sigset(number, SIG_DFL) == SIG_IGN);
        CHECK(sigset(number, SIG_HOLD) == SIG_DFL && sigset(number, SIG_DFL) == SIG_HOLD);
        CHECK(sigignore(number) == 0 && signal(number, SIG_DFL) == SIG_IGN);
        CHECK(siginterrupt(number, 1) == 0 && sigaction(number, NULL, &seen) == 0);
        CHECK(seen.sa_handler == SIG_DFL && !(seen.sa_flags & SA_RESTART));
        CHECK(siginterrupt(number, 0) == 0 && sigaction(number, NULL, &seen) == 0);
        CHECK(seen.sa_handler == SIG_DFL && (seen.sa_flags & SA_RESTART));
    }
    errno = 0;
    CHECK(signal(SIGKILL, counts) == SIG_ERR && errno == EINVAL);
    CHECK(sigaction(SIGSTOP, &(struct sigaction){.sa_handler = SIG_DFL}, NULL) == -1);
    CHECK(sigaction(0, NULL, NULL) == -1 && sigaction(65, NULL, NULL) == -1 && signal(-1, SIG_DFL) == SIG_ERR);
}

static void handlers_and_ignoring_work(void)
{
    for (int i = 0; i < COUNT; i++) {
        calls = 0;
        signal(all[i], counts);
        CHECK(raise(all[i]) == 0 && calls == 1);
        signal(all[i], SIG_IGN);
        CHECK(raise(all[i]) == 0 && calls == 1);
        signal(all[i], SIG_DFL);
    }
}

static void waits_for_signals(void)
{
    sigset_t set;
    sigfillset(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    int got = 0, file = signalfd(-1, &set, SFD_CLOEXEC);
    kill(getpid(), SIGTERM);
    CHECK(sigwait(&set, &got) == 0 && got == SIGTERM);
    kill(getpid(), SIGTERM);
    CHECK(sigwaitinfo(&set, NULL) == SIGTERM);
    kill(getpid(), SIGTERM);
    CHECK(sigtimedwait(&set, NULL, &(struct timespec){1, 0}) == SIGTERM);
    kill(getpid(), SIGTERM);
    struct pollfd poll_for = {.fd = file, .events = POLLIN};
    CHECK(poll(&poll_for, 1, 1000) == 1);
    struct signalfd_siginfo information;
    CHECK(read(file, &information, sizeof information) == sizeof information);
    CHECK(information.ssi_signo == SIGTERM && information.ssi_pid == (uint32_t)getpid());
}

/* --- other processes -------------------------------------------------------------------------- */

static const char *self;

static int status_of(pid_t child)
{
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    return status;
}

/* With a word: says by its status which of two signals are ignored. */
static void tells_what_is_ignored(void)
{
    struct sigaction term, hup;
    sigaction(SIGTERM, NULL, &term);
    sigaction(SIGHUP, NULL, &hup);
    CHECK(term.sa_handler == SIG_DFL || term.sa_handler == SIG_IGN);
    _exit((term.sa_handler == SIG_IGN) + 2 * (hup.sa_handler == SIG_IGN));
}

static int executed(void)
{
    pid_t child = fork();
    if (child == 0) {
        execl(self, self, "tells_what_is_ignored", NULL);
        _exit(100);
    }
    return WEXITSTATUS(status_of(child));
}

static void ignored_stays_ignored_in_other_programs(void)
{
    CHECK(executed() == 0);
    signal(SIGTERM, SIG_IGN);
    CHECK(executed() == 1);
    signal(SIGHUP, counts);
    CHECK(executed() == 1);
    char *words[] = {(char *)self, "tells_what_is_ignored", NULL};
    posix_spawnattr_t attributes;
    sigset_t set;
    pid_t child;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigdefault(&attributes, &set);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    CHECK(posix_spawn(&child, self, NULL, NULL, words, environ) == 0 && WEXITSTATUS(status_of(child)) == 1);
    CHECK(posix_spawn(&child, self, NULL, &attributes, words, environ) == 0 && WEXITSTATUS(status_of(child)) == 0);
    signal(SIGTERM, SIG_DFL);
    CHECK(system("kill -TERM $$") == SIGTERM);
    CHECK(system("exit 3") >> 8 == 3);
    struct sigaction seen;
    CHECK(sigaction(SIGINT, NULL, &seen) == 0 && seen.sa_handler == SIG_DFL);
}

static void children_of_forks_end_by_signals(void)
{
    signal(SIGTERM, counts);
    signal(SIGTERM, SIG_DFL);
    pid_t child = fork();
    if (child == 0)
        for (;;)
            pause();
    kill(child, SIGTERM);
    int status = status_of(child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    child = vfork();
    if (child == 0) {
        signal(SIGUSR1, SIG_DFL);
        sigaction(SIGUSR2, &(struct sigaction){.sa_handler = SIG_DFL, .sa_flags = SA_NODEFER}, NULL);
        kill(getpid(), SIGUSR1);
        _exit(100);
    }
    status = status_of(child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1);
    struct sigaction seen;
    CHECK(sigaction(SIGUSR2, NULL, &seen) == 0 && seen.sa_handler == SIG_DFL && !(seen.sa_flags & SA_NODEFER));
}

static void a_core_is_dumped_as_before(void)
{
    for (int k = 0; k < 2; k++) {
        pid_t child = fork();
        if (child == 0) {
            setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
            raise(k ? SIGQUIT : SIGTERM);
        }
        int status = status_of(child);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == (k ? SIGQUIT : SIGTERM));
    }
}

/* --- how it ends ------------------------------------------------------------------------------ */

static void waits(void)
{
    spoil();
    alarm(1);
    for (;;)
        pause();
}
static void raises(void)
{
    spoil();
    raise(SIGTERM);
}
static void kills_itself(void)
{
    spoil();
    kill(getpid(), SIGUSR1);
}
static void writes_to_a_broken_pipe(void)
{
    int ends[2];
    spoil();
    CHECK(pipe(ends) == 0);
    close(ends[0]);
    write(ends[1], "x", 1);
}
static void sets_the_default_again(void)
{
    spoil();
    signal(SIGHUP, counts);
    signal(SIGHUP, SIG_DFL);
    raise(SIGHUP);
}
static void unblocks(void)
{
    sigset_t set;
    spoil();
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGTERM);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}
static void suspends(void)
{
    sigset_t set;
    spoil();
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGTERM);
    sigemptyset(&set);
    sigsuspend(&set);
    _exit(100);
}

static void *raises_in_a_thread(void *unused)
{
    raise(SIGUSR2);
    return unused;
}
static void a_thread_raises(void)
{
    pthread_t thread;
    spoil();
    pthread_create(&thread, NULL, raises_in_a_thread, NULL);
    pthread_join(thread, NULL);
}
static void a_thread_with_little_stack_raises(void)
{
    pthread_t thread;
    pthread_attr_t attributes;
    spoil();
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, PTHREAD_STACK_MIN);
    pthread_create(&thread, &attributes, raises_in_a_thread, NULL);
    pthread_join(thread, NULL);
}
static void *raises_on_another_stack(void *unused)
{
    size_t size = sysconf(_SC_MINSIGSTKSZ);
    size_t page = 4096, room = (size + 1024 + page - 1) & ~(page - 1);
    char *memory = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(memory, page, PROT_NONE);
    sigaltstack(&(stack_t){.ss_sp = memory + page, .ss_size = room}, NULL);
    return raises_in_a_thread(unused);
}
static void another_stack_is_small(void)
{
    spoil();
    raises_on_another_stack(NULL);
}
static void *allocates(void *unused)
{
    for (;;) {
        free(malloc(100));
        free(malloc(3000000));
        free(malloc_usable_size(malloc(50)) ? NULL : unused);
    }
}
static void ends_while_it_allocates(void)
{
    spoil();
    pthread_t thread;
    for (int i = 0; i < 3; i++)
        pthread_create(&thread, NULL, allocates, NULL);
    usleep(20000);
    kill(getpid(), SIGTERM);
    allocates(NULL);
}
static sigjmp_buf back;
static void jumps(int number)
{
    (void)number;
    siglongjmp(back, 1);
}
/* An operation that nobody ends. */
static void ends_after_an_operation_was_left(void)
{
    spoil();
    signal(SIGALRM, jumps);
    for (volatile int i = 0; i < 200; i++)
        if (sigsetjmp(back, 1) == 0) {
            ualarm(300 + i, 0);
            for (;;)
                free(malloc(100));
        }
    signal(SIGALRM, SIG_DFL);
    kill(getpid(), SIGTERM);
    for (;;)
        pause();
}
static void gets_it_twice(void)
{
    pthread_t thread;
    spoil();
    pthread_create(&thread, NULL, allocates, NULL);
    kill(getpid(), SIGTERM);
    kill(getpid(), SIGTERM);
    for (;;)
        pause();
}
static void calls_exit_group(void)
{
    spoil();
    syscall(SYS_exit_group, 7);
}
static void exits_quickly(void)
{
    spoil();
    quick_exit(7);
}

/* Below a signal stack nothing can be touched. On a small one the kernel cannot even begin a handler, which is the
   program's concern only where it has one for there. */
static void ends_on_a_signal_stack(size_t bytes, int number, bool raw)
{
    char *room = mmap(NULL, 4096 + 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(room != MAP_FAILED && mprotect(room, 4096, PROT_NONE) == 0);
    stack_t stack = {.ss_sp = room + 4096, .ss_size = bytes}, old;
    CHECK((raw ? (int)syscall(SYS_sigaltstack, &stack, NULL) : sigaltstack(&stack, NULL)) == 0);
    CHECK(sigaltstack(NULL, &old) == 0 && old.ss_sp == stack.ss_sp && old.ss_size == bytes);
    alarm(10);
    if (number == SIGSEGV)
        *(volatile char *)opaque(8) = 1;
    raise(number);
}
static void signal_stacks_of_any_size_change_no_end(void)
{
    static const int numbers[] = {SIGABRT, SIGSEGV, SIGTERM, SIGUSR1};
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    for (size_t bytes = 2048; bytes <= 6144; bytes += 256)
        for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
            pid_t child = fork();
            if (child == 0)
                ends_on_a_signal_stack(bytes, numbers[i], bytes & 256);
            int status = status_of(child);
            CHECK(WIFSIGNALED(status) && WTERMSIG(status) == numbers[i]);
        }
}

/* Where a signal's frame finds no room, the kernel ends the process by SIGSEGV, whatever it has called since. */
static void a_signal_without_room_for_its_frame_ends_it(void)
{
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    for (int i = 0; i < 2; i++) {
        pid_t child = fork();
        if (child == 0) {
            char *room = mmap(NULL, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            stack_t stack = {.ss_sp = room, .ss_size = 2048};
            if (i)
                signal(SIGSEGV, SIG_IGN);
            if (sigaltstack(&stack, NULL) == 0 &&
                sigaction(SIGUSR1, &(struct sigaction){.sa_handler = counts, .sa_flags = SA_ONSTACK}, NULL) == 0)
                raise(SIGUSR1);
            _exit(77);
        }
        int status = status_of(child);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    }
}

static const struct {
    const char *name;
    void (*function)(void);
} cases[] = {
    {"starts_with_defaults", starts_with_defaults},
    {"reads_back_what_it_set", reads_back_what_it_set},
    {"every_function_gives_what_was_there", every_function_gives_what_was_there},
    {"handlers_and_ignoring_work", handlers_and_ignoring_work},
    {"waits_for_signals", waits_for_signals},
    {"ignored_stays_ignored_in_other_programs", ignored_stays_ignored_in_other_programs},
    {"children_of_forks_end_by_signals", children_of_forks_end_by_signals},
    {"a_core_is_dumped_as_before", a_core_is_dumped_as_before},
    {"signal_stacks_of_any_size_change_no_end", signal_stacks_of_any_size_change_no_end},
    {"a_signal_without_room_for_its_frame_ends_it", a_signal_without_room_for_its_frame_ends_it},
};

/* Each with the signal, negative, or the status that it ends by. */
static const struct {
    const char *name;
    void (*function)(void);
} ends[] = {
    {"tells_what_is_ignored", tells_what_is_ignored},
    {"waits", waits},
    {"raises", raises},
    {"kills_itself", kills_itself},
    {"writes_to_a_broken_pipe", writes_to_a_broken_pipe},
    {"sets_the_default_again", sets_the_default_again},
    {"unblocks", unblocks},
    {"suspends", suspends},
    {"a_thread_raises", a_thread_raises},
    {"a_thread_with_little_stack_raises", a_thread_with_little_stack_raises},
    {"another_stack_is_small", another_stack_is_small},
    {"ends_while_it_allocates", ends_while_it_allocates},
    {"ends_after_an_operation_was_left", ends_after_an_operation_was_left},
    {"gets_it_twice", gets_it_twice},
    {"calls_exit_group", calls_exit_group},
    {"exits_quickly", exits_quickly},
};

int main(int count, char **words)
{
    self = words[0];
    for (size_t i = 0; count > 1 && i < sizeof cases / sizeof cases[0]; i++)
        if (strcmp(words[1], cases[i].name) == 0) {
            cases[i].function();
            return 0;
        }
    for (size_t i = 0; count > 1 && i < sizeof ends / sizeof ends[0]; i++)
        if (strcmp(words[1], ends[i].name) == 0)
            ends[i].function();
    return 100;
}
