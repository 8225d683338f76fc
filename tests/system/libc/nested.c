/* A library beside others: it finds them by the run path of its own. */
#include <dlfcn.h>

int nested_opens(const char *name)
{
    void *found = dlopen(name, RTLD_NOW);
    if (found)
        dlclose(found);
    return found != 0;
}
