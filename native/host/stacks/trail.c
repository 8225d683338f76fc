#include "stacks/trail.h"

#include "os/guard.h"

#include <string.h>

typedef struct search {
    uint64_t pc;
    hw_rule rule;
    bool whole;
} search;

static void find_rule(void *argument)
{
    search *s = argument;
    hw_rule_find(s->pc, &s->rule);
}

static void find_guarded(void *argument)
{
    search *s = argument;
    s->whole = hw_guarded(find_rule, s);
}

static inline hw_rule rule_for(hw_trail *trail, uint64_t pc)
{
    hw_rule *place = &trail->rules[(pc ^ pc >> 14) & (HW_RULES - 1)];
    if (place->pc == pc && place->code == hw_code_before(pc))
        return *place;
    search found = {.pc = pc, .rule = {.pc = pc, .kind = HW_RULE_NONE}};
    hw_rule rule = found.rule;
    hw_on_stack(trail->room, find_guarded, &found);
    if (found.whole)
        rule = found.rule;
    if (rule.kind == HW_RULE_NONE || rule.code == 0) /* nothing could be seen to have changed */
        return rule;
    place->pc = 0; /* whoever breaks off here leaves none */
    atomic_signal_fence(memory_order_seq_cst);
    place->code = rule.code;
    place->kind = rule.kind;
    place->saved = rule.saved;
    place->cfa = rule.cfa;
    place->bp = rule.bp;
    atomic_signal_fence(memory_order_seq_cst);
    place->pc = pc;
    return rule;
}

typedef struct range {
    uintptr_t low, high;
} range;

static inline bool has_word(const range *stack, uintptr_t at)
{
    return at >= stack->low && at <= stack->high - sizeof(uint64_t) && (at & 7) == 0;
}

typedef enum step { ON, END, NO_RULE } step;

/* From a frame to the one behind it. */
static inline step by_rule(hw_trail *trail, const range *stack, hw_frame *from, hw_frame *to)
{
    const hw_rule rule = rule_for(trail, from->pc);
    from->uses_bp =
        (rule.kind == HW_RULE_BP || rule.kind == HW_RULE_WORD || rule.saved == HW_SAVED_BY_BP) && !from->bp_used;
    from->extra_at = 0;
    if (rule.kind == HW_RULE_NONE)
        return NO_RULE;
    if (rule.kind == HW_RULE_LAST)
        return END;
    uintptr_t above = (rule.kind == HW_RULE_SP ? from->sp : from->bp) + (uintptr_t)(intptr_t)rule.cfa;
    if (rule.kind == HW_RULE_WORD) {
        if (!has_word(stack, above))
            return NO_RULE;
        from->extra_at = above;
        from->extra = above = hw_word_at(above);
    }
    if (above <= from->sp || !has_word(stack, above - sizeof(uint64_t)))
        return NO_RULE;
    *to = (hw_frame){.pc = hw_word_at(above - sizeof(uint64_t)),
                     .sp = above,
                     .bp = from->bp,
                     .bp_at = from->bp_at,
                     .bp_used = from->bp_used || from->uses_bp};
    if (rule.saved != HW_SAVED_NOT) {
        to->bp_at = (rule.saved == HW_SAVED_BY_BP ? from->bp : above) + (uintptr_t)(intptr_t)rule.bp;
        if (!has_word(stack, to->bp_at))
            return NO_RULE;
        to->bp = hw_word_at(to->bp_at);
        to->bp_used = false;
    }
    return ON;
}

static inline bool is_same(const hw_frame *a, const hw_frame *b)
{
    return a->pc == b->pc && a->sp == b->sp && a->bp_at == b->bp_at && a->bp_used == b->bp_used &&
           (!a->bp_used || a->bp == b->bp);
}

static inline bool leads_on_by_more(const hw_frame *frame)
{
    return (!frame->uses_bp || hw_word_at(frame->bp_at) == frame->bp) &&
           (!frame->extra_at || hw_word_at(frame->extra_at) == frame->extra);
}

static inline bool has_more(const hw_trail *trail, unsigned i)
{
    return trail->more[i / 64] >> i % 64 & 1;
}

/* How far the last stack leads on as it did, from a frame of it that is there again; no further than `end`. */
static inline unsigned leads_up_to(const hw_trail *trail, unsigned i, unsigned end)
{
    uint64_t different = 0;
    for (unsigned next = i + 1; next <= end; next++)
        different |= hw_word_at(trail->at[next]) ^ trail->pc[next];
    for (unsigned word = i / 64; !different && word <= (end - 1) / 64 && end > i; word++)
        for (uint64_t left = trail->more[word] & -(word == i / 64 ? UINT64_C(1) << i % 64 : 1); left;
             left &= left - 1) {
            unsigned frame = word * 64 + (unsigned)__builtin_ctzll(left);
            if (frame < end && !leads_on_by_more(&trail->frames[frame])) {
                different = 1;
                break;
            }
        }
    if (!different)
        return end;
    while (i < end && hw_word_at(trail->at[i + 1]) == trail->pc[i + 1] &&
           (!has_more(trail, i) || leads_on_by_more(&trail->frames[i])))
        i++;
    return i;
}

/* Put the first `count` fresh frames before the one with that number. */
static inline void put(hw_trail *trail, unsigned before, unsigned count, bool whole)
{
    uint64_t sum = before < HW_TRAIL ? trail->sum[before] : 0;
    trail->any = false; /* as above */
    atomic_signal_fence(memory_order_seq_cst);
    trail->whole = whole;
    for (unsigned i = count; i-- > 0;) {
        const hw_frame *from = &trail->fresh[i];
        unsigned to = before - count + i;
        uint64_t bit = UINT64_C(1) << to % 64;
        trail->frames[to] = *from;
        trail->at[to] = from->sp - sizeof(uint64_t);
        trail->pc[to] = from->pc;
        trail->sum[to] = sum = hw_sum_on(sum, from->pc);
        trail->more[to / 64] = (trail->more[to / 64] & ~bit) | (from->uses_bp || from->extra_at ? bit : 0);
    }
    trail->first = before - count;
    atomic_signal_fence(memory_order_seq_cst);
    trail->any = true;
}

static inline void give(const hw_trail *trail, unsigned behind, hw_followed *stack)
{
    unsigned first = trail->first, count = behind + 1;
    count -= trail->pc[first + behind] == 0;
    *stack = (hw_followed){.frames = &trail->frames[first], .pc = &trail->pc[first], .behind = behind, .count = count};
    stack->sum = trail->sum[first];
    if (first + count < HW_TRAIL) /* of more than are asked for, or of the end, which adds nothing */
        stack->sum -= hw_sum_beyond(trail->sum[first + count], HW_FULL_FRAMES);
}

bool hw_trail_follow(hw_trail *trail, const hw_caller *caller, uintptr_t high, hw_followed *stack)
{
    const range range = {(uintptr_t)caller->frame, high};
    hw_frame *fresh = trail->fresh, *last = trail->frames;
    unsigned n = 0, i = trail->any ? trail->first : HW_TRAIL;
    bool whole = false;
    /* The function that was called has saved rbp in its frame, below the return address. */
    fresh[0] = (hw_frame){.pc = hw_address_of((uint64_t)(uintptr_t)caller->pc),
                          .sp = range.low + 2 * sizeof(uint64_t),
                          .bp = hw_word_at(range.low),
                          .bp_at = range.low};
    while (!whole && n < HW_FULL_FRAMES - 1) {
        while (i < HW_TRAIL && last[i].sp < fresh[n].sp)
            i++;
        if (i < HW_TRAIL && is_same(&last[i], &fresh[n])) {
            unsigned start = i, most = i + HW_FULL_FRAMES - 1 - n, end = most < HW_TRAIL ? most : HW_TRAIL - 1;
            i = leads_up_to(trail, i, end);
            whole = i == HW_TRAIL - 1 && trail->whole;
            if (n <= start && i == end && (whole || end == most)) {
                put(trail, start, n, trail->whole);
                give(trail, n + i - start, stack);
                return true;
            }
            memcpy(&fresh[n], &last[start], (i - start + 1) * sizeof *fresh);
            n += i - start;
            fresh[n].bp = hw_word_at(fresh[n].bp_at);
            if (whole || n == HW_FULL_FRAMES - 1)
                break;
        }
        switch (by_rule(trail, &range, &fresh[n], &fresh[n + 1])) {
        case NO_RULE:
            return false;
        case END:
            whole = true;
            break;
        case ON:
            whole = fresh[++n].pc == 0;
        }
    }
    put(trail, HW_TRAIL, n + 1, whole);
    give(trail, n, stack);
    return true;
}
