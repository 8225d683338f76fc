/* Blocks with pages that nobody may read, or that are not there until they are asked for; and what the program is told
   about errors and stacks of its own while the engine stands between it and libc. */
#define _GNU_SOURCE
#include "check.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

enum { PAGE = 4096 };
static const size_t sizes[] = {4 * PAGE, 33 * PAGE, 64 * PAGE, 100 * PAGE, 1 << 20, 40 << 20};
#define EACH_BLOCK(i) for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)

static void shut(char *block, size_t size)
{
    CHECK(mprotect(block, size, PROT_NONE) == 0);
}

/* They are live when the process ends; among them are small ones, so that all of the heap has something to look at. */
static char *kept[2000];
static void make_others(void)
{
    for (int i = 0; i < 2000; i++)
        CHECK((kept[i] = malloc((size_t)i * 3 + 1)));
}
static void live_at_the_end(void)
{
    make_others();
    for (int round = 0; round < 20; round++)
        EACH_BLOCK(i)
        {
            char *block = aligned_alloc(PAGE, sizes[i]);
            CHECK(block);
            shut(block, sizes[i]);
            free(kept[round * 20 + (int)i]);
            kept[round * 20 + (int)i] = NULL;
        }
}
/* A guard at the lower end, as stacks of coroutines have it. */
static void stacks_with_guards(void)
{
    char *stack[500];
    make_others();
    for (int i = 0; i < 500; i++) {
        CHECK((stack[i] = aligned_alloc(PAGE, 16 * PAGE)));
        shut(stack[i], 2 * PAGE);
    }
    for (int i = 0; i < 500; i += 2) {
        CHECK(mprotect(stack[i], 2 * PAGE, PROT_READ | PROT_WRITE) == 0);
        free(stack[i]);
    }
}
/* glibc gives the pages of such a block back to the kernel, whatever their rights are. */
static void large_ones_released(void)
{
    for (int i = 0; i < 10; i++) {
        size_t size = (size_t)40 << 20;
        char *block = aligned_alloc(PAGE, size);
        CHECK(block);
        shut(block, i % 2 ? size : size / 2);
        free(block);
        CHECK((block = malloc(size)));
        memset(block, 1, size);
        free(block);
    }
}
/* From 128 KiB on, too; smaller ones than were released before are not, hence ever larger ones. */
static void medium_ones_released(void)
{
    static const int rights[] = {PROT_NONE, PROT_READ};
    make_others();
    for (size_t i = 0, size = 33 * PAGE; size < 160 * PAGE; size += 12 * PAGE, i++) {
        char *block = i % 3 ? aligned_alloc(PAGE << i % 4, size) : valloc(size);
        CHECK(block && block == memset(block, 1, size));
        CHECK(mprotect(block, i % 5 ? PAGE : size, rights[i % 2]) == 0);
        free(block);
    }
    for (int i = 0; i < 100; i++) {
        CHECK((kept[i] = realloc(kept[i], (size_t)i * PAGE)) || i == 0);
        memset(kept[i], 1, (size_t)i * PAGE);
    }
}
/* Memory that devices write to is kept out of children. */
static void not_there_in_children(void)
{
    int status;
    make_others();
    EACH_BLOCK(i)
    {
        char *block = aligned_alloc(PAGE, sizes[i]);
        CHECK(block);
        memset(block, 1, sizes[i]);
        CHECK(madvise(block, sizes[i], MADV_DONTFORK) == 0);
        pid_t child = fork();
        if (child == 0) {
            free(malloc(sizes[i] + 100));
            exit(0);
        }
        CHECK(waitpid(child, &status, 0) == child && status == 0);
    }
}
/* Pages that come when the program says so: whoever else touches them waits for ever. */
static void filled_on_demand(void)
{
    int file = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
    struct uffdio_api api = {.api = UFFD_API};
    make_others();
    if (file < 0 || ioctl(file, UFFDIO_API, &api) != 0)
        return; /* not allowed here */
    alarm(20);
    for (int round = 0; round < 20; round++)
        EACH_BLOCK(i)
        {
            char *block = aligned_alloc(PAGE, sizes[i]);
            CHECK(block && madvise(block, sizes[i], MADV_DONTNEED) == 0);
            struct uffdio_register pages = {.range = {(uintptr_t)block, sizes[i]},
                                            .mode = UFFDIO_REGISTER_MODE_MISSING};
            CHECK(ioctl(file, UFFDIO_REGISTER, &pages) == 0);
        }
    free(malloc(50000));
}

/* What dlerror() has to say waits until it is asked. */
static void call_others(int which)
{
    struct stat found;
    struct itimerval timer;
    struct rlimit limit;
    struct pollfd none;
    sigset_t set;
    char byte;
    int ends[2];
    switch (which) {
    case 0:
        signal(SIGUSR1, SIG_IGN);
        break;
    case 1:
        stat("/", &found);
        break;
    case 2:
        getitimer(ITIMER_REAL, &timer);
        break;
    case 3:
        getrlimit(RLIMIT_AS, &limit);
        break;
    case 4:
        poll(&none, 0, 0);
        break;
    case 5:
        CHECK(read(-1, &byte, 1) == -1);
        break;
    case 6:
        CHECK(write(-1, "", 1) == -1);
        break;
    case 7:
        sigemptyset(&set);
        sigprocmask(SIG_BLOCK, &set, NULL);
        break;
    case 8:
        CHECK(wait(NULL) == -1);
        break;
    case 9:
        siginterrupt(SIGUSR1, 1);
        break;
    case 10:
        free(malloc(5000000));
        break;
    case 11:
        CHECK(pipe(ends) == 0);
        break;
    default:
        setrlimit(RLIMIT_AS, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY});
    }
}
static void dlerror_waits(void)
{
    CHECK(dlerror() == NULL);
    for (int i = 0; i < 13; i++) {
        CHECK(dlopen("/nowhere/at/all.so", RTLD_NOW) == NULL);
        call_others(i);
        const char *error = dlerror();
        CHECK(error && strstr(error, "/nowhere/at/all.so"));
        CHECK(dlerror() == NULL);
    }
}

/* The first thread has no stack for its signals, until it sets one and when it has taken it away. */
static void signal_stack_is_seen_as_set(void)
{
    stack_t own = {.ss_sp = malloc(65536), .ss_size = 65536}, old;
    for (int i = 0; i < 3; i++) {
        memset(&old, 1, sizeof old);
        CHECK(sigaltstack(NULL, &old) == 0);
        CHECK(old.ss_sp == NULL && old.ss_flags == SS_DISABLE && old.ss_size == 0);
        CHECK(sigaltstack(&own, &old) == 0 && old.ss_flags == SS_DISABLE);
        stack_t none = old;
        CHECK(sigaltstack(&none, &old) == 0 && old.ss_sp == own.ss_sp && old.ss_size == own.ss_size);
    }
    free(own.ss_sp);
}

static const test_case cases[] = {
    {"live_at_the_end", live_at_the_end},
    {"stacks_with_guards", stacks_with_guards},
    {"large_ones_released", large_ones_released},
    {"medium_ones_released", medium_ones_released},
    {"not_there_in_children", not_there_in_children},
    {"filled_on_demand", filled_on_demand},
    {"dlerror_waits", dlerror_waits},
    {"signal_stack_is_seen_as_set", signal_stack_is_seen_as_set},
};

int main(int argc, char **argv)
{
    return RUN_CASE(cases, argc, argv);
}
