/* Handlers that allocate and free although they must not: what glibc's heap survives by its small windows, the
   checked one must survive, too. */
#define _GNU_SOURCE
#include "check.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/time.h>

enum { KEPT = 64 };
static char *_Atomic kept[KEPT];
static _Atomic unsigned calls;

/* Takes new blocks, gives back those of earlier calls and of the program. */
static void allocate_and_free(int number)
{
    int before = errno;
    unsigned call = atomic_fetch_add(&calls, 1);
    char *block = malloc(call % 3000 + 1);
    CHECK(block);
    memset(block, 3, call % 3000 + 1);
    free(atomic_exchange(&kept[call % KEPT], block));
    char *grown = realloc(malloc(10), 100 + call % 500);
    CHECK(grown);
    free(grown);
    if (call % 50 == 0)
        free(malloc(700000));
    errno = before;
    (void)number;
}

static void storm(int number, int which, long microseconds)
{
    struct sigaction action = {.sa_handler = allocate_and_free, .sa_flags = SA_RESTART};
    CHECK(sigaction(number, &action, NULL) == 0);
    struct itimerval timer = {{0, microseconds}, {0, microseconds}};
    CHECK(setitimer(which, &timer, NULL) == 0);
}
static void calm(int which)
{
    struct itimerval none = {0};
    setitimer(which, &none, NULL);
}

static void churn(unsigned rounds)
{
    enum { BLOCKS = 500 };
    unsigned char *block[BLOCKS] = {0};
    size_t size[BLOCKS];
    unsigned state = 12345;
    for (unsigned i = 0; i < rounds; i++) {
        state = state * 1664525u + 1013904223u;
        unsigned k = (state >> 8) % BLOCKS;
        if (block[k]) {
            for (size_t b = 0; b < size[k]; b += 17)
                CHECK(block[k][b] == (unsigned char)k);
            free(block[k]);
        }
        size[k] = (state >> 20) % 2000;
        block[k] = (state & 7) ? malloc(size[k]) : realloc(malloc(5), size[k] + 1);
        CHECK(block[k]);
        memset(block[k], (int)k, size[k]);
        if (i % 97 == 0) { /* hand one over to the handler */
            char *given = malloc(40);
            free(atomic_exchange(&kept[i % KEPT], given));
        }
        if (i % 997 == 0)
            free(malloc(900000));
    }
    for (unsigned k = 0; k < BLOCKS; k++)
        free(block[k]);
}

static void alarms(void)
{
    storm(SIGALRM, ITIMER_REAL, 500);
    churn(1000000);
    calm(ITIMER_REAL);
    CHECK(calls > 20);
}

static void profile(void)
{
    storm(SIGPROF, ITIMER_PROF, 1000);
    churn(3000000);
    calm(ITIMER_PROF);
    CHECK(calls > 5);
}

static _Atomic bool over;

static void *churning(void *unused)
{
    while (!over)
        churn(30000);
    return unused;
}

static void *pestering(void *threads)
{
    pthread_t *thread = threads;
    while (!over)
        for (int i = 0; i < 4; i++) {
            pthread_kill(thread[i], SIGUSR1);
            usleep(20);
        }
    return NULL;
}

static void threads(void)
{
    pthread_t thread[4], pest;
    struct sigaction action = {.sa_handler = allocate_and_free, .sa_flags = SA_RESTART};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&thread[i], NULL, churning, NULL) == 0);
    CHECK(pthread_create(&pest, NULL, pestering, thread) == 0);
    usleep(400000);
    for (int i = 0; calls <= 100 && i < 10000; i++)
        usleep(1000);
    over = true;
    pthread_join(pest, NULL);
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    CHECK(calls > 100);
}

/* Threads are hit while they start and end. */
static void *brief(void *unused)
{
    free(malloc(100));
    free(strdup(strerror(1000)));
    return unused;
}

static void starts_and_ends(void)
{
    storm(SIGALRM, ITIMER_REAL, 100);
    for (int i = 0; i < 1500; i++) {
        pthread_t thread[2];
        for (int k = 0; k < 2; k++)
            CHECK(pthread_create(&thread[k], NULL, brief, NULL) == 0);
        for (int k = 0; k < 2; k++)
            pthread_join(thread[k], NULL);
    }
    calm(ITIMER_REAL);
}

static void alternate_stack(void)
{
    stack_t stack = {.ss_sp = mmap(NULL, SIGSTKSZ, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
                     .ss_size = SIGSTKSZ};
    CHECK(sigaltstack(&stack, NULL) == 0);
    struct sigaction action = {.sa_handler = allocate_and_free, .sa_flags = SA_RESTART | SA_ONSTACK};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    struct itimerval timer = {{0, 500}, {0, 500}};
    CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
    churn(1000000);
    calm(ITIMER_REAL);
    CHECK(calls > 20);
}

/* Many handlers leave by longjmp, and so an operation of the heap in the middle: with glibc a program of one thread
   goes on as if nothing were. */
static sigjmp_buf out;
static volatile sig_atomic_t inside;

static void leave(int number)
{
    (void)number;
    if (inside) {
        inside = 0;
        siglongjmp(out, 1);
    }
}

static void jumps(void)
{
    struct sigaction action = {.sa_handler = leave};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    struct itimerval timer = {{0, 97}, {0, 97}};
    static char *volatile block[100];
    static volatile int left;
    static volatile unsigned step;
    CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
    while (left < 3000) {
        if (sigsetjmp(out, 1)) {
            left++;
            continue;
        }
        inside = 1;
        for (;;) {
            unsigned k = step++ % 100;
            char *mine = block[k];
            block[k] = NULL;
            free(mine);
            block[k] = malloc(step % 500);
            CHECK(block[k]);
        }
    }
    calm(ITIMER_REAL);
    /* The heap is still one: many blocks, in little memory. */
    static char *many[200000];
    for (int i = 0; i < 200000; i++) {
        CHECK((many[i] = malloc(100)));
        memset(many[i], i, 100);
    }
    for (int i = 0; i < 200000; i++) {
        CHECK(many[i][99] == (char)i);
        free(many[i]);
    }
}

/* The same of blocks that lie in pools, and of everything that is done with them. */
static void jumps_among_large(void)
{
    enum { BLOCKS = 200, MOST = 20000 };
    static unsigned char *volatile block[BLOCKS];
    static volatile size_t size[BLOCKS];
    static volatile int left;
    static volatile unsigned state = 1;
    struct sigaction action = {.sa_handler = leave};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    struct itimerval timer = {{0, 31}, {0, 31}};
    CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
    while (left < 800) {
        if (sigsetjmp(out, 1)) {
            left++;
            continue;
        }
        inside = 1;
        for (;;) {
            state = state * 1664525u + 1013904223u;
            unsigned k = (state >> 8) % BLOCKS;
            size_t bytes = (state >> 20) % MOST + 1;
            unsigned char *mine = block[k], *now;
            for (size_t b = 0; mine && b < size[k]; b += 97)
                CHECK(mine[b] == (unsigned char)k);
            block[k] = NULL;
            if ((state >> 5 & 3) == 0) {
                now = realloc(mine, bytes);
            } else {
                free(mine);
                now = state >> 5 & 1 ? malloc(bytes) : aligned_alloc(64, (bytes + 63) & ~(size_t)63);
            }
            CHECK(now);
            memset(now, (int)k, bytes);
            size[k] = bytes;
            block[k] = now;
        }
    }
    calm(ITIMER_REAL);
    /* All that was kept or held back meanwhile has its turn. */
    static char *many[20000];
    for (int i = 0; i < 20000; i++) {
        CHECK((many[i] = malloc(i % 3000 + 1)));
        many[i][i % 3000] = (char)i;
    }
    for (int i = 0; i < 20000; i++) {
        CHECK(many[i][i % 3000] == (char)i);
        free(many[i]);
    }
}

/* A thread is hit while it is given a heap. Afterwards it has one: its blocks lie side by side. */
static __thread sigjmp_buf out_of_first;
static __thread volatile sig_atomic_t can_leave;
static _Atomic int started;

static void leave_first(int number)
{
    (void)number;
    if (can_leave) {
        can_leave = 0;
        siglongjmp(out_of_first, 1);
    }
}

static void *allocating(void *unused)
{
    enum { MANY = 1000 };
    char *block[MANY], *lowest = (char *)UINTPTR_MAX, *highest = NULL;
    if (sigsetjmp(out_of_first, 1) == 0) {
        can_leave = 1;
        started = 1;
        for (;;)
            free(malloc(100));
    }
    for (int i = 0; i < MANY; i++) {
        CHECK((block[i] = malloc(100)));
        memset(block[i], i, 100);
        lowest = block[i] < lowest ? block[i] : lowest;
        highest = block[i] > highest ? block[i] : highest;
    }
    CHECK(highest - lowest < 64 << 20);
    for (int i = 0; i < MANY; i++) {
        CHECK(block[i][99] == (char)i);
        free(block[i]);
    }
    return unused;
}

static void first_jumps(void)
{
    struct sigaction action = {.sa_handler = leave_first};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    pthread_t thread[8];
    for (unsigned round = 0; round < 100; round++) {
        for (unsigned i = 0; i < 8; i++) {
            started = 0;
            CHECK(pthread_create(&thread[i], NULL, allocating, NULL) == 0);
            while (!started)
                continue;
            for (volatile unsigned wait = 0; wait < round * 37 % 1000; wait++)
                continue;
            pthread_kill(thread[i], SIGUSR1);
        }
        for (unsigned i = 0; i < 8; i++)
            pthread_join(thread[i], NULL);
    }
}

/* A handler that forks, and whose child goes on with what was interrupted. */
static _Atomic int children;

static void forks(int number)
{
    (void)number;
    int before = errno;
    if (children < 40) {
        pid_t child = fork();
        if (child == 0) {
            struct itimerval none = {0};
            setitimer(ITIMER_REAL, &none, NULL);
            children = 1000;
            errno = before;
            return;
        }
        children++;
    }
    errno = before;
}

#include <sys/wait.h>
static void forking(void)
{
    pid_t self = getpid();
    struct sigaction action = {.sa_handler = forks, .sa_flags = SA_RESTART};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    struct itimerval timer = {{0, 5000}, {0, 5000}};
    CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
    while (children < 40)
        churn(3000);
    churn(10000);
    if (getpid() != self)
        _exit(0);
    calm(ITIMER_REAL);
    int status, count = 0;
    while (wait(&status) > 0) {
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        count++;
    }
    CHECK(count == 40);
}

static const test_case cases[] = {
    {"alarms", alarms},
    {"profile", profile},
    {"threads", threads},
    {"starts_and_ends", starts_and_ends},
    {"alternate_stack", alternate_stack},
    {"jumps", jumps},
    {"jumps_among_large", jumps_among_large},
    {"first_jumps", first_jumps},
    {"forking", forking},
};

int main(int argc, char **argv)
{
    return RUN_CASE(cases, argc, argv);
}
