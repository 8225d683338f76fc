#include "heap/delayed.h"

#include "heap/cache.h"
#include "heap/damage.h"
#include "heap/fast.h"
#include "heap/heap_fast.h"
#include "heap/small.h"

/* Bytes that all arenas of a process hold back together, and those that are every arena's own whatever the others hold.
   Large nodes are not held back: under --poison they are rare, as big blocks lie elsewhere (graves.h). */
enum { PROCESS_BYTES = 32 << 20, OWN_BYTES = 64 << 10, STEP = 16 << 10, LARGEST = PROCESS_BYTES / 4 };
/* Where address space or data is limited they are at most this part of it. */
enum { PART_OF_LIMIT = 16 };
/* How many that are to go soon are fetched ahead: where they lie nobody has been for long. */
enum { AHEAD = 8, FAR_AHEAD = 16 };

/* By atomic addition, from inside of any arena, where its own sum has changed by STEP: so each is wrong by as much at
   most. Who finds the sum too large makes room with what is its own. */
static _Atomic size_t all_bytes;
static _Atomic uint32_t holders; /* arenas that ever held more than STEP */
static _Atomic size_t most_bytes = PROCESS_BYTES;

static void count(hw_arena *arena, size_t granules, bool more)
{
    size_t bytes = granules << HW_FIXED_GRANULE_LOG2, told = arena->delayed.told;
    arena->delayed.bytes += more ? bytes : -bytes;
    if (HW_LIKELY(arena->delayed.bytes - told + STEP <= 2 * (size_t)STEP))
        return;
    if (told == 0)
        atomic_fetch_add_explicit(&holders, 1, memory_order_relaxed);
    arena->delayed.told = arena->delayed.bytes;
    atomic_fetch_add_explicit(&all_bytes, arena->delayed.told - told, memory_order_relaxed);
    size_t most = hw_space_limit() / PART_OF_LIMIT;
    atomic_store_explicit(&most_bytes, most < PROCESS_BYTES ? most : PROCESS_BYTES, memory_order_relaxed);
}

/* The largest size that the usual way handles, where the node is one of the arena's first pool; 0 elsewhere. */
static uint32_t most_at(const hw_arena *arena, const hw_descriptor *descriptor, uint32_t node)
{
    uint32_t behind = arena->pool.end - node;
    if (descriptor != arena->first || descriptor->lost || node >= arena->pool.end)
        return 0;
    return behind < HW_LARGEST_KEPT ? behind : HW_LARGEST_KEPT;
}

/* --- poison ------------------------------------------------------------------------------------- */

enum { WORDS = 4 }; /* at once */

/* The links of a cached node that is poisoned: MARK, HW_CACHED_PARENT and their check. */
static const uint64_t MARK = (uint64_t)HW_POISONED_RIGHT << 32 | HW_POISONED_LEFT;

HW_INLINE uint64_t poisoned_links_rest(const hw_trusted *pool, uint64_t descriptor)
{
    return (descriptor + pool->links + MARK * pool->key.sizes) | HW_CACHED_PARENT;
}

HW_INLINE void write_links(char *at, uint64_t rest)
{
    __builtin_memcpy(at + HW_OVERHEAD, &MARK, sizeof MARK);
    __builtin_memcpy(at + HW_OVERHEAD + 8, &rest, sizeof rest);
}

/* A node that was looked at, is filled behind its links. Of the smallest nothing is left to fill. */
HW_INLINE void poison(const hw_trusted *pool, const hw_looked *n, uint32_t site)
{
    const uint64_t pattern = hw_poison_of(n->offset_sum), words[WORDS] = {pattern, pattern, pattern, pattern};
    char *at = n->at + HW_OVERHEAD + sizeof(hw_links), *end = n->at + ((size_t)n->size << HW_FIXED_GRANULE_LOG2);
    hw_write_meta(pool, n, (n->meta & 0xCF) | (uint32_t)HW_CACHED << 4 | site << 8);
    for (; (size_t)(end - at) >= sizeof words; at += sizeof words)
        __builtin_memcpy(at, words, sizeof words);
    if (at < end)
        __builtin_memcpy(at, words, 16);
    write_links(n->at, poisoned_links_rest(pool, n->offset_sum));
}

HW_INLINE uint64_t pair_wrong(const char *at, uint64_t pattern)
{
    hw_words words = hw_load(at);
    return (words.sizes ^ pattern) | (words.rest ^ pattern);
}

/* Not 0: something was written where the links and the poison are. */
HW_INLINE uint64_t poison_wrong(const hw_trusted *pool, const hw_looked *n)
{
    hw_words links = hw_load(n->at + HW_OVERHEAD);
    uint64_t pattern = hw_poison_of(n->offset_sum),
             wrong = (links.sizes ^ MARK) | (links.rest ^ poisoned_links_rest(pool, n->offset_sum));
    const char *at = n->at + HW_OVERHEAD + sizeof(hw_links), *end = n->at + ((size_t)n->size << HW_FIXED_GRANULE_LOG2);
    for (; end - at >= 32; at += 32)
        wrong |= pair_wrong(at, pattern) | pair_wrong(at + 16, pattern);
    return at < end ? wrong | pair_wrong(at, pattern) : wrong;
}

/* --- holding back ------------------------------------------------------------------------------- */

static bool poison_usual(const hw_arena *arena, const hw_descriptor *descriptor, uint32_t node, uint32_t site,
                         uint32_t *size)
{
    hw_looked n;
    uint32_t most = most_at(arena, descriptor, node);
    if (most < HW_NODE_LEAST || hw_look(&arena->pool, node, HW_NODE_LEAST, most, &n) || hw_slack_wrong(&n) ||
        hw_state_of(n.meta) != HW_USED || hw_quarantined(n.meta))
        return false;
    poison(&arena->pool, &n, site);
    *size = n.size;
    return true;
}

static bool poison_any(hw_descriptor *descriptor, uint32_t node, uint32_t site, uint32_t *size)
{
    hw_fault fault;
    *size = hw_own(descriptor->pool, node)->size;
    return (size_t)*size << HW_FIXED_GRANULE_LOG2 <= LARGEST &&
           hw_cache(descriptor->pool, node, site, true, &fault) == HW_OK;
}

/* --- letting go --------------------------------------------------------------------------------- */

/* Of a node that is sound the poison ends, and it goes where any released one does. */
static bool let_go_usual(hw_arena *arena, const hw_descriptor *descriptor, uint32_t node, const hw_context *context)
{
    hw_looked n;
    uint32_t most = most_at(arena, descriptor, node);
    if (most < HW_NODE_LEAST || hw_look(&arena->pool, node, HW_NODE_LEAST, most, &n) ||
        hw_state_of(n.meta) != HW_CACHED || poison_wrong(&arena->pool, &n))
        return false;
    hw_header h = {.size = n.size, .meta = n.meta};
    hw_poison_end(descriptor->pool, node, &h);
    hw_cache_large(arena, node, n.size, context);
    return true;
}

static void let_go_any(hw_arena *arena, hw_descriptor *descriptor, uint32_t node, const hw_context *context)
{
    hw_fault fault;
    if (hw_verify(descriptor->pool, node, &fault) == HW_OK ||
        (hw_mend(arena, descriptor, context) && hw_verify(descriptor->pool, node, &fault) == HW_OK)) {
        hw_header h = *hw_own(descriptor->pool, node);
        if (hw_state_of(h.meta) == HW_CACHED && hw_release(descriptor->pool, node, h.meta >> 8, &fault) == HW_OK)
            hw_trim_after(arena, descriptor, node, h.prev_size, (size_t)h.size << HW_FIXED_GRANULE_LOG2);
    }
}

/* A node of a run, as its place among all of the arena's. */
enum { IN_RUNS = 255, NODE_BITS = HW_RUN_LOG2 - HW_RUN_GRANULE_LOG2 };

static hw_run *run_of(const hw_arena *arena, uint32_t place)
{
    return &arena->runs.book[place >> NODE_BITS].run;
}
static uint32_t node_of(uint32_t place)
{
    return place & ((1u << NODE_BITS) - 1);
}
static uint32_t place_of(const hw_arena *arena, const void *node)
{
    return (uint32_t)(((uintptr_t)node - (uintptr_t)arena->runs.base) >> HW_RUN_GRANULE_LOG2);
}

/* The same for a node of a run. */
static bool let_go_small(hw_arena *arena, uint32_t place)
{
    hw_run *run = run_of(arena, place);
    hw_run_looked n;
    char *at = hw_run_at(run, node_of(place));
    uint64_t pattern;
    if (hw_run_look(&hw_this_process.key, run->salt, at, run->stride, node_of(place) == HW_RUN_FIRST, &n) ||
        hw_state_of((uint32_t)n.own) != HW_CACHED || hw_word(at + HW_RUN_OVERHEAD) != HW_RUN_HELD)
        return false;
    pattern = hw_poison_of(n.place);
    uint64_t wrong = hw_word(at + HW_RUN_OVERHEAD + 8) ^ hw_second_word(n.place, &hw_this_process.key, HW_RUN_HELD);
    for (const char *word = at + 2 * HW_RUN_OVERHEAD; word < at + run->stride; word += 16)
        wrong |= pair_wrong(word, pattern);
    if (wrong)
        return false;
    hw_give_usual(arena, run, &n, (uint32_t)n.own >> 8);
    return true;
}

static void let_go_small_any(hw_arena *arena, uint32_t place, const hw_context *context)
{
    hw_run *run = run_of(arena, place);
    if (!let_go_small(arena, place) && !hw_small_let_go(arena, run, node_of(place))) {
        hw_small_mend(arena, run, context);
        hw_small_let_go(arena, run, node_of(place));
    }
}

HW_INLINE const unsigned char *soon_to_go(const hw_arena *arena, unsigned turns, uint32_t *size)
{
    uint32_t slot = (arena->delayed.head + turns) % HW_DELAYED, node = arena->delayed.node[slot];
    *size = arena->delayed.size[slot];
    if (arena->delayed.descriptor[slot] == IN_RUNS)
        return (const unsigned char *)hw_run_at(run_of(arena, node), node_of(node));
    return hw_at(arena->descriptor[arena->delayed.descriptor[slot]].pool, node);
}

/* Inlined: of a call that only fetches compilers think that it does nothing. */
HW_INLINE void fetch_ahead(const hw_arena *arena)
{
    uint32_t size, before;
    if (arena->delayed.count <= FAR_AHEAD)
        return;
    const unsigned char *at = soon_to_go(arena, FAR_AHEAD, &size);
    __builtin_prefetch(at, 1);
    __builtin_prefetch(at + ((size_t)size << HW_FIXED_GRANULE_LOG2));
    at = soon_to_go(arena, AHEAD, &size);
    before = size; /* as that of the node before is, in a run */
    __builtin_prefetch(at - ((size_t)before << HW_FIXED_GRANULE_LOG2));
}

static void let_oldest_go(hw_arena *arena, const hw_context *context)
{
    fetch_ahead(arena);
    uint32_t slot = arena->delayed.head % HW_DELAYED, node = arena->delayed.node[slot];
    /* Left between the two, the list ends before its newest node, and not behind it. */
    arena->delayed.count--;
    atomic_signal_fence(memory_order_seq_cst);
    arena->delayed.head++;
    if (!node) /* lost meanwhile */
        return;
    count(arena, arena->delayed.size[slot], false);
    if (arena->delayed.descriptor[slot] == IN_RUNS) {
        let_go_small_any(arena, node, context);
        return;
    }
    hw_descriptor *descriptor = &arena->descriptor[arena->delayed.descriptor[slot]];
    if (!let_go_usual(arena, descriptor, node, context))
        let_go_any(arena, descriptor, node, context);
}

static bool has_room(const hw_arena *arena, size_t bytes)
{
    size_t mine = arena->delayed.bytes + bytes;
    if (arena->delayed.count == HW_DELAYED)
        return false;
    if (mine <= OWN_BYTES)
        return true;
    uint32_t sharing = atomic_load_explicit(&holders, memory_order_relaxed);
    size_t most = atomic_load_explicit(&most_bytes, memory_order_relaxed);
    return mine <= most / (sharing ? sharing : 1) &&
           atomic_load_explicit(&all_bytes, memory_order_relaxed) + bytes <= most;
}

/* A node that is poisoned takes its place behind all others. */
static void line_up(hw_arena *arena, uint8_t descriptor, uint32_t node, uint32_t size, const hw_context *context)
{
    while (arena->delayed.count && !has_room(arena, (size_t)size << HW_FIXED_GRANULE_LOG2))
        let_oldest_go(arena, context);
    uint32_t slot = (arena->delayed.head + arena->delayed.count) % HW_DELAYED;
    arena->delayed.node[slot] = node;
    arena->delayed.size[slot] = size;
    arena->delayed.descriptor[slot] = descriptor;
    atomic_signal_fence(memory_order_seq_cst);
    arena->delayed.count++;
    count(arena, size, true);
}

bool hw_delay(hw_arena *arena, hw_descriptor *descriptor, uint32_t node, uint32_t site, const hw_context *context)
{
    uint32_t size;
    if (!poison_usual(arena, descriptor, node, site, &size) && !poison_any(descriptor, node, site, &size))
        return false;
    line_up(arena, descriptor == arena->first ? 0 : (uint8_t)(descriptor - arena->descriptor), node, size, context);
    return true;
}

void hw_delay_small(hw_arena *arena, const hw_run *run, uint32_t node, const hw_context *context)
{
    line_up(arena, IN_RUNS, place_of(arena, hw_run_at(run, node)), run->stride >> HW_RUN_GRANULE_LOG2, context);
}

bool hw_delay_usual(hw_arena *arena, void *pointer, const hw_context *context)
{
    hw_run_looked n;
    uint32_t site, slack;
    hw_run *run = hw_usual_run(arena, pointer);
    if (!run || hw_look_at_used(arena, run, pointer, context->family, hw_setting.poison, &n, &slack))
        return false;
    arena->sites.releasing = hw_past_is_on() ? pointer : NULL;
    HW_SITE_RECALL(site, &arena->sites, context->caller, (uint32_t)n.own >> 8, unknown);
    arena->sites.releasing = NULL;
    const uint64_t pattern = hw_poison_of(n.place), words[2] = {pattern, pattern};
    for (char *at = n.at + 2 * HW_RUN_OVERHEAD, *end = n.at + run->stride; at < end; at += sizeof words)
        __builtin_memcpy(at, words, sizeof words);
    hw_run_write(&hw_this_process.key, &n, ((uint32_t)n.own & 0xCF) | (uint32_t)HW_CACHED << 4 | site << 8);
    hw_run_link(&hw_this_process.key, &n, HW_RUN_HELD);
    if (hw_past_is_on())
        hw_past_note(pointer, site);
    line_up(arena, IN_RUNS, place_of(arena, n.at), run->stride >> HW_RUN_GRANULE_LOG2, context);
    return true;
unknown:
    arena->sites.releasing = NULL;
    return false;
}

size_t hw_delayed_give(hw_arena *arena, const hw_context *context)
{
    size_t given = arena->delayed.bytes;
    while (arena->delayed.count)
        let_oldest_go(arena, context);
    return given;
}

void hw_delayed_check_runs(hw_arena *arena)
{
    for (uint32_t i = 0; i < arena->delayed.count; i++) {
        uint32_t slot = (arena->delayed.head + i) % HW_DELAYED, node = arena->delayed.node[slot], meta;
        if (arena->delayed.descriptor[slot] != IN_RUNS || !node)
            continue;
        if (atomic_load(&arena->runs.lost) ||
            !hw_run_meta(run_of(arena, node), &hw_this_process.key, node_of(node), &meta) ||
            hw_state_of(meta) != HW_CACHED) {
            count(arena, arena->delayed.size[slot], false);
            arena->delayed.node[slot] = 0;
        }
    }
}

void hw_delayed_check(hw_arena *arena, const hw_descriptor *descriptor)
{
    uint32_t index = (uint32_t)(descriptor - arena->descriptor);
    hw_header h;
    for (uint32_t i = 0; i < arena->delayed.count; i++) {
        uint32_t slot = (arena->delayed.head + i) % HW_DELAYED, node = arena->delayed.node[slot];
        if (arena->delayed.descriptor[slot] != index || !node)
            continue;
        if (descriptor->lost || !hw_header_at(descriptor->pool, node, &h) || hw_state_of(h.meta) != HW_CACHED) {
            count(arena, arena->delayed.size[slot], false);
            arena->delayed.node[slot] = 0;
        }
    }
}

void hw_delayed_left(hw_arena *arena)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < arena->delayed.count; i++) {
        uint32_t slot = (arena->delayed.head + i) % HW_DELAYED;
        bytes += arena->delayed.node[slot] ? (size_t)arena->delayed.size[slot] << HW_FIXED_GRANULE_LOG2 : 0;
    }
    arena->delayed.bytes = bytes;
}
