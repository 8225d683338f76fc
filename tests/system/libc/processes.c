/* Everything by which one process becomes two, or changes what it may do. */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

extern char **environ;

static void expect_success(pid_t child)
{
    int status;
    CHECK(child > 0);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* What a child may do with a heap: all. */
static void *use_heap(void *rounds)
{
    enum { BLOCKS = 200 };
    unsigned char *block[BLOCKS] = {0};
    size_t size[BLOCKS];
    unsigned state = 7;
    for (intptr_t i = 0; i < (intptr_t)rounds; i++) {
        state = state * 1664525u + 1013904223u;
        unsigned k = (state >> 8) % BLOCKS;
        if (block[k])
            CHECK(block[k][0] == (unsigned char)k && block[k][size[k] - 1] == (unsigned char)k);
        size[k] = (state >> 16) % 3000 + 1;
        block[k] = realloc(block[k], size[k]);
        CHECK(block[k]);
        memset(block[k], (int)k, size[k]);
    }
    for (unsigned k = 0; k < BLOCKS; k++)
        free(block[k]);
    return NULL;
}

static _Atomic bool over;
static _Atomic int failed;

static void *allocate(void *number)
{
    while (!over) {
        use_heap((void *)2000);
        char *large = malloc(600000 + (size_t)(intptr_t)number * 4096);
        CHECK(large);
        large[5] = 1;
        large = realloc(large, 1500000);
        CHECK(large && large[5] == 1);
        free(large);
        usleep(1000);
    }
    return NULL;
}

static void *flush(void *unused)
{
    FILE *file = fopen("/dev/null", "w");
    CHECK(file);
    while (!over) {
        fprintf(file, "%s\n", "something");
        fflush(NULL);
        FILE *other = fopen("/dev/null", "r");
        CHECK(other);
        fclose(other);
    }
    fclose(file);
    return unused;
}

/* A stream whose writer allocates: under libc's lock of all streams, which fork takes, too. */
static ssize_t write_and_allocate(void *cookie, const char *text, size_t length)
{
    (void)cookie;
    char *copy = malloc(length + 1);
    CHECK(copy);
    memcpy(copy, text, length);
    free(copy);
    char *large = malloc(700000);
    CHECK(large);
    free(large);
    return (ssize_t)length;
}

static void *flush_cookies(void *unused)
{
    cookie_io_functions_t functions = {.write = write_and_allocate};
    FILE *file = fopencookie(NULL, "w", functions);
    CHECK(file);
    while (!over) {
        fprintf(file, "%s\n", "something");
        fflush(NULL);
    }
    fclose(file);
    return unused;
}

static void *starting(void *unused)
{
    while (!over) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, use_heap, (void *)100) == 0);
        pthread_join(thread, NULL);
    }
    return unused;
}

static pthread_t started[64];
static int count_started;

static void start(int count, void *(*run)(void *))
{
    for (int i = 0; i < count; i++)
        CHECK(pthread_create(&started[count_started++], NULL, run, (void *)(intptr_t)i) == 0);
}
static void stop(void)
{
    over = true;
    for (int i = 0; i < count_started; i++)
        pthread_join(started[i], NULL);
}

static void fork_often(int times, bool with_threads)
{
    for (int i = 0; i < times; i++) {
        char *inherited = malloc(100);
        strcpy(inherited, "inherited");
        char *large = malloc(2000000);
        large[1999999] = 9;
        pid_t child = fork();
        if (child == 0) {
            CHECK(strcmp(inherited, "inherited") == 0 && large[1999999] == 9);
            free(inherited);
            free(large);
            use_heap((void *)3000);
            if (with_threads) {
                pthread_t thread[2];
                for (int k = 0; k < 2; k++)
                    CHECK(pthread_create(&thread[k], NULL, use_heap, (void *)500) == 0);
                for (int k = 0; k < 2; k++)
                    pthread_join(thread[k], NULL);
            }
            exit(0);
        }
        expect_success(child);
        free(inherited);
        free(large);
    }
}

static void fork_while_16_allocate(void)
{
    start(16, allocate);
    fork_often(10, true);
    stop();
}
static void fork_while_streams_are_flushed(void)
{
    start(3, flush);
    start(1, allocate);
    fork_often(60, false);
    stop();
}
static void fork_while_writers_allocate(void)
{
    start(2, flush_cookies);
    fork_often(15, false);
    stop();
}
static void fork_while_threads_start(void)
{
    start(4, starting);
    fork_often(60, true);
    stop();
}

static void *forking(void *unused)
{
    fork_often(15, false);
    return unused;
}
static void fork_from_many_threads(void)
{
    start(8, forking);
    for (int i = 0; i < count_started; i++)
        pthread_join(started[i], NULL);
}

/* Generations: each process has one child, which has one child. */
static void fork_deeply(void)
{
    char *kept[30];
    pid_t first = getpid();
    int depth = 0;
    for (; depth < 30; depth++) {
        kept[depth] = malloc(1000);
        memset(kept[depth], depth, 1000);
        pid_t child = fork();
        if (child != 0) {
            expect_success(child);
            break;
        }
    }
    for (int i = 0; i < depth; i++) {
        CHECK(kept[i][999] == i);
        free(kept[i]);
    }
    if (getpid() != first)
        exit(0);
}

static void vforks(void)
{
    start(4, allocate);
    char *argv[] = {"true", NULL};
    for (int i = 0; i < 100; i++) {
        pid_t child = vfork();
        if (child == 0) {
            if (i % 2)
                execv("/bin/true", argv);
            _exit(i % 2);
        }
        expect_success(child);
    }
    stop();
}

/* POSIX forbids it, programs do it: the child of a vfork allocates. */
static char *volatile made_by_child;
static void vfork_that_allocates(void)
{
    for (int i = 0; i < 200; i++) {
        pid_t child = vfork();
        if (child == 0) {
            free(made_by_child);
            made_by_child = malloc(50 + (size_t)i * 100);
            strcpy(made_by_child, "child");
            _exit(0);
        }
        expect_success(child);
        CHECK(strcmp(made_by_child, "child") == 0);
        free(malloc(100));
    }
    free(made_by_child);
}

static void *vfork_first(void *unused)
{
    pid_t child = vfork(); /* before this thread has allocated anything */
    if (child == 0) {
        made_by_child = malloc(77);
        _exit(0);
    }
    expect_success(child);
    while (!over)
        use_heap((void *)1000);
    return unused;
}
static void vfork_before_the_first_allocation(void)
{
    start(20, vfork_first);
    usleep(50000);
    start(40, allocate);
    usleep(300000);
    stop();
}

static void spawns(void)
{
    start(4, allocate);
    char *argv[] = {"sh", "-c", "exit 0", NULL};
    for (int i = 0; i < 50; i++) {
        pid_t child;
        CHECK(posix_spawnp(&child, "sh", NULL, NULL, argv, environ) == 0);
        expect_success(child);
        CHECK(system("exit 3") >> 8 == 3);
        FILE *pipe = popen("echo word", "r");
        char word[10];
        CHECK(fscanf(pipe, "%9s", word) == 1 && strcmp(word, "word") == 0);
        CHECK(pclose(pipe) == 0);
    }
    stop();
}

/* Forks that libc does not know of run no handlers. */
static pid_t clone_bare(void)
{
    return (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
}

static void bare_clone(void)
{
    char *inherited = malloc(1000);
    for (int i = 0; i < 20; i++) {
        pid_t child = clone_bare();
        if (child == 0) {
            free(inherited);
            use_heap((void *)5000);
            for (int k = 0; k < 60; k++) {
                pthread_t thread;
                CHECK(pthread_create(&thread, NULL, use_heap, (void *)50) == 0);
                if (k % 3 == 0)
                    pthread_detach(thread);
                else
                    pthread_join(thread, NULL);
            }
            exit(0);
        }
        expect_success(child);
    }
    free(inherited);
}

static void *waits(void *unused)
{
    char *own = malloc(300000);
    free(malloc(100));
    while (!over)
        usleep(1000);
    free(own);
    return unused;
}

/* Arenas of threads that do not exist in the child. */
static void bare_clone_of_many_threads(void)
{
    start(20, waits);
    usleep(100000);
    pid_t child = clone_bare();
    if (child == 0) {
        count_started = 0;
        start(40, allocate);
        use_heap((void *)200000);
        stop();
        exit(0);
    }
    expect_success(child);
    stop();
}

static int in_clone(void *unused)
{
    (void)unused;
    use_heap((void *)5000);
    return 0;
}
static void cloned(void)
{
    char *stack = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 20; i++)
        expect_success(clone(in_clone, stack + (1 << 20), SIGCHLD, NULL));
}

static void gives_up_root(void)
{
    if (getuid() != 0)
        return;
    start(4, allocate);
    pid_t child = fork();
    if (child == 0) {
        start(2, waits);
        CHECK(setgroups(0, NULL) == 0 && setgid(65534) == 0 && setuid(65534) == 0);
        use_heap((void *)20000);
        fork_often(5, true);
        stop();
        exit(0);
    }
    expect_success(child);
    stop();
}

static void changes_root(void)
{
    char directory[] = "/tmp/heapwitness-root-XXXXXX";
    if (getuid() != 0)
        return;
    CHECK(mkdtemp(directory));
    pid_t child = fork();
    if (child == 0) {
        CHECK(chroot(directory) == 0 && chdir("/") == 0);
        use_heap((void *)20000);
        fork_often(5, true);
        exit(0);
    }
    expect_success(child);
    rmdir(directory);
}

static void leaves_in_all_ways(void)
{
    for (int way = 0; way < 4; way++) {
        pid_t child = fork();
        if (child == 0) {
            start(2, allocate);
            usleep(10000);
            free(malloc(100));
            if (way == 0)
                quick_exit(0);
            if (way == 1)
                _Exit(0);
            if (way == 2)
                exit(0);
            syscall(SYS_exit_group, 0);
        }
        expect_success(child);
    }
}

static const test_case cases[] = {
    {"fork_while_16_allocate", fork_while_16_allocate},
    {"fork_while_streams_are_flushed", fork_while_streams_are_flushed},
    {"fork_while_writers_allocate", fork_while_writers_allocate},
    {"fork_while_threads_start", fork_while_threads_start},
    {"fork_from_many_threads", fork_from_many_threads},
    {"fork_deeply", fork_deeply},
    {"vforks", vforks},
    {"vfork_that_allocates", vfork_that_allocates},
    {"vfork_before_the_first_allocation", vfork_before_the_first_allocation},
    {"spawns", spawns},
    {"bare_clone", bare_clone},
    {"bare_clone_of_many_threads", bare_clone_of_many_threads},
    {"cloned", cloned},
    {"gives_up_root", gives_up_root},
    {"changes_root", changes_root},
    {"leaves_in_all_ways", leaves_in_all_ways},
};

int main(int argc, char **argv)
{
    return RUN_CASE(cases, argc, argv);
}
