/* What a program looks up in the C library alone, as ctypes.CDLL("libc.so.6").free is, or by a version of libc's: it
   would lead past the engine, to libc's own heap, while libc's other functions (strdup, getline) have their blocks from
   this one. So it gets what it gets by the name alone. */
#define _GNU_SOURCE
#include "os/next.h"
#include "os/system.h"

#include <dlfcn.h>
#include <gnu/libc-version.h>
#include <link.h>
#include <string.h>

typedef void *finder(void *restrict, const char *restrict);
static finder *next;
HW_FOLLOWER follower = {"dlsym", &next};

typedef void *versioned_finder(void *restrict, const char *restrict, const char *restrict);
static versioned_finder *next_versioned;
HW_FOLLOWER versioned_follower = {"dlvsym", &next_versioned};

/* From glibc 2.35 on; before, nothing is known. */
#ifdef DLFO_STRUCT_HAS_EH_DBASE
extern int _dl_find_object(void *pc, struct dl_find_object *result) __attribute__((weak));
#endif

static const struct link_map *object_of(const void *address)
{
#ifdef DLFO_STRUCT_HAS_EH_DBASE
    struct dl_find_object object;
    if (&_dl_find_object && _dl_find_object((void *)(uintptr_t)address, &object) == 0)
        return object.dlfo_link_map;
#else
    (void)address;
#endif
    return NULL;
}

/* The engine, to look up in it. */
static void *engine(void)
{
    static void *opened;
    Dl_info information;
    void *own = __atomic_load_n(&opened, __ATOMIC_RELAXED);
    if (!own && dladdr((void *)&next, &information) && (own = dlopen(information.dli_fname, RTLD_LAZY | RTLD_NOLOAD)))
        __atomic_store_n(&opened, own, __ATOMIC_RELAXED);
    return own;
}

/* The engine's function of that name for what was found in libc, where the engine has one. */
static void *engines(void *found, const char *name)
{
    const char *(*of_libc)(void) = gnu_get_libc_version;
    void *own, *ours;
    const struct link_map *in = found ? object_of(found) : NULL;
    if (!in || in != object_of(*(void **)&of_libc) || !(own = engine()))
        return found;
    ours = next(own, name); /* libc's, where the engine has none */
    if (!ours)
        dlerror();
    return ours ? ours : found;
}

static __attribute__((noinline)) void *find_in(void *library, const char *name)
{
    return engines(next(library, name), name);
}

static bool allocates(const char *name)
{
    static const char *const names[] = {
        "malloc",         "free",   "calloc",  "realloc",      "memalign",          "aligned_alloc",
        "posix_memalign", "valloc", "pvalloc", "reallocarray", "malloc_usable_size"};
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

/* The engine's functions have no version: one that is looked up by its version is libc's. */
static __attribute__((noinline)) void *find_version_in(void *library, const char *name, const char *version)
{
    return engines(next_versioned(library, name, version), name);
}

/* For who looks behind itself: what stands behind the engine, as all libraries do, is passed by wherever a name is
   called, and so it is here. */
static __attribute__((noinline)) void *engines_for_next(const char *name, const char *version)
{
    void *found = version ? next_versioned(RTLD_NEXT, name, version) : next(RTLD_NEXT, name);
    void *own = found ? engine() : NULL;
    return own ? next(own, name) : NULL;
}

/* The real ones look at their return address to know who asks where no library is named: so that is a jump. */
#define JUMPS __attribute__((visibility("default"), optimize("O2", "optimize-sibling-calls")))

JUMPS void *dlsym(void *restrict library, const char *restrict name)
{
    if (HW_UNLIKELY(!next)) /* called before the engine's constructors */
        hw_find_nexts();
    finder *real = next;
    if (HW_UNLIKELY(!real))
        return NULL;
    void *ours = library == RTLD_NEXT && allocates(name) ? engines_for_next(name, NULL) : NULL;
    if (ours)
        return ours;
    if (library == RTLD_NEXT || library == RTLD_DEFAULT)
        return real(library, name);
    return find_in(library, name);
}

JUMPS void *dlvsym(void *restrict library, const char *restrict name, const char *restrict version)
{
    if (HW_UNLIKELY(!next_versioned || !next))
        hw_find_nexts();
    versioned_finder *real = next_versioned;
    if (HW_UNLIKELY(!real || !next))
        return NULL;
    void *ours = library == RTLD_NEXT && allocates(name) ? engines_for_next(name, version) : NULL;
    if (ours)
        return ours;
    if (library == RTLD_NEXT || !allocates(name))
        return real(library, name, version);
    return find_version_in(library, name, version);
}
