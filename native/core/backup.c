/* Verifying: both copies of a header, a node with its neighbours, slack, links and poison. */
#include "node.h"

/* Invariant of the fast path: equal copies whose check holds. Everything else is a fault. */
bool hw_pair_is_valid(const hw_pool *pool, uint32_t node, hw_fault *fault)
{
    const hw_header *h = hw_own(pool, node);
    if (node > hw_end(pool) || !hw_is_valid(pool, node, h) ||
        !hw_same(h, hw_backup_in(pool, hw_backup_node(pool, node, h))))
        return hw_fail(fault, HW_HEADERS, node);
    return true;
}

/* Rule 2. The control block comes first: everything else is found through it. */
int hw_around(const hw_pool *pool, uint32_t node, hw_fault *fault)
{
    if (!hw_control_is_valid(pool)) {
        hw_fail(fault, HW_CONTROL_BLOCK, 0);
        return HW_DAMAGED;
    }
    if (!hw_pair_is_valid(pool, node, fault))
        return HW_DAMAGED;
    const hw_header *h = hw_own(pool, node);
    uint32_t next = node + h->size;
    if (next > hw_end(pool))
        return HW_REFUSED;
    if (!hw_pair_is_valid(pool, next, fault) || (h->prev_size && !hw_pair_is_valid(pool, node - h->prev_size, fault)))
        return HW_DAMAGED;
    return HW_OK;
}

int hw_verify(const hw_pool *pool, uint32_t node, hw_fault *fault)
{
    int status = hw_around(pool, node, fault);
    if (status != HW_OK)
        return status;
    uint32_t wrong = hw_payload_fault(pool, node, hw_own(pool, node));
    return wrong == HW_NONE ? HW_OK : (hw_fail(fault, wrong, node), HW_DAMAGED);
}

static inline uint64_t load64(const unsigned char *p)
{
    uint64_t v;
    __builtin_memcpy(&v, p, 8);
    return v;
}
static inline uint64_t top_bytes(unsigned n)
{
    return n == 0 ? 0 : n >= 8 ? ~UINT64_C(0) : ~UINT64_C(0) << (64 - 8 * n);
}

/* In the smallest node the links of one that waits for its owner lie where its slack was. Another thread may be
   writing them, under a check that says so; a torn look, between two of its attempts, is taken again. A look is torn
   only when yet another thread was first with the list (tests/unit/test_concurrency_pending.py). */
static bool was_handed_over(const hw_pool *pool, uint32_t node)
{
    enum { LOOKS = 64 };
    const hw_links *l = hw_links_at(pool, node);
    for (int look = 0; look < LOOKS; look++) {
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        uint32_t check = __atomic_load_n(&l->check, __ATOMIC_ACQUIRE);
        if (check == hw_handover_check(pool, node))
            return true;
        hw_links seen = {.left = __atomic_load_n(&l->left, __ATOMIC_RELAXED),
                         .right = __atomic_load_n(&l->right, __ATOMIC_RELAXED),
                         .parent = __atomic_load_n(&l->parent, __ATOMIC_RELAXED)};
        if (seen.parent == HW_PENDING_PARENT && check == hw_link_check(pool, node, &seen))
            return true;
    }
    return false;
}

/* Payloads are whole multiples of 8 bytes and at least 16, so two words hold all slack. */
static bool slack_is_whole(const hw_pool *pool, uint32_t node, const hw_header *h)
{
    unsigned slack = hw_slack_of(h->meta);
    const unsigned char *end = hw_at(pool, node + h->size);
    uint64_t pattern = hw_pattern(pool->secret, node);
    uint64_t last = (load64(end - 8) ^ pattern) & top_bytes(slack);
    uint64_t first = slack > 8 ? (load64(end - 16) ^ pattern) & top_bytes(slack - 8) : 0;
    return (last | first) == 0 || (h->size == hw_min_node(pool) && was_handed_over(pool, node));
}

void hw_slack_write(hw_pool *pool, uint32_t node, const hw_header *h)
{
    unsigned slack = hw_slack_of(h->meta);
    if (slack == 0)
        return;
    unsigned char *end = hw_at(pool, node + h->size);
    uint64_t pattern = hw_pattern(pool->secret, node);
    uint64_t keep = top_bytes(slack);
    uint64_t word = (load64(end - 8) & ~keep) | (pattern & keep);
    __builtin_memcpy(end - 8, &word, 8);
    if (slack > 8) {
        keep = top_bytes(slack - 8);
        word = (load64(end - 16) & ~keep) | (pattern & keep);
        __builtin_memcpy(end - 16, &word, 8);
    }
}

void hw_cached_links_write(hw_pool *pool, uint32_t node, bool poison)
{
    hw_links l = {
        .left = poison ? HW_POISONED_LEFT : 0, .right = poison ? HW_POISONED_RIGHT : 0, .parent = HW_CACHED_PARENT};
    l.check = hw_link_check(pool, node, &l);
    *hw_links_at(pool, node) = l;
}

enum { FOUR = 32 }; /* words at once, in bytes */

bool hw_poison_is_whole(const hw_pool *pool, uint32_t node, const hw_header *h)
{
    const unsigned char *p = hw_payload(pool, node) + sizeof(hw_links);
    const unsigned char *end = hw_at(pool, node + h->size);
    uint64_t pattern = hw_poison(pool->secret, node), wrong = 0;
    for (; end - p >= FOUR; p += FOUR)
        wrong |=
            (load64(p) ^ pattern) | (load64(p + 8) ^ pattern) | (load64(p + 16) ^ pattern) | (load64(p + 24) ^ pattern);
    for (; p < end; p += 8)
        wrong |= load64(p) ^ pattern;
    return wrong == 0;
}

/* Whether the end of a node's poison is left, of which a write from its start leaves the longest: its last two words
   before what was slack, which holds nearly the same. Two, because old poison may have left one anywhere. */
bool hw_poison_shows(const hw_pool *pool, uint32_t node, const hw_header *h)
{
    const unsigned char *start = hw_payload(pool, node) + sizeof(hw_links);
    const unsigned char *end = hw_at(pool, node + h->size) - (hw_slack_of(h->meta) + 7) / 8 * 8;
    uint64_t pattern = hw_poison(pool->secret, node);
    if (start >= end)
        return hw_poison_is_whole(pool, node, h);
    return load64(end - 8) == pattern && (end - start < 16 || load64(end - 16) == pattern);
}

/* What is left of the poison does not count any more, nor show. */
void hw_poison_end(hw_pool *pool, uint32_t node, const hw_header *h)
{
    unsigned char *start = hw_payload(pool, node) + sizeof(hw_links), *end = hw_at(pool, node + h->size);
    size_t slack = (hw_slack_of(h->meta) + 7) / 8 * 8;
    if (start < end)
        hw_clear(end - ((size_t)(end - start) > slack ? slack : 0) - 8, 8);
    hw_cached_links_write(pool, node, false);
}

void hw_poison_write(hw_pool *pool, uint32_t node, const hw_header *h)
{
    unsigned char *p = hw_payload(pool, node) + sizeof(hw_links);
    unsigned char *end = hw_at(pool, node + h->size);
    const uint64_t pattern = hw_poison(pool->secret, node), four[4] = {pattern, pattern, pattern, pattern};
    for (; end - p >= FOUR; p += FOUR)
        __builtin_memcpy(p, four, FOUR);
    for (; p < end; p += 8)
        __builtin_memcpy(p, &pattern, 8);
}

/* What is wrong in the payload of a node whose header `h` can be believed. */
uint32_t hw_payload_fault(const hw_pool *pool, uint32_t node, const hw_header *h)
{
    switch (hw_state_of(h->meta)) {
    case HW_USED:
        return hw_slack_of(h->meta) == 0 || slack_is_whole(pool, node, h) ? HW_NONE : HW_SLACK;
    case HW_CACHED:
        if (!hw_links_are_valid(pool, node) || hw_links_at(pool, node)->parent != HW_CACHED_PARENT)
            return HW_LINKS;
        return hw_links_at(pool, node)->left && !hw_poison_is_whole(pool, node, h) ? HW_POISON : HW_NONE;
    case HW_FREE:
        return hw_links_are_valid(pool, node) ? HW_NONE : HW_LINKS;
    default:
        return HW_NONE;
    }
}
