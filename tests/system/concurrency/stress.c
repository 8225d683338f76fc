/* Threads that allocate, hand blocks to each other, and release what others allocated:
   `stress THREADS MILLISECONDS [DAMAGES]`. Every block's content is verified by who releases it. With DAMAGES each
   thread writes past so many blocks meanwhile. Prints how many operations were done, and how often was written past
   a block. */
#define _GNU_SOURCE
#include "../libc/check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

enum { SHARED = 1024, OWN = 200 };

typedef struct block {
    size_t size;
    unsigned char fill[];
} block;

static block *_Atomic shared[SHARED];
static _Atomic bool over;
static _Atomic unsigned long operations, written;
static int damages;

/* Small ones carry no header of ours: their size is in their place's number. */
static unsigned char *_Atomic tiny[16][64];

static block *make(size_t size, unsigned way)
{
    block *one;
    switch (way % 8) {
    case 0:
        one = calloc(1, sizeof *one + size);
        break;
    case 1:
        one = aligned_alloc(64, (sizeof *one + size + 63) / 64 * 64);
        break;
    case 2:
        one = realloc(malloc(size / 2), sizeof *one + size);
        break;
    default:
        one = malloc(sizeof *one + size);
    }
    CHECK(one);
    one->size = size;
    memset(one->fill, (int)(size * 7 + 1), size);
    return one;
}

static void verify(const block *one)
{
    unsigned char fill = (unsigned char)(one->size * 7 + 1);
    for (size_t i = 0; i < one->size; i += one->size < 64 ? 1 : 61)
        CHECK(one->fill[i] == fill);
}

static void release(block *one, unsigned way)
{
    if (!one)
        return;
    verify(one);
    if (way % 16 == 0) {
        size_t less = one->size / 2;
        one = realloc(one, sizeof *one + less);
        CHECK(one);
    }
    free(one);
}

/* One block between others, by one byte or over what lies behind it; then all are released. */
static void write_past_a_block(bool far)
{
    enum { AROUND = 12 };
    char *around[AROUND];
    for (int i = 0; i < AROUND; i++) {
        around[i] = malloc(40);
        CHECK(around[i]);
        memset(around[i], i, 40);
    }
    memset((char *)hidden(around[AROUND / 2]) + 40, 'x', far ? 24 : 1);
    atomic_fetch_add(&written, 1);
    for (int i = 0; i < AROUND; i++) {
        for (int k = 0; k < 40; k++)
            CHECK(around[i][k] == i);
        free(around[i]);
    }
}

static void *work(void *seed)
{
    uint64_t state = 88172645463325252u * (2 * (uint64_t)(uintptr_t)seed + 1);
    block *own[OWN] = {0};
    unsigned long done = 0;
    int left = damages;
    while (!over || left) {
        if (left)
            write_past_a_block(left-- % 2);
        for (int turn = 0; turn < 100; turn++, done++) {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            unsigned roll = (unsigned)(state >> 33), way = (unsigned)(state >> 20);
            size_t size = roll % 16 ? roll / 16 % 300 : roll / 16 % 20000;
            if (roll % 4096 == 1)
                size = 600000 + roll % 100000;
            switch (way >> 8 & 3) {
            case 0: /* through a place that all see */
                release(atomic_exchange(&shared[roll % SHARED], make(size, way)), way >> 3);
                break;
            case 1: { /* the same with the smallest blocks, whose payload is all links and slack */
                size_t bytes = roll % 16 + 1;
                unsigned char *given = malloc(bytes), *got;
                CHECK(given);
                memset(given, (int)bytes, bytes);
                got = atomic_exchange(&tiny[bytes - 1][way % 64], given);
                if (got)
                    CHECK(got[0] == bytes && got[bytes - 1] == bytes);
                free(got);
                break;
            }
            default: { /* for oneself */
                block **place = &own[roll % OWN];
                release(*place, way >> 3);
                *place = make(size, way);
            }
            }
        }
    }
    for (int i = 0; i < OWN; i++)
        release(own[i], 1);
    atomic_fetch_add(&operations, done);
    return NULL;
}

int main(int argc, char **argv)
{
    CHECK(argc > 2);
    enum { MOST = 64 };
    pthread_t thread[MOST];
    int count = atoi(argv[1]), milliseconds = atoi(argv[2]);
    damages = argc > 3 ? atoi(argv[3]) : 0;
    CHECK(count <= MOST);
    for (int i = 0; i < count; i++)
        CHECK(pthread_create(&thread[i], NULL, work, (void *)(intptr_t)i) == 0);
    usleep((useconds_t)milliseconds * 1000);
    over = true;
    for (int i = 0; i < count; i++)
        pthread_join(thread[i], NULL);
    for (int i = 0; i < SHARED; i++)
        release(shared[i], 1);
    for (int size = 0; size < 16; size++)
        for (int i = 0; i < 64; i++)
            free(tiny[size][i]);
    printf("%lu %lu\n", operations, written);
    return 0;
}
