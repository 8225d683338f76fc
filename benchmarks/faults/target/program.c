#include "program.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { MAILBOX = 32 };

worker workers[1 + THREADS];
unsigned threads;
static pthread_mutex_t mailbox_lock = PTHREAD_MUTEX_INITIALIZER;
static block mailbox[MAILBOX];
static unsigned mailed;

uint32_t pick(worker *w, uint32_t below)
{
    w->state ^= w->state << 13;
    w->state ^= w->state >> 7;
    w->state ^= w->state << 17;
    return (uint32_t)(w->state * UINT64_C(0x2545F4914F6CDD1D) >> 32) % below;
}

static size_t some_size(worker *w)
{
    switch (pick(w, 40)) {
    case 0:
        return BIG + pick(w, 1 << 20);
    case 1:
    case 2:
        return 1 + pick(w, 60000);
    default:
        if (pick(w, 2)) /* neighbours of one class */
            return w->usual - pick(w, w->usual < 16 ? w->usual : 16);
        return pick(w, 3) ? 1 + pick(w, 300) : 1 + pick(w, 2500);
    }
}

size_t some_length(worker *w, size_t most)
{
    size_t length = 1 + pick(w, pick(w, 3) ? LONGEST : 48);
    if (pick(w, 3) == 0)
        length = 1 + ((size_t)1 << pick(w, 12)) + pick(w, 16);
    return length < most ? length : most;
}

#define MAKER __attribute__((noinline, optimize("no-optimize-sibling-calls"))) static void *

MAKER make_malloc(size_t size)
{
    return malloc(size);
}
MAKER make_zeroed(size_t size)
{
    return calloc(1, size);
}
MAKER make_aligned(size_t size)
{
    return aligned_alloc(64, size);
}
MAKER make_new(size_t size)
{
    return _Znwm(size);
}
MAKER make_array(size_t size)
{
    return _Znam(size);
}
MAKER make_again(void *old, size_t size)
{
    return realloc(old, size);
}

static void fill(const block *b)
{
    memset(b->at, b->fill, b->size);
}

bool is_filled(const block *b)
{
    for (size_t i = 0; i < b->size; i++)
        if (b->at[i] != b->fill)
            return false;
    return true;
}

block make(worker *w, size_t size)
{
    static void *(*const makers[])(size_t) = {make_malloc,  make_malloc, make_malloc, make_zeroed,
                                              make_aligned, make_new,    make_array};
    static const unsigned char families[] = {0, 0, 0, 0, 0, 1, 2};
    unsigned which = pick(w, _Znwm ? 7 : 5);
    block b = {.at = makers[which](size), .size = size, .maker = (void *)makers[which], .family = families[which]};
    b.fill = (unsigned char)pick(w, 256);
    fill(&b);
    return b;
}

void drop(const block *b)
{
    if (b->family == 1)
        _ZdlPv(b->at);
    else if (b->family == 2)
        _ZdaPv(b->at);
    else
        free(b->at);
}

static void hand_over(worker *w, unsigned index)
{
    pthread_mutex_lock(&mailbox_lock);
    if (mailed < MAILBOX) {
        mailbox[mailed++] = w->blocks[index];
        w->blocks[index] = w->blocks[--w->count];
    } else if (w->count < BLOCKS) {
        w->blocks[w->count++] = mailbox[--mailed];
    }
    pthread_mutex_unlock(&mailbox_lock);
}

static void step(worker *w)
{
    unsigned what = pick(w, 100);
    if (w->count < BLOCKS && (what < 50 || w->count == 0)) {
        w->blocks[w->count++] = make(w, some_size(w));
        return;
    }
    unsigned index = pick(w, w->count);
    block *b = &w->blocks[index];
    if (what < 80) {
        drop(b);
        *b = w->blocks[--w->count];
    } else if (what < 92 && b->family == 0) {
        size_t size = pick(w, 2) ? some_size(w) : b->size + pick(w, 40);
        b->at = make_again(b->at, size);
        b->maker = (void *)make_again;
        b->size = size;
        fill(b);
    } else if (threads) {
        hand_over(w, index);
    }
}

static void *work(void *argument)
{
    worker *w = argument;
    for (unsigned steps = 20 + pick(w, 200); steps; steps--)
        step(w);
    return NULL;
}

void together(void)
{
    pthread_t ids[THREADS];
    for (unsigned i = 0; i < threads; i++)
        pthread_create(&ids[i], NULL, work, &workers[i + 1]);
    work(&workers[0]);
    for (unsigned i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
}

void forget_holes(void)
{
    for (unsigned i = 0; i <= threads; i++)
        for (unsigned k = 0; k < workers[i].count;)
            if (workers[i].blocks[k].at)
                k++;
            else
                workers[i].blocks[k] = workers[i].blocks[--workers[i].count];
}

const block *our_block(const unsigned char *payload)
{
    for (unsigned i = 0; i <= threads; i++)
        for (unsigned k = 0; k < workers[i].count; k++)
            if (workers[i].blocks[k].at == payload)
                return &workers[i].blocks[k];
    for (unsigned i = 0; i < mailed; i++)
        if (mailbox[i].at == payload)
            return &mailbox[i];
    return NULL;
}

block *some_block(worker *w, bool (*fits)(const block *))
{
    for (int tries = 0; tries < 200; tries++) {
        worker *other = &workers[pick(w, 1 + threads)];
        if (other->count == 0)
            continue;
        block *b = &other->blocks[pick(w, other->count)];
        if (fits(b))
            return b;
    }
    return NULL;
}

bool is_any(const block *b)
{
    return b->at != NULL;
}

bool is_small(const block *b)
{
    return b->size < BIG / 2;
}

bool is_pooled(const block *b)
{
    return is_small(b) && b->size > IN_RUNS;
}

bool is_big(const block *b)
{
    return b->size >= BIG;
}

bool has_inside(const block *b)
{
    return b->size > 40;
}
