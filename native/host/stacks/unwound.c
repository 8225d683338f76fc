#define _GNU_SOURCE
#include "stacks/unwound.h"

#include "os/confined.h"
#include "os/guard.h"
#include "os/room.h"
#include "stacks/trail.h"

#include <stddef.h>
#include <string.h>
#include <unwind.h>

enum { SETS = 8192, WAYS = 4, BYTES = 8 << 20, KNOWN = 1 << 15, MET = 1 << 13 };

/* Words of the stack that unwinding used: as many at once as make comparing them cheap. */
typedef uint64_t two __attribute__((vector_size(16)));
typedef struct words {
    two was[2];
    uint32_t at[4]; /* bytes from the frame */
} words;

/* A call, by these words. */
typedef struct stack {
    uint64_t pc;
    uintptr_t frame;
    uint32_t prior, site;
    size_t bytes; /* of its words */
    words words[];
} stack;

/* The same call is reached by several ways: bits of the hash of each, then where it is, in bytes from the start of the
   thread's memory, which is no stack. */
typedef struct set {
    _Alignas(32) uint32_t word[2 * WAYS];
} set;

/* A thread's memory: stacks one behind the other, from the start again when it is full, and the sets that name them.
   A signal handler may come at any time, and may call in itself. A stack stays as it was written, unless `turn`
   changes. */
typedef struct hw_unwound {
    uint64_t turn;  /* how often it was full */
    uintptr_t busy; /* with the trail: the frame of the call that is; 0: none is */
    _Atomic uint32_t used;
    set sets[SETS];
    uint8_t telling[SETS * WAYS]; /* which of a stack's words told another call from it last */
    uint32_t met[MET];            /* hashes of calls, and the sites that they had: one that comes again is kept */
    hw_recent known[KNOWN];       /* sites by their stacks, wherever these lie */
    hw_trail trail;
    words used_words[3 * HW_FULL_FRAMES / 4]; /* of the call that is busy, which has no room for them on its stack */
    uint64_t pc[HW_FULL_FRAMES];
    _Alignas(64) char stacks[BYTES];
} hw_unwound;

static inline uint64_t hash_of(const hw_caller *caller, uint32_t prior)
{
    uint64_t call = (uint64_t)(uintptr_t)caller->pc ^ (uint64_t)(uintptr_t)caller->frame << 17 ^ (uint64_t)prior << 40;
    return call * UINT64_C(0x9E3779B97F4A7C15);
}

static inline unsigned set_of(uint64_t hash)
{
    return (unsigned)(hash >> 51);
}

static inline uint32_t tag_of(uint64_t hash)
{
    return (uint32_t)(hash >> 21);
}

/* Bits that words of the stack differ in. */
static inline two differences(const words *w, uintptr_t frame)
{
    two different = (two){hw_word_at(frame + w->at[0]), hw_word_at(frame + w->at[1])} ^ w->was[0];
    return different | ((two){hw_word_at(frame + w->at[2]), hw_word_at(frame + w->at[3])} ^ w->was[1]);
}

/* Which words differ first. */
static __attribute__((noinline)) unsigned find_telling(const stack *s, uintptr_t frame)
{
    for (unsigned i = 0; i < s->bytes / sizeof(words); i++) {
        two different = differences(&s->words[i], frame);
        if (different[0] | different[1])
            return i;
    }
    return 0;
}

/* Calls of a place that come by several ways differ in few words: those are looked at first. */
static inline bool holds(const stack *s, uint8_t *telling, uintptr_t frame)
{
    two different = differences(&s->words[*telling * sizeof(words) < s->bytes ? *telling : 0], frame);
    if (different[0] | different[1])
        return false;
    for (size_t left = s->bytes; left; left -= sizeof(words))
        different |= differences((const words *)(const void *)((const char *)s->words + left - sizeof(words)), frame);
    if (HW_LIKELY((different[0] | different[1]) == 0))
        return true;
    *telling = (uint8_t)find_telling(s, frame);
    return false;
}

#ifdef HW_COMPARE_UNWINDERS
/* For tests: die where libgcc unwinds otherwise. */
static void compare(uint32_t site, const hw_caller *caller)
{
    uint64_t other[HW_FULL_FRAMES];
    unsigned count = hw_unwind(other, HW_FULL_FRAMES, caller);
    other[0] |= hw_domain_bits((uint64_t)(uintptr_t)caller->pc);
    if (site && !hw_site_has(site, other, count))
        __builtin_trap();
}
#define COMPARE(site, caller) compare(site, caller)
#else
#define COMPARE(site, caller) ((void)0)
#endif

uint32_t hw_unwound_recall(const hw_site_cache *cache, hw_caller caller, uint32_t prior)
{
    hw_unwound *known = cache->unwound;
    uint64_t hash = hash_of(&caller, prior);
    if (HW_UNLIKELY(!known))
        return HW_SITE_UNKNOWN;
    uint64_t turn = known->turn;
    const uint32_t *tag = known->sets[set_of(hash)].word;
    uint8_t *telling = &known->telling[set_of(hash) * WAYS];
    atomic_signal_fence(memory_order_seq_cst);
    do {
        const stack *s = (const stack *)(const void *)((const char *)known + tag[WAYS]);
        if (*tag == tag_of(hash) && s->pc == (uint64_t)(uintptr_t)caller.pc && s->frame == (uintptr_t)caller.frame &&
            s->prior == prior && HW_LIKELY(holds(s, telling, (uintptr_t)caller.frame))) {
            uint32_t site = s->site;
            atomic_signal_fence(memory_order_seq_cst);
            COMPARE(site, &caller);
            return HW_LIKELY(known->turn == turn) ? site : HW_SITE_UNKNOWN;
        }
        telling++;
    } while ((uintptr_t)++tag % sizeof(set) != WAYS * sizeof *tag);
    return HW_SITE_UNKNOWN;
}

/* --- by libgcc ----------------------------------------------------------------------------------- */

/* Shared with a copy of the process: without pointers. */
typedef struct walk {
    uint64_t start;
    unsigned count, most;
    uint64_t pc[HW_MOST_FRAMES];
} walk;

static _Unwind_Reason_Code take(struct _Unwind_Context *context, void *argument)
{
    walk *w = argument;
    uint64_t pc = _Unwind_GetIP(context);
    if (pc == 0)
        return _URC_END_OF_STACK;
    if (w->count || pc == w->start)
        w->pc[w->count++] = pc;
    return w->count < w->most ? _URC_NO_REASON : _URC_END_OF_STACK;
}

static void go(void *argument)
{
    /* Its first use wakes who might wait for it. */
    static _Atomic bool used;
    if (hw_confined && !used && !hw_may_wake())
        return;
    _Unwind_Backtrace(take, argument);
    used = true;
}

/* A walk that was broken off has the frames up to there. */
static unsigned give(const walk *w, uint64_t *frames)
{
    if (w->count == 0)
        frames[0] = w->start;
    else
        memcpy(frames, w->pc, w->count * sizeof *frames);
    return w->count ? w->count : 1;
}

unsigned hw_unwind(uint64_t *frames, unsigned most, const hw_caller *caller)
{
    walk w = {.start = hw_address_of((uint64_t)(uintptr_t)caller->pc), .most = most};
    hw_guarded(go, &w);
    return give(&w, frames);
}

unsigned hw_unwind_surely(uint64_t *frames, unsigned most, const hw_caller *caller)
{
    walk w = {.start = hw_address_of((uint64_t)(uintptr_t)caller->pc), .most = most};
    hw_guarded_apart(go, &w, sizeof w);
    return give(&w, frames);
}

/* --- both ---------------------------------------------------------------------------------------- */

/* Where there is room for a stack, until `turn` is over. */
static uint32_t take_room(hw_unwound *known, uint32_t bytes, uint64_t *turn)
{
    for (;;) {
        *turn = known->turn;
        atomic_signal_fence(memory_order_seq_cst);
        uint32_t used = atomic_load_explicit(&known->used, memory_order_relaxed), more = used + bytes;
        if (more > BYTES) {
            known->turn++;
            atomic_signal_fence(memory_order_seq_cst);
            memset(known->sets, 0, sizeof known->sets);
            atomic_signal_fence(memory_order_seq_cst);
            more = 0;
        }
        if (atomic_compare_exchange_strong_explicit(&known->used, &used, more, memory_order_relaxed,
                                                    memory_order_relaxed) &&
            more)
            return (uint32_t)offsetof(hw_unwound, stacks) + used;
    }
}

static void add(words *list, unsigned *count, uintptr_t low, uintptr_t at, uint64_t was)
{
    list[*count / 4].at[*count % 4] = (uint32_t)(at - low);
    list[*count / 4].was[*count / 2 % 2][*count % 2] = was;
    ++*count;
}

static void keep(hw_unwound *known, const hw_caller *caller, uint32_t prior, uint32_t site, const hw_followed *followed)
{
    const hw_frame *frames = followed->frames;
    words *used = known->used_words;
    uintptr_t low = (uintptr_t)caller->frame;
    unsigned count = 0;
    for (const hw_frame *f = frames; f < frames + followed->behind; f++) {
        add(used, &count, low, f[1].sp - sizeof(uint64_t), f[1].pc);
        if (f->uses_bp)
            add(used, &count, low, f->bp_at, f->bp);
        if (f->extra_at)
            add(used, &count, low, f->extra_at, f->extra);
    }
    while (count % 4 || count == 0) /* there are always some */
        add(used, &count, low, frames->sp - sizeof(uint64_t), frames->pc);
    uint32_t bytes = (uint32_t)(sizeof(stack) + count / 4 * sizeof(words));
    uint64_t turn;
    uint32_t at = take_room(known, bytes, &turn);
    stack *s = (stack *)(void *)((char *)known + at);
    *s = (stack){.pc = (uint64_t)(uintptr_t)caller->pc,
                 .frame = low,
                 .prior = prior,
                 .site = site,
                 .bytes = bytes - sizeof(stack)};
    memcpy(s->words, used, count / 4 * sizeof *used);
    uint64_t hash = hash_of(caller, prior);
    uint32_t *tag = known->sets[set_of(hash)].word, *place = tag + WAYS;
    atomic_signal_fence(memory_order_seq_cst);
    for (unsigned way = WAYS - 1; way > 0; way--) {
        place[way] = place[way - 1];
        tag[way] = tag[way - 1];
    }
    place[0] = at;
    tag[0] = tag_of(hash);
    atomic_signal_fence(memory_order_seq_cst);
    if (HW_UNLIKELY(known->turn != turn))
        tag[0] = place[0] = 0;
}

/* Whether the call comes again by that way, as nearly as a few bits tell. */
static bool comes_again(hw_unwound *known, const hw_caller *caller, uint32_t prior, uint32_t site)
{
    uint64_t hash = (hash_of(caller, prior) ^ site) * HW_POWER;
    uint32_t *met = &known->met[hash >> 32 & (MET - 1)], was = *met;
    *met = (uint32_t)hash;
    return was == (uint32_t)hash;
}

/* The site of a stack, wherever it lies. */
static uint32_t site_of(hw_unwound *known, const hw_site_cache *cache, const hw_followed *stack, uint64_t first,
                        uint32_t prior)
{
    uint64_t sum = stack->sum - stack->pc[0] + first, hash = (sum ^ prior) * HW_POWER;
    uint64_t key = sum + ((uint64_t)cache->thread << 32); /* a thread has sites of its own */
    hw_recent *place = &known->known[(hash ^ hash >> 32) % KNOWN];
    if (place->key == key && place->prior == prior)
        return place->site;
    hw_site_record record = {.prior = prior, .thread = hw_site_thread(cache), .count = (uint16_t)stack->count};
    memcpy(known->pc, stack->pc, stack->count * sizeof *stack->pc);
    known->pc[0] = first;
    uint32_t site = hw_site_intern_record(&record, known->pc);
    place->key = 0; /* whoever breaks off here leaves none */
    atomic_signal_fence(memory_order_seq_cst);
    place->prior = prior;
    place->site = site;
    atomic_signal_fence(memory_order_seq_cst);
    place->key = site ? key : 0;
    return site;
}

/* On the thread's own stack. False: there is no telling, or another call is at it. */
static bool learn_by_rules(hw_site_cache *cache, const hw_caller *caller, uint32_t prior, uint32_t *site)
{
    uintptr_t low = (uintptr_t)caller->frame;
    if (low < cache->stack_low || low >= cache->stack_high - 2 * sizeof(uint64_t) ||
        (!cache->unwound && !(cache->unwound = hw_map(sizeof *cache->unwound))))
        return false;
    hw_unwound *known = cache->unwound;
    if (low < known->busy)
        return false;
    known->busy = low;
    atomic_signal_fence(memory_order_seq_cst);
    hw_followed stack;
    bool followed = hw_trail_follow(&known->trail, caller, cache->stack_high, &stack);
    if (followed) {
        *site = site_of(known, cache, &stack, (uint64_t)(uintptr_t)caller->pc, prior);
        COMPARE(*site, caller);
        if (*site && comes_again(known, caller, prior, *site) && hw_site_may_be_kept(*site))
            keep(known, caller, prior, *site, &stack);
    }
    atomic_signal_fence(memory_order_seq_cst);
    known->busy = 0;
    return followed;
}

typedef struct unknown {
    const hw_site_cache *cache;
    const hw_caller *caller;
    uint32_t prior, site;
} unknown;

static void learn_by_libgcc(void *argument)
{
    unknown *u = argument;
    uint64_t pc[HW_FULL_FRAMES];
    unsigned count = hw_unwind(pc, HW_FULL_FRAMES, u->caller);
    pc[0] |= hw_domain_bits((uint64_t)(uintptr_t)u->caller->pc);
    u->site = hw_site_intern(u->cache, pc, count, u->prior);
}

__attribute__((noinline)) uint32_t hw_unwound_learn(hw_site_cache *cache, const hw_caller *caller, uint32_t prior)
{
    unknown u = {.cache = cache, .caller = caller, .prior = prior};
    if (!learn_by_rules(cache, caller, prior, &u.site))
        hw_with_room(learn_by_libgcc, &u);
    return u.site;
}

void hw_unwound_forget(hw_site_cache *cache)
{
    if (cache->unwound)
        memset(cache->unwound->sets, 0, sizeof cache->unwound->sets);
}

void hw_unwound_adopt(hw_site_cache *cache)
{
    if (!cache->unwound)
        return;
    cache->unwound->busy = 0;
    cache->unwound->trail.any = false;
}
