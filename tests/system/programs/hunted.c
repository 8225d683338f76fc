/* Wrong stores as programs have them, each on a line that is marked with the name of its case. Arguments: names of
   cases, which are run one after the other; without any: their names. */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <wchar.h>

#define APART __attribute__((noipa))

static const char *volatile text = "twenty-nine characters or more";

APART static void done_with(void *block)
{
    free(block);
}

APART static void loop_of_ints(size_t n)
{
    int *block = malloc(n * sizeof *block);
    for (size_t i = 0; i < n + 3; i++)
        block[i] = (int)i; /* loop_of_ints */
    done_with(block);
}

APART static void memcpy_of_a_constant(size_t n)
{
    char *block = malloc(20), from[32];
    memset(from, (int)n, sizeof from);
    memcpy(block, from, sizeof from); /* memcpy_of_a_constant */
    done_with(block);
}

APART static void memset_too_long(size_t n)
{
    char *block = malloc(n);
    memset(block, 'x', n + 9); /* memset_too_long */
    done_with(block);
}

APART static void memset_of_pages(size_t n)
{
    char *block = malloc(100000);
    memset(block, 'x', 100000 + n); /* memset_of_pages */
    done_with(block);
}

APART static void memmove_to_the_end(size_t n)
{
    char *block = calloc(n, 1);
    memmove(block + 4, block, n); /* memmove_to_the_end */
    done_with(block);
}

APART static void snprintf_with_a_wrong_size(size_t n)
{
    char *block = malloc(10);
    snprintf(block, 64, "%s-%zu", text, n); /* snprintf_with_a_wrong_size */
    done_with(block);
}

APART static void strcat_too_long(size_t n)
{
    char *block = malloc(n);
    block[0] = 0;
    strcat(block, text); /* strcat_too_long */
    done_with(block);
}

APART static void strncpy_fills_up(size_t n)
{
    char *block = malloc(n);
    strncpy(block, text, n + 16); /* strncpy_fills_up */
    done_with(block);
}

APART static void wide_characters(size_t n)
{
    wchar_t *block = malloc(5 * sizeof *block);
    wcscpy(block, n ? L"eight..." : L""); /* wide_characters */
    done_with(block);
}

APART static void end_of_a_string(size_t n)
{
    char *block = malloc(strlen(text));
    strcpy(block, text); /* end_of_a_string */
    done_with(block);
    (void)n;
}

APART static void one_byte_of_slack(size_t n)
{
    volatile char *block = malloc(n - 3);
    block[n - 3] = 0; /* one_byte_of_slack */
    done_with((void *)block);
}

APART static void byte_before(size_t n)
{
    volatile char *block = malloc(n);
    block[(long)n - 25] = 3; /* byte_before */
    done_with((void *)block);
}

APART static void loop_downwards(size_t n)
{
    volatile char *block = malloc(n);
    for (long i = (long)n - 1; i >= -5; i--)
        block[i] = 3; /* loop_downwards */
    done_with((void *)block);
}

APART static void memcpy_before(size_t n)
{
    char *block = malloc(2 * n);
    memcpy(block - n / 3, text, n - 4); /* memcpy_before */
    done_with(block);
}

typedef struct point {
    long x, y, z;
} point;

APART static void struct_cut_short(size_t n)
{
    point *block = malloc(sizeof *block - n / 3);
    block->x = block->y = 1;
    block->z = 3; /* struct_cut_short */
    done_with(block);
}

APART static void struct_in_many_stores(size_t n)
{
    point *block = malloc(2 * sizeof *block), value = {(long)n, 2, 3};
    block[n / 12] = value; /* struct_in_many_stores */
    done_with(block);
}

APART static void inside_after_release(size_t n)
{
    volatile char *block = malloc(200);
    done_with((void *)block);
    block[5 * n] = 4; /* inside_after_release */
}

APART static void one_at_the_start_after_release(size_t n)
{
    volatile long *block = malloc(2 * n);
    done_with((void *)block);
    block[0] = 1; /* one_at_the_start_after_release */
}

APART static void zero_at_the_start_after_release(size_t n)
{
    point *block = malloc(n);
    done_with(block);
    block->x = 0; /* zero_at_the_start_after_release */
}

APART static void after_others_took_its_place(size_t n)
{
    volatile char *block = malloc(64);
    void *other[40];
    done_with((void *)block);
    for (int i = 0; i < 40; i++)
        other[i] = malloc(64);
    block[n] = 4; /* after_others_took_its_place */
    for (int i = 0; i < 40; i++)
        done_with(other[i]);
}

APART static void stale_after_realloc(size_t n)
{
    char *block = malloc(n);
    volatile char *old = block;
    block = realloc(block, 100 * n);
    old[3] = 1; /* stale_after_realloc */
    done_with(block);
}

APART static void shrunk_by_realloc(size_t n)
{
    char *block = realloc(malloc(10 * n), 2 * n);
    ((volatile char *)block)[2 * n] = 2; /* shrunk_by_realloc */
    done_with(block);
}

APART static void aligned_block(size_t n)
{
    char *block = aligned_alloc(64, 128);
    ((volatile char *)block)[104 + n] = 1; /* aligned_block */
    done_with(block);
}

APART static void block_of_libc(size_t n)
{
    char *block;
    if (asprintf(&block, "%zu", n) < 0)
        return;
    strcat(block, " is the number"); /* block_of_libc */
    done_with(block);
}

static void *spoil(void *argument)
{
    volatile char *block = argument;
    for (int i = 0; i < 30; i++)
        block[i] = 2; /* another_thread */
    return NULL;
}

APART static void another_thread(size_t n)
{
    char *block = malloc(n);
    pthread_t thread;
    pthread_create(&thread, NULL, spoil, block);
    pthread_join(thread, NULL);
    done_with(block);
}

static pthread_key_t key;

static void destroy(void *block)
{
    ((volatile char *)block)[16] = 1; /* destructor_of_a_key */
    done_with(block);
}

static void *keep(void *argument)
{
    pthread_setspecific(key, malloc(16));
    return argument;
}

APART static void destructor_of_a_key(size_t n)
{
    pthread_t thread;
    pthread_key_create(&key, destroy);
    pthread_create(&thread, NULL, keep, (void *)n);
    pthread_join(thread, NULL);
}

APART static void forked_child(size_t n)
{
    char *block = malloc(n + 16);
    if (fork() == 0) {
        ((volatile char *)block)[n + 20] = 1; /* forked_child */
        done_with(block);
        _exit(3);
    }
    wait(NULL);
    done_with(block);
}

static long *volatile calls;

static int compare(const void *one, const void *other)
{
    calls[3] = *(const int *)one; /* callback_of_qsort */
    return *(const int *)one - *(const int *)other;
}

APART static void callback_of_qsort(size_t n)
{
    int values[] = {5, 2, 7, (int)n};
    calls = calloc(3, sizeof *calls);
    qsort(values, 4, sizeof *values, compare);
    done_with(calls);
}

static volatile char *shared;

static void on_signal(int number)
{
    shared[number + 22] = 1; /* signal_handler */
}

APART static void signal_handler(size_t n)
{
    static char stack[1 << 16];
    stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    sigaltstack(&other, NULL);
    sigaction(SIGUSR1, &action, NULL);
    shared = malloc(n + 8);
    raise(SIGUSR1);
    done_with((void *)shared);
}

APART static void atomic_addition(size_t n)
{
    long *block = malloc(n);
    __atomic_fetch_add(block + n / 8, 2, __ATOMIC_SEQ_CST); /* atomic_addition */
    done_with(block);
}

#ifdef __x86_64__
APART static void string_instruction(size_t n)
{
    char *block = malloc(n);
    void *to = block;
    size_t count = n + 5;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(7) : "memory"); /* string_instruction */
    done_with(block);
}
#endif

APART static void fgets_too_long(size_t n)
{
    char *block = malloc(10);
    FILE *file = fmemopen((void *)text, n, "r");
    fgets(block, (int)n, file); /* fgets_too_long */
    fclose(file);
    done_with(block);
}

APART static void sscanf_of_a_word(size_t n)
{
    char *block = malloc(n / 3);
    sscanf(text, "%s", block); /* sscanf_of_a_word */
    done_with(block);
}

APART static void row_of_a_matrix(size_t n)
{
    double **rows = malloc(4 * sizeof *rows);
    for (int i = 0; i < 4; i++)
        rows[i] = malloc(4 * sizeof **rows);
    for (size_t i = 0; i < 4; i++)
        for (size_t j = 0; j < n / 5; j++)
            rows[i][j] = (double)(i * j);
    rows[2][n / 6] = 1; /* row_of_a_matrix */
    for (int i = 0; i < 4; i++)
        done_with(rows[i]);
    done_with(rows);
}

APART static void one_of_five_hundred(size_t n)
{
    char *block[500];
    for (int i = 0; i < 500; i++)
        memset(block[i] = malloc(n), 1, n);
    ((volatile char *)block[250])[n] = 9; /* one_of_five_hundred */
    for (int i = 0; i < 500; i++)
        done_with(block[i]);
}

APART static void before_a_longjmp(size_t n)
{
    jmp_buf back;
    volatile char *volatile block = malloc(n);
    if (setjmp(back) == 0) {
        block[n + 1] = 1; /* before_a_longjmp */
        longjmp(back, 1);
    }
    done_with((void *)block);
}

APART static void never_released(size_t n)
{
    volatile char *block = malloc(n);
    block[n] = 1; /* never_released */
}

/* --- values that come from elsewhere --------------------------------------------------------------- */

static size_t global;
typedef struct parcel {
    void *block;
    size_t count;
} parcel;

APART static size_t too_many(size_t n)
{
    return n + 7;
}

APART static void sink(char *block, size_t count)
{
    memcpy(block, text, count); /* length_from_a_function */
}

APART static void length_from_a_function(size_t n)
{
    char *block = malloc(n - 4);
    sink(block, too_many(n) - 2);
    done_with(block);
}

APART static void length_from_a_global(size_t n)
{
    short *block = malloc(n * sizeof *block);
    for (size_t i = 0; i < global + n; i++)
        block[i] = 5; /* length_from_a_global */
    done_with(block);
}

APART static void by_struct(parcel p)
{
    memmove(p.block, text, p.count); /* length_from_a_struct */
}

APART static void length_from_a_struct(size_t n)
{
    parcel p = {malloc(n), n + 5};
    by_struct(p);
    done_with(p.block);
}

APART static void by_pointer(void *argument)
{
    parcel *p = argument;
    ((volatile char *)p->block)[p->count] = 1; /* index_by_a_pointer */
}
static void (*volatile chosen)(void *) = by_pointer;

APART static void index_by_a_pointer(size_t n)
{
    parcel p = {malloc(n), n + 1};
    chosen(&p);
    done_with(p.block);
}

APART static void *released(size_t n)
{
    void *block = malloc(n);
    done_with(block);
    return block;
}

APART static void released_by_a_function(size_t n)
{
    volatile int *block = released(2 * n);
    block[7] = 5; /* released_by_a_function */
}

#define CASE(name) {#name, name}
static const struct {
    const char *name;
    void (*run)(size_t);
} cases[] = {
    CASE(loop_of_ints),
    CASE(memcpy_of_a_constant),
    CASE(memset_too_long),
    CASE(memset_of_pages),
    CASE(memmove_to_the_end),
    CASE(snprintf_with_a_wrong_size),
    CASE(strcat_too_long),
    CASE(strncpy_fills_up),
    CASE(wide_characters),
    CASE(end_of_a_string),
    CASE(one_byte_of_slack),
    CASE(byte_before),
    CASE(loop_downwards),
    CASE(memcpy_before),
    CASE(struct_cut_short),
    CASE(struct_in_many_stores),
    CASE(inside_after_release),
    CASE(one_at_the_start_after_release),
    CASE(zero_at_the_start_after_release),
    CASE(after_others_took_its_place),
    CASE(stale_after_realloc),
    CASE(shrunk_by_realloc),
    CASE(aligned_block),
    CASE(block_of_libc),
    CASE(another_thread),
    CASE(destructor_of_a_key),
    CASE(forked_child),
    CASE(callback_of_qsort),
    CASE(signal_handler),
    CASE(atomic_addition),
#ifdef __x86_64__
    CASE(string_instruction),
#endif
    CASE(fgets_too_long),
    CASE(sscanf_of_a_word),
    CASE(row_of_a_matrix),
    CASE(one_of_five_hundred),
    CASE(before_a_longjmp),
    CASE(never_released),
    CASE(length_from_a_function),
    CASE(length_from_a_global),
    CASE(length_from_a_struct),
    CASE(index_by_a_pointer),
    CASE(released_by_a_function),
};

int main(int count, char **words)
{
    global = 3;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (count == 1)
            puts(cases[i].name);
        for (int word = 1; word < count; word++)
            if (strcmp(words[word], cases[i].name) == 0)
                cases[i].run(24);
    }
    if (count > 1)
        puts("done");
}
