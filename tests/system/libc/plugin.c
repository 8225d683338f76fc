/* A library that is loaded and closed while the program runs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

static char *own;

/* What a library finds behind itself, by its name and by its version (the first ones of two machines). */
void *plugin_next(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}
void *plugin_next_version(const char *name)
{
    void *found = dlvsym(RTLD_NEXT, name, "GLIBC_2.2.5");
    return found ? found : dlvsym(RTLD_NEXT, name, "GLIBC_2.17");
}

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
