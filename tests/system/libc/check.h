/* What the programs of the libc contract share. Each holds cases by name: `program CASE` runs one and ends with
   status 0 when everything is as glibc's manual and the standards say; the first broken promise is told. */
#ifndef CHECK_H
#define CHECK_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK(holds)                                                                                                   \
    do {                                                                                                               \
        if (!(holds)) {                                                                                                \
            dprintf(2, "%s:%d: broken: %s (errno %d)\n", __FILE__, __LINE__, #holds, errno);                           \
            _exit(1);                                                                                                  \
        }                                                                                                              \
    } while (0)

/* The program's resident memory, in bytes. */
static inline size_t resident(void)
{
    size_t pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file && fscanf(file, "%*s %zu", &pages) == 1);
    fclose(file);
    return pages * 4096;
}

/* Sizes, alignments and pointers that no compiler may reason about. */
static inline size_t opaque(size_t value)
{
    __asm__ volatile("" : "+r"(value));
    return value;
}
static inline void *hidden(void *pointer)
{
    __asm__ volatile("" : "+r"(pointer) : : "memory");
    return pointer;
}

typedef struct test_case {
    const char *name;
    void (*run)(void);
} test_case;

static inline int run_case(const test_case *cases, size_t count, int argc, char **argv)
{
    for (size_t i = 0; i < count; i++)
        if (argc > 1 && strcmp(argv[1], cases[i].name) == 0) {
            cases[i].run();
            return 0;
        }
    dprintf(2, "no such case\n");
    return 2;
}
#define RUN_CASE(cases, argc, argv) run_case(cases, sizeof(cases) / sizeof((cases)[0]), argc, argv)

#endif
