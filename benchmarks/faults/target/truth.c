#include "truth.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { WATCHED = 512 };

/* A header and the backup behind it, of a node, or of those that a run begins and ends with; links of a pool, or of a
   run's free node. */
enum content { BYTES, NODE, BOUND, LINKS, RUN_LINKS };

/* What must be as before once it was mended. */
static struct watched {
    unsigned char *at;
    unsigned char bytes[64];
    unsigned length;
    enum content is;
} watched[WATCHED];
static unsigned watches;

void forget_watches(void)
{
    watches = 0;
}

void watch(unsigned char *at, unsigned length)
{
    if (watches == WATCHED || length == 0)
        return;
    struct watched *w = &watched[watches++];
    w->at = at;
    w->length = length;
    w->is = BYTES;
    memcpy(w->bytes, at, length);
}

static void watch_as(enum content is, unsigned char *at, unsigned length)
{
    unsigned before = watches;
    watch(at, length);
    if (watches > before)
        watched[before].is = is;
}

void watch_links(node n)
{
    watch_as(!in_run(n) ? LINKS : state_of(n) == FREE ? RUN_LINKS : BYTES, payload_of(n), 16);
}

void watch_many(unsigned char *at, unsigned char *stop)
{
    for (; at < stop; at += 64)
        watch(at, (unsigned)(stop - at < 64 ? stop - at : 64));
}

static unsigned char *first_of(unsigned char *a, unsigned char *b)
{
    return a < b ? a : b;
}

void watch_nodes(node n, unsigned char *stop)
{
    for (;;) {
        bool edge = state_of(n) == EDGE;
        watch_as(edge && in_run(n) ? BOUND : NODE, n.at, overhead_of(n));
        if (edge && !in_run(n))
            watch(payload_of(n), 32);
        else if (edge)
            watch_many(payload_of(n), first_of(payload_of(n) + tail_of(n), stop));
        else if (state_of(n) == USED)
            watch_many(stop_of(n) - slack_of(n), stop_of(n));
        else
            watch_links(n);
        if (n.at >= stop || (edge && !in_run(n)))
            return;
        n = next_of(n);
        if (!n.at)
            return;
    }
}

static bool changed(const struct watched *w, unsigned from, unsigned length)
{
    return memcmp(w->at + from, w->bytes + from, length) != 0;
}

/* Links of a free node of a run name the next one; what was lost of several may be linked in another order. */
static bool is_as_it_was(const struct watched *w)
{
    bool relinked = w->is == RUN_LINKS && changed(w, 0, 2) && !changed(w, 2, 6);
    return relinked || !changed(w, 0, w->length);
}

/* A header is lost when its own copy and the backup in the node before were both hit; those that a run begins and ends
   with are known. That a released block of a pool was poisoned is lost, when the first byte of its links was
   (docs/faults.md). */
static bool is_lost(void)
{
    const struct watched *before = NULL;
    for (unsigned i = 0; i < watches; i++) {
        const struct watched *w = &watched[i];
        if (w->is == LINKS && w->bytes[0] == 1 && changed(w, 0, 1))
            return true;
        if (w->is != NODE && w->is != BOUND)
            continue;
        unsigned width = w->length / 2;
        if (before && w->is == NODE && changed(w, 0, width) && changed(before, width, width))
            return true;
        before = w;
    }
    return false;
}

bool is_restored(unsigned long number)
{
    for (unsigned i = 0; i < watches; i++) {
        const struct watched *w = &watched[i];
        if (is_as_it_was(w))
            continue;
        char line[400];
        int used = snprintf(line, sizeof line, "note %lu %p:", number, (void *)w->at);
        for (unsigned k = 0; k < w->length; k++)
            used += snprintf(line + used, sizeof line - (size_t)used, " %02x/%02x", w->at[k], w->bytes[k]);
        line[used++] = '\n';
        return write(1, line, (size_t)used) < 0;
    }
    return true;
}

void tell(const truth *t, unsigned long number)
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

unsigned char content[2 * LONGEST];

void compose(worker *w, size_t length, const char *what)
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
bool inflict(truth *t, unsigned char *at, size_t length, unsigned long number)
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
    t->lost = t->lost || is_lost();
    memcpy(at, old, length);
    if (t->lost && t->flags & BACKWARD) {
        /* Of the block itself nothing says any more how large it was and who made it. */
        t->of.size = 0;
        t->of.maker = NULL;
    }
    if (t->seen) {
        tell(t, number);
        memcpy(at, content, length);
    }
    munmap(old, length);
    return t->seen != NULL;
}
