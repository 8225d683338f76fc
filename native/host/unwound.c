#define _GNU_SOURCE
#include "unwound.h"

#include "arena.h"
#include "frame_rules.h"

#include <string.h>
#include <unwind.h>

/* Sets of stacks: the same call is reached by several ways. */
enum { SETS = 1024, WAYS = 4, STACKS = SETS * WAYS, RULES = 4096, SITES = 8192, WORDS = 64 };

/* A stack by the words that unwinding it used. */
typedef struct stack {
    uint64_t pc;
    uintptr_t frame;
    uint64_t key;        /* of its return addresses */
    uint64_t returns;    /* which words are return addresses, a bit each */
    uint32_t words;      /* 0: not to be used */
    uint32_t at[WORDS];  /* bytes from `frame` */
    uint64_t was[WORDS]; /* what was there */
} stack;

/* A thread's memory. A site is that of a stack and, for a release, of the block's allocation. */
typedef struct hw_unwound {
    struct {
        uint64_t key;
        uint32_t site;
    } sites[SITES];
    hw_rule rules[RULES];
    stack stacks[STACKS];
} hw_unwound;

static inline stack *set_for(hw_unwound *known, const hw_caller *caller)
{
    uint64_t h =
        ((uint64_t)(uintptr_t)caller->pc ^ (uint64_t)(uintptr_t)caller->frame << 17) * UINT64_C(0x9E3779B97F4A7C15);
    return &known->stacks[(h >> 40 & (SETS - 1)) * WAYS];
}

static inline bool is_same(const stack *s, const hw_caller *caller)
{
    if (s->words == 0 || s->pc != (uint64_t)(uintptr_t)caller->pc || s->frame != (uintptr_t)caller->frame)
        return false;
    const char *frame = (const char *)caller->frame;
    for (uint32_t i = 0; i < s->words; i++)
        if (*(const uint64_t *)(const void *)(frame + s->at[i]) != s->was[i])
            return false;
    return true;
}

static inline stack *recall(hw_unwound *known, const hw_caller *caller)
{
    stack *set = set_for(known, caller);
    for (unsigned way = 0; way < WAYS; way++)
        if (is_same(&set[way], caller))
            return &set[way];
    return NULL;
}

static uint64_t key_of(const uint64_t *pc, unsigned frames)
{
    uint64_t key = frames;
    for (unsigned i = 0; i < frames; i++) {
        key = (key ^ pc[i]) * UINT64_C(0x9E3779B97F4A7C15);
        key ^= key >> 29;
    }
    return key;
}

static inline uint64_t site_key(const stack *s, uint32_t prior)
{
    return (s->key ^ prior) * UINT64_C(0x9E3779B97F4A7C15);
}

bool hw_unwound_recall(const hw_site_cache *cache, const hw_caller *caller, uint32_t prior, uint32_t *site)
{
    const stack *known = cache->unwound ? recall(cache->unwound, caller) : NULL;
    if (!known)
        return false;
    uint64_t key = site_key(known, prior);
    *site = cache->unwound->sites[key >> 32 & (SITES - 1)].site;
    return cache->unwound->sites[key >> 32 & (SITES - 1)].key == key;
}

/* --- by rules ------------------------------------------------------------------------------------ */

static inline hw_rule rule_for(hw_unwound *known, uint64_t pc)
{
    hw_rule *place = &known->rules[(pc ^ pc >> 12) & (RULES - 1)], rule = *place;
    atomic_signal_fence(memory_order_seq_cst); /* a signal handler that came while it was copied has replaced it */
    if (HW_LIKELY(rule.pc == pc && place->pc == pc && rule.code == hw_code_before(pc)))
        return rule;
    hw_rule_find(pc, &rule);
    if (rule.kind == HW_RULE_NONE || rule.code == 0) /* nothing that could be seen to have changed */
        return rule;
    place->pc = 0;
    atomic_signal_fence(memory_order_seq_cst);
    *place = rule;
    return rule;
}

/* Take down a word that unwinding used. False: it does not lie on the stack, or there are too many. */
static inline bool note(stack *s, uintptr_t at, uintptr_t high, uint64_t *value)
{
    if (at < s->frame || at > high - sizeof(uint64_t) || (at & 7) || s->words == WORDS || at - s->frame > UINT32_MAX)
        return false;
    *value = *(const uint64_t *)at;
    s->at[s->words] = (uint32_t)(at - s->frame);
    s->was[s->words++] = *value;
    return true;
}

/* The frames of a stack, and its words in `s`; 0: it is not on the thread's own stack, or a frame has no rule. */
static unsigned by_rules(const hw_site_cache *cache, const hw_caller *caller, uint64_t *pc, stack *s)
{
    uintptr_t low = (uintptr_t)caller->frame, high = cache->stack_high;
    if (!cache->unwound || low < cache->stack_low || low >= high - 2 * sizeof(uint64_t))
        return 0;
    s->pc = pc[0] = (uint64_t)(uintptr_t)caller->pc;
    s->frame = low;
    s->words = 0;
    s->returns = 0;
    /* The function that was called has saved rbp in its frame, below the return address. */
    uintptr_t sp = low + 2 * sizeof(uint64_t), bp = ((const uintptr_t *)low)[0], bp_at = low;
    bool bp_noted = false;
    for (unsigned frames = 1;; frames++) {
        const hw_rule rule = rule_for(cache->unwound, pc[frames - 1]);
        uint64_t word;
        if (rule.kind == HW_RULE_NONE)
            return 0;
        if (rule.kind == HW_RULE_LAST || frames == HW_FULL_FRAMES) {
            s->key = key_of(pc, frames);
            return frames;
        }
        if (rule.kind != HW_RULE_SP && !bp_noted && !(bp_noted = note(s, bp_at, high, &word)))
            return 0;
        uintptr_t above = (rule.kind == HW_RULE_SP ? sp : bp) + (uintptr_t)(intptr_t)rule.cfa;
        if (rule.kind == HW_RULE_WORD) {
            if (!note(s, above, high, &word))
                return 0;
            above = (uintptr_t)word;
        }
        uint32_t returns = s->words;
        if (above <= sp || !note(s, above - sizeof word, high, &word))
            return 0;
        if (rule.saved != HW_SAVED_NOT) {
            bp_at = (rule.saved == HW_SAVED_BY_BP ? bp : above) + (uintptr_t)(intptr_t)rule.bp;
            if (bp_at < low || bp_at > high - sizeof(uint64_t) || (bp_at & 7))
                return 0;
            bp = *(const uintptr_t *)bp_at;
            bp_noted = false;
        }
        sp = above;
        if (word == 0) {
            s->key = key_of(pc, frames);
            return frames;
        }
        pc[frames] = word;
        s->returns |= UINT64_C(1) << returns;
    }
}

/* --- by libgcc ----------------------------------------------------------------------------------- */

typedef struct walk {
    uint64_t *pc;
    unsigned count, most;
    uint64_t start;
} walk;

static _Unwind_Reason_Code step(struct _Unwind_Context *context, void *argument)
{
    walk *w = argument;
    uint64_t pc = _Unwind_GetIP(context);
    if (pc == 0)
        return _URC_END_OF_STACK;
    if (w->count || pc == w->start)
        w->pc[w->count++] = pc;
    return w->count < w->most ? _URC_NO_REASON : _URC_END_OF_STACK;
}

unsigned hw_unwind(uint64_t *frames, unsigned most, const hw_caller *caller)
{
    walk w = {.pc = frames, .most = most, .start = (uint64_t)(uintptr_t)caller->pc};
    _Unwind_Backtrace(step, &w);
    if (w.count == 0)
        frames[w.count++] = w.start;
    return w.count;
}

/* --- both ---------------------------------------------------------------------------------------- */

static void keep(hw_site_cache *cache, const stack *s)
{
    stack *to = set_for(cache->unwound, &(hw_caller){(void *)(uintptr_t)s->pc, (void **)s->frame});
    to += cache->next_way++ % WAYS;
    to->words = 0; /* a signal handler that comes now does not use it */
    atomic_signal_fence(memory_order_seq_cst);
    to->pc = s->pc;
    to->frame = s->frame;
    to->key = s->key;
    to->returns = s->returns;
    memcpy(to->at, s->at, s->words * sizeof *s->at);
    memcpy(to->was, s->was, s->words * sizeof *s->was);
    atomic_signal_fence(memory_order_seq_cst);
    to->words = s->words;
}

static unsigned frames_of(const stack *s, uint64_t *pc)
{
    unsigned frames = 0;
    pc[frames++] = s->pc;
    for (uint32_t i = 0; i < s->words; i++)
        if (s->returns >> i & 1)
            pc[frames++] = s->was[i];
    return frames;
}

unsigned hw_unwound_follow(const hw_caller *caller, uint64_t *pc)
{
    hw_site_cache *cache = hw_me.arena ? &hw_me.arena->sites : NULL;
    if (!cache || (!cache->unwound && !(cache->unwound = hw_map(sizeof *cache->unwound))))
        return hw_unwind(pc, HW_FULL_FRAMES, caller);
    stack fresh;
    /* Known, where only the site is new: that of the release of a block from elsewhere. */
    const stack *known = recall(cache->unwound, caller);
    unsigned frames = known ? frames_of(known, pc) : by_rules(cache, caller, pc, &fresh);
    if (frames && !known)
        keep(cache, &fresh);
#ifdef HW_COMPARE_UNWINDERS
    uint64_t other[HW_FULL_FRAMES];
    if (frames && (hw_unwind(other, HW_FULL_FRAMES, caller) != frames || memcmp(other, pc, frames * sizeof *pc) != 0))
        __builtin_trap();
#endif
    return frames ? frames : hw_unwind(pc, HW_FULL_FRAMES, caller);
}

void hw_unwound_keep(hw_site_cache *cache, const hw_caller *caller, uint32_t prior, uint32_t site, const uint64_t *pc,
                     unsigned count)
{
    const stack *known = cache->unwound ? recall(cache->unwound, caller) : NULL;
    if (!known || known->key != key_of(pc, count))
        return;
    uint64_t key = site_key(known, prior);
    cache->unwound->sites[key >> 32 & (SITES - 1)].key = 0; /* as above */
    atomic_signal_fence(memory_order_seq_cst);
    cache->unwound->sites[key >> 32 & (SITES - 1)].site = site;
    atomic_signal_fence(memory_order_seq_cst);
    cache->unwound->sites[key >> 32 & (SITES - 1)].key = key;
}

void hw_unwound_forget(hw_site_cache *cache)
{
    if (cache->unwound)
        memset(cache->unwound, 0, sizeof *cache->unwound);
}
