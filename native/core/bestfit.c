/* The index of free nodes: exact best fit, lowest address on ties, in O(log n).

   One treap for each small size and one, ordered by (size, offset), for all larger. A node's
   priority is a keyed hash of its offset, so no balance is stored: links and their check fill the
   smallest payload exactly. The index is derived from the headers: on any damage it is marked
   stale and rebuilt by hw_repair, never mended. */
#include "node.h"

static uint32_t *root_of(hw_pool *pool, uint32_t size, uint32_t *bin)
{
    *bin = size - hw_min_node(pool);
    return *bin < HW_BINS ? &pool->bins[*bin] : &pool->large;
}

static bool stale(hw_pool *pool, hw_fault *fault, uint32_t reason, uint32_t node)
{
    pool->flags |= HW_FLAG_STALE;
    return hw_fail(fault, reason, node);
}

/* A node of the index, or NULL with a fault: nothing is followed that does not verify. */
static hw_links *load(hw_pool *pool, uint32_t node, hw_fault *fault)
{
    if (node < hw_first(pool) || node >= hw_end(pool)) {
        stale(pool, fault, HW_CONTROL_BLOCK, 0);
        return NULL;
    }
    const hw_header *h = hw_own(pool, node);
    if (!hw_holds(pool, node, h) || hw_state_of(h->meta) != HW_FREE) {
        stale(pool, fault, HW_HEADERS, node);
        return NULL;
    }
    hw_links *l = hw_links_at(pool, node);
    if (l->check != hw_link_check(pool, node, l)) {
        stale(pool, fault, HW_LINKS, node);
        return NULL;
    }
    return l;
}

static void seal(hw_pool *pool, uint32_t node, hw_links *l)
{
    l->check = hw_link_check(pool, node, l);
}

static uint32_t priority(const hw_pool *pool, uint32_t node)
{
    return hw_keyed(pool->secret, node, 0, 0, 0);
}

static bool before(const hw_pool *pool, uint32_t size, uint32_t node, uint32_t other)
{
    uint32_t other_size = hw_own(pool, other)->size;
    return size < other_size || (size == other_size && node < other);
}

/* Put `child` where `old` hangs under `parent` (0: the root). */
static bool replace(hw_pool *pool, uint32_t *root, uint32_t parent, uint32_t old, uint32_t child,
                    hw_fault *fault)
{
    if (parent == 0) {
        *root = child;
        return true;
    }
    hw_links *p = load(pool, parent, fault);
    if (!p)
        return false;
    *(p->left == old ? &p->left : &p->right) = child;
    seal(pool, parent, p);
    return true;
}

/* Lift `node` over its parent, keeping the order. */
static bool rotate(hw_pool *pool, uint32_t *root, uint32_t node, hw_fault *fault)
{
    hw_links *n = load(pool, node, fault);
    if (!n)
        return false;
    uint32_t parent = n->parent;
    hw_links *p = load(pool, parent, fault);
    if (!p)
        return false;
    bool was_left = p->left == node;
    uint32_t moved = was_left ? n->right : n->left;
    if (moved) {
        hw_links *m = load(pool, moved, fault);
        if (!m)
            return false;
        m->parent = parent;
        seal(pool, moved, m);
    }
    uint32_t above = p->parent;
    if (!replace(pool, root, above, parent, node, fault))
        return false;
    *(was_left ? &p->left : &p->right) = moved;
    *(was_left ? &n->right : &n->left) = parent;
    n->parent = above;
    p->parent = node;
    seal(pool, parent, p);
    seal(pool, node, n);
    return true;
}

bool hw_index_insert(hw_pool *pool, uint32_t node, hw_fault *fault)
{
    uint32_t size = hw_own(pool, node)->size, bin, parent = 0;
    uint32_t *root = root_of(pool, size, &bin);
    hw_links *n = hw_links_at(pool, node);
    *n = (hw_links){0};
    for (uint32_t at = *root; at;) {
        hw_links *l = load(pool, at, fault);
        if (!l)
            return false;
        parent = at;
        at = before(pool, size, node, at) ? l->left : l->right;
    }
    n->parent = parent;
    seal(pool, node, n);
    if (bin < HW_BINS)
        pool->bitmap[bin / 32] |= UINT32_C(1) << bin % 32;
    if (parent == 0) {
        *root = node;
        return true;
    }
    hw_links *p = load(pool, parent, fault);
    if (!p)
        return false;
    *(before(pool, size, node, parent) ? &p->left : &p->right) = node;
    seal(pool, parent, p);
    uint32_t mine = priority(pool, node);
    while ((parent = hw_links_at(pool, node)->parent) != 0 && priority(pool, parent) < mine)
        if (!rotate(pool, root, node, fault))
            return false;
    return true;
}

bool hw_index_remove(hw_pool *pool, uint32_t node, hw_fault *fault)
{
    uint32_t bin;
    uint32_t *root = root_of(pool, hw_own(pool, node)->size, &bin);
    hw_links *n;
    for (;;) {
        n = load(pool, node, fault);
        if (!n)
            return false;
        if (!n->left || !n->right)
            break;
        if (!rotate(pool, root, priority(pool, n->left) > priority(pool, n->right) ? n->left : n->right,
                    fault))
            return false;
    }
    uint32_t child = n->left ? n->left : n->right;
    if (child) {
        hw_links *c = load(pool, child, fault);
        if (!c)
            return false;
        c->parent = n->parent;
        seal(pool, child, c);
    }
    if (!replace(pool, root, n->parent, node, child, fault))
        return false;
    if (*root == 0 && bin < HW_BINS)
        pool->bitmap[bin / 32] &= ~(UINT32_C(1) << bin % 32);
    return true;
}

/* The first node in order that has at least `size` granules, 0 for none. */
static uint32_t lower_bound(hw_pool *pool, uint32_t root, uint32_t size, hw_fault *fault)
{
    uint32_t best = 0;
    for (uint32_t at = root; at;) {
        hw_links *l = load(pool, at, fault);
        if (!l)
            return 0;
        if (hw_own(pool, at)->size >= size) {
            best = at;
            at = l->left;
        } else {
            at = l->right;
        }
    }
    return best;
}

/* The smallest node that fits: of exactly `need`, or with room for a node behind it. */
uint32_t hw_index_find(hw_pool *pool, uint32_t need, hw_fault *fault)
{
    uint32_t bin = need - hw_min_node(pool), roomy = need + hw_min_node(pool);
    *fault = (hw_fault){0};
    if (bin < HW_BINS && pool->bins[bin])
        return lower_bound(pool, pool->bins[bin], need, fault);
    for (uint32_t b = roomy - hw_min_node(pool); b < HW_BINS;) {
        uint32_t word = pool->bitmap[b / 32] >> b % 32;
        if (word == 0) {
            b = (b / 32 + 1) * 32;
            continue;
        }
        b += (uint32_t)__builtin_ctz(word);
        if (pool->bins[b] == 0) {
            stale(pool, fault, HW_CONTROL_BLOCK, 0);
            return 0;
        }
        return lower_bound(pool, pool->bins[b], roomy, fault);
    }
    if (bin >= HW_BINS) {
        uint32_t found = lower_bound(pool, pool->large, need, fault);
        if (found == 0 || hw_own(pool, found)->size == need || hw_own(pool, found)->size >= roomy)
            return found;
    }
    return lower_bound(pool, pool->large, roomy, fault);
}

/* A free node's links verify and something of the index leads to it. */
bool hw_index_knows(const hw_pool *pool, uint32_t node, uint32_t size)
{
    const hw_links *l = hw_links_at(pool, node);
    if (l->check != hw_link_check(pool, node, l))
        return false;
    if (l->parent == 0) {
        uint32_t bin;
        return *root_of((hw_pool *)(uintptr_t)pool, size, &bin) == node &&
               (bin >= HW_BINS || (pool->bitmap[bin / 32] >> bin % 32 & 1));
    }
    if (l->parent < hw_first(pool) || l->parent >= hw_end(pool))
        return false;
    const hw_links *p = hw_links_at(pool, l->parent);
    /* A damaged parent is a fault of its own. */
    return p->left == node || p->right == node || p->check != hw_link_check(pool, l->parent, p);
}

void hw_index_clear(hw_pool *pool)
{
    pool->large = 0;
    pool->bitmap[0] = pool->bitmap[1] = 0;
    for (unsigned i = 0; i < HW_BINS; i++)
        pool->bins[i] = 0;
    pool->flags &= ~(uint32_t)HW_FLAG_STALE;
}
