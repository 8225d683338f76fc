/* A library that is loaded and closed while the program runs. */
#include <stdlib.h>
#include <string.h>

static char *own;

char *plugin_make(size_t bytes)
{
    return calloc(1, bytes);
}
void plugin_release(void *block)
{
    free(block);
}
char *plugin_grow(char *block, size_t bytes)
{
    return realloc(block, bytes);
}

__attribute__((constructor)) static void opened(void)
{
    own = strdup("own");
}
__attribute__((destructor)) static void closed(void)
{
    free(own);
}
