/* The core on pools whose bytes an attacker chose who knows the key: headers and links of any size and anywhere, with
   checks that hold. To be compiled with ASan and UBSan; the pool fills its allocation exactly.

   Usage: forged SEED SECONDS. No call may read or write outside of the pool or take longer than a second. What a
   pool's fixed part says of its size is believed by the operations (docs/security.md), so that alone is only forged for
   the calls that are told the true size. */
#include "forging.h"
#include "node.h"

#include <string.h>

enum { ROOM = 16 << 10, FAULTS = 32, NODES = 64 };

static unsigned log2_;
static size_t size;
static hw_pool *pool;

static uint32_t granules(void)
{
    return (uint32_t)(size >> log2_);
}

/* Any granule that a caller may name: the header that stands there lies in the pool. */
static uint32_t some_node(void)
{
    if (pick(2)) {
        uint32_t node = hw_first(pool);
        for (unsigned steps = pick(40); steps; steps--) {
            uint32_t next = hw_next(pool, node);
            if (next == 0)
                break;
            node = next;
        }
        return node;
    }
    return hw_first(pool) + pick(hw_end(pool) - hw_first(pool) + 1);
}

static uint32_t some_word(void)
{
    switch (pick(6)) {
    case 0:
        return pick(2) ? 0 : UINT32_MAX - pick(3);
    case 1:
        return HW_MOST + pick(8) - 4;
    case 2:
        return some_node();
    case 3:
        return pick(8);
    default:
        return pick(granules() + 8);
    }
}

static size_t some_bytes(void)
{
    return pick(10) == 0 ? SIZE_MAX >> pick(30) : pick(2) ? pick(100) : pick(3000);
}

static void forge_header(uint32_t node)
{
    hw_header h = {.size = some_word(), .prev_size = some_word(), .meta = some_word()};
    if (pick(2))
        h = *hw_own(pool, node);
    switch (pick(4)) {
    case 0:
        h.size = some_word();
        break;
    case 1:
        h.prev_size = pick(2) ? node - some_node() : some_word();
        break;
    case 2:
        h.meta = hw_meta(pick(16), pick(4), pick(4), pick(3) ? pick(100) : HW_SITE_QUARANTINE);
        break;
    default:
        h.size = some_node() - node;
    }
    h.check = hw_keyed(pool->secret, h.size, h.prev_size, h.meta, node);
    if (pick(8) == 0)
        h.check = ~h.check;
    *hw_own(pool, node) = h;
    /* With its backup where it says that this is, if that is in the pool and not the fixed part. */
    uint32_t keeper = hw_backup_node(pool, node, &h);
    if (pick(4) && keeper >= (uint32_t)HW_WITNESSED >> log2_ && keeper <= hw_end(pool))
        *hw_backup_in(pool, keeper) = h;
}

static void forge_links(uint32_t node)
{
    hw_links l = {.left = some_word(), .right = some_word(), .parent = some_word()};
    if (pick(3) == 0)
        l.left = node;
    if (pick(3) == 0)
        l.right = pick(2) ? node : l.left;
    if (pick(3) == 0)
        l.parent = pick(2) ? node : pick(2) ? HW_CACHED_PARENT : HW_PENDING_PARENT;
    l.check = hw_link_check(pool, node, &l);
    if (node < hw_end(pool))
        *hw_links_at(pool, node) = l;
}

/* Two free nodes that name each other, or a node that names itself: in a tree of equal size, from its root. */
static void forge_cycle(void)
{
    uint32_t a = some_node(), b = some_node();
    if (a >= hw_end(pool) || b >= hw_end(pool))
        return;
    uint32_t bin = hw_index_bin(pool, hw_own(pool, a)->size);
    hw_links la = {.left = b, .right = pick(2) ? b : a, .parent = pick(2) ? 0 : b};
    hw_links lb = {.left = a, .right = pick(2) ? a : b, .parent = a};
    la.check = hw_link_check(pool, a, &la);
    *hw_links_at(pool, a) = la;
    lb.check = hw_link_check(pool, b, &lb);
    *hw_links_at(pool, b) = lb;
    *(bin < HW_BINS ? &pool->bins[bin] : &pool->large) = pick(2) ? a : b;
}

static void forge(void)
{
    switch (pick(8)) {
    case 0: { /* anything anywhere behind the fixed part */
        size_t at = HW_WITNESSED + pick((uint32_t)size - 2 * HW_WITNESSED), length = 1 + pick(64);
        for (size_t i = at; i < at + length && i < size - HW_WITNESSED; i++)
            ((unsigned char *)pool)[i] = (unsigned char)(pick(2) ? pick(256) : 0xFF);
        break;
    }
    case 1:
        (&pool->large)[pick((HW_CONTROL - HW_WITNESSED) / 4)] = some_word();
        break;
    case 2:
        pool->bitmap[pick(2)] = pick(2) ? UINT32_MAX : some_word();
        break;
    case 3:
        forge_cycle();
        break;
    case 4:
    case 5:
        forge_links(some_node());
        break;
    default:
        forge_header(some_node());
    }
}

static void operate(void)
{
    hw_fault faults[FAULTS];
    hw_outcome outcome;
    hw_header header;
    uint32_t node = some_node(), nodes[NODES];
    switch (pick(16)) {
    case 0:
    case 1:
        call("allocate");
        hw_allocate(pool, some_bytes(), (size_t)1 << pick(16), pick(4), pick(9), faults);
        break;
    case 2:
        call("take");
        hw_take(pool, some_bytes(), some_bytes(), faults);
        break;
    case 3:
        call("cut");
        hw_cut(pool, node, some_bytes(), pick(4), pick(9), faults);
        break;
    case 4:
    case 5:
        call("release");
        hw_release(pool, node, pick(9), faults);
        break;
    case 6: {
        unsigned count = 0;
        for (uint32_t at = node; at && count < NODES; at = pick(9) ? hw_next(pool, at) : some_node())
            nodes[count++] = at;
        call("release_run");
        hw_release_run(pool, nodes, pick(count + 1), faults);
        break;
    }
    case 7:
    case 8:
        call("resize");
        hw_resize(pool, node, some_bytes(), pick(9), faults);
        break;
    case 9:
        call("cache");
        hw_cache(pool, node, pick(9), pick(2), faults);
        break;
    case 10:
        call("uncache");
        hw_uncache(pool, node, some_bytes(), pick(4), pick(9), faults);
        break;
    case 11:
        call("verify");
        hw_verify(pool, node, faults);
        break;
    case 12:
        call("check");
        hw_check(pool, size, log2_, faults, pick(FAULTS));
        break;
    case 13:
        call("sound");
        hw_sound(pool, size, log2_);
        break;
    case 14:
        call("locate");
        hw_locate(pool, pick(2) ? pick((uint32_t)size) : some_bytes());
        hw_header_at(pool, some_word(), &header);
        hw_tombstone_at(pool, some_word(), &header);
        break;
    default:
        if (pick(8))
            break;
        call("repair");
        if (hw_repair(pool, size, log2_, &outcome) && hw_check(pool, size, log2_, faults, FAULTS) != 0) {
            fprintf(stderr, "a repaired pool has a fault, seed %llu\n", (unsigned long long)seed);
            _exit(1);
        }
    }
    allow(0);
}

/* The calls that are told the pool's true size believe no fixed part that says another. */
static void judge_forged_size(void)
{
    hw_fault faults[FAULTS];
    hw_outcome outcome;
    uint32_t fixed[HW_WITNESSED / 4], *copy = (uint32_t *)(void *)((unsigned char *)pool + size - HW_WITNESSED);
    memcpy(fixed, pool, sizeof fixed);
    uint32_t forged = some_word(), shape = pick(4) ? pool->shape : some_word();
    pool->size = forged;
    pool->shape = shape;
    pool->check = hw_control_check(pool);
    if (pick(2))
        memcpy(copy, pool, sizeof fixed);
    call("check, sound and repair of a forged size");
    hw_check(pool, size, log2_, faults, FAULTS);
    hw_sound(pool, size, log2_);
    if (pick(2))
        hw_repair(pool, size, log2_, &outcome);
    allow(0);
    memcpy(pool, fixed, sizeof fixed);
    memcpy(copy, fixed, sizeof fixed);
}

static void play(void)
{
#ifdef HW_FIXED_GRANULE_LOG2
    log2_ = HW_FIXED_GRANULE_LOG2;
#else
    log2_ = 3 + pick(2);
#endif
    size = (HW_LEAST + 16 + pick(pick(4) ? 2048 : ROOM)) & ~(size_t)15;
    unsigned char *memory = aligned_alloc(16, size);
    uint32_t secret[4] = {pick(UINT32_MAX), pick(UINT32_MAX), pick(UINT32_MAX), pick(UINT32_MAX)};
    memset(memory, (int)pick(256), size);
    pool = hw_pool_init(memory, size, log2_, secret);
    unsigned char fixed[HW_WITNESSED];
    memcpy(fixed, pool, sizeof fixed);
    hw_fault fault;
    for (unsigned blocks = pick(40); blocks; blocks--) {
        uint32_t node = hw_allocate(pool, some_bytes(), 8, HW_MALLOC, 1, &fault);
        if (node && pick(2))
            (pick(2) ? hw_release(pool, node, 2, &fault) : hw_cache(pool, node, 2, pick(2), &fault));
    }
    for (unsigned turns = 40; turns; turns--) {
        for (unsigned count = pick(4); count; count--)
            forge();
        for (unsigned count = 1 + pick(6); count; count--) {
            operate();
            /* It may have written over the fixed part, where a forged header says that its backup lies. */
            memcpy(pool, fixed, sizeof fixed);
        }
        if (pick(8) == 0)
            judge_forged_size();
    }
    free(memory);
}

int main(int count, char **words)
{
    return play_for(count, words, play, "pools");
}
