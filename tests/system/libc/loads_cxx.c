/* A C program that loads a C++ library, whose run-time library nobody else sees. */
#include "check.h"

#include <dlfcn.h>

int main(int argc, char **argv)
{
    void *library = dlopen(argc > 1 ? argv[1] : "", RTLD_NOW | RTLD_LOCAL);
    CHECK(library);
    int (*copes)(size_t) = (int (*)(size_t))dlsym(library, "copes_with_too_much");
    CHECK(copes(SIZE_MAX / 4) == 3);
    return 0;
}
