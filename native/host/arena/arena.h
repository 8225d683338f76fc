/* An arena: pools and the caches before them, owned by one thread.

   Concurrency, in one place (docs/concurrency.md has the reasons):
   * Everything in an arena and all headers, backups and links of its pools are read and written only
     by who *is inside*: the owner between hw_enter and hw_leave, or a visitor between hw_seize and
     hw_yield. The two exclude each other: the owner stores `busy` and then reads `wanted`; the visitor
     stores `wanted` and then reads `busy`, with a fence on both sides (cheap on the owner's side).
   * `pending` of a descriptor is pushed to by any thread by compare-and-exchange, and emptied by who is
     inside by exchange.
   * Visitors hold `visitors`; a thread that is inside its own arena never seizes another.
   Arenas are never unmapped; one without an owner waits on the list of free ones. */
#ifndef HEAPWITNESS_ARENA_H
#define HEAPWITNESS_ARENA_H

#include "heapwitness/run.h"
#include "node.h"
#include "os/process.h"
#include "stacks/sites.h"

enum { HW_DESCRIPTORS = 64, HW_LARGE = 64, HW_WAYS = 2, HW_DELAYED = 4096, HW_FIXED = 32 };

typedef struct hw_trusted hw_trusted;
/* One pool with what must be known of it when its own words cannot be believed. */
typedef struct hw_descriptor {
    hw_pool *pool;
    _Atomic size_t bytes; /* the pool's size */
    hw_space space;       /* what it lies in */
    uint32_t region;
    _Atomic bool lost;             /* damaged beyond use: nothing is taken from it, what is released there is kept */
    unsigned char fixed[HW_FIXED]; /* a second witness of the control block */
    _Atomic uint32_t pending;      /* nodes released by other threads, by offset */
    uint32_t block;                /* of a big block's pool: its node */
    uint64_t pattern;              /* of a block without a pool (huge.h): its slack's, its site, its origin */
    uint32_t site, origin;
    hw_trusted *trusted; /* of an arena's first pool */
} hw_descriptor;

/* What the fast path must know of a pool, kept where no overflow reaches. */
struct hw_trusted {
    char *base;
    uint32_t end; /* offset of the end node */
    hw_factors key;
    uint64_t links; /* of the check of a cached node's links: what is the same for all */
};

/* What is known of a run apart from it, and of that the second copy. */
typedef struct hw_book {
    hw_run run;
    hw_run_aside aside;
    char zero[8];
} hw_book;
_Static_assert(sizeof(hw_run) == 64 && sizeof(hw_book) == 256, "as docs/format.md says");

/* The runs of an arena (runs.h). */
typedef struct hw_runs {
    char *base;
    _Atomic size_t within; /* bytes of them that the usual way may look at: `reach`, but 0 where they are lost */
    hw_book *book;
    _Atomic size_t reach; /* bytes of all that were ever used */
    hw_run *current[HW_RUN_CLASSES];
    uint32_t partial[HW_RUN_CLASSES]; /* lists */
    uint32_t empty, bare;             /* of runs without used nodes: that hold memory, and that hold none */
    uint32_t gone;                    /* of runs whose address space was given back */
    uint32_t empties, least;          /* how many are empty, and the fewest that were in this period */
    uint32_t retired;                 /* how often a run came to have no used node */
    uint32_t region;
    _Atomic uint32_t waiting;    /* runs of which others released nodes: pushed by any thread, emptied by exchange */
    uint32_t taken;              /* of those, what is still to be taken in */
    uint32_t taking;             /* and the one that is taken in just now */
    _Atomic size_t handed_reach; /* how many runs have room there to note it */
    _Atomic bool lost;
    bool refused; /* there is no address space for them */
    uint64_t salt;
    hw_space space, books, handed;
} hw_runs;

typedef struct hw_arena {
    /* The hot line. */
    _Atomic uint32_t busy; /* 0, or the lower half of the frame of who is inside (abandon.h) */
    _Atomic uint32_t wanted;
    _Atomic uint32_t owner; /* thread id, 0 for none */
    uint32_t number;
    uint64_t operations;
    hw_runs runs;
    hw_trusted pool;      /* of descriptor[0] */
    hw_descriptor *first; /* &descriptor[0] */

    _Atomic uint32_t descriptors;
    _Atomic bool waits;       /* the owner, for visitors to leave: the next one lets it in first */
    _Atomic bool whole_check; /* asked for while the owner was inside: to do when it leaves */
    bool seized;              /* by the thread that forks */
    hw_lock visitors;
    struct hw_arena *_Atomic next_free, *next;
    uint64_t freed_since_trim;
    uint32_t repairs;
    uint32_t until_sampled; /* allocations until one is trapped by chance, 0 where that is not decided */

    struct hw_large { /* cached nodes of descriptors[0], the newest of a slot first; 0 for none */
        uint32_t node, size;
    } large[HW_LARGE][HW_WAYS];
    size_t large_bytes;
    uint32_t large_next; /* which goes when they are too many bytes */
    hw_descriptor descriptor[HW_DESCRIPTORS];
    hw_site_cache sites;

    struct { /* --poison: released nodes that are held back, oldest first (delayed.h) */
        uint32_t node[HW_DELAYED], size[HW_DELAYED]; /* of a run's, from the first run on */
        uint8_t descriptor[HW_DELAYED];              /* 255: it is a run's */
        uint32_t head, count;
        size_t bytes, told; /* what it holds, and what of that all arenas know */
    } delayed;
} hw_arena;

/* The calling thread. `visits` counts what it has seized or holds. A signal handler that finds its
   thread inside of its arena, or on a visit, uses neither: it takes big blocks and hands frees over. */
typedef struct hw_thread {
    uint64_t mark; /* HW_THREAD_MARK, wherever libc made the storage that this lies in */
    hw_arena *arena;
    hw_arena *ready; /* the same, but NULL while the thread visits, and where operations take the long way */
    hw_arena *ready_to_allocate; /* the same for allocations, which take the long way where some of them are chosen */
    hw_arena *ready_to_release;  /* the same for releases and resizes */
    uint32_t visits;
    uint32_t frame; /* abandon.h: of the operation that visits, and what it visits or holds */
    hw_arena *visited;
    hw_descriptor *held;
    uint32_t changes; /* fork.h */
    bool forks;
    bool checks;   /* it holds the lock of checks of everything */
    bool refused;  /* no arena could be had, or the thread is being set up */
    bool ended;    /* its arena was given back: what it still releases needs none */
    int postponed; /* ending.h: the signal that ends the process when this operation is over, 0 for none */
    int postponed_timer;
    uint64_t postponed_since;
} hw_thread;
extern __thread hw_thread hw_this_thread;

#define HW_THREAD_MARK UINT64_C(0x6461657274207748)
/* The caller's thread storage is not libc's but its own (clone with CLONE_SETTLS): nothing in `hw_this_thread` is true,
   nor may it be changed. To be asked where libc's own heap would use its storage, too; else hw_has_libcs_storage. */
static inline bool hw_is_foreign(void)
{
    return hw_this_thread.mark != HW_THREAD_MARK;
}

/* The thread's arena, found for it at its first call. NULL: there is none now; use big blocks. */
hw_arena *hw_arena_own(void);
void hw_arena_disown(hw_arena *arena);
/* More sites are trapped now, which no thread may remember. */
void hw_arenas_forget_trapped(void);
hw_arena *hw_arena_first(void); /* of all; the next by `next` */
hw_arena *hw_arena_numbered(uint32_t number);
/* `thread_ends` is called with the arena of a thread that ends. */
void hw_arenas_init(void (*thread_ends)(void *arena));
void hw_arenas_see_process(void); /* this is another one, made by fork */
/* The thread left its check of everything without an end. */
void hw_check_abandoned(void);
/* While they are held no arena gets or loses its owner. */
void hw_arenas_lock(void);
void hw_arenas_unlock(void);
/* For who holds them: the arena waits for another owner. */
void hw_arena_orphan(hw_arena *arena);

static inline void hw_ready_again(void)
{
    /* Acquiring, as in hw_light_fence: by it the usual way knows that its fences are uneven. */
    bool unusual = atomic_load_explicit(&hw_setting.unusual, memory_order_acquire);
    hw_this_thread.ready = hw_this_thread.visits || unusual ? NULL : hw_this_thread.arena;
    hw_this_thread.ready_to_allocate = hw_setting.trap_sample > 1 ? NULL : hw_this_thread.ready;
    hw_this_thread.ready_to_release = hw_setting.poison ? NULL : hw_this_thread.ready;
}
static inline void hw_visits_up(void)
{
    hw_this_thread.ready = hw_this_thread.ready_to_allocate = hw_this_thread.ready_to_release = NULL;
    atomic_signal_fence(memory_order_seq_cst);
    hw_this_thread.visits++;
}
void hw_end_postponed(void); /* ending.h */
static inline void hw_visits_down(void)
{
    hw_this_thread.visits--;
    atomic_signal_fence(memory_order_seq_cst);
    hw_ready_again();
    if (HW_UNLIKELY(hw_this_thread.postponed))
        hw_end_postponed();
}

/* For the owner. */
static inline bool hw_is_inside(const hw_arena *arena)
{
    return atomic_load_explicit(&arena->busy, memory_order_relaxed) != 0;
}
static inline bool hw_is_engaged(void)
{
    return hw_this_thread.visits || (hw_this_thread.arena && hw_is_inside(hw_this_thread.arena));
}

void hw_enter_slowly(hw_arena *arena, const void *frame);
void hw_leave_slowly(hw_arena *arena);
/* Before an operation looks at what is not its thread's own; false: the thread is engaged. */
static inline bool hw_visit_begins(const hw_caller *caller)
{
    if (hw_is_engaged())
        return false;
    hw_this_thread.frame = (uint32_t)(uintptr_t)caller->frame;
    return true;
}
/* False: somebody wants the arena; one is not inside. `uneven`: what hw_light_fence would find is known. */
static inline bool hw_try_enter(hw_arena *arena, const void *frame, bool uneven)
{
    atomic_store_explicit(&arena->busy, (uint32_t)(uintptr_t)frame | 1, memory_order_relaxed);
    if (uneven)
        atomic_signal_fence(memory_order_seq_cst);
    else
        hw_light_fence();
    if (HW_LIKELY(!atomic_load_explicit(&arena->wanted, memory_order_acquire)))
        return true;
    atomic_store_explicit(&arena->busy, 0, memory_order_release);
    return false;
}
static inline void hw_enter(hw_arena *arena, const void *frame)
{
    if (HW_UNLIKELY(!hw_try_enter(arena, frame, false)))
        hw_enter_slowly(arena, frame);
    arena->operations++;
}
/* Only the owner's own signal handler asks, so there is nothing to be ordered. */
static inline bool hw_check_is_asked_for(const hw_arena *arena)
{
    return atomic_load_explicit(&arena->whole_check, memory_order_relaxed);
}
/* The second half of hw_leave, for who has nothing else to do after it. */
static inline void hw_is_out(hw_arena *arena)
{
    atomic_store_explicit(&arena->busy, 0, memory_order_release);
}
static inline void hw_leave(hw_arena *arena)
{
    atomic_store_explicit(&arena->busy, 0, memory_order_release);
    if (HW_UNLIKELY(hw_check_is_asked_for(arena)))
        hw_leave_slowly(arena);
}
/* Have a foreign arena (or one's own, when not inside) to oneself. It may fail after `limit` milliseconds; 0: after so
   many that its thread does not come back. */
bool hw_seize(hw_arena *arena, unsigned limit);
void hw_yield(hw_arena *arena);

/* The rest is for who is inside. */

/* Let a descriptor's pool grow so that a free node of `bytes` fits at its end. HW_NOMEM: it is full. */
int hw_descriptor_extend(hw_descriptor *descriptor, size_t bytes, hw_fault *fault);
/* For any thread: its arena's first pool can grow by so many bytes without a system call, if there is address space. */
void hw_arena_provide(size_t bytes);
/* A new descriptor whose pool has room for `bytes`; NULL without memory. */
hw_descriptor *hw_descriptor_add(hw_arena *arena, size_t bytes);
/* Remember the control block and the size as they are now, after a change that was verified. */
void hw_descriptor_note(hw_descriptor *descriptor);
/* The arena's descriptor that holds the address; any thread may ask. */
hw_descriptor *hw_descriptor_of(hw_arena *arena, const void *pointer);
/* Give the pages of free nodes of at least `least` bytes back; returns how many bytes. */
size_t hw_descriptor_trim(hw_descriptor *descriptor, size_t least);
/* After `node` was released: give back what became free around it, now and then. */
void hw_trim_after(hw_arena *arena, hw_descriptor *descriptor, uint32_t node, uint32_t prev_size, size_t released);
/* *backups: the bytes of their backups are added there. */
uint64_t hw_arena_nodes(const hw_arena *arena, uint64_t *backups);

static inline uint32_t hw_offset_of(const hw_descriptor *descriptor, const void *at)
{
    return (uint32_t)(((uintptr_t)at - (uintptr_t)descriptor->pool) >> HW_FIXED_GRANULE_LOG2);
}
static inline bool hw_descriptor_contains(const hw_descriptor *descriptor, const void *at)
{
    return (uintptr_t)at - (uintptr_t)descriptor->pool < descriptor->bytes;
}

#endif
