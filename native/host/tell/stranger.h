/* Programs that would not load the engine, looked at before they are started. */
#ifndef HEAPWITNESS_STRANGER_H
#define HEAPWITNESS_STRANGER_H

#include <stdbool.h>
#include <stddef.h>

/* Why; as events say it (docs/format.md). */
enum hw_stranger {
    HW_NO_STRANGER, /* or nothing is known of it */
    HW_STATIC,
    HW_MUSL,          /* its dynamic linker would not start it */
    HW_OTHER_MACHINE, /* its dynamic linker would complain */
    HW_PRIVILEGED,
    HW_NOT_TOLD,    /* the environment that it gets does not name the engine */
    HW_OUT_OF_REACH /* its dynamic linker finds no engine: other files are seen from there, or by other rights */
};

/* `directory` is a descriptor that `path` starts from, AT_FDCWD, or with an empty path the program's own. */
enum hw_stranger hw_stranger_look(int directory, const char *path);
/* The first file of that name in PATH that may be run; false: there is none. */
bool hw_stranger_search(const char *name, char *path, size_t room);
bool hw_stranger_may_be_run(const char *path);
/* Whether this process is sure not to be let in to a file. */
bool hw_stranger_cannot_read(const char *path);
static inline bool hw_stranger_minds(enum hw_stranger stranger)
{
    return stranger == HW_MUSL || stranger == HW_OTHER_MACHINE || stranger == HW_OUT_OF_REACH;
}

#endif
