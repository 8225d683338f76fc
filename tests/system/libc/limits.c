/* Programs that run with little: what glibc's heap manages within a limit, the checked one must manage, too.
   `limits CASE PERCENT` says how much of the limit the program is going to use for its own data. */
#define _GNU_SOURCE
#include "check.h"

#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>

static size_t wanted; /* bytes */

static size_t limit_of(int resource)
{
    struct rlimit limit;
    CHECK(getrlimit(resource, &limit) == 0);
    return limit.rlim_cur == RLIM_INFINITY ? SIZE_MAX : limit.rlim_cur;
}

static void fill(size_t each)
{
    size_t count = wanted / each;
    char **block = malloc(count * sizeof *block);
    CHECK(block);
    for (size_t i = 0; i < count; i++) {
        block[i] = malloc(each - 16);
        CHECK(block[i]);
        memset(block[i], (int)i, each - 16);
    }
    for (size_t i = 0; i < count; i++) {
        CHECK(block[i][each - 17] == (char)i);
        free(block[i]);
    }
    free(block);
}

static void small(void)
{
    fill(64);
}
static void medium(void)
{
    fill(5000);
}
static void large(void)
{
    fill(300000);
}
static void larger(void)
{
    fill(2000000);
}
static void one(void)
{
    fill(wanted);
}

/* Until there is no more: then everything is given back, and as much is there again. */
static void exhausted(void)
{
    static const size_t sizes[] = {100, 4000, 100000, 1000000};
    size_t first[4], most = 0;
    for (int round = 0; round < 8; round++) {
        size_t size = sizes[round % 4], got = 0;
        struct link {
            struct link *next;
        } *chain = NULL, *block;
        errno = 0;
        while ((block = malloc(size))) {
            memset(block, 7, size);
            block->next = chain;
            chain = block;
            got += size;
        }
        CHECK(errno == ENOMEM);
        while (chain) {
            block = chain;
            chain = block->next;
            free(block);
        }
        if (round < 4)
            first[round] = got;
        else
            CHECK(got > first[round - 4] / 10 * 8);
        most = got > most ? got : most;
        CHECK(got > wanted / 2);
    }
    CHECK(most > wanted);
}

/* realloc that fails leaves the block alone. */
static void reallocated(void)
{
    size_t size = 1 << 10;
    unsigned char *block = malloc(size), *moved;
    CHECK(block);
    memset(block, 5, size);
    while ((moved = realloc(block, size * 2))) {
        block = moved;
        memset(block + size, 5, size);
        size *= 2;
        CHECK(size < limit_of(RLIMIT_AS));
    }
    CHECK(errno == ENOMEM && size >= wanted / 4);
    for (size_t i = 0; i < size; i += 100)
        CHECK(block[i] == 5);
    free(block);
}

/* A large block that grows page by page, as interpreters' tables and strings do, keeps its pages: it is not copied. */
static void grown_by_pages(void)
{
    enum { PAGE = 4096, FIRST = 512, STEPS = 400 };
    struct rusage before, after;
    unsigned char *block = malloc(FIRST * PAGE);
    CHECK(block);
    memset(block, 5, FIRST * PAGE);
    CHECK(getrusage(RUSAGE_SELF, &before) == 0);
    for (size_t pages = FIRST + 1; pages <= FIRST + STEPS; pages++) {
        CHECK((block = realloc(block, pages * PAGE)));
        memset(block + (pages - 1) * PAGE, 5, PAGE);
    }
    CHECK(getrusage(RUSAGE_SELF, &after) == 0);
    CHECK(after.ru_minflt - before.ru_minflt < 4 * STEPS);
    for (size_t i = 0; i < (FIRST + STEPS) * PAGE; i += 100)
        CHECK(block[i] == 5);
    free(block);
}

static pthread_mutex_t until_all_live = PTHREAD_MUTEX_INITIALIZER;

static void *worker(void *unused)
{
    for (int i = 0; i < 2000; i++) {
        char *block = malloc((size_t)(i % 700) + 1);
        CHECK(block);
        block[0] = 1;
        free(block);
    }
    char *large_one = malloc(100000);
    CHECK(large_one);
    memset(large_one, 1, 100000);
    free(large_one);
    pthread_mutex_lock(&until_all_live);
    pthread_mutex_unlock(&until_all_live);
    return unused;
}

/* Threads that all live at once, with small stacks. */
static void threads(void)
{
    enum { MOST = 1000 };
    static pthread_t thread[MOST];
    size_t count = wanted / (96 << 10);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64 << 10);
    count = count > MOST ? MOST : count;
    pthread_mutex_lock(&until_all_live);
    for (size_t i = 0; i < count; i++)
        CHECK(pthread_create(&thread[i], &attributes, worker, NULL) == 0);
    pthread_mutex_unlock(&until_all_live);
    for (size_t i = 0; i < count; i++)
        pthread_join(thread[i], NULL);
}

/* The program limits itself while it runs; threads and mappings of what is left still work. */
static void own_limit(void)
{
    char *early = malloc(1000);
    struct rlimit limit = {.rlim_cur = 512 << 20, .rlim_max = RLIM_INFINITY};
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
    struct rlimit now;
    CHECK(getrlimit(RLIMIT_AS, &now) == 0 && now.rlim_cur == 512 << 20);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, worker, NULL) == 0);
    pthread_join(thread, NULL);
    void *mapping = mmap(NULL, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(mapping != MAP_FAILED);
    munmap(mapping, 64 << 20);
    wanted = 200 << 20;
    small();
    larger();
    one();
    CHECK(malloc((size_t)700 << 20) == NULL && errno == ENOMEM);
    free(early);
}

static void own_limit_by_prlimit(void)
{
    char *early = malloc(1000);
    struct rlimit limit = {.rlim_cur = 512 << 20, .rlim_max = RLIM_INFINITY};
    CHECK(prlimit(0, RLIMIT_AS, &limit, NULL) == 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, worker, NULL) == 0);
    pthread_join(thread, NULL);
    wanted = 200 << 20;
    medium();
    free(early);
}

/* Blocks that were released are memory for others, of this thread and of one that does nothing more. */
static void use_and_release(void)
{
    for (size_t i = 0; i < 8000; i++) {
        size_t size = 1000 + i * 37 % 20000;
        char *block = malloc(size);
        CHECK(block);
        free(memset(block, 1, size));
    }
}
static void *use_release_and_wait(void *barrier)
{
    use_and_release();
    pthread_barrier_wait(barrier);
    pthread_barrier_wait(barrier);
    return NULL;
}
static void after_releases(void)
{
    use_and_release();
    medium();
    use_and_release();
    char *block = malloc(wanted / 2);
    CHECK((block = realloc(block, wanted)));
    free(block);
}
static void after_releases_of_a_thread(void)
{
    pthread_barrier_t barrier;
    pthread_t thread;
    CHECK(pthread_barrier_init(&barrier, NULL, 2) == 0);
    CHECK(pthread_create(&thread, NULL, use_release_and_wait, &barrier) == 0);
    pthread_barrier_wait(&barrier);
    medium();
    pthread_barrier_wait(&barrier);
    CHECK(pthread_join(thread, NULL) == 0);
}

/* A program of a user who may lock so much locks all that it has and will have. */
static void all_is_locked(void)
{
    struct rlimit limit = {8 << 20, 8 << 20};
    if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0 || (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0))
        return;
    CHECK(mlockall(MCL_CURRENT | MCL_FUTURE) == 0);
    wanted = 1 << 20;
    for (int i = 0; i < 10; i++) {
        small();
        one();
    }
    CHECK(munlockall() == 0);
    wanted = 100 << 20;
    larger();
}

static void occupy(uintptr_t from, uintptr_t to, size_t piece)
{
    for (uintptr_t at = from; at < to; at += piece) {
        void *got = mmap((void *)at, piece, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
        if (got == MAP_FAILED && piece > 64 << 20)
            occupy(at, at + piece, piece / 16);
    }
}

/* Another part of the program has all of the middle of the address space to itself. */
static void occupied(void)
{
    occupy((uintptr_t)1 << 43, (uintptr_t)0x5000 << 32, (size_t)64 << 30);
    wanted = 300 << 20;
    small();
    medium();
    larger();
    wanted = 8 << 20;
    threads();
}

/* The kernel has room for a few mappings more, then for none: of pages with other rights than their neighbours' each
   is one. */
static void few_mappings_left(void)
{
    enum { PAGE = 4096, MOST = 1 << 20, LEFT = 4, BLOCKS = 64 };
    char *pages = mmap(NULL, (size_t)MOST * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    char *block[BLOCKS];
    size_t made = 1;
    CHECK(pages != MAP_FAILED);
    while (made < MOST && mprotect(pages + made * PAGE, PAGE, PROT_READ) == 0)
        made += 2;
    if (made >= MOST)
        return; /* there is no such limit here */
    for (size_t i = 0; i < LEFT; i++)
        CHECK(mprotect(pages + (1 + 2 * i) * PAGE, PAGE, PROT_NONE) == 0);
    for (size_t i = 0; i < BLOCKS; i++) {
        CHECK(block[i] = malloc(1000000));
        memset(block[i], (int)i, 1000000);
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        CHECK(block[i] = realloc(block[i], 3000000));
        CHECK(block[i][999999] == (char)i);
    }
    for (size_t i = 0; i < BLOCKS; i++)
        free(block[i]);
    CHECK(munmap(pages, (size_t)MOST * PAGE) == 0);
}

static const test_case cases[] = {
    {"after_releases", after_releases},
    {"after_releases_of_a_thread", after_releases_of_a_thread},
    {"all_is_locked", all_is_locked},
    {"few_mappings_left", few_mappings_left},
    {"occupied", occupied},
    {"small", small},
    {"medium", medium},
    {"large", large},
    {"larger", larger},
    {"one", one},
    {"exhausted", exhausted},
    {"reallocated", reallocated},
    {"grown_by_pages", grown_by_pages},
    {"threads", threads},
    {"own_limit", own_limit},
    {"own_limit_by_prlimit", own_limit_by_prlimit},
};

int main(int argc, char **argv)
{
    size_t limit = limit_of(RLIMIT_AS), data = limit_of(RLIMIT_DATA);
    limit = data < limit ? data : limit;
    wanted = (limit == SIZE_MAX ? (size_t)64 << 20 : limit) / 100 * (size_t)atoi(argc > 2 ? argv[2] : "50");
    return RUN_CASE(cases, argc, argv);
}
