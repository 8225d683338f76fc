/* One byte behind a block, and 0 as its status: for tests of what is told, and how. */
#include "check.h"

int main(void)
{
    char *block = malloc(24);
    CHECK(block);
    ((char *)hidden(block))[24] = 'x';
    free(block);
    return 0;
}
