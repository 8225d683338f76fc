#include "truth.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { WATCHED = 512 };

/* What must be as before once it was mended. */
static struct watched {
    unsigned char *at;
    unsigned char bytes[64];
    unsigned length;
    bool node; /* its header, and the backup that it keeps */
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
    w->node = false;
    memcpy(w->bytes, at, length);
}

/* The pool of an arena begins at a multiple of 1 MiB, and its first page says so. */
unsigned char *pool_of(unsigned char *payload)
{
    uintptr_t at = (uintptr_t)payload & ~(uintptr_t)((1 << 20) - 1);
    while (*(uint32_t *)at != 0x31505748)
        at -= 1 << 20;
    return (unsigned char *)at;
}

/* Watch everything that is vouched for from the node at `node` up to `stop`: headers, backups, links, slack. */
void watch_nodes(unsigned char *node, unsigned char *stop)
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

/* A header is lost when its own copy and the backup in the node before were both hit; that a released block was
   poisoned, when the first byte of its links was (docs/faults.md). */
static bool is_lost(void)
{
    const struct watched *before = NULL;
    for (unsigned i = 0; i < watches; i++) {
        const struct watched *w = &watched[i];
        if (!w->node && w->length == 16 && w->bytes[0] == 1 && changed(w, 0, 1))
            return true;
        if (!w->node)
            continue;
        if (before && changed(w, 0, 16) && changed(before, 16, 16))
            return true;
        before = w;
    }
    return false;
}

bool is_restored(unsigned long number)
{
    for (unsigned i = 0; i < watches; i++) {
        const struct watched *w = &watched[i];
        if (!changed(w, 0, w->length))
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
    if (t->seen) {
        tell(t, number);
        memcpy(at, content, length);
    }
    munmap(old, length);
    return t->seen != NULL;
}
