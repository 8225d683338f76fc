/* Overwrites control data somewhere after a block of SIZE bytes, without touching any block's edge.

   size=N (48)   at=N  length=N: bytes from the end of the block's payload   flip=BIT: one bit of byte `at` instead
   found=free|neighbour|exit    clean=1: the clean twin */

#include "case.h"

enum { ROW = 64 };

static unsigned char *row[ROW];

static WITNESS void scribble(volatile unsigned char *at, size_t length)
{
    const char *bit = word("flip", NULL);
    for (size_t i = 0; i < length; i++)
        at[i] ^= bit != NULL ? (unsigned char)(1u << atoi(bit)) : (unsigned char)0xFF;
}

int main(int argc, char **argv)
{
    case_begin(argc, argv);
    size_t size = number("size", 48), length = number("length", 1), offset = number("at", 0), middle = 0;
    for (size_t i = 0; i < ROW; i++) {
        row[i] = malloc(size); /* culprit: malloc */
        if (row[i] == NULL)
            abort();
        if (middle == 0 && i >= 4 && row[i] - row[i - 1] == row[i - 1] - row[i - 2] &&
            row[i - 1] - row[i - 2] == row[i - 2] - row[i - 3])
            middle = i - 2;
    }
    fact("before", (uintptr_t)row[middle]);
    fact("after", (uintptr_t)row[middle + 1]);
    fact("last", (uintptr_t)row[middle + 2]);
    if (!is("clean", "1"))
        scribble(row[middle] + size + offset, length);

    if (is("found", "exit"))
        return case_done();
    if (is("found", "neighbour"))
        middle++;
    free(row[middle]);
    for (size_t i = 0; i < ROW; i++)
        if (i != middle)
            free(row[i]);
    return case_done();
}
