/* Random programs on malloc with one damage or wrong release each, and the truth about it.

   Usage: target SEED FIRST COUNT plain|poison. Runs FIRST to before FIRST + COUNT, each in a forked child, that says
   what it is about to do and ends with status 0 when all that it can check is as it should be. What is done follows
   from the seed and the run's number, as far as the threads' turns do not matter. Lines on standard output:

     run NUMBER PID ROW MODE BLOCK SIZE MAKER START STOP WROTE WROTE_END SEEN SEEN_END POINTER KINDS ALIKE LOST FLAGS
     end NUMBER STATUS          0; 1 not restored; 2 a payload is wrong; 4 nothing was done; 128 + the signal that ended
   it

   It knows the heap's format (docs/format.md), to damage it and to see whether it was restored. */
#define _GNU_SOURCE
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCKS = 160, THREADS = 3, MAILBOX = 32, WATCHED = 512, LONGEST = 4096, BIG = 512 << 10 };
enum { OVERFLOW = 1, UNDERFLOW = 2, HEADER = 4, AFTER_FREE = 8, DOUBLE = 16, INVALID = 32, MISMATCHED = 64 };
enum { LINEAR = 1, TERMINATED = 2, CHECK = 4, NO_CULPRIT = 8 };

void *_Znwm(size_t) __attribute__((weak));
void *_Znam(size_t) __attribute__((weak));
void _ZdlPv(void *) __attribute__((weak));
void _ZdaPv(void *) __attribute__((weak));

typedef struct header {
    uint32_t size, prev_size, meta, check;
} header;

typedef struct block {
    unsigned char *at;
    size_t size;
    void *maker;
    unsigned char fill;
    unsigned char family; /* 0 malloc, 1 new, 2 new[] */
} block;

typedef struct worker {
    uint64_t state;
    unsigned count;
    block blocks[BLOCKS];
} worker;

static worker workers[1 + THREADS];
static unsigned threads;
static pthread_mutex_t mailbox_lock = PTHREAD_MUTEX_INITIALIZER;
static block mailbox[MAILBOX];
static unsigned mailed;

/* --- chance ------------------------------------------------------------------------------------- */

static uint32_t pick(worker *w, uint32_t below)
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
        return pick(w, 3) ? 1 + pick(w, 300) : 1 + pick(w, 2500);
    }
}

/* Most wrong sizes are small. */
static size_t some_length(worker *w, size_t most)
{
    size_t length = 1 + pick(w, pick(w, 3) ? LONGEST : 48);
    if (pick(w, 3) == 0)
        length = 1 + ((size_t)1 << pick(w, 12)) + pick(w, 16);
    return length < most ? length : most;
}

/* --- the program -------------------------------------------------------------------------------- */

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

static bool is_filled(const block *b)
{
    for (size_t i = 0; i < b->size; i++)
        if (b->at[i] != b->fill)
            return false;
    return true;
}

static block make(worker *w, size_t size)
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

static void drop(const block *b)
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

/* All threads at once for a while; the main thread is one of them. */
static void together(void)
{
    pthread_t ids[THREADS];
    for (unsigned i = 0; i < threads; i++)
        pthread_create(&ids[i], NULL, work, &workers[i + 1]);
    work(&workers[0]);
    for (unsigned i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
}

/* --- the truth ---------------------------------------------------------------------------------- */

typedef struct truth {
    const char *row;
    block of;
    unsigned char *start, *stop, *wrote, *wrote_end, *seen, *seen_end, *pointer;
    unsigned kinds, alike, flags;
    bool lost;
} truth;

/* What must be as before once it was mended. */
static struct watched {
    unsigned char *at;
    unsigned char bytes[64];
    unsigned length;
    bool node; /* its backup and header */
} watched[WATCHED];
static unsigned watches;

static void watch(unsigned char *at, unsigned length)
{
    if (watches == WATCHED || length == 0)
        return;
    struct watched *w = &watched[watches++];
    w->at = at;
    w->length = length;
    w->node = false;
    memcpy(w->bytes, at, length);
}

static header *own(unsigned char *node)
{
    return (header *)(void *)(node + 16);
}
static unsigned char *next_of(unsigned char *node)
{
    return node + (size_t)own(node)->size * 16;
}
static unsigned state_of(unsigned char *node)
{
    return own(node)->meta >> 4 & 3;
}

/* The pool of an arena begins at a multiple of 1 MiB, and its first page says so. */
static unsigned char *pool_of(unsigned char *payload)
{
    uintptr_t at = (uintptr_t)payload & ~(uintptr_t)((1 << 20) - 1);
    while (*(uint32_t *)at != 0x31505748)
        at -= 1 << 20;
    return (unsigned char *)at;
}

/* Watch everything that is vouched for from the node at `node` up to `stop`: headers, backups, links, slack. */
static void watch_nodes(unsigned char *node, unsigned char *stop)
{
    for (;;) {
        watch(node, 32);
        if (watches)
            watched[watches - 1].node = true;
        if (state_of(node) == 3) {
            watch(node + 32, 32);
            return;
        }
        unsigned slack = own(node)->meta & 15;
        if (state_of(node) == 1)
            watch(next_of(node) - slack, slack);
        else
            watch(node + 32, 16);
        if (node >= stop)
            return;
        node = next_of(node);
    }
}

static bool changed(const struct watched *w, unsigned from, unsigned length)
{
    return memcmp(w->at + from, w->bytes + from, length) != 0;
}

/* A header is lost when its own copy and the backup in the node before were both hit. */
static bool is_lost(void)
{
    const struct watched *before = NULL;
    for (unsigned i = 0; i < watches; i++) {
        const struct watched *w = &watched[i];
        if (!w->node)
            continue;
        if (before && changed(w, 16, 16) && changed(before, 0, 16))
            return true;
        before = w;
    }
    return false;
}

static bool is_restored(void)
{
    for (unsigned i = 0; i < watches; i++)
        if (changed(&watched[i], 0, watched[i].length))
            return false;
    return true;
}

static void tell(const truth *t, unsigned long number)
{
    char line[512];
    int length =
        snprintf(line, sizeof line, "run %lu %d %s %s %p %zu %p %p %p %p %p %p %p %p %u %u %d %u\n", number, getpid(),
                 t->row, t->flags & CHECK ? "check" : "operations", (void *)t->of.at, t->of.size, t->of.maker,
                 (void *)t->start, (void *)t->stop, (void *)t->wrote, (void *)t->wrote_end, (void *)t->seen,
                 (void *)t->seen_end, (void *)t->pointer, t->kinds, t->alike, t->lost, t->flags);
    if (write(1, line, (size_t)length) != length)
        _exit(3);
}

/* --- damage ------------------------------------------------------------------------------------- */

static unsigned char content[2 * LONGEST];

static void compose(worker *w, size_t length, const char *what)
{
    static const unsigned char usual[] = {0, 0xFF, 'A', ' ', 0xA5};
    unsigned char value = pick(w, 2) ? usual[pick(w, 5)] : (unsigned char)pick(w, 256);
    uint64_t word = ((uint64_t)pick(w, UINT32_MAX) << 32 | pick(w, UINT32_MAX)) >> 8 * pick(w, 5);
    unsigned shape = pick(w, 3);
    for (size_t i = 0; i < length; i++) {
        if (*what == 'f')
            content[i] = value;
        else if (*what == 't')
            content[i] = i + 1 < length ? (unsigned char)('a' + pick(w, 26)) : 0;
        else if (shape == 0)
            content[i] = (unsigned char)(word >> 8 * (i % 8));
        else if (shape == 1)
            content[i] = (unsigned char)((word + i / 8) >> 8 * (i % 8));
        else
            content[i] = (unsigned char)pick(w, 256);
    }
}

/* Write what was composed and complete the truth. False when no watched byte changes. */
static bool inflict(truth *t, unsigned char *at, size_t length, unsigned long number)
{
    unsigned char *old = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (old == MAP_FAILED)
        return false;
    memcpy(old, at, length);
    t->start = t->seen = NULL;
    for (size_t i = 0; i < length; i++) {
        if (old[i] == content[i])
            continue;
        t->start = t->start ? t->start : at + i;
        t->stop = at + i + 1;
    }
    t->wrote = at;
    t->wrote_end = at + length;
    memcpy(at, content, length);
    for (unsigned i = 0; i < watches; i++)
        for (unsigned k = 0; k < watched[i].length; k++)
            if (watched[i].at[k] != watched[i].bytes[k]) {
                t->seen = t->seen && t->seen < watched[i].at + k ? t->seen : watched[i].at + k;
                t->seen_end = t->seen_end > watched[i].at + k ? t->seen_end : watched[i].at + k + 1;
            }
    t->lost = is_lost();
    memcpy(at, old, length);
    if (t->seen) {
        tell(t, number);
        memcpy(at, content, length);
    }
    munmap(old, length);
    return t->seen != NULL;
}

static bool is_ours(const unsigned char *payload)
{
    for (unsigned i = 0; i <= threads; i++)
        for (unsigned k = 0; k < workers[i].count; k++)
            if (workers[i].blocks[k].at == payload)
                return true;
    for (unsigned i = 0; i < mailed; i++)
        if (mailbox[i].at == payload)
            return true;
    return false;
}

/* Whether a write from the end of a block up to `stop` meets no content of libraries, which they would stumble over. */
static bool is_harmless(unsigned char *node, const unsigned char *stop)
{
    for (node = next_of(node); node + 32 < stop && state_of(node) != 3; node = next_of(node))
        if (state_of(node) == 1 && !is_ours(node + 32))
            return false;
    return true;
}

/* A block of the program that the main thread or another one owns. */
static block *some_block(worker *w, bool (*fits)(const block *))
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

static bool is_any(const block *b)
{
    return b->at != NULL;
}
static bool is_small(const block *b)
{
    return b->size < BIG / 2;
}
static bool is_big(const block *b)
{
    return b->size >= BIG;
}
static bool has_slack(const block *b)
{
    return is_small(b) && own(b->at - 32)->meta & 15;
}
static bool is_cachable(const block *b)
{
    return b->size <= 1000;
}
static bool has_inside(const block *b)
{
    return b->size > 40;
}

/* Kinds by which a write from `start` to `stop` between two nodes would look the same. */
static unsigned alike(unsigned char *node, unsigned char *start, unsigned char *stop)
{
    unsigned kinds = 0;
    if (own(node)->prev_size) {
        unsigned char *before = node - (size_t)own(node)->prev_size * 16;
        unsigned slack = state_of(before) == 1 ? own(before)->meta & 15 : 0;
        if (node - slack <= start && start <= node)
            kinds |= OVERFLOW;
        else if (start < node - slack + 16)
            kinds |= HEADER;
    }
    if (stop == node + 32 && state_of(node) == 1)
        kinds |= UNDERFLOW;
    return kinds;
}

static bool overflow(worker *w, truth *t, const char *what, bool (*fits)(const block *), unsigned long number)
{
    block *b = some_block(w, fits);
    if (!b)
        return false;
    t->of = *b;
    t->kinds = OVERFLOW;
    size_t length = some_length(w, LONGEST);
    if (!is_harmless(b->at - 32, b->at + b->size + length))
        return false;
    compose(w, length, what);
    watch_nodes(b->at - 32, b->at + b->size + length);
    t->flags |= LINEAR | (*what == 't' && length > 1 ? TERMINATED : 0u);
    return inflict(t, b->at + b->size, length, number);
}

static bool skipping(worker *w, truth *t, unsigned long number)
{
    block *b = some_block(w, is_small);
    if (!b)
        return false;
    size_t gap = 1 + pick(w, 15), length = (size_t)1 << pick(w, 6);
    t->of = *b;
    t->kinds = t->alike = OVERFLOW | HEADER;
    if (!is_harmless(b->at - 32, b->at + b->size + gap + length))
        return false;
    compose(w, length, "words");
    watch_nodes(b->at - 32, b->at + b->size + gap + length);
    /* What begins inside of the next header's two copies and leads into that block may as well belong to it. */
    if (b->at + b->size + gap + length >= next_of(b->at - 32) + 32) {
        t->kinds |= UNDERFLOW;
        t->alike |= UNDERFLOW;
    }
    return inflict(t, b->at + b->size + gap, length, number);
}

static bool slack(worker *w, truth *t, unsigned long number)
{
    block *b = some_block(w, has_slack);
    if (!b)
        return false;
    t->of = *b;
    t->kinds = OVERFLOW;
    t->flags |= LINEAR;
    content[0] = (unsigned char)pick(w, 256);
    watch_nodes(b->at - 32, b->at);
    return inflict(t, b->at + b->size + pick(w, own(b->at - 32)->meta & 15), 1, number);
}

static bool underflow(worker *w, truth *t, unsigned long number)
{
    block *b = some_block(w, is_small);
    if (!b)
        return false;
    unsigned char *node = b->at - 32, *before = node - (size_t)own(node)->prev_size * 16;
    if (before == node || state_of(before) != 1)
        return false;
    size_t reach = is_ours(before + 32) ? (size_t)(node - before) : 32 + (own(before)->meta & 15);
    size_t length = some_length(w, 64);
    length = length < reach ? length : reach;
    t->of = *b;
    t->kinds = UNDERFLOW;
    t->flags |= LINEAR;
    compose(w, length, pick(w, 2) ? "fill" : "words");
    watch_nodes(before, b->at);
    if (length > 32 && length - 32 >= (own(before)->meta & 15)) {
        t->kinds |= OVERFLOW; /* all from the end of the block before to the start of this one */
        t->alike |= OVERFLOW;
    }
    return inflict(t, b->at - length, length, number);
}

static bool wild(worker *w, truth *t, unsigned from, unsigned length, bool bit, unsigned long number)
{
    block *b = some_block(w, is_small);
    if (!b)
        return false;
    unsigned char *node = b->at - 32, *at = node + from;
    watch_nodes(own(node)->prev_size ? node - (size_t)own(node)->prev_size * 16 : node, next_of(node));
    compose(w, length, pick(w, 2) ? "fill" : "words");
    if (bit)
        content[0] = (unsigned char)(*at ^ 1 << pick(w, 8));
    unsigned char *start = at, *stop = at + length;
    while (start < stop && *start == content[start - at])
        start++;
    while (stop > start && stop[-1] == content[stop - 1 - at])
        stop--;
    /* Bytes at its ends that were written with the value that they had may be counted or not. */
    t->alike = alike(node, start, stop) | alike(node, at, at + length);
    t->kinds = HEADER | t->alike;
    t->flags |= LINEAR | NO_CULPRIT;
    return inflict(t, at, length, number);
}

static bool both(worker *w, truth *t, unsigned long number)
{
    block *b = some_block(w, is_small);
    if (!b || own(b->at - 32)->prev_size == 0)
        return false;
    unsigned char *node = b->at - 32, *before = node - (size_t)own(node)->prev_size * 16;
    watch_nodes(before, next_of(node));
    compose(w, 32, "words");
    /* Two writes: the backup in the node before, and the header. The second is not part of the truth's extent. */
    t->kinds = HEADER | OVERFLOW | UNDERFLOW;
    t->alike = OVERFLOW | UNDERFLOW;
    t->flags |= NO_CULPRIT;
    t->lost = true;
    t->start = t->wrote = t->seen = before;
    t->stop = t->wrote_end = t->seen_end = node + 32;
    tell(t, number);
    memcpy(before, content, 16);
    memcpy(node + 16, content + 16, 16);
    return true;
}

static bool after_free(worker *w, truth *t, bool poison, unsigned long number)
{
    block *b = some_block(w, is_cachable);
    if (!b || (poison && b->size <= 16))
        return false;
    t->of = *b;
    t->kinds = AFTER_FREE;
    t->flags |= LINEAR;
    unsigned char *node = b->at - 32;
    drop(b);
    *b = (block){.at = NULL};
    size_t most = poison ? t->of.size : t->of.size < 16 ? t->of.size : 16, begin = pick(w, (uint32_t)most);
    size_t length = some_length(w, t->of.size - begin);
    if (length > 2 * LONGEST || state_of(node) == 3)
        return false;
    compose(w, length, pick(w, 2) ? "fill" : "text");
    watch(t->of.at, 16);
    for (size_t at = 16; poison && at < t->of.size; at += 64)
        watch(t->of.at + at, (unsigned)(t->of.size - at < 64 ? t->of.size - at : 64));
    return inflict(t, t->of.at + begin, length, number);
}

static bool control(worker *w, truth *t, unsigned from, unsigned to, bool copy, unsigned long number)
{
    block *b = some_block(w, is_small);
    if (!b)
        return false;
    unsigned char *pool = pool_of(b->at);
    if (copy)
        pool += (size_t)((uint32_t *)(void *)pool)[2] * 16 - 32;
    unsigned length = pick(w, 2) ? to - from : 1u << pick(w, 4);
    unsigned at = length == to - from ? from : from + pick(w, to - from - length);
    compose(w, length, pick(w, 2) ? "fill" : "words");
    for (unsigned i = from; i < to; i += 32)
        watch(pool + i, 32);
    t->kinds = HEADER | (copy ? 0u : UNDERFLOW);
    t->flags |= LINEAR | NO_CULPRIT;
    return inflict(t, pool + at, length, number);
}

/* --- wrong releases ----------------------------------------------------------------------------- */

static void *free_it(void *pointer)
{
    free(pointer);
    return NULL;
}

static sem_t turn;

static void *free_in_turn(void *pointer)
{
    sem_wait(&turn);
    return free_it(pointer);
}

static bool twice(worker *w, truth *t, bool (*fits)(const block *), unsigned long number)
{
    block *b = some_block(w, fits);
    if (!b || b->family)
        return false;
    t->of = *b;
    t->kinds = DOUBLE;
    t->pointer = b->at;
    *b = (block){.at = NULL};
    /* Started before the first release: what its start allocates must not be this very block. */
    enum { HERE, FIRST_ELSEWHERE, THEN_ELSEWHERE, LATER, WAYS };
    unsigned how = pick(w, WAYS);
    bool elsewhere = how == FIRST_ELSEWHERE || how == THEN_ELSEWHERE;
    pthread_t other;
    sem_init(&turn, 0, 0);
    if (elsewhere && pthread_create(&other, NULL, free_in_turn, t->of.at) != 0)
        return false;
    tell(t, number);
    if (how != FIRST_ELSEWHERE)
        free_it(t->of.at);
    if (elsewhere) {
        sem_post(&turn);
        pthread_join(other, NULL);
    }
    if (how == LATER) /* and merged perhaps */
        for (unsigned k = 0; k < workers[0].count; k++)
            if (pick(w, 2) && workers[0].blocks[k].at) {
                drop(&workers[0].blocks[k]);
                workers[0].blocks[k].at = NULL;
            }
    if (how != THEN_ELSEWHERE)
        free_it(t->of.at);
    return true;
}

static bool invalid(worker *w, truth *t, const char *how, unsigned long number)
{
    static char outside[64];
    block *b = some_block(w, has_inside);
    if (!b)
        return false;
    t->kinds = INVALID;
    t->of = *b;
    if (*how == 'i') {
        t->pointer = b->at + 16 * (1 + pick(w, (uint32_t)((b->size - 17) / 16)));
    } else if (*how == 'm') {
        t->pointer = b->at + 1 + pick(w, 15);
    } else {
        t->pointer = *how == 'h' ? b->at - 16 : pick(w, 2) ? (unsigned char *)outside + 16 : (unsigned char *)&w->state;
        t->flags |= NO_CULPRIT;
    }
    tell(t, number);
    free_it(t->pointer);
    return true;
}

static bool mismatched(worker *w, truth *t, unsigned long number)
{
    block *b = some_block(w, is_any);
    if (!b || !_Znwm)
        return false;
    t->of = *b;
    t->kinds = MISMATCHED;
    t->pointer = b->at;
    *b = (block){.at = NULL};
    tell(t, number);
    if (t->of.family == 0)
        (pick(w, 2) ? _ZdlPv : _ZdaPv)(t->of.at);
    else
        free_it(t->of.at);
    return true;
}

/* --- one run ------------------------------------------------------------------------------------ */

static const char *const rows[] = {
    "overflow-fill", "overflow-text", "overflow-words",  "overflow-big",
    "skipping",      "slack",         "underflow",       "bit",
    "word",          "header",        "backup",          "both",
    "links",         "control-fixed", "control-derived", "control-copy",
    "double",        "double-big",    "interior",        "in-header",
    "misaligned",    "outside",       "family",
};
enum { ROWS = sizeof rows / sizeof rows[0] };

static bool do_it(worker *w, truth *t, unsigned row, bool poison, unsigned long number)
{
    t->row = rows[row];
    if (strstr(t->row, "big") && w->count < BLOCKS)
        w->blocks[w->count++] = make(w, BIG + pick(w, 1 << 20));
    switch (row) {
    case 0:
        return overflow(w, t, "fill", is_small, number);
    case 1:
        return overflow(w, t, "text", is_small, number);
    case 2:
        return overflow(w, t, "words", is_small, number);
    case 3:
        return overflow(w, t, pick(w, 2) ? "fill" : "words", is_big, number);
    case 4:
        return skipping(w, t, number);
    case 5:
        return slack(w, t, number);
    case 6:
        return underflow(w, t, number);
    case 7:
        return wild(w, t, pick(w, 32), 1, true, number);
    case 8: {
        unsigned width = 1u << pick(w, 4);
        return wild(w, t, width * pick(w, 32 / width), width, false, number);
    }
    case 9:
        return wild(w, t, 16, 16, false, number);
    case 10:
        return wild(w, t, 0, 16, false, number);
    case 11:
        return both(w, t, number);
    case 12:
        t->row = poison ? "poison" : "links";
        return after_free(w, t, poison, number);
    case 13:
        return control(w, t, 0, 32, false, number);
    case 14:
        return control(w, t, 32, 320, false, number);
    case 15:
        return control(w, t, 0, 32, true, number);
    case 16:
        return twice(w, t, is_small, number);
    case 17:
        return twice(w, t, is_big, number);
    case 18:
        return invalid(w, t, "interior", number);
    case 19:
        return invalid(w, t, "header", number);
    case 20:
        return invalid(w, t, "misaligned", number);
    case 21:
        return invalid(w, t, "outside", number);
    default:
        return mismatched(w, t, number);
    }
}

/* Whether all blocks that the damage did not reach hold what was put there. */
static bool payloads_are_right(const truth *t)
{
    for (unsigned i = 0; i <= threads; i++)
        for (unsigned k = 0; k < workers[i].count; k++) {
            const block *b = &workers[i].blocks[k];
            if (b->at && (b->at >= t->stop || b->at + b->size <= t->start) && !is_filled(b))
                return false;
        }
    return true;
}

static void forget_holes(void)
{
    for (unsigned i = 0; i <= threads; i++)
        for (unsigned k = 0; k < workers[i].count;)
            if (workers[i].blocks[k].at)
                k++;
            else
                workers[i].blocks[k] = workers[i].blocks[--workers[i].count];
}

static int one(uint64_t seed, unsigned long number, bool poison)
{
    uint64_t state = (seed * UINT64_C(0x9E3779B97F4A7C15) + number) * UINT64_C(0xBF58476D1CE4E5B9) | 1;
    for (unsigned i = 0; i <= THREADS; i++)
        workers[i].state = (state + i) * UINT64_C(0x94D049BB133111EB) | 1;
    worker *w = &workers[0];
    pick(w, 2);
    threads = pick(w, 3) ? 0 : 1 + pick(w, THREADS);
    together();
    truth t = {.of = {.at = NULL}};
    bool done = false;
    for (int tries = 0; tries < 30 && !done; tries++) {
        watches = 0;
        t = (truth){.flags = pick(w, 2) ? CHECK : 0};
        done = do_it(w, &t, (unsigned)(number % ROWS), poison, number);
        forget_holes();
    }
    if (!done)
        return 4;
    bool restored = true;
    if (t.flags & CHECK) {
        raise(SIGUSR2);
        restored = t.lost || is_restored();
    }
    if (!payloads_are_right(&t))
        return 2;
    together();
    if (!payloads_are_right(&t))
        return 2;
    if (pick(w, 3)) /* else the rest is left to the check at exit */
        for (unsigned i = 0; i <= threads; i++)
            while (workers[i].count)
                drop(&workers[i].blocks[--workers[i].count]);
    return restored ? 0 : 1;
}

int main(int count, char **words)
{
    if (count != 5)
        return 2;
    uint64_t seed = strtoull(words[1], NULL, 0);
    unsigned long first = strtoul(words[2], NULL, 0), runs = strtoul(words[3], NULL, 0);
    bool poison = strcmp(words[4], "poison") == 0;
    for (unsigned long number = first; number < first + runs; number++) {
        pid_t child = fork();
        if (child == 0)
            exit(one(seed, number, poison));
        int status = 0;
        while (waitpid(child, &status, 0) < 0)
            ;
        char line[64];
        int length = snprintf(line, sizeof line, "end %lu %d\n", number,
                              WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
        if (write(1, line, (size_t)length) != length)
            return 3;
    }
    return 0;
}
