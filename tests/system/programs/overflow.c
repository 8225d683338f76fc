/* Writes EXTRA bytes past the end of a block of SIZE bytes.

   how=memset|loop|strcpy    size=N  extra=N (0: the clean twin)   by=malloc|calloc|...   row=N
   found=free|neighbour|realloc|exit: what the program does next, to be told. */

#include "case.h"

#include <malloc.h>

enum { ROW_MOST = 1 << 16 };

static unsigned char *row[ROW_MOST];
static size_t size, stride;

static void *allocate(const char *by)
{
    void *block = NULL;
    if (strcmp(by, "malloc") == 0)
        block = malloc(size); /* culprit: malloc */
    else if (strcmp(by, "calloc") == 0)
        block = calloc(size, 1); /* culprit: calloc */
    else if (strcmp(by, "realloc") == 0) {
        block = malloc(size / 2 + 1);
        block = realloc(block, size); /* culprit: realloc */
    } else if (strcmp(by, "reallocarray") == 0)
        block = reallocarray(NULL, size, 1); /* culprit: reallocarray */
    else if (strcmp(by, "aligned_alloc") == 0)
        block = aligned_alloc(64, size); /* culprit: aligned_alloc */
    else if (strcmp(by, "posix_memalign") == 0) {
        if (posix_memalign(&block, 256, size) != 0) /* culprit: posix_memalign */
            abort();
    } else if (strcmp(by, "memalign") == 0)
        block = memalign(1024, size); /* culprit: memalign */
    else if (strcmp(by, "valloc") == 0)
        block = valloc(size); /* culprit: valloc */
    if (block == NULL)
        abort();
    return block;
}

static int by_address(const void *left, const void *right)
{
    const unsigned char *a = *(unsigned char *const *)left, *b = *(unsigned char *const *)right;
    return (a > b) - (a < b);
}

/* Where `run` blocks of the sorted row lie at equal, small distances; -1 for nowhere. */
static long equal_run(size_t count, size_t run)
{
    size_t equal = 0;
    for (size_t i = 1; i < count; i++) {
        size_t gap = (size_t)(row[i] - row[i - 1]);
        equal = gap > size + 64 + size / 8 ? 0 : gap == stride ? equal + 1 : 1;
        stride = gap;
        if (equal + 1 >= run)
            return (long)(i - equal);
    }
    return -1;
}

static bool in_payload(size_t at)
{
    return (size + at) % stride < size;
}

static void overrun(unsigned char *block, const char *how, size_t extra)
{
    char letter = letter_for(block + size, extra);
    if (strcmp(how, "memset") == 0)
        memset(block, letter, size + extra);
    else if (strcmp(how, "loop") == 0) {
        for (size_t i = size; i < size + extra; i++)
            block[i] = (unsigned char)letter;
    } else if (strcmp(how, "strcpy") == 0) {
        static char text[STRETCH];
        memset(text, letter, size + extra - 1);
        strcpy((char *)block, text);
    }
}

int main(int argc, char **argv)
{
    case_begin(argc, argv);
    const char *by = word("by", "malloc"), *how = word("how", "memset");
    size_t extra = number("extra", 0);
    size = number("size", 24);
    size_t run = extra / (size + 32) + 3;
    size_t count = number("row", run + 64);

    for (size_t i = 0; i < count; i++)
        row[i] = allocate(by);
    qsort(row, count, sizeof *row, by_address);
    long first = count == 1 ? -1 : equal_run(count, run);
    size_t at = first < 0 ? 0 : (size_t)first;
    unsigned char *culprit = row[at];
    fact("culprit", (uintptr_t)culprit);
    fact("adjacent", first >= 0);

    stretch_remember(culprit + size, extra);
    if (extra > 0)
        overrun(culprit, how, extra);
    stretch_tell(culprit + size, extra, first < 0 ? NULL : in_payload);

    if (is("found", "exit"))
        return case_done();
    if (is("found", "neighbour")) {
        free(row[at + 1]);
        row[at + 1] = NULL;
    }
    if (is("found", "realloc")) {
        culprit = realloc(culprit, size * 8);
        row[at] = culprit;
    }
    free(culprit);
    for (size_t i = 0; i < count; i++)
        if (row[i] != culprit)
            free(row[i]);
    return case_done();
}
