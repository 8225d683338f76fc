/* Writes into a block of SIZE bytes after it was freed.

   size=N  at=N  length=N   found=malloc|exit   clean=1: the clean twin writes before the release */

#include "case.h"

static unsigned char *row[64 + 256];

static WITNESS void scribble(volatile unsigned char *block, size_t at, size_t length)
{
    for (size_t i = at; i < at + length; i++)
        block[i] ^= 0xFF;
}

static __attribute__((noinline)) void release(void *block)
{
    free(block); /* freed here */
}

int main(int argc, char **argv)
{
    case_begin(argc, argv);
    size_t size = number("size", 24), at = number("at", 0), length = number("length", 1);
    bool clean = is("clean", "1");
    for (size_t i = 0; i < 64; i++) {
        row[i] = malloc(size); /* culprit: malloc */
        if (row[i] == NULL)
            abort();
        memset(row[i], 0, size);
    }
    unsigned char *culprit = row[40];
    fact("culprit", (uintptr_t)culprit);
    if (clean)
        scribble(culprit, at, length);
    release(culprit);
    if (!clean)
        scribble(culprit, at, length);

    row[40] = NULL;
    if (is("found", "malloc"))
        for (size_t i = 0; i < 256; i++) /* one of them gets the block again */
            row[64 + i] = malloc(size);
    if (is("found", "exit"))
        return case_done();
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        free(row[i]);
    return case_done();
}
