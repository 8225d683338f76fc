/* Lists, tuples, dicts and floats that go back to the heap when their last reference goes.

   The interpreter keeps a few of each to use them again, and the heap sees neither the release nor who still has one.
   It keeps those alone that are of the very type: so one that is to be released is given a copy of its type first, in
   which all is the same. Nobody sees it any more but what releases it. */
#include "python.h"
#include "stacks/python_frames.h"

#include <string.h>

typedef struct object {
    intptr_t references;
    const void *type;
} object;

/* As it begins in all versions, and as long as it is in the shortest. */
typedef struct type {
    object head;
    intptr_t size;
    const char *name;
    intptr_t bytes, each;
    void (*release)(object *);
    unsigned char rest[352];
} type;

extern type PyList_Type __attribute__((weak)), PyTuple_Type __attribute__((weak)), PyDict_Type __attribute__((weak)),
    PyFloat_Type __attribute__((weak));

enum kind { LIST, TUPLE, DICT, FLOAT, KINDS };
static type copies[KINDS];
static bool dicts_are_watched;

static void release(object *released, const type *own, enum kind kind)
{
    if (released->type == own)
        released->type = &copies[kind];
    copies[kind].release(released);
}

static void release_list(object *list)
{
    release(list, &PyList_Type, LIST);
}

/* The one without items stays, however often it is released. */
static void release_tuple(object *tuple)
{
    if (*(const intptr_t *)(const void *)(tuple + 1) == 0)
        copies[TUPLE].release(tuple);
    else
        release(tuple, &PyTuple_Type, TUPLE);
}

/* Who watches it (PyDict_Watch) is shown it, and may keep it. */
static void release_dict(object *dict)
{
    uint64_t watchers = ((const uint64_t *)(const void *)(dict + 1))[1] & 0xFF;
    if (dicts_are_watched && watchers)
        copies[DICT].release(dict);
    else
        release(dict, &PyDict_Type, DICT);
}

static void release_float(object *number)
{
    release(number, &PyFloat_Type, FLOAT);
}

void hw_python_free_lists_end(void)
{
    static _Atomic bool ended;
    static const struct {
        type *own;
        void (*release)(object *);
    } all[KINDS] = {[LIST] = {&PyList_Type, release_list},
                    [TUPLE] = {&PyTuple_Type, release_tuple},
                    [DICT] = {&PyDict_Type, release_dict},
                    [FLOAT] = {&PyFloat_Type, release_float}};
    const hw_python_layout *layout = hw_python_here();
    if (!layout || atomic_exchange(&ended, true))
        return;
    dicts_are_watched = layout->minor > 11;
    for (enum kind kind = LIST; kind < KINDS; kind++) {
        if (!all[kind].own || !all[kind].own->release)
            continue;
        memcpy(&copies[kind], all[kind].own, sizeof copies[kind]);
        __atomic_store_n(&all[kind].own->release, all[kind].release, __ATOMIC_RELEASE);
    }
}
