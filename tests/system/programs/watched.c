/* Stores where a guard page does not fit, each on a line that is marked with the name of the case: into the slack of
   aligned blocks, over the end into control data, and by pointers that come from elsewhere. The program goes on after
   it, and ends as it would without it.

   watched CASE [PLACE]: `where` prints a PLACE at which a store is wild in a program that is not watched. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define APART __attribute__((noinline))
/* CONTROL: bytes of control data right before a block. */
enum { BLOCKS = 120, HIT = 57, CONTROL = 16 };

static char *victims[BLOCKS], *others[BLOCKS];
static int sizes[] = {40, 25, 72};

APART static void *victim(int n)
{
    char *block = malloc(sizes[n % 3]);
    memset(block, n, sizes[n % 3]);
    return block;
}

APART static void *other(int n)
{
    char *block = malloc(30 + n % 2 * 50);
    memset(block, n, 30);
    return block;
}

/* From a block that is far away, and is none of those beside what is hit. */
static volatile char *far_from(char *block, long distance)
{
    char *volatile start = block;
    long volatile way = distance;
    return start + way;
}

static void slack(void)
{
    volatile char *block = victims[HIT + 1];
    block[25] = 'x'; /* slack */
}

static void last_of_slack(void)
{
    volatile char *block = victims[HIT + 1];
    block[31] = 'x'; /* last_of_slack */
}

static void wild(void)
{
    volatile uint64_t *at = (void *)far_from(others[3], victims[HIT] - CONTROL - others[3]);
    *at = 0x4141414141414141; /* wild */
}

static void wild_byte(void)
{
    *far_from(others[3], victims[HIT] - 12 - others[3]) ^= 0x55; /* wild_byte */
}

static void wild_backup(void)
{
    volatile uint32_t *at = (void *)far_from(others[3], victims[HIT] - 4 - others[3]);
    *at = 7; /* wild_backup */
}

static void wild_wide(void)
{
    static char text[CONTROL] = "fifteen letters";
    memcpy((char *)far_from(others[3], victims[HIT] - CONTROL - others[3]), text, CONTROL); /* wild_wide */
}

static void jump(void)
{
    volatile uint64_t *block = (void *)victims[HIT];
    block[7] = 8; /* jump */
}

static void *spoil(void *at)
{
    *(volatile uint64_t *)at = 8; /* thread */
    return NULL;
}

static void thread(void)
{
    pthread_t one;
    pthread_create(&one, NULL, spoil, (char *)far_from(others[3], victims[HIT] - CONTROL - others[3]));
    pthread_join(one, NULL);
}

static pthread_barrier_t meeting;

static void *spoil_late(void *unused)
{
    pthread_barrier_wait(&meeting);
    *(volatile uint64_t *)far_from(others[3], victims[HIT] - CONTROL - others[3]) = 8; /* old_thread */
    return unused;
}

static char *anchor, *place;
enum { PLACES = 1 << 20 };

static void where(void)
{
    printf("%lx\n", (unsigned long)((uintptr_t)victims[HIT] % PLACES));
}

/* A pointer that is none to a block, nor was. */
static void wild_at(void)
{
    uintptr_t start = (uintptr_t)anchor & ~(uintptr_t)(PLACES - 1);
    volatile uint64_t *at = (void *)(start + strtoul(place, NULL, 16) - CONTROL);
    *at = 0x4141414141414141; /* wild_at */
}

static void child(void)
{
    if (fork() == 0) {
        *far_from(others[3], victims[HIT] - 12 - others[3]) ^= 0x55; /* child */
        exit(0);
    }
    wait(NULL);
}

static volatile sig_atomic_t traps;

static void counts(int number)
{
    traps++;
}

static void handler(void)
{
    struct sigaction now;
    signal(SIGTRAP, counts);
    raise(SIGTRAP);
    *(volatile uint64_t *)far_from(others[3], victims[HIT] - CONTROL - others[3]) = 8; /* handler */
    raise(SIGTRAP);
    sigaction(SIGTRAP, NULL, &now);
    printf("%d traps, %s\n", (int)traps, now.sa_handler == counts ? "its own handler" : "another handler");
}

static void blocked(void)
{
    sigset_t all, seen;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    *(volatile uint64_t *)far_from(others[3], victims[HIT] - CONTROL - others[3]) = 8; /* blocked */
    sigprocmask(SIG_SETMASK, NULL, &seen);
    printf("%d\n", sigismember(&seen, SIGTRAP));
}

/* In a handler that blocks all signals. */
static void stores(int number)
{
    *(volatile uint64_t *)far_from(others[3], victims[HIT] - CONTROL - others[3]) = 8; /* in_handler */
}

static void in_handler(void)
{
    struct sigaction action = {.sa_handler = stores};
    sigfillset(&action.sa_mask);
    sigaction(SIGSEGV, &action, NULL);
    raise(SIGSEGV);
}

/* By the pointer of a block that is far away. */
static void far_index(void)
{
    uint64_t *volatile block = (void *)anchor;
    long volatile index = ((long)strtoul(place, NULL, 16) - CONTROL - (long)((uintptr_t)anchor % PLACES)) / 8;
    block[index] = 0x4141414141414141; /* far_index */
}

/* The same, wherever the block lies that is hit. */
static void far_to_guard(void)
{
    uint64_t *volatile block = (void *)anchor;
    long volatile index = (victims[HIT] - anchor) / 8 - 1;
    block[index] = 0x4141414141414141; /* far_to_guard */
}

/* Breakpoints of its own, by both instructions for that, or by `one`. */
static void own_traps(void)
{
    signal(SIGTRAP, counts);
    __asm__ volatile("int3");
    if (strcmp(place, "one") != 0)
        __asm__ volatile(".byte 0xf1");
    printf("%d traps\n", (int)traps);
    wild();
}

/* What the kernel makes of a watchpoint that was met where a hypervisor loses which one. */
static void unsaid(void)
{
    siginfo_t information = {.si_signo = SIGTRAP, .si_code = TRAP_BRKPT};
    syscall(SYS_rt_tgsigqueueinfo, getpid(), getpid(), SIGTRAP, &information);
}

/* A site that allocates all the time, and whose blocks lie where one is watched. */
static void hot(void)
{
    for (int i = 0; i < 200000; i++) {
        char *block = victim(0);
        block[39] = (char)i;
        free(block);
    }
}

static void exec(void)
{
    if (fork() == 0)
        execl("/proc/self/exe", "watched", "wild", (char *)NULL);
    wait(NULL);
}

static void by_kernel(void)
{
    int ends[2];
    if (pipe(ends) != 0 || write(ends[1], "fourteen bytes", 14) != 14)
        abort();
    printf("%zd\n", read(ends[0], (char *)far_from(others[3], victims[HIT] - CONTROL - others[3]), 14)); /* by_kernel */
}

static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {
    {"slack", slack},
    {"last_of_slack", last_of_slack},
    {"wild", wild},
    {"wild_byte", wild_byte},
    {"jump", jump},
    {"wild_backup", wild_backup},
    {"thread", thread},
    {"child", child},
    {"handler", handler},
    {"blocked", blocked},
    {"wild_wide", wild_wide},
    {"by_kernel", by_kernel},
    {"in_handler", in_handler},
    {"exec", exec},
    {"far_index", far_index},
    {"far_to_guard", far_to_guard},
    {"own_traps", own_traps},
    {"unsaid", unsaid},
    {"hot", hot},
    {"where", where},
    {"wild_at", wild_at},
};

/* What a healthy program does with its blocks: all kinds of changes around those that may be watched. */
static void use(void)
{
    for (int i = 0; i < BLOCKS; i += 2) {
        others[i] = realloc(others[i], 30 + i % 7 * 16);
        memset(others[i], i, 30 + i % 7 * 16);
    }
    for (int i = 0; i < BLOCKS; i += 3) {
        free(victims[i]);
        victims[i] = victim(i + 1);
    }
}

int main(int count, char **words)
{
    pthread_t old;
    const char *name = count > 1 ? words[1] : "";
    bool late = strcmp(name, "old_thread") == 0;
    place = count > 2 ? words[2] : "0";
    anchor = malloc(16);
    if (late) {
        pthread_barrier_init(&meeting, NULL, 2);
        pthread_create(&old, NULL, spoil_late, NULL);
    }
    for (int i = 0; i < BLOCKS; i++) {
        victims[i] = victim(i);
        others[i] = other(i);
    }
    if (late) {
        pthread_barrier_wait(&meeting);
        pthread_join(old, NULL);
    }
    if (strcmp(name, "healthy") == 0)
        for (int i = 0; i < 200; i++)
            use();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (strcmp(name, cases[i].name) == 0)
            cases[i].run();
    for (int i = 0; i < BLOCKS; i++) {
        free(victims[i]);
        free(others[i]);
    }
    free(anchor);
    puts("done");
}
