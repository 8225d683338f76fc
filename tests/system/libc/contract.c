/* What the standards and glibc's manual promise about single calls. */
#define _GNU_SOURCE
#include "check.h"

#include <malloc.h>
#include <sys/mman.h>

static const size_t sizes_to_try[] = {0,    1,    7,    8,    15,   16,    17,    24,     31,     32,     100,    1000,
                                      1023, 1024, 1025, 4096, 9000, 65536, 99999, 300000, 524288, 600000, 5000000};
enum { SIZES = sizeof sizes_to_try / sizeof sizes_to_try[0] };
#define EACH_SIZE(size)                                                                                                \
    for (size_t size##_at = 0, size; size##_at < SIZES && (size = sizes_to_try[size##_at], 1); size##_at++)

static void zero(void)
{
    char *a = malloc(opaque(0)), *b = malloc(opaque(0)), *c = calloc(opaque(0), 8), *d = calloc(8, opaque(0));
    CHECK(a && b && c && d);
    CHECK(a != b && b != c && c != d && a != d);
    free(a);
    free(b);
    free(c);
    free(d);
    free(NULL);
}

static void alignment(void)
{
    EACH_SIZE(size)
    {
        void *block = malloc(size), *cleared = calloc(1, size), *moved = realloc(malloc(1), size + 1);
        CHECK(((uintptr_t)block & 15) == 0 && ((uintptr_t)cleared & 15) == 0 && ((uintptr_t)moved & 15) == 0);
        free(block);
        free(cleared);
        free(moved);
    }
}

static void aligned_families(void)
{
    for (size_t align = 1; align <= 4 << 20; align *= 2)
        EACH_SIZE(size)
        {
            void *one = memalign(align, size), *two = aligned_alloc(align, size), *three = hidden((void *)1);
            int status = posix_memalign(&three, align, size);
            CHECK(one && two);
            CHECK(((uintptr_t)one & (align - 1)) == 0 && ((uintptr_t)two & (align - 1)) == 0);
            CHECK(malloc_usable_size(one) >= size);
            memset(one, 1, size);
            memset(two, 2, size);
            if (align < sizeof(void *)) {
                CHECK(status == EINVAL && three == (void *)1);
            } else {
                CHECK(status == 0 && ((uintptr_t)three & (align - 1)) == 0);
                memset(three, 3, size);
                three = realloc(three, size * 2 + 1);
                CHECK(three && (size == 0 || *(char *)three == 3));
                free(three);
            }
            free(one);
            free(two);
        }
}

static void odd_alignments(void)
{
    void *block = hidden((void *)1);
    CHECK(posix_memalign(&block, opaque(0), 16) == EINVAL);
    CHECK(posix_memalign(&block, opaque(24), 16) == EINVAL);
    CHECK(posix_memalign(&block, opaque(48), 16) == EINVAL);
    CHECK(posix_memalign(&block, opaque(4), 16) == EINVAL);
    CHECK(posix_memalign(&block, opaque(SIZE_MAX), 16) == EINVAL);
    CHECK(block == (void *)1);
    static const size_t aligns[] = {0, 3, 17, 24, 100, 1000, 5000};
    for (size_t i = 0; i < sizeof aligns / sizeof aligns[0]; i++) {
        size_t power = 1;
        while (power < aligns[i])
            power *= 2;
        void *rounded = memalign(opaque(aligns[i]), 100);
        CHECK(rounded && ((uintptr_t)rounded & (power - 1)) == 0);
        free(rounded);
    }
    errno = 0;
    CHECK(memalign(opaque(SIZE_MAX), 16) == NULL && errno == EINVAL);
    errno = 0;
    CHECK(memalign(opaque(SIZE_MAX / 2 + 2), 16) == NULL && errno == EINVAL);
    errno = 0;
    CHECK(memalign(opaque((size_t)1 << 62), 16) == NULL && errno == ENOMEM);
    CHECK(posix_memalign(&block, opaque((size_t)1 << 62), 16) == ENOMEM && block == (void *)1);
}

static void pages(void)
{
    static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 100000, 700000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        void *page = valloc(sizes[i]), *whole = pvalloc(sizes[i]);
        CHECK(page && whole && ((uintptr_t)page & 4095) == 0 && ((uintptr_t)whole & 4095) == 0);
        CHECK(malloc_usable_size(page) >= sizes[i]);
        CHECK(malloc_usable_size(whole) >= (sizes[i] + 4095) / 4096 * 4096);
        memset(page, 1, sizes[i]);
        memset(whole, 1, malloc_usable_size(whole));
        free(page);
        free(whole);
    }
    errno = 0;
    CHECK(pvalloc(opaque(SIZE_MAX)) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(pvalloc(opaque(SIZE_MAX - 4096)) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(valloc(opaque(SIZE_MAX - 100)) == NULL && errno == ENOMEM);
}

static void errno_is_set(void)
{
    static const size_t sizes[] = {SIZE_MAX,
                                   SIZE_MAX - 15,
                                   SIZE_MAX - 64,
                                   SIZE_MAX - 4096,
                                   (size_t)PTRDIFF_MAX + 1,
                                   PTRDIFF_MAX,
                                   (size_t)PTRDIFF_MAX - 4096,
                                   (size_t)1 << 62,
                                   (size_t)1 << 48};
    char *block = malloc(100);
    memset(block, 'k', 100);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t size = opaque(sizes[i]);
        void *result = hidden((void *)1);
        errno = 0;
        CHECK(malloc(size) == NULL && errno == ENOMEM);
        errno = 0;
        CHECK(calloc(size, 1) == NULL && errno == ENOMEM);
        errno = 0;
        CHECK(calloc(1, size) == NULL && errno == ENOMEM);
        errno = 0;
        CHECK(realloc(NULL, size) == NULL && errno == ENOMEM);
        errno = 0;
        CHECK(realloc(block, size) == NULL && errno == ENOMEM);
        errno = 0;
        CHECK(reallocarray(block, size, 1) == NULL && errno == ENOMEM);
        errno = 0;
        CHECK(memalign(64, size) == NULL && errno == ENOMEM);
        errno = 0;
        CHECK(aligned_alloc(4096, size) == NULL && errno == ENOMEM);
        errno = 0;
        CHECK(posix_memalign(&result, 64, size) == ENOMEM && result == (void *)1);
    }
    for (int i = 0; i < 100; i++)
        CHECK(block[i] == 'k');
    free(block);
}

static void errno_is_kept(void)
{
    EACH_SIZE(size)
    {
        void *pointer;
        errno = 1234;
        char *block = malloc(size);
        CHECK(errno == 1234);
        free(block);
        CHECK(errno == 1234);
        block = realloc(calloc(1, size + 1), size * 2 + 1);
        CHECK(posix_memalign(&pointer, 256, size) == 0);
        CHECK(errno == 1234);
        free(pointer);
        free(block);
        CHECK(errno == 1234);
        CHECK(posix_memalign(&pointer, 3, size) == EINVAL);
        CHECK(errno == 1234);
    }
    free(NULL);
    CHECK(errno == 1234);
}

static void overflow(void)
{
    static const size_t halves[] = {(size_t)1 << 32, (size_t)1 << 33, (size_t)1 << 63, SIZE_MAX, SIZE_MAX / 2 + 1};
    char *block = calloc(1, 50);
    for (size_t i = 0; i < sizeof halves / sizeof halves[0]; i++)
        for (size_t j = 0; j < sizeof halves / sizeof halves[0]; j++) {
            size_t count = opaque(halves[i]), each = opaque(halves[j]);
            errno = 0;
            CHECK(calloc(count, each) == NULL && errno == ENOMEM);
            errno = 0;
            CHECK(reallocarray(NULL, count, each) == NULL && errno == ENOMEM);
            errno = 0;
            CHECK(reallocarray(block, count, each) == NULL && errno == ENOMEM);
        }
    block = reallocarray(block, 10, 10);
    CHECK(block && malloc_usable_size(block) >= 100);
    free(block);
}

static void usable(void)
{
    CHECK(malloc_usable_size(NULL) == 0);
    EACH_SIZE(size)
    {
        char *block = malloc(size);
        size_t room = malloc_usable_size(block);
        CHECK(room >= size);
        memset(block, 0xA5, room);
        block = realloc(block, room + 1);
        CHECK(malloc_usable_size(block) >= room + 1);
        memset(block, 0xA5, malloc_usable_size(block));
        free(block);
    }
}

static void resizing(void)
{
    /* As glibc does: a size of zero releases, and NULL allocates. */
    char *block = realloc(NULL, 100);
    CHECK(block);
    CHECK(realloc(block, opaque(0)) == NULL);
    block = realloc(NULL, opaque(0));
    CHECK(block);
    free(block);
    CHECK(reallocarray(malloc(10), opaque(0), 5) == NULL);
    EACH_SIZE(from)
    {
        EACH_SIZE(to)
        {
            unsigned char *moved = malloc(from);
            for (size_t k = 0; k < from; k++)
                moved[k] = (unsigned char)(k * 7 + 3);
            if (to == 0)
                continue;
            moved = realloc(moved, to);
            CHECK(moved);
            for (size_t k = 0; k < from && k < to; k++)
                CHECK(moved[k] == (unsigned char)(k * 7 + 3));
            memset(moved, 1, to);
            free(moved);
        }
    }
}

static void growing(void)
{
    size_t size = 1;
    unsigned char *block = malloc(size), *other[40];
    block[0] = 1;
    for (int i = 0; i < 40; i++) {
        size_t more = size + size / 2 + 1;
        block = realloc(block, more);
        CHECK(block);
        other[i] = malloc(size % 1000);
        for (size_t k = size; k < more; k += 509)
            block[k] = (unsigned char)i;
        CHECK(block[0] == 1);
        size = more;
        if (size > 64 << 20)
            size = 1 << 10, block = realloc(block, size);
    }
    free(block);
    for (int i = 0; i < 40; i++)
        free(other[i]);
}

static void cleared(void)
{
    for (int round = 0; round < 3; round++)
        EACH_SIZE(size)
        {
            char *dirty = malloc(size);
            memset(dirty, 0xEE, size);
            free(dirty);
            char *block = calloc(size / 4 + 1, 4);
            for (size_t k = 0; k < size / 4 * 4 + 4; k++)
                CHECK(block[k] == 0);
            memset(block, 0xEE, size / 4 * 4 + 4);
            free(block);
        }
}

static void huge(void)
{
    static const size_t sizes[] = {(size_t)1 << 30, ((size_t)3 << 30) + 12345};
    for (size_t i = 0; i < 2; i++) {
        char *block = malloc(sizes[i]), *zeroed = calloc(sizes[i], 1);
        CHECK(block && zeroed && malloc_usable_size(block) >= sizes[i]);
        block[0] = block[sizes[i] - 1] = block[sizes[i] / 2] = 7;
        CHECK(zeroed[0] == 0 && zeroed[sizes[i] - 1] == 0 && zeroed[sizes[i] / 3] == 0);
        block = realloc(block, sizes[i] + (64 << 20));
        CHECK(block && block[0] == 7 && block[sizes[i] - 1] == 7 && block[sizes[i] / 2] == 7);
        free(zeroed);
        block = realloc(block, 1000);
        CHECK(block && block[0] == 7);
        free(block);
    }
}

static int kernel_gives(size_t bytes)
{
    void *mapping = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED)
        return 0;
    munmap(mapping, bytes);
    return 1;
}

/* As much as the kernel gives, and no more: what is never there must not be promised. */
static void as_the_kernel_gives(void)
{
    for (size_t size = (size_t)4 << 30; size < (size_t)1 << 43; size += size / 4) {
        char *block = malloc(size), *moved;
        CHECK((block != NULL) == kernel_gives(size + (4 << 20)));
        if (!block)
            continue;
        CHECK(malloc_usable_size(block) >= size);
        block[0] = block[size - 1] = block[size / 2] = 9;
        moved = realloc(block, size + (1 << 20));
        if (moved) {
            CHECK(moved[0] == 9 && moved[size - 1] == 9 && moved[size / 2] == 9);
            moved[size + 1000] = 9;
            block = moved;
        }
        block = realloc(block, 5000);
        CHECK(block && block[0] == 9);
        free(block);
        block = calloc(size / 4, 4);
        CHECK(block && block[0] == 0 && block[size - 8] == 0);
        free(block);
        block = aligned_alloc(64 << 20, size - (size - (128 << 20)) % (64 << 20));
        CHECK(!block || ((uintptr_t)block & ((64 << 20) - 1)) == 0);
        free(block);
    }
}

/* Many programs measure by these, some print them, none may break. */
static void statistics(void)
{
    enum { SMALL = 10000, EACH = 100 };
    static char *small[SMALL];
    struct mallinfo2 before = mallinfo2();
    for (int i = 0; i < SMALL; i++)
        small[i] = malloc(EACH);
    char *large = malloc(64 << 20);
    struct mallinfo2 during = mallinfo2();
    struct mallinfo narrow = mallinfo();
    CHECK(during.uordblks + during.hblkhd >= before.uordblks + before.hblkhd + SMALL * EACH);
    CHECK(during.arena + during.hblkhd >= during.uordblks);
    CHECK(during.fordblks <= during.arena + during.hblkhd);
    CHECK(during.hblks >= before.hblks + 1 && during.hblkhd >= before.hblkhd + (64 << 20));
    CHECK((size_t)narrow.uordblks <= during.uordblks + 100000);
    for (int i = 0; i < SMALL; i++)
        free(small[i]);
    free(large);
    struct mallinfo2 after = mallinfo2();
    CHECK(after.uordblks + SMALL * EACH / 2 < during.uordblks);
    CHECK(after.hblkhd < during.hblkhd && after.hblks < during.hblks);
}

static void tuning(void)
{
    CHECK(mallopt(M_MMAP_THRESHOLD, 1 << 20) == 1);
    CHECK(mallopt(M_TRIM_THRESHOLD, 1 << 20) == 1);
    CHECK(mallopt(M_ARENA_MAX, 1) == 1);
    CHECK(mallopt(M_TOP_PAD, 1 << 16) == 1);
    char *block = malloc(8 << 20);
    memset(block, 1, 8 << 20);
    free(block);
    int given = malloc_trim(0);
    CHECK(given == 0 || given == 1);
    free(malloc(10));
}

/* Small blocks that were released are pages again when the program asks for that. */
static void trimming(void)
{
    enum { SMALL = 400000, EACH = 100 };
    static char *small[SMALL];
    for (int i = 0; i < SMALL; i++)
        small[i] = NULL;
    size_t before = resident();
    for (int i = 0; i < SMALL; i++) {
        small[i] = malloc(EACH);
        CHECK(small[i]);
        memset(small[i], 1, EACH);
    }
    size_t most = resident();
    for (int i = 0; i < SMALL; i++)
        free(small[i]);
    CHECK(malloc_trim(0) == 1);
    CHECK(resident() < before + (most - before) / 4);
}

static void information(void)
{
    char *text = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);
    CHECK(malloc_info(0, stream) == 0);
    CHECK(malloc_info(opaque(1), stream) == EINVAL || errno == EINVAL);
    fclose(stream);
    CHECK(strstr(text, "<malloc version=") && strstr(text, "</malloc>"));
    free(text);
    CHECK(freopen("/dev/null", "w", stderr));
    malloc_stats();
}

static void many_sizes(void)
{
    /* Random sizes with content that is verified at the release. */
    enum { BLOCKS = 2000, STEPS = 200000 };
    static unsigned char *block[BLOCKS];
    static size_t size[BLOCKS];
    uint64_t state = 88172645463325252u;
    for (int step = 0; step < STEPS; step++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        size_t i = state % BLOCKS, wish = state >> 40 & 7 ? state >> 32 & 255 : state >> 44 & 0xFFFF;
        if (block[i]) {
            for (size_t k = 0; k < size[i]; k += 13)
                CHECK(block[i][k] == (unsigned char)(i + size[i]));
            free(block[i]);
        }
        block[i] = state & 1 ? malloc(wish) : memalign(64, wish);
        size[i] = wish;
        CHECK(block[i]);
        memset(block[i], (unsigned char)(i + wish), wish);
    }
    for (int i = 0; i < BLOCKS; i++)
        free(block[i]);
}

static const test_case cases[] = {
    {"zero", zero},
    {"alignment", alignment},
    {"aligned_families", aligned_families},
    {"odd_alignments", odd_alignments},
    {"pages", pages},
    {"errno_is_set", errno_is_set},
    {"errno_is_kept", errno_is_kept},
    {"overflow", overflow},
    {"usable", usable},
    {"resizing", resizing},
    {"growing", growing},
    {"cleared", cleared},
    {"huge", huge},
    {"as_the_kernel_gives", as_the_kernel_gives},
    {"statistics", statistics},
    {"tuning", tuning},
    {"trimming", trimming},
    {"information", information},
    {"many_sizes", many_sizes},
};

int main(int argc, char **argv)
{
    return RUN_CASE(cases, argc, argv);
}
