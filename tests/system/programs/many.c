/* Six allocation sites, of each of which a block is hit by a wild store on a line of its own (store_0 to store_5), in
   one run. Arguments: where blocks lie, as the program prints it when it has none. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define APART __attribute__((noinline))
enum { SITES = 6, BLOCKS = 20, HIT = 11, PLACES = 1 << 20, HEADER = 16 };

#define SITE(n)                                                                                                        \
    APART static void *make_##n(void)                                                                                  \
    {                                                                                                                  \
        return malloc(24 + 16 * n);                                                                                    \
    }
SITE(0)
SITE(1)
SITE(2)
SITE(3)
SITE(4)
SITE(5)
static void *(*const make[SITES])(void) = {make_0, make_1, make_2, make_3, make_4, make_5};
static char *anchor, *blocks[SITES][BLOCKS];

static volatile uint64_t *header_at(const char *place)
{
    uintptr_t start = (uintptr_t)anchor & ~(uintptr_t)(PLACES - 1);
    return (void *)(start + strtoul(place, NULL, 16) - HEADER);
}

static void store(char **places)
{
    *header_at(places[0]) = 0x4141414141414141; /* store_0 */
    *header_at(places[1]) = 0x4141414141414141; /* store_1 */
    *header_at(places[2]) = 0x4141414141414141; /* store_2 */
    *header_at(places[3]) = 0x4141414141414141; /* store_3 */
    *header_at(places[4]) = 0x4141414141414141; /* store_4 */
    *header_at(places[5]) = 0x4141414141414141; /* store_5 */
}

int main(int count, char **words)
{
    anchor = malloc(16);
    for (int i = 0; i < BLOCKS; i++)
        for (int site = 0; site < SITES; site++)
            blocks[site][i] = make[site]();
    if (count > SITES)
        store(words + 1);
    else
        for (int site = 0; site < SITES; site++)
            printf("%lx\n", (unsigned long)((uintptr_t)blocks[site][HIT] % PLACES));
    for (int site = 0; site < SITES; site++)
        for (int i = 0; i < BLOCKS; i++)
            free(blocks[site][i]);
    puts("done");
}
