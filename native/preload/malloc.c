/* The malloc family of C, as the standards and glibc's manual describe it, over the checked heap. */
#define _GNU_SOURCE
#include "heap/heap_fast.h"
#include "life/lifecycle.h"

#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define ALIAS(of) __attribute__((visibility("default"), alias(of)))

static inline void *failing(void *payload)
{
    if (HW_UNLIKELY(!payload))
        errno = ENOMEM;
    return payload;
}

EXPORT void *malloc(size_t bytes)
{
    return failing(hw_allocate_fast(bytes, HW_MALLOC, HW_HERE));
}

EXPORT void free(void *pointer)
{
    if (pointer)
        hw_release_fast(pointer, HW_MALLOC, HW_HERE);
}

EXPORT void *calloc(size_t count, size_t each)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, each, &bytes))
        return failing(NULL);
    void *payload = hw_allocate_fast(bytes, HW_MALLOC, HW_HERE);
    if (payload)
        memset(payload, 0, hw_bytes_to_clear(payload, bytes));
    return failing(payload);
}

static __attribute__((noinline)) void *resize(void *pointer, size_t bytes, hw_caller caller)
{
    if (!pointer)
        return failing(hw_allocate_fast(bytes, HW_MALLOC, caller));
    if (bytes == 0) { /* as glibc does */
        hw_heap_release(pointer, HW_MALLOC, caller);
        return NULL;
    }
    return failing(hw_resize_fast(pointer, bytes, caller));
}

EXPORT void *realloc(void *pointer, size_t bytes)
{
    return resize(pointer, bytes, HW_HERE);
}

EXPORT void *reallocarray(void *pointer, size_t count, size_t each)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, each, &bytes))
        return failing(NULL);
    return resize(pointer, bytes, HW_HERE);
}

static inline bool is_power(size_t n)
{
    return n && !(n & (n - 1));
}

static inline void *aligned(size_t align, size_t bytes, hw_caller caller)
{
    if (align > SIZE_MAX / 2 + 1) { /* no power of two is as large */
        errno = EINVAL;
        return NULL;
    }
    if (align > (size_t)1 << 40)
        return failing(NULL);
    size_t power = 16;
    while (power < align)
        power *= 2;
    return failing(hw_heap_allocate(bytes, power, HW_ALIGNED, caller));
}

/* glibc takes an alignment that is no power of two for the next one that is. */
EXPORT void *memalign(size_t align, size_t bytes)
{
    return aligned(align, bytes, HW_HERE);
}

EXPORT void *aligned_alloc(size_t align, size_t bytes)
{
    return aligned(align, bytes, HW_HERE);
}

EXPORT int posix_memalign(void **result, size_t align, size_t bytes)
{
    if (!is_power(align) || align % sizeof(void *))
        return EINVAL;
    int before = errno;
    void *payload = aligned(align, bytes, HW_HERE);
    errno = before;
    if (!payload)
        return ENOMEM;
    *result = payload;
    return 0;
}

EXPORT void *valloc(size_t bytes)
{
    return aligned(hw_page(), bytes, HW_HERE);
}

EXPORT void *pvalloc(size_t bytes)
{
    if (bytes > SIZE_MAX - hw_page())
        return failing(NULL);
    return aligned(hw_page(), hw_round_up(bytes ? bytes : 1, hw_page()), HW_HERE);
}

EXPORT size_t malloc_usable_size(void *pointer)
{
    return pointer ? hw_size_fast(pointer, HW_HERE) : 0;
}

/* The names under which glibc's own are reachable, too: a block must come back to where it came from. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wattributes"
#pragma GCC diagnostic ignored "-Wpragmas"
#pragma GCC diagnostic ignored "-Wmissing-attributes"
ALIAS("malloc") void *__libc_malloc(size_t);
ALIAS("free") void __libc_free(void *);
ALIAS("calloc") void *__libc_calloc(size_t, size_t);
ALIAS("realloc") void *__libc_realloc(void *, size_t);
ALIAS("memalign") void *__libc_memalign(size_t, size_t);
ALIAS("valloc") void *__libc_valloc(size_t);
ALIAS("pvalloc") void *__libc_pvalloc(size_t);
ALIAS("free") void cfree(void *);
#pragma GCC diagnostic pop

/* --- the heap as a whole ---------------------------------------------------------------------- */

EXPORT int malloc_trim(size_t pad)
{
    (void)pad;
    return hw_heap_trim(HW_HERE) != 0;
}

EXPORT struct mallinfo2 mallinfo2(void)
{
    hw_heap_use use = hw_heap_measure(HW_HERE);
    return (struct mallinfo2){.arena = use.pools,
                              .ordblks = use.free_nodes,
                              .hblks = use.big_blocks,
                              .hblkhd = use.big,
                              .uordblks = use.pools - use.free,
                              .fordblks = use.free};
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
EXPORT struct mallinfo mallinfo(void)
{
    struct mallinfo2 wide = mallinfo2();
    return (struct mallinfo){.arena = (int)wide.arena,
                             .ordblks = (int)wide.ordblks,
                             .hblks = (int)wide.hblks,
                             .hblkhd = (int)wide.hblkhd,
                             .uordblks = (int)wide.uordblks,
                             .fordblks = (int)wide.fordblks};
}
#pragma GCC diagnostic pop

/* There is nothing to tune; a program that tunes glibc's heap is told that it worked. */
EXPORT int mallopt(int parameter, int value)
{
    (void)parameter;
    (void)value;
    return 1;
}

EXPORT int malloc_info(int options, FILE *stream)
{
    if (options != 0) {
        errno = EINVAL;
        return -1;
    }
    hw_heap_use use = hw_heap_measure(HW_HERE);
    fprintf(stream,
            "<malloc version=\"1\">\n<heap nr=\"0\">\n<system type=\"current\" size=\"%zu\"/>\n</heap>\n"
            "<total type=\"rest\" count=\"%zu\" size=\"%zu\"/>\n<total type=\"mmap\" count=\"%zu\" size=\"%zu\"/>\n"
            "<system type=\"current\" size=\"%zu\"/>\n</malloc>\n",
            use.pools, use.free_nodes, use.free, use.big_blocks, use.big, use.pools);
    return 0;
}

EXPORT void malloc_stats(void)
{
    hw_heap_use use = hw_heap_measure(HW_HERE);
    fprintf(stderr, "heapwitness: %zu bytes in pools, %zu of them in use; %zu big blocks of %zu bytes\n", use.pools,
            use.pools - use.free, use.big_blocks, use.big);
}

/* --- ends that run no destructors ------------------------------------------------------------- */

EXPORT _Noreturn void _exit(int status)
{
    hw_process_ends(HW_HERE);
    for (;;)
        hw_call_anyway(SYS_exit_group, status, 0, 0, 0, 0, 0);
}

EXPORT _Noreturn void _Exit(int status)
{
    _exit(status);
}
