/* One wrong store each, on a line that is marked with the name of the case. The program goes on after it, and ends as
   it would without it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define APART __attribute__((noinline))

typedef struct record {
    int number;
    char name[20];
} record;
typedef struct list {
    size_t count;
    long item[];
} list;

static char *volatile text = "twenty-nine characters or more";

APART static void *make(size_t bytes)
{
    void *block = malloc(bytes);
    memset(block, 0, bytes);
    return block;
}

APART static void loop(int n)
{
    volatile char *block = make(n);
    for (int i = 0; i < n + 4; i++)
        block[i] = 'x'; /* loop */
    free((void *)block);
}

APART static void far_loop(int n)
{
    volatile char *block = make(n);
    for (int i = 0; i < n + 9000; i++)
        block[i] = 'x'; /* far_loop */
    free((void *)block);
}

APART static void by_memcpy(int n)
{
    char *block = make(n);
    memcpy(block, text, strlen(text)); /* by_memcpy */
    free(block);
}

APART static void by_strcpy(int n)
{
    char *block = make(n);
    strcpy(block, text); /* by_strcpy */
    free(block);
}

APART static void by_sprintf(int n)
{
    char *block = make(n);
    sprintf(block, "%s!", text); /* by_sprintf */
    free(block);
}

APART static void off_by_one(int n)
{
    volatile int *block = make(n * sizeof *block);
    for (int i = 0; i <= n; i++)
        block[i] = i; /* off_by_one */
    free((void *)block);
}

APART static void negative(int n)
{
    volatile int *block = make(n * sizeof *block);
    block[-1] = 7; /* negative */
    free((void *)block);
}

APART static void struct_past_end(int n)
{
    record *block = make(n * sizeof *block);
    record *volatile last = block + n;
    last->number = 3; /* struct_past_end */
    free(block);
}

APART static void flexible(int n)
{
    list *block = make(sizeof *block + n * sizeof block->item[0]);
    block->count = n;
    volatile long *item = block->item;
    item[n] = 5; /* flexible */
    free(block);
}

APART static void after_free_at_start(int n)
{
    volatile long *block = make(n);
    free((void *)block);
    block[0] = 1; /* after_free_at_start */
}

APART static void after_free_inside(int n)
{
    volatile char *block = make(n);
    free((void *)block);
    block[17] = 1; /* after_free_inside */
    block[0] = 1;
}

APART static void stale(int n)
{
    long *block = make(n);
    long *volatile old = block;
    void *behind = make(n);
    block = realloc(block, 40 * n);
    old[0] = 9; /* stale */
    free(block);
    free(behind);
}

static void *spoil(void *block)
{
    ((volatile char *)block)[24] = 'x'; /* thread */
    return NULL;
}

APART static void thread(int n)
{
    void *block = make(n);
    pthread_t other;
    pthread_create(&other, NULL, spoil, block);
    pthread_join(other, NULL);
    free(block);
}

APART static void child(int n)
{
    volatile char *block = make(n);
    if (fork() == 0) {
        block[n] = 'x'; /* child */
        free((void *)block);
        exit(0);
    }
    wait(NULL);
    free((void *)block);
}

static inline __attribute__((always_inline)) void put(volatile char *at, int i)
{
    at[i] = 'x'; /* inlined */
}

APART static void inlined(int n)
{
    char *block = make(n);
    put(block, n);
    free(block);
}

APART static void slack(int n)
{
    volatile char *block = make(n + 1);
    block[n + 1] = 'x'; /* slack */
    free((void *)block);
}

APART static void jump(int n)
{
    volatile uint64_t *block = make(n);
    block[n / 8 + 1] = 8; /* jump */
    free((void *)block);
}

APART static void by_read(int n)
{
    char *block = make(n);
    int zeros = open("/dev/zero", O_RDONLY);
    memset(block, 'x', n);
    ssize_t got = read(zeros, block, n + 3); /* by_read */
    printf("%zd bytes\n", got);
    close(zeros);
    free(block);
}

APART static void header(int n)
{
    volatile uint64_t *block = make(n), *other = make(n);
    other[-1] = 0x4141414141414141; /* header */
    free((void *)block);
    free((void *)other);
}

static const struct {
    const char *name;
    void (*run)(int);
} cases[] = {
    {"loop", loop},
    {"far_loop", far_loop},
    {"by_memcpy", by_memcpy},
    {"by_strcpy", by_strcpy},
    {"by_sprintf", by_sprintf},
    {"off_by_one", off_by_one},
    {"negative", negative},
    {"struct_past_end", struct_past_end},
    {"flexible", flexible},
    {"after_free_at_start", after_free_at_start},
    {"after_free_inside", after_free_inside},
    {"stale", stale},
    {"thread", thread},
    {"child", child},
    {"inlined", inlined},
    {"slack", slack},
    {"jump", jump},
    {"by_read", by_read},
    {"header", header},
};

int main(int count, char **words)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (count > 1 && strcmp(words[1], cases[i].name) == 0)
            cases[i].run(24);
    puts("done");
}
