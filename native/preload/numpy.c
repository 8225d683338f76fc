/* The data of NumPy's arrays in the checked heap, without a way round.

   By itself NumPy asks malloc for it, but keeps small blocks that were released in a cache of its own, where nobody
   sees what is written into them. Its allocator is a struct among its variables, with a name, which all threads and
   contexts use that set no other (NEP 49): the functions in it are exchanged. Blocks are the same heap's before and
   after that, so it does not matter when it happens, nor whether a thread sees half of it.

   numpy.py does the same through NumPy's interface, for a context. */
#define _GNU_SOURCE
#define HW_SITES_BY_PYTHON 1
#include "python.h"

#include "heap/heap_fast.h"

#include <dlfcn.h>
#include <link.h>
#include <string.h>

static const struct {
    char name[127];
    uint8_t version;
} usual = {"default_allocator", 1};

/* From so many bytes on NumPy's own functions ask for larger pages; those blocks they never keep. */
enum { LARGE = 4 << 20 };
/* Up to so many it would keep; they are held back before they are used again (release.h). */
enum { KEPT = HW_CLASSES << HW_FIXED_GRANULE_LOG2 };
static hw_array_handler own;
static _Atomic(hw_array_handler *) changed;

static void *take(void *context, size_t bytes)
{
    if (bytes >= LARGE && own.malloc)
        return own.malloc(own.context, bytes);
    return hw_allocate_fast(bytes + !bytes, HW_MALLOC, HW_HERE_IN(context));
}

static void *take_cleared(void *context, size_t count, size_t each)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, each, &bytes))
        return NULL;
    if (bytes >= LARGE && own.calloc)
        return own.calloc(own.context, count, each);
    void *payload = hw_allocate_fast(bytes + !bytes, HW_MALLOC, HW_HERE_IN(context));
    if (payload)
        memset(payload, 0, hw_bytes_to_clear(payload, bytes));
    return payload;
}

static void *resize(void *context, void *pointer, size_t bytes)
{
    return pointer ? hw_resize_fast(pointer, bytes + !bytes, HW_HERE_IN(context))
                   : hw_allocate_fast(bytes + !bytes, HW_MALLOC, HW_HERE_IN(context));
}

/* `bytes` as the array has them, which need not be the block's. */
static void give_back(void *context, void *pointer, size_t bytes)
{
    if (!pointer)
        return;
    if (bytes > KEPT)
        hw_release_fast(pointer, HW_MALLOC, HW_HERE_IN(context));
    else
        hw_heap_release(pointer, HW_MALLOC, HW_HERE_IN(context));
}

/* A handler for whoever sets one (numpy.py). */
__attribute__((visibility("default"))) hw_array_handler heapwitness_array_handler = {
    "heapwitness", 1, (void *)((uintptr_t)HW_OF_ARRAYS << HW_DOMAIN_AT), take, take_cleared, resize, give_back};

static void change(hw_array_handler *theirs)
{
    own = *theirs;
    const hw_array_handler *ours = &heapwitness_array_handler;
    __atomic_store_n(&theirs->free, ours->free, __ATOMIC_RELEASE);
    __atomic_store_n(&theirs->realloc, ours->realloc, __ATOMIC_RELEASE);
    __atomic_store_n(&theirs->calloc, ours->calloc, __ATOMIC_RELEASE);
    __atomic_store_n(&theirs->malloc, ours->malloc, __ATOMIC_RELEASE);
    __atomic_store_n(&theirs->context, ours->context, __ATOMIC_RELEASE);
}

/* The same for the handler that NumPy itself names (numpy.py). False: its functions are others. */
__attribute__((visibility("default"))) bool heapwitness_take_arrays(hw_array_handler *theirs)
{
    hw_array_handler *none = NULL;
    if (atomic_load(&changed) == theirs)
        return true;
    if (memcmp(theirs, &usual, sizeof usual) != 0 || !atomic_compare_exchange_strong(&changed, &none, theirs))
        return false;
    change(theirs);
    return true;
}

#ifdef DLFO_STRUCT_HAS_EH_DBASE
extern int _dl_find_object(void *pc, struct dl_find_object *result) __attribute__((weak));

/* In what was loaded there, as it is in the file; NULL: nothing in it looks like that, or more than one thing. */
static hw_array_handler *find(const struct dl_find_object *found)
{
    const char *start = found->dlfo_map_start;
    const ElfW(Ehdr) *head = (const void *)start;
    const ElfW(Phdr) *segment = (const void *)(start + head->e_phoff);
    hw_array_handler *only = NULL;
    if (memcmp(head->e_ident, ELFMAG, SELFMAG) != 0 || head->e_phentsize != sizeof *segment)
        return NULL;
    for (unsigned i = 0; i < head->e_phnum; i++, segment++) {
        if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_W))
            continue;
        char *at = (char *)(found->dlfo_link_map->l_addr + segment->p_vaddr), *end = at + segment->p_memsz;
        while (at < end && (at = memmem(at, (size_t)(end - at), &usual, sizeof usual)) != NULL) {
            if (only || (uintptr_t)at % _Alignof(hw_array_handler) || (size_t)(end - at) < sizeof(hw_array_handler))
                return NULL;
            only = (hw_array_handler *)(void *)at;
            at += sizeof usual;
        }
    }
    return only;
}

static bool is_within(const struct dl_find_object *found, uintptr_t function)
{
    return function >= (uintptr_t)found->dlfo_map_start && function < (uintptr_t)found->dlfo_map_end;
}

static bool is_usual(const hw_array_handler *h, const struct dl_find_object *found)
{
    return !h->context && is_within(found, (uintptr_t)h->malloc) && is_within(found, (uintptr_t)h->calloc) &&
           is_within(found, (uintptr_t)h->realloc) && is_within(found, (uintptr_t)h->free);
}

bool hw_numpy_met(uintptr_t pc)
{
    struct dl_find_object found;
    if (atomic_load(&changed))
        return true;
    if (!&_dl_find_object || _dl_find_object((void *)pc, &found) != 0 ||
        !strstr(found.dlfo_link_map->l_name, "/_multiarray_umath."))
        return false;
    hw_array_handler *theirs = find(&found), *none = NULL;
    if (!theirs || !is_usual(theirs, &found) || !atomic_compare_exchange_strong(&changed, &none, theirs))
        return false;
    change(theirs);
    return true;
}
#else
bool hw_numpy_met(uintptr_t pc)
{
    (void)pc;
    return false;
}
#endif
