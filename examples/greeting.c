/* strlen() does not count the terminator, strcpy() copies it: the off-by-one that everybody wrote once.
   Under glibc: nothing is heard for most lengths; for others the next block's size loses its flags. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *copy_of(const char *text)
{
    char *copy = malloc(strlen(text));
    strcpy(copy, text);
    return copy;
}

int main(int argc, char **argv)
{
    char *name = copy_of(argc > 1 ? argv[1] : "the world, and all in it");
    printf("hello, %s\n", name);
    free(name);
    return 0;
}
