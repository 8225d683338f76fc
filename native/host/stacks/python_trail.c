#include "stacks/python_trail.h"

#include "stacks/python_follow.h"
#include "stacks/sites.h"

/* Of a new trail: enough for what is asked of it to be there, and for outer frames to come to be asked for. */
enum { WALKED = 4 * HW_PYTHON_MOST };

static inline uint8_t mark_of(const hw_python_layout *l, uintptr_t frame)
{
    return ((const uint8_t *)frame)[l->entry != HW_PYTHON_NONE ? l->entry : l->owner];
}

/* Whether C code called the interpreter there. */
static inline bool is_entry(const hw_python_trail *t, const hw_python_layout *l, unsigned i)
{
    return l->entry != HW_PYTHON_NONE ? t->at[i].mark != 0
                                      : i + 1 < HW_PYTHON_TRAIL && t->at[i + 1].mark >= HW_PYTHON_SHIM;
}

/* What is said of a frame by all that are outside of it. */
static void sum_up(hw_python_trail *t, const hw_python_layout *l, unsigned i)
{
    bool last = i + 1 == HW_PYTHON_TRAIL;
    uint64_t sum = last ? 0 : t->sum[i + 1];
    t->at[i].number = (uint16_t)((last ? 0 : t->at[i + 1].number) + !t->at[i].is_shim);
    if (!t->at[i].is_shim) {
        uintptr_t code = hw_word_of(t->at[i].frame + l->code) & ~(uintptr_t)HW_PYTHON_MARKS;
        uint32_t life = atomic_load_explicit(hw_python_life(code), memory_order_relaxed);
        sum = hw_sum_on(sum, (t->at[i].instruction ^ (uint64_t)(life / HW_PYTHON_DEATH) << 48) * 2 + is_entry(t, l, i));
    }
    t->sum[i] = sum;
}

static inline void take(hw_python_trail *t, const hw_python_layout *l, unsigned i, uintptr_t frame)
{
    t->at[i].frame = frame;
    t->at[i].previous = hw_word_of(frame + l->previous);
    t->at[i].instruction = hw_word_of(frame + l->instruction);
    t->at[i].mark = mark_of(l, frame);
    t->at[i].is_shim = hw_python_is_shim(*l, frame);
    t->word[i] = 0;
}

/* From the innermost frame on, whatever was known. */
static HW_COLD void walk(hw_python_trail *t, hw_python_view *view, const hw_python_layout *l, uintptr_t frame)
{
    uintptr_t frames[WALKED];
    unsigned n = 0;
    while (n < WALKED && frame && hw_python_is_there(view->frames, frame, HW_PYTHON_FRAME)) {
        frames[n++] = frame;
        frame = hw_word_of(frame + l->previous);
    }
    t->first = HW_PYTHON_TRAIL - n;
    for (unsigned i = n; i-- > 0;) {
        take(t, l, t->first + i, frames[i]);
        sum_up(t, l, t->first + i);
    }
}

/* Begin with that frame; false: it does not lead to those that are known. */
static inline bool begin(hw_python_trail *t, hw_python_view *view, const hw_python_layout *l, uintptr_t frame)
{
    unsigned i = t->first;
    if (t->at[i].frame == frame)
        return true;
    if (i && hw_python_is_there(view->frames, frame, HW_PYTHON_FRAME) &&
        hw_word_of(frame + l->previous) == t->at[i].frame) {
        t->first = --i;
        take(t, l, i, frame);
        sum_up(t, l, i);
        return true;
    }
    while (++i < HW_PYTHON_TRAIL)
        if (t->at[i].frame == frame) {
            t->first = i;
            return true;
        }
    return false;
}

/* Have those that were known be as they are now, up to the first behind those that are asked for. False: one leads
   elsewhere, or too few are known. */
static inline bool renew(hw_python_trail *t, const hw_python_layout *l)
{
    unsigned i = t->first, changed = 0, least = t->at[i].number > HW_PYTHON_MOST ? t->at[i].number - HW_PYTHON_MOST : 0;
    for (bool more = true; more; i++) {
        uintptr_t frame = t->at[i].frame, instruction = hw_word_of(frame + l->instruction);
        uint8_t mark = mark_of(l, frame);
        if (hw_word_of(frame + l->previous) != t->at[i].previous)
            return false;
        if (instruction != t->at[i].instruction || mark != t->at[i].mark) {
            t->at[i].instruction = instruction;
            t->at[i].mark = mark;
            t->word[i] = 0;
            if (t->at[i].is_shim != hw_python_is_shim(*l, frame))
                return false;
            changed = i + 1;
        }
        more = i + 1 < HW_PYTHON_TRAIL && t->at[i].number > least;
        if (more && t->at[i].previous != t->at[i + 1].frame)
            return false;
    }
    if (least == 0 && i == HW_PYTHON_TRAIL && t->at[i - 1].previous)
        return false;
    while (changed-- > t->first)
        sum_up(t, l, changed);
    return true;
}

void hw_python_trail_forget(hw_python_trail *trail)
{
    trail->first = HW_PYTHON_TRAIL;
}

unsigned hw_python_trail_follow(hw_python_trail *trail, hw_python_view *view, uintptr_t innermost, uint64_t *key)
{
    const hw_python_layout *l = hw_python_here();
    uint32_t deaths = atomic_load_explicit(&hw_python_deaths, memory_order_relaxed);
    if (trail->first == HW_PYTHON_TRAIL || trail->deaths != deaths || !begin(trail, view, l, innermost) ||
        !renew(trail, l)) {
        trail->deaths = deaths;
        walk(trail, view, l, innermost);
    }
    *key = 0;
    if (trail->first == HW_PYTHON_TRAIL)
        return 0;
    unsigned i = trail->first, n = trail->at[i].number;
    uint64_t sum = trail->sum[i];
    if (n > HW_PYTHON_MOST) {
        for (i += HW_PYTHON_MOST; trail->at[i].number > n - HW_PYTHON_MOST;)
            i++;
        sum -= hw_sum_beyond(trail->sum[i], HW_PYTHON_MOST);
        n = HW_PYTHON_MOST;
    }
    sum *= HW_POWER;
    *key = sum ^ sum >> 32;
    return n;
}

unsigned hw_python_trail_words(hw_python_trail *trail, hw_python_codes *codes, uint64_t *words)
{
    const hw_python_layout *l = hw_python_here();
    unsigned n = 0;
    for (unsigned i = trail->first; i < HW_PYTHON_TRAIL && n < HW_PYTHON_MOST; i++) {
        if (trail->at[i].is_shim)
            continue;
        if (trail->word[i] == 0) {
            const hw_python_frame frame = {.code =
                                               hw_word_of(trail->at[i].frame + l->code) & ~(uintptr_t)HW_PYTHON_MARKS,
                                           .instruction = trail->at[i].instruction,
                                           .entry = is_entry(trail, l, i)};
            trail->word[i] = hw_python_word(codes, &frame);
        }
        if (trail->word[i] == 0)
            break;
        words[n++] = trail->word[i];
    }
    return n;
}
