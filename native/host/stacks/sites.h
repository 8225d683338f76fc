/* Allocation and release sites: stacks, interned once for the whole process, named by 24 bits.

   The common case is one look into the thread's own cache, keyed by a hash of the stack. The shared
   table is open addressing over records that never change once a word of the table names them: the
   word is stored with release after the record is written, by compare-and-exchange. Two threads may
   write the same record twice; both numbers are right. */
#ifndef HEAPWITNESS_SITES_H
#define HEAPWITNESS_SITES_H

#include "os/settings.h"
#include "os/system.h"

/* A frame pointer that leads further is none: it might lead off a stack of another kind. */
enum { HW_FRAME_MOST = 64 << 10 };
enum { HW_FAST_FRAMES = 8, HW_FULL_FRAMES = 32, HW_RECENT = 4096, HW_DEPTHS = 1024 };

/* Where the program called in: the return address, and the frame of the function that was called. */
typedef struct hw_caller {
    void *pc;
    void **frame;
} hw_caller;
#define HW_HERE ((hw_caller){__builtin_return_address(0), (void **)__builtin_frame_address(0)})

/* Of Python's allocators, the one that a call came by. It stands above its address, where addresses of programs have no
   bits: so a call by each of them is a site of its own, and a record's first word says by which. */
enum hw_domain { HW_NO_DOMAIN, HW_OF_RAW, HW_OF_MEMORY, HW_OF_OBJECTS, HW_OF_ARRAYS, HW_DOMAINS };
enum { HW_DOMAIN_AT = 56 };
static inline unsigned hw_domain_of(uint64_t pc)
{
    unsigned domain = (unsigned)(pc >> HW_DOMAIN_AT);
    return domain < HW_DOMAINS ? domain : HW_NO_DOMAIN;
}
static inline uint64_t hw_address_of(uint64_t pc)
{
    return pc - ((uint64_t)hw_domain_of(pc) << HW_DOMAIN_AT);
}
static inline uint64_t hw_domain_bits(uint64_t pc)
{
    return (uint64_t)hw_domain_of(pc) << HW_DOMAIN_AT;
}

typedef struct hw_recent {
    uint64_t key; /* the caller alone, or a hash of several frames: that is no address */
    uint32_t prior, site;
} hw_recent;

/* The number of a site if the thread knows it, or finds it out in passing, else HW_SITE_UNKNOWN. */
struct hw_site_cache;
typedef uint32_t hw_site_recaller(struct hw_site_cache *cache, hw_caller caller, uint32_t prior);

/* One thread's memory of sites. `depth` is how many frames may be believed from a return address on:
   code without frame pointers leads astray, and is followed only once. */
typedef struct hw_site_cache {
    uintptr_t stack_low, stack_high; /* 0: frames are not followed */
    uint32_t thread;
    uint32_t most; /* frames to follow; 0 where each stack is unwound, or has Python lines */
    struct hw_unwound *unwound;
    struct hw_python *python; /* NULL: stacks have no Python lines (python_sites.h) */
    hw_site_recaller *recall; /* with those */
    const void *releasing;    /* with those: the block whose release is looked for, in the usual way */
    uint32_t kept;
    hw_recent recent[HW_RECENT];
    struct {
        uintptr_t pc;
        uint32_t frames;
    } depth[HW_DEPTHS];
} hw_site_cache;

/* Forget whose thread the cache belonged to, and take it over for the calling one. */
void hw_sites_adopt(hw_site_cache *cache, uint32_t thread);
/* The same thread under another number, in the child of a fork, or with other settings. */
void hw_sites_renew(hw_site_cache *cache, uint32_t thread);
uint32_t hw_site_learn(hw_site_cache *cache, const hw_caller *caller, uint32_t prior);

/* How the blocks that are allocated at a site are trapped (stacks/named.h, enum hw_trap_how). No cache remembers such a
   site, so that its allocations take the long way. */
unsigned hw_site_trapped(uint32_t site);
/* Whether a cache may remember the site: it is not trapped, or enough blocks are. */
bool hw_site_may_be_kept(uint32_t site);
/* Forget some site or other, by its owner. */
void hw_site_forget_one(hw_site_cache *cache, unsigned number);
/* More sites are trapped now: have all threads forget those. */
void hw_sites_judge_again(void);
/* ... and this cache. */
void hw_sites_forget_trapped(hw_site_cache *cache);

/* The bits of a number. */
#define HW_SITE_NUMBER UINT32_C(0xFFFFFF)
/* What a record of the table holds (docs/format.md, "Sites"). */
enum hw_site_kind { HW_SITE_NATIVE, HW_SITE_PYTHON, HW_SITE_CODE };
typedef struct hw_site_record {
    uint32_t hash, prior, thread;
    uint16_t count;
    uint8_t kind, trapped;
    uint64_t word[];
} hw_site_record;
/* The number of a record; its `hash` is set. 0: there is no room for it. */
uint32_t hw_site_intern_record(hw_site_record *key, const uint64_t *words);
/* NULL: no record has this number. */
const hw_site_record *hw_site_at(uint32_t site);

/* The number of a site by its return addresses. 0: there is no room for it. */
uint32_t hw_site_intern(const hw_site_cache *cache, const uint64_t *pc, unsigned frames, uint32_t prior);
/* Whose thread a new record is; 0 where many short-lived threads must not fill the table. */
uint32_t hw_site_thread(const hw_site_cache *cache);
/* Whether these are a site's return addresses. */
bool hw_site_has(uint32_t site, const uint64_t *pc, unsigned frames);

/* The sum of words, by powers of a number, from the last one on. */
#define HW_POWER UINT64_C(0x9E3779B97F4A7C15)
static inline uint64_t hw_sum_on(uint64_t sum, uint64_t word)
{
    return sum * HW_POWER + word;
}
/* What words add to it by so many before them, a power of two. */
static inline uint64_t hw_sum_beyond(uint64_t sum, unsigned before)
{
    uint64_t power = HW_POWER;
    for (unsigned words = 1; words < before; words *= 2)
        power *= power;
    return sum * power;
}

static inline uint64_t hw_key_on(uint64_t key, uint64_t pc)
{
    return (key << 9 | key >> 55) + pc;
}
static inline uint64_t hw_key_end(uint64_t key, unsigned frames)
{
    uint64_t mixed = key * UINT64_C(0x9E3779B97F4A7C15);
    return frames > 1 ? (mixed ^ mixed >> 32) | UINT64_C(1) << 63 : key;
}

/* What a frame holds is signed, where the processor can do so and the code was compiled for it: in the bits that
   addresses of programs do not use. */
static inline uint64_t hw_unsigned_address(uint64_t return_address)
{
#ifdef __aarch64__
    return return_address & ((UINT64_C(1) << 48) - 1);
#else
    return return_address;
#endif
}

/* Frame pointers from the caller on, as far as they may be believed. Nothing beyond the thread's own
   stack is read. Returns how many frames, their addresses if `pc` is not NULL, and their key. */
static inline unsigned hw_follow(const hw_site_cache *cache, const hw_caller *caller, uint64_t *pc, unsigned limit,
                                 uint64_t *key)
{
    unsigned n = 1;
    uintptr_t below = (uintptr_t)caller->frame;
    uint64_t sum = (uint64_t)(uintptr_t)caller->pc;
    if (pc)
        pc[0] = sum;
    if (below >= cache->stack_low && below < cache->stack_high) {
        uintptr_t at = (uintptr_t)caller->frame[0], last = cache->stack_high - 16;
        /* In steps of 16, upwards, and not too far: what is no multiple becomes too large when it is rotated. */
        for (uint64_t up = at - below; n < limit && (up >> 4 | up << 60) - 1 < HW_FRAME_MOST / 16 - 1 && at < last;
             up = at - below) {
            uint64_t return_address = hw_unsigned_address(((uint64_t *)at)[1]);
            if (pc)
                pc[n] = return_address;
            n++;
            sum = hw_key_on(sum, return_address);
            below = at;
            at = ((uintptr_t *)at)[0];
        }
    }
    *key = hw_key_end(sum, n);
    return n;
}

static inline uint64_t hw_site_key(const uint64_t *pc, unsigned frames)
{
    uint64_t key = pc[0];
    for (unsigned i = 1; i < frames; i++)
        key = hw_key_on(key, pc[i]);
    return hw_key_end(key, frames);
}
static inline unsigned hw_recent_slot(uint64_t key, uint32_t prior)
{
    return (unsigned)(key + prior) % HW_RECENT;
}

static inline unsigned hw_depth_slot(uint64_t pc)
{
    return (unsigned)((pc ^ pc >> 8) % HW_DEPTHS);
}

#define HW_SITE_UNKNOWN UINT32_C(0xFFFFFFFF)
/* The second place where it may be. */
static inline uint32_t hw_site_beside(const hw_site_cache *cache, uint64_t key, uint32_t prior)
{
    const hw_recent *at = &cache->recent[hw_recent_slot(key, prior) ^ 1];
    uint32_t site = at->site;
    return at->key == key && at->prior == prior ? site : HW_SITE_UNKNOWN;
}
static inline uint32_t hw_site_recent(const hw_site_cache *cache, uint64_t key, uint32_t prior)
{
    const hw_recent *at = &cache->recent[hw_recent_slot(key, prior)];
    uint32_t site = at->site;
    return HW_LIKELY(at->key == key && at->prior == prior) ? site : hw_site_beside(cache, key, prior);
}
/* Let hw_site_recent find it. */
void hw_site_keep(hw_site_cache *cache, uint64_t key, uint32_t prior, uint32_t site);
/* By frame pointers: the return addresses that may be believed, HW_FAST_FRAMES at most, and how many are looked for. */
unsigned hw_site_follow(hw_site_cache *cache, const hw_caller *caller, uint64_t *pc, unsigned most);

uint32_t hw_site_recall_deep(const hw_site_cache *cache, hw_caller caller, uint32_t prior);
/* unwound.c: where each stack is unwound. */
uint32_t hw_unwound_recall(const hw_site_cache *cache, hw_caller caller, uint32_t prior);

static inline uint32_t hw_site_recall_more(hw_site_cache *cache, hw_caller caller, uint32_t prior)
{
    return cache->most     ? hw_site_recall_deep(cache, caller, prior)
           : cache->python ? cache->recall(cache, caller, prior)
                           : hw_unwound_recall(cache, caller, prior);
}

/* The number of the calling site if the thread knows it already, else HW_SITE_UNKNOWN, and a jump there; `prior` is
   the block's allocation site for a release, else 0. Only sites whose caller is all that may be believed have keys of
   one frame. */
#ifndef HW_SITES_BY_PYTHON /* set by code that Python alone calls: there is nothing to be found by the caller alone */
#define HW_SITES_BY_PYTHON 0
#endif
#define HW_SITE_RECALL(site, cache, caller, prior_site, unknown)                                                       \
    do {                                                                                                               \
        const hw_recent *seen_ = &(cache)->recent[hw_recent_slot((uint64_t)(uintptr_t)(caller).pc, prior_site)];       \
        if (HW_SITES_BY_PYTHON && HW_LIKELY((cache)->python != NULL)) {                                                \
            if (HW_UNLIKELY(((site) = (cache)->recall(cache, caller, prior_site)) == HW_SITE_UNKNOWN))                 \
                goto unknown;                                                                                          \
            break;                                                                                                     \
        }                                                                                                              \
        (site) = seen_->site;                                                                                          \
        if (HW_UNLIKELY(seen_->key != (uint64_t)(uintptr_t)(caller).pc || seen_->prior != (prior_site)) &&             \
            ((site) = hw_site_recall_more(cache, caller, prior_site)) == HW_SITE_UNKNOWN)                              \
            goto unknown;                                                                                              \
    } while (0)

static inline uint32_t hw_site_of(hw_site_cache *cache, const hw_caller *caller, uint32_t prior)
{
    uint32_t site;
    HW_SITE_RECALL(site, cache, *caller, prior, learn);
    return site;
learn:
    return hw_site_learn(cache, caller, prior);
}

/* By which of Python's allocators the blocks of an allocation site came. */
unsigned hw_site_domain(uint32_t site, uint64_t *pc);
/* Is told of code that the program calls the heap from, when that is new; NULL where nobody wants to know. */
extern void (*hw_site_met)(uintptr_t pc);

/* For a release: which allocation site a site number of the table leads to. */
uint32_t hw_site_prior(uint32_t site);
/* The whole stack by unwinding, from the caller on; returns how many frames, of HW_MOST_FRAMES at most. */
enum { HW_MOST_FRAMES = 64 };
unsigned hw_unwind(uint64_t *frames, unsigned most, const hw_caller *caller);
/* The same where the heap is known to be damaged: what the loader keeps there may be hit (guard.h). */
unsigned hw_unwind_surely(uint64_t *frames, unsigned most, const hw_caller *caller);

#endif
