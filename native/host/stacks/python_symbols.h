/* What is used of CPython: of the one that the program is or was linked with, or of a libpython that it loaded later.
 */
#ifndef HEAPWITNESS_PYTHON_SYMBOLS_H
#define HEAPWITNESS_PYTHON_SYMBOLS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct hw_python_symbols {
    const unsigned long *version; /* NULL, as all of them: there is none */
    char *runtime, *code_type, *none;
    void *(*state)(void);
    uintptr_t start, bytes; /* CPython's own code */
    const char *file;       /* NULL: the program is linked with it */
} hw_python_symbols;

/* Those that the program is linked with. */
hw_python_symbols hw_python_linked(void);
/* Those of the module that an address lies in, if that is a libpython. Takes no lock of the loader's, under which code
   allocates that has locks of its own. */
hw_python_symbols hw_python_loaded(uintptr_t pc);

#endif
