/* Reading and writing one node of a run: where its two copies lie, and what vouches for them. Shared by the files of
   the core and by the engine's fast path; not for callers. */
#ifndef HEAPWITNESS_RUN_NODE_H
#define HEAPWITNESS_RUN_NODE_H

#include "check.h"
#include "heapwitness/run.h"
#include "node.h"

#if HW_HAS_RUNS

/* All of the usual way's comparisons; benchmarks/checks.py compiles engines without one, to see what it costs. */
#ifndef HW_CHECKS
#define HW_CHECKS (HW_CHECK_OWN | HW_CHECK_AFTER | HW_CHECK_BEFORE | HW_CHECK_SLACK | HW_CHECK_LINKS)
#endif
#define HW_CHECK_OWN 1
#define HW_CHECK_AFTER 2
#define HW_CHECK_BEFORE 4
#define HW_CHECK_SLACK 8
#define HW_CHECK_LINKS 16

#define HW_INLINE static inline __attribute__((always_inline))
#define HW_RUN_END_META ((uint32_t)HW_ENDNODE << 4)
/* Word 0 of a node that is held back. */
#define HW_RUN_HELD ((uint64_t)HW_POISONED_RIGHT << 32 | HW_POISONED_LEFT)

HW_INLINE uint64_t hw_word(const void *at)
{
    uint64_t word;
    __builtin_memcpy(&word, at, 8);
    return word;
}
HW_INLINE void hw_put_word(void *at, uint64_t word)
{
    __builtin_memcpy(at, &word, 8);
}

HW_INLINE uint64_t hw_place(uint64_t salt, const hw_run_key *key, const void *node)
{
    return (uint64_t)(uintptr_t)node * key->place + salt;
}
HW_INLINE uint64_t hw_run_header(uint64_t place, const hw_run_key *key, uint32_t meta)
{
    return ((place + meta * key->meta) >> 32 << 32) | meta;
}
/* Not 0 in its upper half: it is no header of this place. */
HW_INLINE uint64_t hw_run_unlike(uint64_t place, const hw_run_key *key, uint64_t header)
{
    return ((place + (uint32_t)header * key->meta) ^ header) >> 32;
}
/* Word 0 of a free node's links, and what stands behind a word 0. */
HW_INLINE uint64_t hw_free_word(uint64_t place, uint32_t next)
{
    return hw_pattern_of(place) << 16 | next;
}
HW_INLINE uint64_t hw_second_word(uint64_t place, const hw_run_key *key, uint64_t first)
{
    return (place + first * key->meta) | UINT32_MAX;
}
/* Thrice what the header has no room for, of slack below 1 KiB: a byte or two that are others show. */
HW_INLINE uint32_t hw_slack_entry(uint64_t place, uint32_t slack)
{
    return (slack >> 4) * 0x010101 ^ (uint32_t)(place >> 40);
}
HW_INLINE void hw_slack_note(uint8_t *entry, uint64_t place, uint32_t slack)
{
    uint32_t word = hw_slack_entry(place, slack);
    entry[0] = (uint8_t)word;
    entry[1] = (uint8_t)(word >> 8);
    entry[2] = (uint8_t)(word >> 16);
}
HW_INLINE uint32_t hw_slack_word(const uint8_t *entry)
{
    return entry[0] | (uint32_t)entry[1] << 8 | (uint32_t)entry[2] << 16;
}
/* What an entry and the header's bits say; not 0: the entry is damaged. */
HW_INLINE uint32_t hw_slack_noted(const uint8_t *entry, uint64_t place, uint32_t low, uint32_t *slack)
{
    uint32_t word = hw_slack_word(entry);
    *slack = low | ((word ^ (uint32_t)(place >> 40)) & 0xFF) << 4;
    return word ^ hw_slack_entry(place, *slack);
}

HW_INLINE char *hw_run_at(const hw_run *run, uint32_t node)
{
    return run->base + ((size_t)node << HW_RUN_GRANULE_LOG2);
}
HW_INLINE uint32_t hw_run_end(const hw_run *run)
{
    return HW_RUN_FIRST + run->formatted * (run->stride >> HW_RUN_GRANULE_LOG2);
}
HW_INLINE uint32_t hw_run_number(const hw_run *run, uint32_t node)
{
    return (node - HW_RUN_FIRST) / (run->stride >> HW_RUN_GRANULE_LOG2);
}
HW_INLINE uint8_t *hw_run_entry(const hw_run *run, uint32_t node)
{
    return run->aside->slack[hw_run_number(run, node) % HW_RUN_MIDS];
}
/* Each byte of the two addresses is in it, so one that is another one shows. */
HW_INLINE uint16_t hw_run_where(const hw_run *run)
{
    uint64_t both = (uintptr_t)run->base ^ (uintptr_t)run->aside;
    both ^= both >> 32;
    return (uint16_t)~(both ^ both >> 16);
}
HW_INLINE bool hw_run_is_small(const hw_run *run)
{
    return run->class < HW_RUN_SMALL;
}
/* Bytes from a node back to the one before; before the first there is the sentinel, which has no payload. */
HW_INLINE size_t hw_run_back(uint32_t stride, bool first)
{
    return first ? (size_t)HW_RUN_OVERHEAD : stride;
}

/* A node that was looked at. */
typedef struct hw_run_looked {
    char *at, *kept; /* the node, and its backup */
    uint64_t place, own;
} hw_run_looked;

/* Not 0: one of the three nodes is not as it should be. The node before is verified by its own check: its backup is
   compared when it or the one before it has its turn. `stride` and `first` say where the others lie. */
HW_INLINE uint64_t hw_run_look(const hw_run_key *key, uint64_t salt, char *at, uint32_t stride, bool first,
                               hw_run_looked *n)
{
    size_t back = hw_run_back(stride, first);
    n->at = at;
    n->place = hw_place(salt, key, at);
    n->own = hw_word(at);
    /* Only what is a node has neighbours that can be read. */
    if (__builtin_expect(hw_run_unlike(n->place, key, n->own) != 0, 0))
        return 1;
    n->kept = at - back + HW_RUN_BACKUP;
    uint64_t wrong = 0;
    if (HW_CHECKS & HW_CHECK_OWN)
        wrong |= n->own ^ hw_word(n->kept);
    if (HW_CHECKS & HW_CHECK_AFTER)
        wrong |= hw_word(at + stride) ^ hw_word(at + HW_RUN_BACKUP);
    if (HW_CHECKS & HW_CHECK_BEFORE)
        wrong |= hw_run_unlike(n->place - back * key->place, key, hw_word(at - back));
    return wrong;
}

/* Not 0: the backup that the node after keeps is not one, though its own header is as it should be: so of a node
   without slack, the 16 bytes behind its payload are verified at its own release. The END keeps the sentinel's. */
HW_INLINE uint64_t hw_run_behind_wrong(const hw_run_key *key, const hw_run_looked *n, uint32_t stride)
{
    uint64_t after = hw_word(n->at + stride), kept = hw_word(n->at + stride + HW_RUN_BACKUP);
    uint64_t wrong = hw_run_unlike(n->place + 2 * (uint64_t)stride * key->place, key, kept);
    return !(HW_CHECKS & HW_CHECK_AFTER) || (after & HW_RUN_END_META) == HW_RUN_END_META ? 0 : wrong;
}

HW_INLINE void hw_run_write(const hw_run_key *key, const hw_run_looked *n, uint32_t meta)
{
    uint64_t header = hw_run_header(n->place, key, meta);
    hw_put_word(n->at, header);
    hw_put_word(n->kept, header);
}

HW_INLINE void hw_run_link(const hw_run_key *key, const hw_run_looked *n, uint64_t first)
{
    hw_put_word(n->at + HW_RUN_OVERHEAD, first);
    hw_put_word(n->at + HW_RUN_OVERHEAD + 8, hw_second_word(n->place, key, first));
}

/* Not 0: the check of a free node's links is none of its word 0, which says what the next one is. */
HW_INLINE uint64_t hw_run_next_wrong(const hw_run_key *key, const hw_run_looked *n, uint64_t *first)
{
    *first = hw_word(n->at + HW_RUN_OVERHEAD);
    return HW_CHECKS & HW_CHECK_LINKS ? hw_second_word(n->place, key, *first) ^ hw_word(n->at + HW_RUN_OVERHEAD + 8)
                                      : 0;
}

/* Not 0: the links of a free node are not as they were written. */
HW_INLINE uint64_t hw_run_links_wrong(const hw_run_key *key, const hw_run_looked *n, uint64_t *first)
{
    uint64_t wrong = hw_run_next_wrong(key, n, first);
    return HW_CHECKS & HW_CHECK_LINKS ? wrong | (*first ^ hw_pattern_of(n->place) << 16) >> 16 : 0;
}

/* For the last two words of a payload: which of their bytes are slack. Every payload has two. */
static const uint64_t hw_slack_masks[16][2] = {
#define HW_TOP(n) ((n) ? ~UINT64_C(0) << (64 - 8 * ((n) ? (n) : 8)) : 0)
#define HW_MASKS(n) {(n) > 8 ? HW_TOP((n) - 8) : 0, (n) > 8 ? ~UINT64_C(0) : HW_TOP(n)}
    HW_MASKS(0), HW_MASKS(1), HW_MASKS(2),  HW_MASKS(3),  HW_MASKS(4),  HW_MASKS(5),  HW_MASKS(6),  HW_MASKS(7),
    HW_MASKS(8), HW_MASKS(9), HW_MASKS(10), HW_MASKS(11), HW_MASKS(12), HW_MASKS(13), HW_MASKS(14), HW_MASKS(15),
#undef HW_MASKS
#undef HW_TOP
};

/* Of the small classes: slack is in the last two words of the payload, which end at `end`. */
HW_INLINE uint64_t hw_short_slack_wrong(const char *end, uint64_t pattern, unsigned slack)
{
    const uint64_t *mask = hw_slack_masks[slack];
    if (!(HW_CHECKS & HW_CHECK_SLACK))
        return 0;
    return ((hw_word(end - 16) ^ pattern) & mask[0]) | ((hw_word(end - 8) ^ pattern) & mask[1]);
}
/* Nothing of a new block's payload is worth keeping, so whole words may be written. */
HW_INLINE void hw_short_slack_fill(char *end, uint64_t pattern)
{
    hw_put_word(end - 16, pattern);
    hw_put_word(end - 8, pattern);
}
/* The same where the payload stays. */
HW_INLINE void hw_short_slack_refill(char *end, uint64_t pattern, unsigned slack)
{
    const uint64_t *mask = hw_slack_masks[slack];
    uint64_t first = hw_word(end - 16), last = hw_word(end - 8);
    hw_put_word(end - 16, first ^ ((first ^ pattern) & mask[0]));
    hw_put_word(end - 8, last ^ ((last ^ pattern) & mask[1]));
}

/* The class of a request of at most HW_RUN_MOST bytes, and not of 0. */
HW_INLINE unsigned hw_class_for(size_t bytes)
{
    enum { STEPS = 8, FIRST_LOG2 = 10 };
    if (bytes <= (size_t)1 << FIRST_LOG2)
        return (unsigned)((bytes - 1) >> HW_RUN_GRANULE_LOG2);
    unsigned top = 31 - (unsigned)__builtin_clz((uint32_t)(bytes - 1));
    return HW_RUN_SMALL + (top - FIRST_LOG2) * STEPS + (unsigned)((bytes - 1) >> (top - 3) & (STEPS - 1));
}

/* run.c: slack of any length, and poison. `to` is the end of the payload, a multiple of 8. */
bool hw_run_is_filled(const char *from, const char *to, uint64_t pattern);
void hw_run_fill(char *from, char *to, uint64_t pattern);
/* Slack of a node with this `meta`, in bytes; false: the entry that says so is damaged. */
bool hw_run_slack(const hw_run *run, const hw_run_key *key, uint32_t node, uint32_t meta, uint32_t *slack);
/* What is wrong in the payload of a node whose `meta` can be believed: HW_NONE, HW_SLACK, HW_LINKS, HW_POISON. */
uint32_t hw_run_payload_fault(const hw_run *run, const hw_run_key *key, uint32_t node, uint32_t meta);
/* It lies where it says. */
bool hw_run_is_bound(const hw_run *run);
/* What describes it and the copy of that agree, and make sense: without this only hw_run_is_node may be asked. */
bool hw_run_is_described(const hw_run *run);
/* Whether a node can stand there; of any run. */
bool hw_run_is_node(const hw_run *run, uint32_t node);
/* Take what describes it from elsewhere. False: there can be no such run. */
bool hw_run_describe(hw_run *run, uint64_t salt, unsigned class, unsigned formatted);
void hw_run_note(hw_run *run);
void hw_run_finish(const hw_run *run, const hw_run_key *key);

#endif
#endif
