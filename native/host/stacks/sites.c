#define _GNU_SOURCE
#include "stacks/sites.h"

#include "os/process.h"
#include "stacks/calls.h"
#include "stacks/named.h"
#include "stacks/numbers.h"
#include "stacks/python_frames.h"
#include "stacks/python_sites.h"
#include "stacks/unwound.h"

#include <dlfcn.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum {
    AREA = 256 << 20,
    STEP = 1 << 20,
    LEVELS = 5,
    FEWEST_LEVELS = 2,
    BUCKET = 16,
    FIRST_BUCKETS = 1 << 8,
    TAG_SHIFT = 24,
    MAIN_STACK = 8 << 20,
    WITH_THREADS = 16 << 20
};

typedef hw_site_record record;

/* Words of the table name records of the area, which grows as it is filled: 8 bits of the hash and the record's number.
   A word is in its bucket of the first level where there was room when it came; buckets fill up from their start, and
   nothing is ever taken out. So few sites take few pages, and the first word that is empty ends a search. */
typedef struct bucket {
    _Alignas(64) _Atomic uint32_t word[BUCKET];
} bucket;
typedef struct site_table {
    hw_space area;
    _Atomic size_t bytes;
    unsigned levels;          /* each of four times as many buckets as the one before */
    _Atomic unsigned reached; /* the last one that has words */
    bucket buckets[];
} site_table;
static _Atomic(site_table *) table;

extern void *__libc_stack_end __attribute__((weak));

static inline uint64_t mix(uint64_t h, uint64_t value)
{
    h = (h ^ value) * UINT64_C(0x9E3779B97F4A7C15);
    return h ^ h >> 29;
}

static unsigned believable(hw_site_cache *cache, const uint64_t *pc, unsigned frames);

/* Two sites of one slot do not drive each other out: the one that came first moves beside it. Where another one is at
   home, it does so every other time: two that are at home beside each other stay, too. */
void hw_site_keep(hw_site_cache *cache, uint64_t key, uint32_t prior, uint32_t site)
{
    unsigned slot = hw_recent_slot(key, prior);
    hw_recent *new = &cache->recent[slot], *beside = &cache->recent[slot ^ 1];
    const hw_recent old = *new;
    atomic_signal_fence(memory_order_seq_cst); /* a signal handler may come at any time */
    if (new->key == old.key && (hw_recent_slot(beside->key, beside->prior) != (slot ^ 1) || cache->kept++ % 2)) {
        beside->key = 0;
        atomic_signal_fence(memory_order_seq_cst);
        beside->prior = old.prior;
        beside->site = old.site;
        atomic_signal_fence(memory_order_seq_cst);
        beside->key = old.key;
    }
    new->key = 0;
    atomic_signal_fence(memory_order_seq_cst);
    new->prior = prior;
    new->site = site;
    atomic_signal_fence(memory_order_seq_cst);
    new->key = key;
}

/* Where not all frames that frame pointers lead to may be believed. */
static __attribute__((noinline)) uint32_t recall_believable(const hw_site_cache *cache, hw_caller caller,
                                                            uint32_t prior)
{
    unsigned slot = hw_depth_slot((uintptr_t)caller.pc);
    uint64_t key;
    if (cache->depth[slot].pc != (uintptr_t)caller.pc)
        return HW_SITE_UNKNOWN;
    hw_follow(cache, &caller, NULL, cache->depth[slot].frames, &key);
    return hw_site_recent(cache, key, prior);
}

__attribute__((noinline)) uint32_t hw_site_recall_deep(const hw_site_cache *cache, hw_caller caller, uint32_t prior)
{
    uint64_t key;
    hw_follow(cache, &caller, NULL, cache->most, &key);
    uint32_t site = hw_site_recent(cache, key, prior);
    return HW_LIKELY(site != HW_SITE_UNKNOWN) ? site : recall_believable(cache, caller, prior);
}

void (*hw_site_met)(uintptr_t pc);

/* By frame pointers. */
static __attribute__((noinline)) uint32_t learn_followed(hw_site_cache *cache, const hw_caller *caller, uint32_t prior)
{
    uint64_t pc[HW_FAST_FRAMES];
    unsigned frames = hw_site_follow(cache, caller, pc, cache->most);
    uint32_t site = hw_site_intern(cache, pc, frames, prior);
    if (hw_site_may_be_kept(site))
        hw_site_keep(cache, hw_site_key(pc, frames), prior, site);
    return site;
}

__attribute__((noinline)) uint32_t hw_site_learn(hw_site_cache *cache, const hw_caller *caller, uint32_t prior)
{
    if (prior == HW_SITE_QUARANTINE) /* the usual way of a release relies on knowing no site for it */
        return 0;
    if (hw_site_met && !prior)
        hw_site_met((uintptr_t)hw_address_of((uintptr_t)caller->pc));
    if (HW_UNLIKELY(hw_python_may_come) && !cache->python && hw_python_comes((uintptr_t)caller->pc))
        hw_python_renew(cache);
    return cache->most     ? learn_followed(cache, caller, prior)
           : cache->python ? hw_python_learn(cache, caller, prior)
                           : hw_unwound_learn(cache, caller, prior);
}

/* --- believing frames ------------------------------------------------------------------------- */

/* No code lies in the heap, nor on the stack: what changes there all the time would look like a call sooner or later.
 */
static bool may_be_code(const hw_site_cache *cache, uint64_t pc)
{
    return (pc < cache->stack_low || pc >= cache->stack_high) && !hw_region_of((const void *)(uintptr_t)pc);
}

static unsigned believable(hw_site_cache *cache, const uint64_t *pc, unsigned frames)
{
    unsigned good = 1;
    while (good < frames && may_be_code(cache, pc[good]))
        good++;
    good = 1 + hw_calls_before(pc + 1, good - 1);
    unsigned slot = hw_depth_slot(pc[0]);
    if (good < frames) { /* do not try again what leads nowhere */
        cache->depth[slot].pc = pc[0];
        cache->depth[slot].frames = good;
    }
    return good;
}

unsigned hw_site_follow(hw_site_cache *cache, const hw_caller *caller, uint64_t *pc, unsigned most)
{
    uint64_t key;
    pc[0] = (uint64_t)(uintptr_t)caller->pc;
    return most > 1 ? believable(cache, pc, hw_follow(cache, caller, pc, HW_FAST_FRAMES, &key)) : 1;
}

void hw_sites_renew(hw_site_cache *cache, uint32_t thread)
{
    if (cache->thread) { /* else it is new, and its pages need not be touched */
        memset(cache->recent, 0, sizeof cache->recent);
        hw_unwound_forget(cache);
    }
    cache->thread = thread;
    cache->most = hw_setting.stacks == HW_STACKS_FAST ? HW_FAST_FRAMES : hw_setting.stacks == HW_STACKS_CALLER ? 1 : 0;
    hw_python_renew(cache);
}

void hw_sites_adopt(hw_site_cache *cache, uint32_t thread)
{
    cache->stack_low = cache->stack_high = 0;
    hw_sites_renew(cache, thread);
    hw_unwound_adopt(cache);
    if (thread == hw_process_id()) {
        /* The kernel keeps far more than this free of other mappings below the first stack. */
        if (&__libc_stack_end && __libc_stack_end) {
            cache->stack_high = (uintptr_t)__libc_stack_end;
            cache->stack_low = cache->stack_high - MAIN_STACK;
        }
        return;
    }
    /* glibc keeps a thread's descriptor, where the thread pointer leads, at the upper end of its stack. Asked
       for the bounds it takes a lock of the thread's, under which it allocates itself (pthread_getattr_np);
       so the size is that of any thread which did not ask for another. */
    uintptr_t here = (uintptr_t)__builtin_frame_address(0), high = (uintptr_t)__builtin_thread_pointer();
    uint64_t limit[2] = {MAIN_STACK, 0};                           /* soft, hard */
    hw_call(SYS_prlimit64, 0, RLIMIT_STACK, 0, (long)limit, 0, 0); /* libc's function may be one that we look at */
    uintptr_t most = limit[0] < MAIN_STACK ? limit[0] : MAIN_STACK;
    if (here < high && high - here < most) {
        cache->stack_high = high;
        cache->stack_low = high - most;
    }
}

/* --- the shared table ------------------------------------------------------------------------- */

static site_table *the_table(void)
{
    return atomic_load_explicit(&table, memory_order_acquire);
}

/* In the first levels. */
static size_t buckets_of(unsigned levels)
{
    return (((UINT32_C(1) << 2 * levels) - 1) & UINT32_C(0x55555555)) * FIRST_BUCKETS;
}

static inline bucket *bucket_of(site_table *t, unsigned level, uint32_t hash)
{
    return &t->buckets[buckets_of(level) + (hash & (((size_t)FIRST_BUCKETS << 2 * level) - 1))];
}

/* A bit for each of a bucket's words: which have that tag, and which have nothing yet. Other threads write meanwhile:
   what is seen here is looked at again. */
static inline __attribute__((no_sanitize("thread"))) unsigned tagged(const bucket *b, uint32_t tag, unsigned *empty)
{
    bool full = atomic_load_explicit(&b->word[BUCKET - 1], memory_order_relaxed) != 0;
#ifdef __SSE2__
    const __m128i *four = (const __m128i *)(const void *)b->word;
    const __m128i want = _mm_set1_epi32((int)(tag >> TAG_SHIFT)), none = _mm_setzero_si128();
    const __m128i w0 = _mm_load_si128(four), w1 = _mm_load_si128(four + 1), w2 = _mm_load_si128(four + 2),
                  w3 = _mm_load_si128(four + 3);
#define WITH_TAG(w) _mm_cmpeq_epi32(_mm_srli_epi32(w, TAG_SHIFT), want)
#define EMPTY(w) _mm_cmpeq_epi32(w, none)
#define BITS(is)                                                                                                       \
    (unsigned)_mm_movemask_epi8(_mm_packs_epi16(_mm_packs_epi32(is(w0), is(w1)), _mm_packs_epi32(is(w2), is(w3))))
    *empty = full ? 0 : BITS(EMPTY);
    return BITS(WITH_TAG);
#else
    unsigned bits = *empty = 0;
    for (unsigned i = 0; i < BUCKET; i++) {
        uint32_t word = atomic_load_explicit(&b->word[i], memory_order_relaxed);
        bits |= (unsigned)(word >> TAG_SHIFT == tag >> TAG_SHIFT) << i;
        *empty |= (unsigned)(word == 0 && !full) << i;
    }
    return bits;
#endif
}

static HW_COLD site_table *make_table(void)
{
    size_t limit = hw_space_limit(), room = limit == SIZE_MAX ? AREA : hw_round_up(limit / 64, STEP);
    unsigned levels = LEVELS;
    while (levels > FEWEST_LEVELS && buckets_of(levels) * sizeof(bucket) > room / 32)
        levels--;
    size_t bytes = sizeof(site_table) + buckets_of(levels) * sizeof(bucket);
    site_table *fresh = hw_map(bytes), *none = NULL;
    if (!fresh)
        return NULL;
    fresh->levels = levels;
    bool there = hw_space_take(&fresh->area, limit == SIZE_MAX ? STEP : STEP / 16, room);
    fresh->bytes = fresh->area.bytes;
    if (there && atomic_compare_exchange_strong(&table, &none, fresh)) {
        atomic_store_explicit(&hw_this_process.sites, (uint64_t)(uintptr_t)fresh->area.start, memory_order_release);
        return fresh;
    }
    if (there)
        hw_space_give(&fresh->area);
    hw_unmap(fresh, bytes);
    return none;
}

/* Have `bytes` of the area, which has less. Who grows it at the same time may win: then it is waited for. */
static HW_COLD bool have_area(site_table *t, size_t bytes)
{
    if (bytes > t->area.room || bytes / 16 >= HW_SITE_NUMBER)
        return false;
    hw_space more = t->area;
    more.bytes = atomic_load_explicit(&t->bytes, memory_order_acquire);
    size_t wanted = hw_round_up(bytes, STEP);
    if (hw_space_grow(&more, wanted < more.room ? wanted : more.room))
        atomic_store_explicit(&t->bytes, more.bytes, memory_order_release);
    for (int turn = 0; turn < 10 && bytes > atomic_load_explicit(&t->bytes, memory_order_acquire); turn++)
        hw_sleep(0);
    return bytes <= atomic_load_explicit(&t->bytes, memory_order_acquire);
}

static bool same(const record *r, const record *key, const uint64_t *words)
{
    return r->hash == key->hash && r->prior == key->prior && r->thread == key->thread && r->count == key->count &&
           r->kind == key->kind && memcmp(r->word, words, key->count * sizeof *words) == 0;
}

static inline const record *record_at(const site_table *t, uint32_t site)
{
    return (const record *)(const void *)(t->area.start + (size_t)site * 16);
}

/* How what it allocates is trapped: as its native site is, which was written before. */
static unsigned judged(const site_table *t, const record *r, const uint64_t *words, uint32_t site)
{
    uint32_t name;
    if (r->prior || r->kind == HW_SITE_CODE)
        return HW_TRAP_NOT;
    if (r->kind == HW_SITE_PYTHON) {
        hw_number_site(site, hw_number_name((uint32_t)words[0]));
        return record_at(t, (uint32_t)words[0])->trapped;
    }
    uint64_t pc[HW_FULL_FRAMES];
    unsigned frames = r->count < HW_FULL_FRAMES ? r->count : HW_FULL_FRAMES;
    memcpy(pc, words, frames * sizeof *pc);
    pc[0] = hw_address_of(pc[0]);
    unsigned how = hw_trap_named(pc, frames, &name);
    hw_number_site(site, name);
    return how;
}

/* A new record's number; 0: there is no room. */
static uint32_t write_record(site_table *t, const record *key, const uint64_t *words)
{
    size_t bytes = hw_round_up(sizeof *key + key->count * sizeof *words, 16);
    uint64_t at = atomic_load_explicit(&hw_this_process.sites_used, memory_order_relaxed);
    do {
        if (HW_UNLIKELY(at + bytes > atomic_load_explicit(&t->bytes, memory_order_acquire)) &&
            !have_area(t, at + bytes))
            return 0;
    } while (!atomic_compare_exchange_weak(&hw_this_process.sites_used, &at, at + bytes));
    record *r = (record *)(void *)(t->area.start + at);
    *r = *key;
    r->trapped = (uint8_t)(hw_traps_on ? judged(t, r, words, (uint32_t)(at / 16)) : HW_TRAP_NOT);
    memcpy(r->word, words, key->count * sizeof *words);
    return (uint32_t)(at / 16);
}

uint32_t hw_site_thread(const hw_site_cache *cache)
{
    return atomic_load_explicit(&hw_this_process.sites_used, memory_order_relaxed) > WITH_THREADS ? 0 : cache->thread;
}

uint32_t hw_site_intern(const hw_site_cache *cache, const uint64_t *pc, unsigned frames, uint32_t prior)
{
    record key = {.prior = prior, .thread = hw_site_thread(cache), .count = (uint16_t)frames};
    return hw_site_intern_record(&key, pc);
}

/* Where nothing was found up to the word of that number. Another thread may have written the same since. */
static inline __attribute__((always_inline)) uint32_t add_record(site_table *t, const record *key,
                                                                 const uint64_t *words, unsigned level, unsigned from)
{
    uint32_t tag = key->hash & ~HW_SITE_NUMBER, site = write_record(t, key, words);
    if (site == 0)
        return 0;
    for (; level < t->levels; level++, from = 0) {
        bucket *b = bucket_of(t, level, key->hash);
        for (unsigned i = from; i < BUCKET; i++) {
            uint32_t found = atomic_load_explicit(&b->word[i], memory_order_acquire);
            if (found == 0) {
                if (level > atomic_load_explicit(&t->reached, memory_order_relaxed))
                    atomic_store_explicit(&t->reached, level, memory_order_relaxed);
                if (atomic_compare_exchange_strong(&b->word[i], &found, tag | site))
                    return site;
            }
            if ((found & ~HW_SITE_NUMBER) == tag && same(record_at(t, found & HW_SITE_NUMBER), key, words))
                return found & HW_SITE_NUMBER;
        }
    }
    return site;
}

uint32_t hw_site_intern_record(record *key, const uint64_t *words)
{
    site_table *t = the_table();
    if (!t && !(t = make_table()))
        return 0;
    uint64_t hash = mix(mix(key->prior, key->thread), hw_site_key(words, key->count));
    key->hash = (uint32_t)((key->kind == HW_SITE_NATIVE ? hash : mix(hash, key->kind)) >> 32);
    uint32_t tag = key->hash & ~HW_SITE_NUMBER;
    /* Most are far from the processor where there are many sites: all together are waited for as long as one. */
    unsigned reached = atomic_load_explicit(&t->reached, memory_order_relaxed);
    const bucket *from = t->buckets + FIRST_BUCKETS;
    size_t buckets = 4 * FIRST_BUCKETS;
    for (unsigned level = 0; level < reached; level++, from += buckets, buckets *= 4)
        __builtin_prefetch(&from[key->hash & (buckets - 1)]);
    from = t->buckets;
    buckets = FIRST_BUCKETS;
    for (unsigned level = 0; level < t->levels; level++, from += buckets, buckets *= 4) {
        const bucket *b = &from[key->hash & (buckets - 1)];
        unsigned empty, with_tag = tagged(b, tag, &empty);
        for (unsigned left = with_tag & (empty ^ (empty - 1)); left; left &= left - 1) {
            uint32_t found = atomic_load_explicit(&b->word[__builtin_ctz(left)], memory_order_acquire) & HW_SITE_NUMBER;
            if (found && same(record_at(t, found), key, words))
                return found;
        }
        if (empty)
            return add_record(t, key, words, level, (unsigned)__builtin_ctz(empty));
    }
    return add_record(t, key, words, t->levels, 0);
}

bool hw_site_may_be_kept(uint32_t site)
{
    unsigned how = hw_site_trapped(site);
    if (how == HW_TRAP_NOT)
        return true;
    if (how == HW_TRAP_WATCH || !hw_trap_is_enough())
        return false;
    /* What comes by the short way is not trapped, and nobody counts it there. */
    atomic_fetch_add(&hw_trap_counted.too_often, 1);
    return true;
}

unsigned hw_site_trapped(uint32_t site)
{
    return hw_traps_on && site ? record_at(the_table(), site)->trapped : (unsigned)HW_TRAP_NOT;
}

void hw_site_forget_one(hw_site_cache *cache, unsigned number)
{
    enum { STEP = 2654435761u % HW_RECENT | 1 };
    cache->recent[number * STEP % HW_RECENT].key = 0;
}

/* Their owners go on using the caches: what one of them writes at this very moment may stay there. */
__attribute__((no_sanitize("thread"))) void hw_sites_forget_trapped(hw_site_cache *cache)
{
    for (unsigned slot = 0; slot < HW_RECENT; slot++)
        if (cache->recent[slot].key && !cache->recent[slot].prior && hw_site_trapped(cache->recent[slot].site))
            __atomic_store_n(&cache->recent[slot].key, 0, __ATOMIC_RELAXED);
    hw_unwound_forget(cache);
}

void hw_sites_judge_again(void)
{
    const site_table *t = the_table();
    uint64_t used = atomic_load(&hw_this_process.sites_used), bytes;
    for (uint64_t at = 16; t && at + sizeof(record) <= used; at += bytes) {
        record *r = (record *)(void *)(t->area.start + at);
        if (r->count == 0) /* it is being written, and where the next one begins is not known */
            break;
        bytes = hw_round_up(sizeof *r + r->count * sizeof *r->word, 16);
        if (!r->trapped && at + bytes <= used)
            r->trapped = (uint8_t)judged(t, r, r->word, (uint32_t)(at / 16));
    }
}

bool hw_site_has(uint32_t site, const uint64_t *pc, unsigned frames)
{
    const record *r = record_at(the_table(), site);
    return r->count == frames && memcmp(r->word, pc, frames * sizeof *pc) == 0;
}

const hw_site_record *hw_site_at(uint32_t site)
{
    site_table *t = the_table();
    if (!t || (uint64_t)site * 16 + sizeof(record) > atomic_load(&hw_this_process.sites_used) || site == 0)
        return NULL;
    return record_at(t, site);
}

unsigned hw_site_domain(uint32_t site, uint64_t *pc)
{
    const record *r = hw_site_at(site);
    if (r && r->kind == HW_SITE_PYTHON && r->count)
        r = hw_site_at((uint32_t)r->word[0] & HW_SITE_NUMBER);
    *pc = r && r->kind == HW_SITE_NATIVE && r->count ? r->word[0] : 0;
    return hw_domain_of(*pc);
}

uint32_t hw_site_prior(uint32_t site)
{
    const record *r = hw_site_at(site);
    return r ? r->prior : 0;
}
