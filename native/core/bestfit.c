/* The index of free nodes: exact best fit, lowest address on ties, in O(log n).

   One treap for each small size and one, ordered by (size, offset), for all larger. A node's
   priority is a keyed hash of its offset, so no balance is stored: links and their check fill the
   smallest payload exactly. The index is derived from the headers: on any damage it is marked
   stale and rebuilt by hw_repair, never mended.

   Nothing is followed that does not verify, and every step down finds the way it came from in the
   child's own links: so a walk ends whatever was written into the tree. Whenever a call gives up, the
   links of all nodes hold their checks; only the shape is unfinished. */
#include "node.h"

uint32_t hw_index_bin(const hw_pool *pool, uint32_t size)
{
    uint32_t bin = size - hw_min_node(pool);
    return bin < HW_BINS ? bin : HW_BINS;
}

static uint32_t *root_of(hw_pool *pool, uint32_t bin)
{
    return bin < HW_BINS ? &pool->bins[bin] : &pool->large;
}

uint32_t hw_index_root(const hw_pool *pool, uint32_t bin)
{
    return bin < HW_BINS ? pool->bins[bin] : pool->large;
}

bool hw_index_wrong(hw_pool *pool, hw_fault *fault, uint32_t reason, uint32_t node)
{
    pool->flags |= HW_FLAG_STALE;
    return hw_fail(fault, reason, node);
}

/* A node of the index, or NULL with a fault. */
static hw_links *load(hw_pool *pool, uint32_t node, hw_fault *fault)
{
    if (node < hw_first(pool) || node >= hw_end(pool)) {
        hw_index_wrong(pool, fault, HW_CONTROL_BLOCK, 0);
        return NULL;
    }
    const hw_header *h = hw_own(pool, node);
    if (!hw_is_valid(pool, node, h) || hw_state_of(h->meta) != HW_FREE) {
        hw_index_wrong(pool, fault, HW_HEADERS, node);
        return NULL;
    }
    if (!hw_links_are_valid(pool, node)) {
        hw_index_wrong(pool, fault, HW_LINKS, node);
        return NULL;
    }
    return hw_links_at(pool, node);
}

/* A node that hangs under `parent` (0: it is the root of `bin`), or NULL with a fault. */
static hw_links *load_under(hw_pool *pool, uint32_t bin, uint32_t parent, uint32_t node, hw_fault *fault)
{
    hw_links *l = load(pool, node, fault);
    if (l && (l->parent != parent || node == parent || hw_index_bin(pool, hw_own(pool, node)->size) != bin)) {
        hw_index_wrong(pool, fault, parent ? HW_LINKS : HW_CONTROL_BLOCK, parent ? node : 0);
        return NULL;
    }
    return l;
}

static void seal(hw_pool *pool, uint32_t node, hw_links *l)
{
    l->check = hw_link_check(pool, node, l);
}

/* The check alone is linear, and would order nodes at equal distances like a list. */
static uint32_t priority(const hw_pool *pool, uint32_t node)
{
    uint32_t x = hw_keyed(pool->secret, node, 0, 0, 0) * UINT32_C(0x85EBCA6B);
    return (x ^ x >> 15) * UINT32_C(0x9E3779B1);
}

/* Whether `a` belongs above `b`. */
static bool above(const hw_pool *pool, uint32_t a, uint32_t b)
{
    uint32_t mine = priority(pool, a), other = priority(pool, b);
    return mine > other || (mine == other && a < b);
}

static bool before(const hw_pool *pool, uint32_t size, uint32_t node, uint32_t other)
{
    uint32_t other_size = hw_own(pool, other)->size;
    return size < other_size || (size == other_size && node < other);
}

/* Put `child` where `old` hangs under `parent` (0: the root). */
static bool replace(hw_pool *pool, uint32_t *root, uint32_t parent, uint32_t old, uint32_t child, hw_fault *fault)
{
    if (parent == 0) {
        if (*root != old)
            return hw_index_wrong(pool, fault, HW_CONTROL_BLOCK, 0);
        *root = child;
        return true;
    }
    hw_links *p = load(pool, parent, fault);
    if (!p)
        return false;
    if (p->left != old && p->right != old)
        return hw_index_wrong(pool, fault, HW_LINKS, old);
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
    uint32_t moved = was_left ? n->right : n->left, over = p->parent;
    hw_links *m = moved ? load(pool, moved, fault) : NULL;
    if ((moved && !m) || !replace(pool, root, over, parent, node, fault))
        return false;
    if (m) {
        m->parent = parent;
        seal(pool, moved, m);
    }
    *(was_left ? &p->left : &p->right) = moved;
    *(was_left ? &n->right : &n->left) = parent;
    n->parent = over;
    p->parent = node;
    seal(pool, parent, p);
    seal(pool, node, n);
    return true;
}

/* Whether the bit of a bin says what its root says. It is about to be written, and damage must not pass with that. */
static bool bit_is_right(hw_pool *pool, uint32_t bin, hw_fault *fault)
{
    if (bin == HW_BINS || (pool->bitmap[bin / 32] >> bin % 32 & 1) == (pool->bins[bin] != 0))
        return true;
    return hw_index_wrong(pool, fault, HW_CONTROL_BLOCK, 0);
}

bool hw_index_insert(hw_pool *pool, uint32_t node, hw_fault *fault)
{
    uint32_t size = hw_own(pool, node)->size, bin = hw_index_bin(pool, size), parent = 0;
    uint32_t *root = root_of(pool, bin);
    hw_links *n = hw_links_at(pool, node), *p = NULL;
    *n = (hw_links){0};
    seal(pool, node, n);
    if (!bit_is_right(pool, bin, fault))
        return false;
    for (uint32_t at = *root; at; at = before(pool, size, node, at) ? p->left : p->right) {
        p = load_under(pool, bin, parent, at, fault);
        if (!p)
            return false;
        parent = at;
    }
    n->parent = parent;
    seal(pool, node, n);
    if (bin < HW_BINS)
        pool->bitmap[bin / 32] |= UINT32_C(1) << bin % 32;
    if (!p) {
        *root = node;
        return true;
    }
    *(before(pool, size, node, parent) ? &p->left : &p->right) = node;
    seal(pool, parent, p);
    while ((parent = n->parent) != 0 && above(pool, node, parent))
        if (!rotate(pool, root, node, fault))
            return false;
    return true;
}

bool hw_index_remove(hw_pool *pool, uint32_t node, hw_fault *fault)
{
    uint32_t bin = hw_index_bin(pool, hw_own(pool, node)->size);
    uint32_t *root = root_of(pool, bin);
    hw_links *n;
    if (!bit_is_right(pool, bin, fault))
        return false;
    for (;;) {
        n = load(pool, node, fault);
        if (!n)
            return false;
        if (!n->left || !n->right)
            break;
        if (!load_under(pool, bin, node, n->left, fault) || !load_under(pool, bin, node, n->right, fault) ||
            !rotate(pool, root, above(pool, n->left, n->right) ? n->left : n->right, fault))
            return false;
    }
    uint32_t child = n->left ? n->left : n->right;
    hw_links *c = child ? load_under(pool, bin, node, child, fault) : NULL;
    if ((child && !c) || !replace(pool, root, n->parent, node, child, fault))
        return false;
    if (c) {
        c->parent = n->parent;
        seal(pool, child, c);
    }
    if (*root == 0 && bin < HW_BINS)
        pool->bitmap[bin / 32] &= ~(UINT32_C(1) << bin % 32);
    return true;
}

/* The first node in the order of a bin that has at least `size` granules, 0 for none. */
static uint32_t lower_bound(hw_pool *pool, uint32_t bin, uint32_t size, hw_fault *fault)
{
    uint32_t best = 0, parent = 0;
    for (uint32_t at = *root_of(pool, bin); at;) {
        hw_links *l = load_under(pool, bin, parent, at, fault);
        if (!l)
            return 0;
        parent = at;
        if (hw_own(pool, at)->size >= size) {
            best = at;
            at = l->left;
        } else {
            at = l->right;
        }
    }
    return best;
}

/* The smallest node of at least `size` granules. */
uint32_t hw_index_at_least(hw_pool *pool, uint32_t size, hw_fault *fault)
{
    for (uint32_t bin = size - hw_min_node(pool); bin < HW_BINS; bin = (bin / 32 + 1) * 32) {
        uint32_t word = pool->bitmap[bin / 32] >> bin % 32;
        if (word == 0)
            continue;
        bin += (uint32_t)__builtin_ctz(word);
        if (pool->bins[bin] == 0) {
            hw_index_wrong(pool, fault, HW_CONTROL_BLOCK, 0);
            return 0;
        }
        return lower_bound(pool, bin, size, fault);
    }
    return lower_bound(pool, HW_BINS, size, fault);
}

/* The smallest node that fits: of exactly `need`, or with room for a node behind it. */
uint32_t hw_index_find(hw_pool *pool, uint32_t need, hw_fault *fault)
{
    uint32_t bin = hw_index_bin(pool, need), roomy = need + hw_min_node(pool);
    if (bin < HW_BINS) {
        if (pool->bins[bin])
            return lower_bound(pool, bin, need, fault);
    } else {
        uint32_t found = lower_bound(pool, HW_BINS, need, fault);
        if (found == 0 || hw_own(pool, found)->size == need || hw_own(pool, found)->size >= roomy)
            return found;
    }
    return hw_index_at_least(pool, roomy, fault);
}

/* Whether the parent that a free node names leads to it; the root's is the control block. A parent
   that does not verify is a fault of its own. */
bool hw_index_leads_to(const hw_pool *pool, uint32_t node)
{
    uint32_t parent = hw_links_at(pool, node)->parent;
    if (parent == 0)
        return true;
    if (parent < hw_first(pool) || parent >= hw_end(pool))
        return false;
    const hw_header *h = hw_own(pool, parent);
    const hw_links *p = hw_links_at(pool, parent);
    return !hw_is_valid(pool, parent, h) || hw_state_of(h->meta) != HW_FREE || !hw_links_are_valid(pool, parent) ||
           p->left == node || p->right == node;
}

/* All that is derived from the nodes, counters included. */
void hw_index_clear(hw_pool *pool)
{
    hw_clear(&pool->large, sizeof *pool - offsetof(hw_pool, large));
}
