/* Stores elements of eight bytes at an index of one array, or runs over the ends of two in one loop.

   what=element: three arrays of count=N (8) elements, index=N of the second    what=both: two arrays of count=N (500)
   elements of four bytes, over=N of them    clean=1: the clean twin */

#include "case.h"

static __attribute__((noinline)) void *allocate(size_t count, size_t size)
{
    void *block = calloc(count, size); /* culprit: calloc */
    if (block == NULL)
        abort();
    return block;
}

static void element(void)
{
    size_t count = number("count", 8);
    volatile double *first = allocate(count, 8), *array = allocate(count, 8), *last = allocate(count, 8);
    fact("first", (uintptr_t)first);
    fact("array", (uintptr_t)array);
    fact("last", (uintptr_t)last);
    if (!is("clean", "1"))
        array[atol(word("index", "0"))] = 1.0;
    free((void *)first);
    free((void *)array);
    free((void *)last);
}

static void both(void)
{
    size_t count = number("count", 500);
    volatile int *names = allocate(count, 4);
    volatile int *values = calloc(count, 4);
    volatile int *behind = calloc(count, 4);
    fact("names", (uintptr_t)names);
    fact("values", (uintptr_t)values);
    size_t over = is("clean", "1") ? 0 : number("over", 8);
    unsigned state = 1;
    for (size_t i = 0; i < count + over; i++) {
        state = state * 1103515245u + 12345u;
        names[i] = 1 + state / 65536 % 99;
        values[i] = (int)(state | 0x01010101);
    }
    free((void *)names);
    free((void *)values);
    free((void *)behind);
}

int main(int argc, char **argv)
{
    case_begin(argc, argv);
    if (is("what", "both"))
        both();
    else
        element();
    return case_done();
}
