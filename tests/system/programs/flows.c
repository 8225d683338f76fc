/* Wrong stores of values that come from elsewhere, and wrong releases, as in test suites for analysers; as hunted.c. */
#define _GNU_SOURCE
#include <alloca.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#define APART __attribute__((noipa))

static const char *volatile text = "twenty-nine characters or more";

APART static void done_with(void *block)
{
    free(block);
}

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

APART static void size_of_a_pointer(size_t n)
{
    double *block = malloc(sizeof(block) / 2);
    *block = (double)n; /* size_of_a_pointer */
    done_with(block);
}

APART static void no_room_for_the_end(size_t n)
{
    char *block = malloc(n - 14);
    const char from[11] = "AAAAAAAAAA";
    memcpy(block, from, strlen(from) + 1); /* no_room_for_the_end */
    done_with(block);
}

APART static void no_room_for_a_wide_end(size_t n)
{
    wchar_t *block = malloc((n - 14) * sizeof *block);
    const wchar_t from[11] = L"AAAAAAAAAA";
    wcsncpy(block, from, wcslen(from) + 1); /* no_room_for_a_wide_end */
    done_with(block);
}

APART static char *moved_back(char *block)
{
    return block - 8;
}

APART static void memmove_before(size_t n)
{
    char *block = malloc(100), *data = moved_back(block), from[100];
    memset(from, (int)n, sizeof from);
    memmove(data, from, sizeof from); /* memmove_before */
    done_with(block);
}

APART static void wide_loop_before(size_t n)
{
    wchar_t *block = malloc(100 * sizeof *block), *data = (wchar_t *)moved_back((char *)block);
    for (size_t i = 0; i < 4 * n; i++)
        data[i] = L'C'; /* wide_loop_before */
    done_with(block);
}

APART static void strcpy_before(size_t n)
{
    char *block = malloc(2 * n), *data = moved_back(block);
    strcpy(data, text); /* strcpy_before */
    done_with(block);
}

typedef struct fields {
    char first[16];
    const void *second, *third;
} fields;

APART static void field_overrun_by_the_whole(size_t n)
{
    fields *block = malloc(sizeof *block);
    char from[64];
    memset(from, (int)n, sizeof from);
    block->second = text;
    memcpy(block->first, from, sizeof *block + 4); /* field_overrun_by_the_whole */
    done_with(block);
}

/* --- releases ---------------------------------------------------------------------------------------- */

static char data_of_the_program[100];

APART static void released_twice(size_t n)
{
    char *block = malloc(n);
    done_with(block);
    free(block); /* released_twice */
}

APART static void release_of_the_stack(size_t n)
{
    char *block = alloca(n);
    memset(block, 1, n);
    free(block); /* release_of_the_stack */
}

APART static void release_of_data(size_t n)
{
    free(data_of_the_program + n); /* release_of_data */
}

APART static void release_in_the_middle(size_t n)
{
    char *block = malloc(n);
    free(block + 6); /* release_in_the_middle */
    done_with(block);
}

#define CASE(name) {#name, name}
static const struct {
    const char *name;
    void (*run)(size_t);
} cases[] = {
    CASE(length_from_a_function), CASE(length_from_a_global),   CASE(length_from_a_struct),
    CASE(index_by_a_pointer),     CASE(released_by_a_function), CASE(size_of_a_pointer),
    CASE(no_room_for_the_end),    CASE(no_room_for_a_wide_end), CASE(memmove_before),
    CASE(wide_loop_before),       CASE(strcpy_before),          CASE(field_overrun_by_the_whole),
    CASE(released_twice),         CASE(release_of_the_stack),   CASE(release_of_data),
    CASE(release_in_the_middle),
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
