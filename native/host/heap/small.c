#define _GNU_SOURCE
#include "heap/small.h"

#include "heap/delayed.h"
#include "heap/handed.h"
#include "heap/release.h"
#include "os/room.h"
#include "run_node.h"
#include "stacks/past.h"

#define KEY (&hw_this_process.key)

__attribute__((no_sanitize("thread"))) bool hw_small_glimpse(const hw_run *run, uint32_t node, uint32_t *meta)
{
    /* Up to where nodes can be, not where they are: that changes while others look. A pointer to what was released may
       lead to a run that goes out of use just now. */
    uint32_t granules = __atomic_load_n(&run->stride, __ATOMIC_RELAXED) >> HW_RUN_GRANULE_LOG2;
    if (!node || !granules || (node - HW_RUN_FIRST) % granules || (node - HW_RUN_FIRST) / granules >= run->capacity)
        return false;
    const char *at = hw_run_at(run, node);
    uint64_t own = __atomic_load_n((const uint64_t *)(const void *)at, __ATOMIC_RELAXED);
    *meta = (uint32_t)own;
    return hw_run_unlike(hw_place(run->salt, KEY, at), KEY, own) == 0 && hw_state_of(*meta) != HW_ENDNODE;
}

static hw_where where_of(const hw_arena *arena, const hw_run *run)
{
    return (hw_where){.run = run, .region = arena->runs.region};
}

/* --- damage --------------------------------------------------------------------------------------- */

typedef struct mending {
    hw_arena *arena;
    hw_run *run;
    const hw_context *context;
    bool left;
} mending;

enum { FAULTS = 2 * HW_RUN_NODES, FEW = 16 }; /* FEW: without memory for more */

/* Whether an operation that was left in the middle can have done it: it changes two or three nodes side by side, and
   what is counted. */
static bool may_be_one_operations(const hw_run *run, const hw_fault *faults, unsigned count)
{
    uint32_t first = 0, behind = 0, granules = run->stride >> HW_RUN_GRANULE_LOG2;
    for (unsigned i = 0; i < count; i++) {
        if (faults[i].reason == HW_CONTROL_BLOCK)
            continue;
        first = first ? first : faults[i].node;
        behind = faults[i].reason == HW_HEADERS ? faults[i].high : faults[i].node + granules;
    }
    return behind <= first + 3 * granules;
}

/* Every free node is on the list. An operation that was left in the middle may have taken one off, and no more; no
 * overflow can. */
static bool list_is_whole(const hw_run *run)
{
    uint32_t node = run->head, count = 0, meta;
    while (node && count < run->formatted && hw_run_meta(run, KEY, node, &meta) && hw_state_of(meta) == HW_FREE) {
        node = (uint32_t)hw_word(hw_run_at(run, node) + HW_RUN_OVERHEAD) & UINT16_MAX;
        count++;
    }
    return !node && count + run->used == run->formatted;
}

/* Where a run lies is known, whatever it says itself. */
static void bind(const hw_arena *arena, hw_run *run)
{
    hw_book *book = (hw_book *)(void *)run;
    char *base = arena->runs.base + ((size_t)(book - arena->runs.book) << HW_RUN_LOG2);
    /* Other threads read this, where it is as it should be. */
    if (run->base != base || run->aside != &book->aside || !hw_run_is_bound(run))
        hw_run_bind(run, &book->aside, base);
}

/* Before the first run, and behind the last one, there is none to be asked for. */
static hw_run *run_before(hw_run *run)
{
    return &((hw_book *)(void *)run - 1)->run;
}
static hw_run *run_behind(hw_run *run)
{
    return &((hw_book *)(void *)run + 1)->run;
}

/* Whether damage goes from a run's last bytes on into the one behind it: then one finding has all of it. Where nodes
   leave nothing at the run's end, its last word is the sentinel's backup. */
static bool leads_on(const hw_run *run, const hw_run *behind)
{
    uint64_t end = hw_pattern_of(hw_place(run->salt, KEY, hw_run_at(run, hw_run_end(run))));
    if (hw_run_end(run) == HW_RUN_BYTES / 16 - 1)
        end = hw_run_header(hw_place(run->salt, KEY, run->base), KEY, HW_RUN_END_META);
    uint64_t sentinel = hw_run_header(hw_place(behind->salt, KEY, behind->base), KEY, HW_RUN_END_META);
    return run->formatted == run->capacity && hw_word(run->base + HW_RUN_BYTES - 8) != end &&
           hw_word(behind->base) != sentinel;
}

/* Where damage that reaches a run from the ones before it begins, as far as they tell. */
static hw_run *begins_in(const hw_arena *arena, hw_run *run)
{
    while (run != &arena->runs.book[0].run) {
        hw_run *before = run_before(run);
        if (!hw_run_is_described(before) || !leads_on(before, run))
            break;
        run = before;
    }
    return run;
}

/* Tell what is wrong in a run; `but_its_start`: damage that begins there was told. The one behind it: damage reaches
   the run's end, and may go on there; else NULL. */
static hw_run *tell(const mending *m, hw_run *run, bool but_its_start, hw_fault *faults, unsigned most)
{
    hw_where where = where_of(m->arena, run);
    bool goes_on = false;
    unsigned count = hw_run_check(run, KEY, faults, most);
    bind(m->arena, run); /* what is told is read there */
    if (m->left && may_be_one_operations(run, faults, count)) {
        atomic_fetch_add(&hw_left_places, count);
        return NULL;
    }
    for (unsigned i = 0; i < count; i++) {
        if (!but_its_start || faults[i].reason != HW_HEADERS || faults[i].low != hw_run_end(run))
            hw_tell_damage(m->context, &where, &faults[i]);
        goes_on |= faults[i].reason != HW_CONTROL_BLOCK && faults[i].high == hw_run_end(run);
    }
    if (count == most)
        atomic_fetch_add(&hw_findings, 1);
    hw_run *behind = run_behind(run);
    return goes_on && hw_run_of(m->arena, run->base + HW_RUN_BYTES) == behind && behind->stride ? behind : NULL;
}

static void repair(hw_arena *arena, hw_run *run, hw_outcome *all)
{
    hw_outcome one;
    bind(arena, run);
    if (!hw_run_repair(run, KEY, &one))
        hw_runs_lose(arena);
    all->headers += one.headers;
    all->backups += one.backups;
    all->slacks += one.slacks;
    all->links += one.links;
    all->poisons += one.poisons;
    all->controls += one.controls;
    all->quarantined += one.quarantined;
}

static void mend(const mending *m, hw_fault *faults, unsigned most)
{
    hw_outcome outcome = {0};
    uint64_t before = atomic_load(&hw_findings);
    hw_run *first = begins_in(m->arena, m->run), *last = first, *behind = tell(m, first, false, faults, most);
    /* All that it reaches, before anything is repaired by which it shows where the damage there came from. */
    while (behind && !hw_run_sound(behind, KEY)) {
        hw_run *next = tell(m, behind, leads_on(last, behind), faults, most);
        last = behind;
        behind = next;
    }
    if (last < m->run) { /* the damage there is another one */
        tell(m, m->run, false, faults, most);
        repair(m->arena, m->run, &outcome);
    }
    for (hw_run *run = first; run <= last; run = run_behind(run))
        repair(m->arena, run, &outcome);
    hw_runs_lists_anew(m->arena);
    hw_delayed_check_runs(m->arena);
    m->arena->repairs++;
    uint64_t told = atomic_load(&hw_findings) - before;
    if (told) {
        atomic_fetch_add(&hw_repairs, told);
        hw_tell_outcome(&outcome);
    }
}

static void mend_it(void *argument)
{
    const mending *m = argument;
    hw_fault *faults = hw_map(FAULTS * sizeof *faults);
    if (faults) {
        mend(m, faults, FAULTS);
        hw_unmap(faults, FAULTS * sizeof *faults);
        return;
    }
    hw_fault few[FEW];
    mend(m, few, FEW);
}

HW_COLD void hw_small_mend(hw_arena *arena, hw_run *run, const hw_context *context)
{
    mending m = {.arena = arena, .run = run, .context = context};
    if (!atomic_load(&arena->runs.lost))
        hw_with_room(mend_it, &m);
}

void hw_small_inspect(hw_arena *arena, hw_run *run, const hw_context *context)
{
    if (hw_run_is_in_use(run) && !atomic_load(&arena->runs.lost) && !hw_run_sound(run, KEY))
        hw_small_mend(arena, run, context);
}

void hw_small_mend_left(hw_arena *arena, const hw_caller *caller)
{
    hw_context context = {.when = HW_AT_CHECK, .caller = *caller, .left = true};
    size_t reach = atomic_load(&arena->runs.reach);
    for (size_t i = 0; i < reach >> HW_RUN_LOG2 && !atomic_load(&arena->runs.lost); i++) {
        hw_run *run = &arena->runs.book[i].run;
        mending m = {.arena = arena, .run = run, .context = &context, .left = true};
        if (hw_run_is_in_use(run) && !hw_run_sound(run, KEY)) {
            mend_it(&m);
        } else if (hw_run_is_in_use(run) && !list_is_whole(run)) {
            hw_outcome outcome;
            hw_run_repair(run, KEY, &outcome);
            atomic_fetch_add(&hw_left_places, 1);
        }
    }
    hw_runs_lists_anew(arena);
    hw_small_handed_left(arena);
}

/* --- allocating ----------------------------------------------------------------------------------- */

void *hw_small_take(hw_arena *arena, size_t bytes, unsigned origin, uint32_t site, const hw_context *context)
{
    unsigned class = hw_small_class(bytes);
    if (atomic_load(&arena->runs.lost))
        return NULL;
    if (!arena->runs.current[class]->head)
        hw_small_drain(arena, context);
    for (int attempt = 0; attempt < HW_ATTEMPTS; attempt++) {
        hw_run *damaged, *run = hw_runs_ready(arena, class, &damaged);
        uint32_t node = run ? hw_run_take(run, KEY, bytes, origin, site) : 0;
        if (node)
            return hw_small_payload(run, node);
        if (!run && !damaged)
            return NULL;
        hw_small_mend(arena, run ? run : damaged, context);
    }
    return NULL;
}

/* --- releasing ------------------------------------------------------------------------------------ */

/* HW_OK, or what the core says. */
static int give(hw_arena *arena, hw_run *run, uint32_t node, uint32_t site)
{
    bool was_full = !run->head;
    int status = hw_run_give(run, KEY, node, site);
    if (status == HW_OK && (was_full || !run->used))
        hw_runs_relist(arena, run, was_full);
    return status;
}

bool hw_small_let_go(hw_arena *arena, hw_run *run, uint32_t node)
{
    uint32_t meta;
    return hw_run_meta(run, KEY, node, &meta) && hw_state_of(meta) == HW_CACHED &&
           give(arena, run, node, meta >> 8) == HW_OK;
}

void hw_small_give(hw_arena *arena, hw_run *run, uint32_t node, uint32_t site, const hw_context *context)
{
    bool held = hw_is_held_back(context) && (hw_setting.poison || run->class < HW_RUN_SMALL);
    for (int attempt = 0; attempt < HW_ATTEMPTS; attempt++) {
        int status = held ? hw_run_hold(run, KEY, node, site) : give(arena, run, node, site);
        if (status == HW_OK && held)
            hw_delay_small(arena, run, node, context);
        if (status != HW_DAMAGED)
            return;
        hw_small_mend(arena, run, context);
    }
}

/* The pointer is no used node's payload. Damage may be why: look at all of the run first. */
static HW_COLD void release_wrong(hw_arena *arena, hw_run *run, void *pointer, const hw_context *context, bool again)
{
    hw_where where = where_of(arena, run);
    uint32_t meta, node = hw_run_node_at(run, pointer);
    if (!hw_run_is_in_use(run)) {
        hw_release_outside(pointer, context);
        return;
    }
    hw_small_inspect(arena, run, context);
    if (again && hw_run_meta(run, KEY, node, &meta) && hw_state_of(meta) == HW_USED &&
        !hw_small_waits(arena, run, node)) {
        hw_small_release(arena, run, pointer, context);
        return;
    }
    uint32_t holder = hw_run_locate(run, (uintptr_t)pointer - (uintptr_t)run->base);
    bool is_node = hw_run_meta(run, KEY, holder, &meta);
    if (is_node && hw_quarantined(meta))
        return;
    if (is_node && holder == node && (hw_state_of(meta) != HW_USED || hw_small_waits(arena, run, node)))
        hw_tell_wrong_release_at(context, &where, HW_DOUBLE, node, NULL);
    else
        hw_tell_wrong_release_at(context, &where, HW_INVALID, is_node ? holder : 0, NULL);
}

/* The first release of each pair of sites comes here. */
static void note_past(const void *pointer, uint32_t site)
{
    if (site && hw_past_is_on()) {
        hw_past_learn(pointer, site);
        hw_past_note(pointer, site);
    }
}

void hw_small_release(hw_arena *arena, hw_run *run, void *pointer, const hw_context *context)
{
    uint32_t node = hw_run_node_at(run, pointer), meta, site;
    if (atomic_load(&arena->runs.lost))
        return;
    if (atomic_load_explicit(&run->waiting, memory_order_relaxed))
        hw_small_drain_run(arena, run, context);
    if (!hw_run_meta(run, KEY, node, &meta) || hw_state_of(meta) != HW_USED) {
        release_wrong(arena, run, pointer, context, true);
        return;
    }
    if (hw_small_waits(arena, run, node)) {
        release_wrong(arena, run, pointer, context, false);
        return;
    }
    if (hw_quarantined(meta))
        return;
    if (HW_UNLIKELY(hw_is_mismatch(meta, context->family) || hw_domain_differs(meta >> 8, &context->caller))) {
        hw_where where = where_of(arena, run);
        hw_tell_wrong_release_at(context, &where, HW_MISMATCH, node, NULL);
    }
    site = hw_site_here(meta >> 8, context);
    note_past(pointer, site);
    hw_small_give(arena, run, node, site, context);
}

/* --- by any thread --------------------------------------------------------------------------------- */

static bool may_be_handed_over(const hw_run *run, uint32_t node, unsigned family, uint32_t *meta)
{
    return hw_small_glimpse(run, node, meta) && hw_state_of(*meta) == HW_USED && !hw_quarantined(*meta) &&
           hw_family_matches(*meta, family) && hw_run_payload_fault(run, KEY, node, *meta) == HW_NONE;
}

void hw_small_release_any(hw_arena *arena, hw_run *run, void *pointer, const hw_context *context)
{
    uint32_t node = hw_run_node_at(run, pointer), meta;
    if (atomic_load(&arena->runs.lost))
        return;
    if (may_be_handed_over(run, node, context->family, &meta) &&
        (hw_is_foreign() || !hw_domain_differs(meta >> 8, &context->caller))) {
        uint32_t site = hw_is_foreign() ? 0 : hw_site_here(meta >> 8, context);
        note_past(pointer, site);
        if (hw_small_hand_over(arena, run, node, site)) {
            if (!hw_is_foreign())
                hw_small_take_in_for_nobody(arena, context);
            return;
        }
    }
    /* Anything odd is judged by who has the arena alone. */
    if (hw_is_foreign() || hw_is_engaged())
        return;
    if (!hw_seize(arena, 0)) {
        hw_release_not();
        return;
    }
    hw_runs_make_handed(arena);
    hw_small_release(arena, run, pointer, context);
    hw_yield(arena);
}

/* --- sizes ---------------------------------------------------------------------------------------- */

size_t hw_small_size(const hw_run *run, const void *pointer)
{
    uint32_t node = hw_run_node_at(run, pointer), meta;
    return hw_small_glimpse(run, node, &meta) && hw_state_of(meta) == HW_USED && !hw_quarantined(meta)
               ? hw_run_requested(run, KEY, node, meta)
               : 0;
}

/* For a block in a quarantined node: all up to its end. */
static size_t size_of_lost(const hw_run *run, const void *pointer)
{
    uint32_t meta, node = hw_run_locate(run, (uintptr_t)pointer - (uintptr_t)run->base);
    if (!hw_run_meta(run, KEY, node, &meta) || !hw_quarantined(meta))
        return 0;
    return (size_t)(hw_run_at(run, node) + run->stride - (const char *)pointer);
}

void *hw_small_resize(hw_arena *arena, hw_run *run, void *pointer, size_t bytes, uint32_t site,
                      const hw_context *context, size_t *size, unsigned *family,
                      bool (*moves)(size_t size, size_t bytes, const hw_context *context))
{
    uint32_t node = hw_run_node_at(run, pointer), meta;
    if (atomic_load_explicit(&run->waiting, memory_order_relaxed) && !atomic_load(&arena->runs.lost))
        hw_small_drain_run(arena, run, context);
    for (int attempt = 0; attempt < HW_ATTEMPTS; attempt++) {
        *size = hw_small_size(run, pointer);
        if (atomic_load(&arena->runs.lost)) {
            *size = *size ? *size : (size_t)(run->base + HW_RUN_BYTES - (char *)pointer);
            return NULL;
        }
        if (!*size) {
            hw_small_inspect(arena, run, context);
            *size = hw_small_size(run, pointer);
        }
        bool waits = *size && hw_small_waits(arena, run, node);
        if (!*size || waits) {
            *size = waits ? 0 : size_of_lost(run, pointer);
            if (!*size)
                release_wrong(arena, run, pointer, context, false);
            return NULL;
        }
        hw_run_meta(run, KEY, node, &meta);
        if (hw_is_mismatch(meta, HW_MALLOC)) {
            hw_where where = where_of(arena, run);
            hw_tell_wrong_release_at(context, &where, HW_MISMATCH, node, NULL);
            *family = meta >> 6 & 3; /* told once: what realloc gives is malloc's */
            return NULL;
        }
        bool stays = hw_is_for_runs(bytes, 0) && hw_small_class(bytes) == run->class && !moves(*size, bytes, context);
        int status = stays ? hw_run_resize(run, KEY, node, bytes, site) : hw_run_verify(run, KEY, node);
        if (status != HW_DAMAGED)
            return stays && status == HW_OK ? pointer : NULL;
        hw_small_mend(arena, run, context);
    }
    return NULL;
}
