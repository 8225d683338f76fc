/* Writes EXTRA bytes before the start of a block of SIZE bytes, whose neighbours are as large.

   how=memset|loop   size=N  extra=N (0: the clean twin)   found=free|exit   row=N */

#include "case.h"

static unsigned char *row[64];
static size_t size, extra, stride;

/* Counted from the stretch's start: the last bytes of it lie right before the culprit. */
static bool in_payload(size_t at)
{
    size_t before = extra - at;
    return (stride - before % stride) % stride < size && before > 0;
}

static void underrun(unsigned char *block, const char *how)
{
    char letter = letter_for(block - extra, extra);
    if (strcmp(how, "memset") == 0)
        memset(block - extra, letter, extra);
    else if (strcmp(how, "loop") == 0)
        for (unsigned char *at = block; at > block - extra; at--)
            at[-1] = (unsigned char)letter;
}

int main(int argc, char **argv)
{
    case_begin(argc, argv);
    size = number("size", 24);
    extra = number("extra", 0);
    size_t count = number("row", 64), at = 0;
    for (size_t i = 0; i < count; i++) {
        row[i] = malloc(size); /* culprit: malloc */
        if (row[i] == NULL)
            abort();
    }
    for (size_t i = 2; i < count && at == 0; i++) {
        stride = (size_t)(row[i] - row[i - 1]);
        if (row[i] > row[i - 1] && stride <= size + 64 && row[i - 1] - row[i - 2] == row[i] - row[i - 1])
            at = i;
    }
    unsigned char *culprit = row[at];
    fact("culprit", (uintptr_t)culprit);
    fact("adjacent", at > 0);

    if (extra > 0) {
        stretch_remember(culprit - extra, extra);
        underrun(culprit, word("how", "memset"));
        stretch_tell(culprit - extra, extra, at > 0 ? in_payload : NULL);
    }
    if (is("found", "exit"))
        return case_done();
    free(culprit);
    for (size_t i = 0; i < count; i++)
        if (row[i] != culprit)
            free(row[i]);
    return case_done();
}
