/* What a program looks up in the C library alone, as ctypes.CDLL("libc.so.6").free is: it would lead past the engine,
   to libc's own heap, while libc's other functions (strdup, getline) have their blocks from this one. So it gets what
   it gets by the name alone. */
#define _GNU_SOURCE
#include "os/system.h"

#include <dlfcn.h>
#include <gnu/libc-version.h>
#include <link.h>

typedef void *finder(void *restrict, const char *restrict);
static finder *known;

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

/* The next one: another library's, if there is one. The program may call this one before the engine's constructors. */
static __attribute__((noinline)) finder *find(void)
{
    static const char *const versions[] = {"GLIBC_2.34", "GLIBC_2.17", "GLIBC_2.2.5"};
    finder *found = NULL, *next;
    for (unsigned i = 0; !found && i < sizeof versions / sizeof versions[0]; i++)
        *(void **)&found = dlvsym(RTLD_NEXT, "dlsym", versions[i]);
    if (!found)
        return NULL;
    *(void **)&next = found(RTLD_NEXT, "dlsym");
    __atomic_store_n(&known, next ? next : found, __ATOMIC_RELAXED);
    return next ? next : found;
}

/* The engine, to look up in it. */
static void *engine(void)
{
    static void *opened;
    Dl_info information;
    void *own = __atomic_load_n(&opened, __ATOMIC_RELAXED);
    if (!own && dladdr((void *)&known, &information) && (own = dlopen(information.dli_fname, RTLD_LAZY | RTLD_NOLOAD)))
        __atomic_store_n(&opened, own, __ATOMIC_RELAXED);
    return own;
}

static __attribute__((noinline)) void *find_in(finder *real, void *library, const char *name)
{
    const char *(*of_libc)(void) = gnu_get_libc_version;
    void *found = real(library, name), *own, *ours;
    const struct link_map *in = found ? object_of(found) : NULL;
    if (!in || in != object_of(*(void **)&of_libc) || !(own = engine()))
        return found;
    ours = real(own, name); /* libc's, where the engine has none */
    if (!ours)
        dlerror();
    return ours ? ours : found;
}

/* The real one looks at its return address to know who asks where no library is named: so that is a jump. */
__attribute__((visibility("default"), optimize("O2", "optimize-sibling-calls"))) void *dlsym(void *restrict library,
                                                                                             const char *restrict name)
{
    finder *real = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (HW_UNLIKELY(!real) && !(real = find()))
        return NULL;
    if (library == RTLD_NEXT || library == RTLD_DEFAULT)
        return real(library, name);
    return find_in(real, library, name);
}
