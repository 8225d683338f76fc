/* What the programs with one bug each share: their arguments, and the truth about the damage that they do.

   Arguments are words KEY=VALUE. A program prints what it did, one fact a line, as `word number...`, and
   `done` when it has come to its end with all its data as it should be; the tests compare with that. */

#ifndef CASE_H
#define CASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
/* The witness of a damage reads what it must not; that is no part of the bug. */
#define WITNESS __attribute__((noinline, unused, no_sanitize_address))
#else
#define WITNESS __attribute__((noinline, unused))
#endif

enum { STRETCH = (1 << 20) + (1 << 16) };

static int case_argc;
static char **case_argv;
static unsigned char stretch_before[STRETCH];

/* Standard output gets a static buffer, so that the heap holds what the case asked for. */
static void case_begin(int argc, char **argv)
{
    static char output[8192];
    setvbuf(stdout, output, _IOFBF, sizeof output);
    case_argc = argc;
    case_argv = argv;
}

static const char *word(const char *key, const char *otherwise)
{
    size_t length = strlen(key);
    for (int i = 1; i < case_argc; i++)
        if (strncmp(case_argv[i], key, length) == 0 && case_argv[i][length] == '=')
            return case_argv[i] + length + 1;
    return otherwise;
}

static inline size_t number(const char *key, size_t otherwise)
{
    const char *text = word(key, NULL);
    return text == NULL ? otherwise : strtoull(text, NULL, 0);
}

static inline bool is(const char *key, const char *value)
{
    return strcmp(word(key, ""), value) == 0;
}

static inline void fact(const char *name, uintptr_t value)
{
    printf("%s %lu\n", name, (unsigned long)value);
}

static WITNESS void stretch_remember(const volatile unsigned char *from, size_t length)
{
    for (size_t i = 0; i < length; i++)
        stretch_before[i] = from[i];
}

/* Byte `at` of a stretch lies in the payload of one of the program's own blocks, which have no witness. */
typedef bool stretch_skip(size_t at);

/* Prints the first and last byte that changed in the stretch since it was remembered, and the last that did so outside
   of payloads. */
static WITNESS void stretch_tell(const volatile unsigned char *from, size_t length, stretch_skip *skip)
{
    size_t first = length, last = 0, last_witnessed = 0;
    for (size_t i = 0; i < length; i++)
        if (from[i] != stretch_before[i]) {
            if (first == length)
                first = i;
            last = i;
            if (skip == NULL || !skip(i))
                last_witnessed = i;
        }
    if (first == length)
        return;
    fact("first", first);
    fact("last", last);
    fact("last_witnessed", last_witnessed);
}

/* A letter that stands nowhere near either end of the stretch already, so that all of the damage shows: a header's
   check is of random bytes. */
static WITNESS char letter_for(const volatile unsigned char *from, size_t length)
{
    enum { NEAR = 32 };
    char letter = 'A';
    for (size_t i = 0; i < length; i++)
        if ((i < NEAR || i >= length - NEAR || length < NEAR) && from[i] == letter) {
            letter++;
            i = -1;
        }
    return letter;
}

static inline int case_done(void)
{
    puts("done");
    return 0;
}

#endif
