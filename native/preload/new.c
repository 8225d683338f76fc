/* C++'s operator new and delete in all their forms, by their linker names, so that no C++ compiler is
   needed. What the standard calls replaceable stays so: new[] goes through a program's own new, the sized
   and aligned deletes through its own plain one. */
#define _GNU_SOURCE
#include "heap/heap_fast.h"

#include <dlfcn.h>
#include <stdlib.h>

#define NAMED(name) __asm__(name) __attribute__((visibility("default")))
typedef struct nothrow nothrow; /* std::nothrow_t */
typedef void (*new_handler)(void);

void *new_one(size_t) NAMED("_Znwm");
void *new_many(size_t) NAMED("_Znam");
void *new_one_quiet(size_t, const nothrow *) NAMED("_ZnwmRKSt9nothrow_t");
void *new_many_quiet(size_t, const nothrow *) NAMED("_ZnamRKSt9nothrow_t");
void *new_one_aligned(size_t, size_t) NAMED("_ZnwmSt11align_val_t");
void *new_many_aligned(size_t, size_t) NAMED("_ZnamSt11align_val_t");
void *new_one_aligned_quiet(size_t, size_t, const nothrow *) NAMED("_ZnwmSt11align_val_tRKSt9nothrow_t");
void *new_many_aligned_quiet(size_t, size_t, const nothrow *) NAMED("_ZnamSt11align_val_tRKSt9nothrow_t");
void delete_one(void *) NAMED("_ZdlPv");
void delete_many(void *) NAMED("_ZdaPv");
void delete_one_sized(void *, size_t) NAMED("_ZdlPvm");
void delete_many_sized(void *, size_t) NAMED("_ZdaPvm");
void delete_one_quiet(void *, const nothrow *) NAMED("_ZdlPvRKSt9nothrow_t");
void delete_many_quiet(void *, const nothrow *) NAMED("_ZdaPvRKSt9nothrow_t");
void delete_one_aligned(void *, size_t) NAMED("_ZdlPvSt11align_val_t");
void delete_many_aligned(void *, size_t) NAMED("_ZdaPvSt11align_val_t");
void delete_one_sized_aligned(void *, size_t, size_t) NAMED("_ZdlPvmSt11align_val_t");
void delete_many_sized_aligned(void *, size_t, size_t) NAMED("_ZdaPvmSt11align_val_t");
void delete_one_aligned_quiet(void *, size_t, const nothrow *) NAMED("_ZdlPvSt11align_val_tRKSt9nothrow_t");
void delete_many_aligned_quiet(void *, size_t, const nothrow *) NAMED("_ZdaPvSt11align_val_tRKSt9nothrow_t");

/* Ours, whatever the program put in its place. */
extern void *own_new_one(size_t) __attribute__((alias("_Znwm"), visibility("hidden")));
extern void *own_new_many(size_t) __attribute__((alias("_Znam"), visibility("hidden")));
extern void *own_new_one_aligned(size_t, size_t) __attribute__((alias("_ZnwmSt11align_val_t"), visibility("hidden")));
extern void *own_new_many_aligned(size_t, size_t) __attribute__((alias("_ZnamSt11align_val_t"), visibility("hidden")));
extern void *own_new_one_quiet(size_t, const nothrow *)
    __attribute__((alias("_ZnwmRKSt9nothrow_t"), visibility("hidden")));
extern void *own_new_many_quiet(size_t, const nothrow *)
    __attribute__((alias("_ZnamRKSt9nothrow_t"), visibility("hidden")));
extern void own_delete_one(void *) __attribute__((alias("_ZdlPv"), visibility("hidden")));
extern void own_delete_many(void *) __attribute__((alias("_ZdaPv"), visibility("hidden")));
extern void own_delete_one_aligned(void *, size_t)
    __attribute__((alias("_ZdlPvSt11align_val_t"), visibility("hidden")));

/* A function's address by the dynamic linker's word; the compiler must not take it for known. */
#define REPLACED(name)                                                                                                 \
    (({                                                                                                                \
         __typeof(&name) seen = &name;                                                                                 \
         __asm__("" : "+r"(seen));                                                                                     \
         seen;                                                                                                         \
     }) != &own_##name)

/* A function of the C++ library, which may have been loaded for a part of the program only. */
static HW_COLD void *of_cxx(const char *name)
{
    static const char *const libraries[] = {"libstdc++.so.6", "libc++abi.so.1", "libc++.so.1"};
    void *found = dlsym(RTLD_NEXT, name);
    for (unsigned i = 0; !found && i < sizeof libraries / sizeof libraries[0]; i++) {
        void *library = dlopen(libraries[i], RTLD_LAZY | RTLD_NOLOAD);
        if (library)
            found = dlsym(library, name);
    }
    return found;
}

static new_handler the_handler(void)
{
    new_handler (*get)(void);
    *(void **)&get = of_cxx("_ZSt15get_new_handlerv");
    return get ? get() : NULL;
}

static HW_COLD void *retry(size_t bytes, size_t align, unsigned origin, hw_caller caller)
{
    for (;;) {
        new_handler handler = the_handler();
        if (!handler) {
            void (*throw_bad_alloc)(void);
            *(void **)&throw_bad_alloc = of_cxx("_ZSt17__throw_bad_allocv");
            if (throw_bad_alloc)
                throw_bad_alloc();
            abort();
        }
        handler();
        void *payload = hw_heap_allocate(bytes, align, origin, caller);
        if (payload)
            return payload;
    }
}

/* A handler may throw, and C cannot catch: the C++ library's own form can, and calls ours inside. */
static HW_COLD void *retry_quietly(size_t bytes, const nothrow *tag, const char *name)
{
    void *(*next)(size_t, const nothrow *);
    *(void **)&next = of_cxx(name);
    return next ? next(bytes, tag) : NULL;
}

static HW_COLD void *retry_aligned_quietly(size_t bytes, size_t align, const nothrow *tag, const char *name)
{
    void *(*next)(size_t, size_t, const nothrow *);
    *(void **)&next = of_cxx(name);
    return next ? next(bytes, align, tag) : NULL;
}

static HW_COLD void *aligned(size_t bytes, size_t align, unsigned origin, hw_caller caller)
{
    void *payload = hw_heap_allocate(bytes, align, origin, caller);
    return payload ? payload : retry(bytes, align, origin, caller);
}

void *new_one(size_t bytes)
{
    void *payload = hw_allocate_fast(bytes, HW_NEW, HW_HERE);
    return HW_LIKELY(payload) ? payload : retry(bytes, 0, HW_NEW, HW_HERE);
}

void *new_many(size_t bytes)
{
    if (HW_UNLIKELY(REPLACED(new_one)))
        return new_one(bytes);
    void *payload = hw_allocate_fast(bytes, HW_NEW_ARRAY, HW_HERE);
    return HW_LIKELY(payload) ? payload : retry(bytes, 0, HW_NEW_ARRAY, HW_HERE);
}

void *new_one_quiet(size_t bytes, const nothrow *tag)
{
    if (HW_UNLIKELY(REPLACED(new_one)))
        return retry_quietly(bytes, tag, "_ZnwmRKSt9nothrow_t");
    void *payload = hw_heap_allocate(bytes, 0, HW_NEW, HW_HERE);
    return HW_LIKELY(payload) ? payload : retry_quietly(bytes, tag, "_ZnwmRKSt9nothrow_t");
}

void *new_many_quiet(size_t bytes, const nothrow *tag)
{
    if (HW_UNLIKELY(REPLACED(new_one) || REPLACED(new_many)))
        return retry_quietly(bytes, tag, "_ZnamRKSt9nothrow_t");
    void *payload = hw_heap_allocate(bytes, 0, HW_NEW_ARRAY, HW_HERE);
    return HW_LIKELY(payload) ? payload : retry_quietly(bytes, tag, "_ZnamRKSt9nothrow_t");
}

void *new_one_aligned(size_t bytes, size_t align)
{
    return aligned(bytes, align, HW_NEW, HW_HERE);
}

void *new_many_aligned(size_t bytes, size_t align)
{
    if (HW_UNLIKELY(REPLACED(new_one_aligned)))
        return new_one_aligned(bytes, align);
    return aligned(bytes, align, HW_NEW_ARRAY, HW_HERE);
}

void *new_one_aligned_quiet(size_t bytes, size_t align, const nothrow *tag)
{
    static const char name[] = "_ZnwmSt11align_val_tRKSt9nothrow_t";
    if (HW_UNLIKELY(REPLACED(new_one_aligned)))
        return retry_aligned_quietly(bytes, align, tag, name);
    void *payload = hw_heap_allocate(bytes, align, HW_NEW, HW_HERE);
    return HW_LIKELY(payload) ? payload : retry_aligned_quietly(bytes, align, tag, name);
}

void *new_many_aligned_quiet(size_t bytes, size_t align, const nothrow *tag)
{
    static const char name[] = "_ZnamSt11align_val_tRKSt9nothrow_t";
    if (HW_UNLIKELY(REPLACED(new_one_aligned) || REPLACED(new_many_aligned)))
        return retry_aligned_quietly(bytes, align, tag, name);
    void *payload = hw_heap_allocate(bytes, align, HW_NEW_ARRAY, HW_HERE);
    return HW_LIKELY(payload) ? payload : retry_aligned_quietly(bytes, align, tag, name);
}

/* The forms that C++ programs call most are the fast way itself; the others share one copy of it. */
static __attribute__((noinline)) void released(void *pointer, unsigned family, hw_caller caller)
{
    if (pointer)
        hw_release_fast(pointer, family, caller);
}

void delete_one(void *pointer)
{
    if (pointer)
        hw_release_fast(pointer, HW_NEW, HW_HERE);
}

void delete_many(void *pointer)
{
    if (HW_UNLIKELY(REPLACED(delete_one)))
        delete_one(pointer);
    else
        released(pointer, HW_NEW_ARRAY, HW_HERE);
}

void delete_one_sized(void *pointer, size_t bytes)
{
    (void)bytes;
    if (HW_UNLIKELY(REPLACED(delete_one)))
        delete_one(pointer);
    else if (pointer)
        hw_release_fast(pointer, HW_NEW, HW_HERE);
}

void delete_one_quiet(void *pointer, const nothrow *tag)
{
    (void)tag;
    if (HW_UNLIKELY(REPLACED(delete_one)))
        delete_one(pointer);
    else
        released(pointer, HW_NEW, HW_HERE);
}

static inline void delete_many_for(void *pointer, hw_caller caller)
{
    if (HW_UNLIKELY(REPLACED(delete_many) || REPLACED(delete_one)))
        delete_many(pointer);
    else
        released(pointer, HW_NEW_ARRAY, caller);
}

void delete_many_sized(void *pointer, size_t bytes)
{
    (void)bytes;
    delete_many_for(pointer, HW_HERE);
}

void delete_many_quiet(void *pointer, const nothrow *tag)
{
    (void)tag;
    delete_many_for(pointer, HW_HERE);
}

void delete_one_aligned(void *pointer, size_t align)
{
    (void)align;
    released(pointer, HW_NEW, HW_HERE);
}

static inline void delete_aligned_for(void *pointer, size_t align, unsigned family, hw_caller caller)
{
    if (HW_UNLIKELY(REPLACED(delete_one_aligned)))
        delete_one_aligned(pointer, align);
    else
        released(pointer, family, caller);
}

void delete_many_aligned(void *pointer, size_t align)
{
    delete_aligned_for(pointer, align, HW_NEW_ARRAY, HW_HERE);
}

void delete_one_sized_aligned(void *pointer, size_t bytes, size_t align)
{
    (void)bytes;
    delete_aligned_for(pointer, align, HW_NEW, HW_HERE);
}

void delete_many_sized_aligned(void *pointer, size_t bytes, size_t align)
{
    (void)bytes;
    delete_aligned_for(pointer, align, HW_NEW_ARRAY, HW_HERE);
}

void delete_one_aligned_quiet(void *pointer, size_t align, const nothrow *tag)
{
    (void)tag;
    delete_aligned_for(pointer, align, HW_NEW, HW_HERE);
}

void delete_many_aligned_quiet(void *pointer, size_t align, const nothrow *tag)
{
    (void)tag;
    delete_aligned_for(pointer, align, HW_NEW_ARRAY, HW_HERE);
}

/* A replaced operator calls malloc or free, as a rule, and goes with the default form of the other. */
bool hw_families_mix(void)
{
    return REPLACED(new_one) || REPLACED(new_many) || REPLACED(new_one_quiet) || REPLACED(new_many_quiet) ||
           REPLACED(new_one_aligned) || REPLACED(new_many_aligned) || REPLACED(delete_one) || REPLACED(delete_many) ||
           REPLACED(delete_one_aligned);
}
