/* Verifying: both copies of a header, a node with its neighbours, slack, cached links and poison. */
#include "node.h"

/* Invariant of the fast path: equal copies whose check holds. Everything else is a fault. */
bool hw_pair_holds(const hw_pool *pool, uint32_t node, hw_fault *fault)
{
    const hw_header *h = hw_own(pool, node);
    if (!hw_holds(pool, node, h) || !hw_same(h, hw_kept(pool, hw_keeper(pool, node, h))))
        return hw_fail(fault, HW_HEADERS, node);
    return true;
}

int hw_around(const hw_pool *pool, uint32_t node, hw_fault *fault)
{
    if (!hw_control_holds(pool)) {
        hw_fail(fault, HW_CONTROL_BLOCK, 0);
        return HW_DAMAGED;
    }
    if (!hw_pair_holds(pool, node, fault))
        return HW_DAMAGED;
    const hw_header *h = hw_own(pool, node);
    uint32_t next = node + h->size;
    if (next > hw_end(pool)) {
        hw_fail(fault, HW_HEADERS, node);
        return HW_DAMAGED;
    }
    if (!hw_pair_holds(pool, next, fault) ||
        (h->prev_size && !hw_pair_holds(pool, node - h->prev_size, fault)))
        return HW_DAMAGED;
    return HW_OK;
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

/* Payloads are whole multiples of 8 bytes and at least 16, so two words hold all slack. */
bool hw_slack_holds(const hw_pool *pool, uint32_t node, const hw_header *h)
{
    unsigned slack = hw_slack_of(h->meta);
    if (slack == 0)
        return true;
    const unsigned char *end = hw_at(pool, node + h->size);
    uint64_t pattern = hw_pattern(pool->secret, node);
    uint64_t last = (load64(end - 8) ^ pattern) & top_bytes(slack);
    uint64_t first = slack > 8 ? (load64(end - 16) ^ pattern) & top_bytes(slack - 8) : 0;
    return (last | first) == 0;
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

bool hw_cached_links_hold(const hw_pool *pool, uint32_t node)
{
    const hw_links *l = hw_links_at(pool, node);
    return l->check == hw_link_check(pool, node, l) && l->parent == HW_CACHED_PARENT;
}

void hw_cached_links_write(hw_pool *pool, uint32_t node, bool poison)
{
    hw_links l = {.left = poison, .right = 0, .parent = HW_CACHED_PARENT, .check = 0};
    l.check = hw_link_check(pool, node, &l);
    *hw_links_at(pool, node) = l;
}

bool hw_poison_holds(const hw_pool *pool, uint32_t node, const hw_header *h)
{
    const unsigned char *p = hw_payload(pool, node) + HW_HEADER;
    const unsigned char *end = hw_at(pool, node + h->size);
    uint64_t pattern = hw_pattern(pool->secret, node), wrong = 0;
    for (; p < end; p += 8)
        wrong |= load64(p) ^ pattern;
    return wrong == 0;
}

void hw_poison_write(hw_pool *pool, uint32_t node, const hw_header *h)
{
    unsigned char *p = hw_payload(pool, node) + HW_HEADER;
    unsigned char *end = hw_at(pool, node + h->size);
    uint64_t pattern = hw_pattern(pool->secret, node);
    for (; p < end; p += 8)
        __builtin_memcpy(p, &pattern, 8);
}

int hw_verify(const hw_pool *pool, uint32_t node, hw_fault *fault)
{
    int status = hw_around(pool, node, fault);
    if (status != HW_OK)
        return status;
    const hw_header *h = hw_own(pool, node);
    switch (hw_state_of(h->meta)) {
    case HW_USED:
        if (!hw_slack_holds(pool, node, h))
            break;
        return HW_OK;
    case HW_CACHED:
        if (!hw_cached_links_hold(pool, node)) {
            hw_fail(fault, HW_LINKS, node);
            return HW_DAMAGED;
        }
        if (hw_links_at(pool, node)->left && !hw_poison_holds(pool, node, h)) {
            hw_fail(fault, HW_POISON, node);
            return HW_DAMAGED;
        }
        return HW_OK;
    default:
        return HW_OK;
    }
    hw_fail(fault, HW_SLACK, node);
    return HW_DAMAGED;
}
