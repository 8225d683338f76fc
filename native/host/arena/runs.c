#define _GNU_SOURCE
#include "arena/runs.h"

#include "run_node.h"

/* How much an arena's runs may be, and how far they grow at once. */
#define FIRST_ROOM ((size_t)64 << 30)
#define OTHER_ROOM ((size_t)16 << 30)
#define SPARE ((size_t)1 << 20)       /* behind them, so that an overflow out of the last one does not fault */
#define BEFORE ((size_t)HW_RUN_BYTES) /* before them: a damaged stride may lead there */
#define HANDED (HW_RUN_NODES * sizeof(uint32_t))
enum { STEP = 1 << 20, MOST_STEP = 32 << 20, LITTLE_STEP = HW_RUN_BYTES };
/* Runs without used nodes that keep their memory: at most so many, and a part of all; after a period (in runs that came
   to have none) half of what was not needed in all of it, and after a thread's end, is given back down to the least. */
enum { EMPTY = 256, EMPTY_PART = 4, EMPTY_LEAST = 64, PERIOD = 1024 };

/* None: nothing can be taken from it. */
static hw_run none;

void hw_runs_init(hw_arena *arena)
{
    for (unsigned class = 0; class < HW_RUN_CLASSES; class++)
        arena->runs.current[class] = &none;
}

/* GONE: its address space was given back. */
enum { UNLISTED, LISTED, GONE };

/* --- lists, of runs by number, from 1 on ---------------------------------------------------------- */

static void push(hw_arena *arena, uint32_t *list, hw_run *run)
{
    run->previous = 0;
    run->next = *list;
    if (*list)
        hw_runs_numbered(&arena->runs, *list)->previous = hw_runs_number_of(&arena->runs, run);
    *list = hw_runs_number_of(&arena->runs, run);
    run->listed = LISTED;
}

static void drop(hw_arena *arena, uint32_t *list, hw_run *run)
{
    if (run->previous)
        hw_runs_numbered(&arena->runs, run->previous)->next = run->next;
    else
        *list = run->next;
    if (run->next)
        hw_runs_numbered(&arena->runs, run->next)->previous = run->previous;
    run->listed = UNLISTED;
}

static hw_run *pop(hw_arena *arena, uint32_t *list)
{
    hw_run *run = hw_runs_numbered(&arena->runs, *list);
    if (run)
        drop(arena, list, run);
    return run;
}

/* --- memory --------------------------------------------------------------------------------------- */

static size_t room_of(const hw_arena *arena)
{
    return arena->number == 1 ? FIRST_ROOM : OTHER_ROOM;
}

static bool begin_as_a_whole(hw_arena *arena)
{
    hw_runs *runs = &arena->runs;
    size_t room = room_of(arena), books = room / HW_RUN_BYTES * sizeof(hw_book);
    bool limited = hw_space_is_limited();
    size_t first = limited ? LITTLE_STEP : STEP, spare = limited ? hw_page() : SPARE;
    /* A run for each class takes more than a pool for all. Where there is little, that is for one arena at most. */
    if (runs->refused || (limited && arena->number != 1))
        return false;
    runs->refused = true;
    if (!hw_space_take(&runs->space, BEFORE + first + spare, BEFORE + room))
        return false;
    uint32_t region = hw_region_claim();
    if (!region || !hw_space_take(&runs->books, hw_page(), hw_round_up(books, hw_page()))) {
        if (region)
            hw_region_free(region);
        hw_space_give(&runs->space);
        return false;
    }
    runs->base = runs->space.start + BEFORE;
    runs->book = (hw_book *)(void *)runs->books.start;
    runs->region = region;
    hw_region_describe(region, runs->book, NULL);
    hw_region_publish(region, runs->base, 0, HW_ARENA_RUNS, arena->number);
    runs->refused = false;
    return true;
}

static bool begin(hw_arena *arena)
{
    uint64_t signals = hw_signals_wait();
    bool begun = begin_as_a_whole(arena);
    hw_signals_come(signals);
    return begun;
}

/* Memory for one run more. */
static bool provide(hw_runs *runs)
{
    size_t reach = runs->reach + HW_RUN_BYTES, step = runs->reach / 8;
    size_t books = reach / HW_RUN_BYTES * sizeof(hw_book);
    bool limited = hw_space_is_limited();
    size_t spare = limited ? hw_page() : SPARE;
    step = step < STEP ? STEP : step > MOST_STEP ? MOST_STEP : step & ~(size_t)(STEP - 1);
    if (books > runs->books.bytes && !hw_space_grow(&runs->books, hw_round_up(books, hw_page())))
        return false;
    size_t wanted = BEFORE + reach + spare;
    if (wanted <= runs->space.bytes)
        return true;
    return (!limited && hw_space_grow_ahead(&runs->space, wanted, step)) ||
           hw_space_grow(&runs->space, hw_round_up(wanted, hw_page()));
}

static uint64_t next_salt(hw_runs *runs)
{
    if (!runs->salt)
        hw_random(&runs->salt, sizeof runs->salt);
    runs->salt += UINT64_C(0x9E3779B97F4A7C15); /* splitmix64, of public domain */
    uint64_t z = runs->salt;
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

static hw_run *fresh(hw_arena *arena)
{
    hw_runs *runs = &arena->runs;
    if ((!runs->base && !begin(arena)) || !provide(runs))
        return NULL;
    char *base = runs->base + runs->reach;
    if (!hw_map_units(base, HW_RUN_BYTES, runs->region))
        return NULL;
    hw_run *run = &runs->book[runs->reach >> HW_RUN_LOG2].run;
    run->base = base;
    atomic_store_explicit(&runs->reach, runs->reach + HW_RUN_BYTES, memory_order_release);
    if (!runs->gone)
        atomic_store_explicit(&runs->within, runs->reach, memory_order_relaxed);
    hw_region_resize(runs->region, runs->reach);
    /* Before anybody needs it: a signal handler, or a thread with a storage of its own, could not wait for it. Where
       there is little address space that has to wait until somebody needs it. */
    if (!hw_space_is_limited())
        hw_runs_make_handed(arena);
    return run;
}

/* --- what has room -------------------------------------------------------------------------------- */

/* The address space of one comes back, if nothing else lies there. */
static hw_run *come_back(hw_arena *arena)
{
    hw_runs *runs = &arena->runs;
    hw_run *run = hw_runs_numbered(&arena->runs, runs->gone);
    if (!run || !hw_space_map(run->base, HW_RUN_BYTES))
        return NULL;
    runs->gone = run->next;
    run->listed = UNLISTED;
    if (!runs->gone)
        atomic_store_explicit(&runs->within, runs->reach, memory_order_relaxed);
    return run;
}

/* One without used nodes, of any class or none, as one of this class. *damaged: as hw_runs_ready. */
static hw_run *renew(hw_arena *arena, unsigned class, hw_run **damaged)
{
    hw_runs *runs = &arena->runs;
    hw_run *run = hw_runs_numbered(runs, runs->empty);
    if (run && (run->class != class || !hw_run_is_described(run)) && !hw_run_sound(run, &hw_this_process.key)) {
        *damaged = run;
        return NULL;
    }
    if (run) {
        drop(arena, &runs->empty, run);
        runs->empties--;
        runs->least = runs->least < runs->empties ? runs->least : runs->empties;
    } else if (!(run = pop(arena, &runs->bare)) && !(run = come_back(arena)) && !(run = fresh(arena))) {
        return NULL;
    }
    if (!hw_run_is_in_use(run) || run->class != class)
        hw_run_init(run, &runs->book[hw_runs_number_of(&arena->runs, run) - 1].aside, run->base, class, next_salt(runs),
                    &hw_this_process.key);
    return run;
}

/* Up to the end of the page in which the END lies then. */
static int format(hw_run *run)
{
    size_t end = (size_t)hw_run_end(run) << HW_RUN_GRANULE_LOG2;
    size_t to = hw_round_up(end + run->stride + HW_RUN_OVERHEAD, HW_LEAST_PAGE);
    return hw_run_format(run, &hw_this_process.key, to - HW_RUN_OVERHEAD - end);
}

hw_run *hw_runs_ready(hw_arena *arena, unsigned class, hw_run **damaged)
{
    hw_run *run = arena->runs.current[class];
    *damaged = NULL;
    for (;;) {
        if (run->head)
            return run;
        if (run->formatted < run->capacity) {
            if (format(run) == HW_OK)
                return run;
            *damaged = run;
            return NULL;
        }
        run = pop(arena, &arena->runs.partial[class]);
        if (!run)
            run = renew(arena, class, damaged);
        if (!run)
            return NULL;
        arena->runs.current[class] = run;
    }
}

/* In use no more. */
static void retract(hw_run *run)
{
    run->stride = 0;
    run->head = run->used = run->formatted = run->capacity = 0;
}

static void keep_empty(hw_arena *arena, hw_run *run)
{
    hw_runs *runs = &arena->runs;
    runs->empties += hw_run_is_in_use(run);
    push(arena, hw_run_is_in_use(run) ? &runs->empty : &runs->bare, run);
}

/* Of one without used nodes; returns how many bytes. One that is damaged keeps it: it is mended where it is used next.
 */
static size_t give_memory(hw_arena *arena, hw_run *run)
{
    hw_runs *runs = &arena->runs;
    if (!hw_run_sound(run, &hw_this_process.key))
        return 0;
    drop(arena, &runs->empty, run);
    runs->empties--;
    retract(run);
    hw_discard(run->base, HW_RUN_BYTES);
    keep_empty(arena, run);
    return HW_RUN_BYTES;
}

/* The memory of all runs without used nodes but for so many, which had their turn last; returns how many bytes. */
static size_t keep_only(hw_arena *arena, size_t kept)
{
    size_t given = 0, seen = 0;
    for (hw_run *run = hw_runs_numbered(&arena->runs, arena->runs.empty), *after; run; run = after) {
        after = hw_runs_numbered(&arena->runs, run->next);
        if (seen++ >= kept)
            given += give_memory(arena, run);
    }
    arena->runs.least = arena->runs.empties;
    return given;
}

static void retire(hw_arena *arena, hw_run *run)
{
    hw_runs *runs = &arena->runs;
    keep_empty(arena, run);
    if (runs->empties > EMPTY + (runs->reach >> HW_RUN_LOG2) / EMPTY_PART) {
        give_memory(arena, run);
    } else if (++runs->retired % PERIOD == 0) {
        uint32_t unneeded = runs->least > EMPTY_LEAST ? (runs->least - EMPTY_LEAST) / 2 : 0;
        keep_only(arena, runs->empties - unneeded);
    }
}

void hw_runs_settle(hw_arena *arena)
{
    keep_only(arena, EMPTY_LEAST);
}

void hw_runs_relist(hw_arena *arena, hw_run *run, bool was_full)
{
    hw_runs *runs = &arena->runs;
    if (runs->current[run->class] == run)
        return;
    if (run->used) {
        if (was_full && run->listed == UNLISTED)
            push(arena, &runs->partial[run->class], run);
        return;
    }
    if (run->listed == LISTED)
        drop(arena, &runs->partial[run->class], run);
    retire(arena, run);
}

void hw_runs_lists_anew(hw_arena *arena)
{
    hw_runs *runs = &arena->runs;
    for (unsigned class = 0; class < HW_RUN_CLASSES; class++)
        runs->partial[class] = 0;
    runs->empty = runs->bare = runs->empties = runs->gone = 0;
    for (size_t i = runs->reach >> HW_RUN_LOG2; i-- > 0;) {
        hw_run *run = &runs->book[i].run;
        if (run->listed == GONE) {
            run->next = runs->gone;
            runs->gone = hw_runs_number_of(&arena->runs, run);
            continue;
        }
        run->listed = UNLISTED;
        if (hw_run_is_in_use(run) && run->class < HW_RUN_CLASSES && runs->current[run->class] == run)
            continue;
        if (!run->used)
            keep_empty(arena, run);
        else if (run->head || run->formatted < run->capacity)
            push(arena, &runs->partial[run->class], run);
    }
    if (runs->reach) /* one more may have been described, and left at that */
        hw_region_resize(runs->region, runs->reach);
    bool all = !runs->gone && !atomic_load(&runs->lost);
    atomic_store_explicit(&runs->within, all ? runs->reach : 0, memory_order_relaxed);
}

size_t hw_runs_give_space(hw_arena *arena)
{
    hw_runs *runs = &arena->runs;
    size_t given = 0;
    for (unsigned class = 0; class < HW_RUN_CLASSES; class++)
        if (runs->current[class]->stride && !runs->current[class]->used) {
            keep_empty(arena, runs->current[class]);
            runs->current[class] = &none;
        }
    keep_only(arena, 0);
    for (hw_run *run; (run = pop(arena, &runs->bare)) != NULL;) {
        atomic_store_explicit(&runs->within, 0, memory_order_relaxed); /* what is not there is not to be read */
        run->listed = GONE;
        run->next = runs->gone;
        runs->gone = hw_runs_number_of(runs, run);
        hw_unmap(run->base, HW_RUN_BYTES);
        given += HW_RUN_BYTES;
    }
    return given;
}

size_t hw_runs_trim(hw_arena *arena)
{
    return keep_only(arena, 0);
}

void hw_runs_lose(hw_arena *arena)
{
    atomic_store(&arena->runs.lost, true);
    atomic_store(&arena->runs.within, 0);
    hw_runs_init(arena);
}

/* --- what other threads released ------------------------------------------------------------------ */

bool hw_runs_make_handed(hw_arena *arena)
{
    hw_runs *runs = &arena->runs;
    size_t bytes = hw_round_up((runs->space.bytes >> HW_RUN_LOG2) * HANDED, hw_page());
    size_t room = room_of(arena) / HW_RUN_BYTES * HANDED;
    if (bytes <= runs->handed.bytes)
        return true;
    if (!runs->handed.start) {
        if (!hw_space_take(&runs->handed, bytes, room))
            return false;
        hw_region_describe(runs->region, runs->book, runs->handed.start);
    } else if (!hw_space_grow(&runs->handed, bytes)) {
        return false;
    }
    atomic_store_explicit(&runs->handed_reach, runs->handed.bytes / HANDED, memory_order_release);
    return true;
}

_Atomic uint32_t *hw_runs_handed(hw_arena *arena, const hw_run *run)
{
    size_t number = (size_t)((const hw_book *)(const void *)run - arena->runs.book);
    if (number >= atomic_load_explicit(&arena->runs.handed_reach, memory_order_acquire))
        return NULL;
    return (_Atomic uint32_t *)(void *)(arena->runs.handed.start + number * HANDED);
}
