#define _GNU_SOURCE
#include "traps/slot.h"

#include "heap/damage.h"

void hw_trap_pages(const hw_slot *slot, uintptr_t *start, uintptr_t *end)
{
    *start = (uintptr_t)slot->address & ~(uintptr_t)(hw_page() - 1);
    *end = hw_round_up((uintptr_t)(slot->address + slot->size), hw_page());
}

/* --- slack --------------------------------------------------------------------------------------- */

/* Payload byte q has byte q modulo 8 of the pattern, and so have the bytes before the payload, where q is negative. */
static unsigned char slack_byte(const hw_slot *slot, uintptr_t at)
{
    return (unsigned char)(slot->pattern >> (at - (uintptr_t)slot->address) % 8 * 8);
}

/* The bytes at any address that is a multiple of 8. */
static uint64_t slack_word(const hw_slot *slot)
{
    unsigned shift = (unsigned)(-slot->address % 8 * 8);
    return shift ? slot->pattern >> shift | slot->pattern << (64 - shift) : slot->pattern;
}

static void fill(const hw_slot *slot, uintptr_t at, uintptr_t end)
{
    for (uint64_t word = slack_word(slot); at % 8 == 0 && end - at >= 8; at += 8)
        *(uint64_t *)at = word;
    for (; at < end; at++)
        *(unsigned char *)at = slack_byte(slot, at);
}

static bool holds(const hw_slot *slot, uintptr_t at, uintptr_t end)
{
    for (uint64_t word = slack_word(slot); at % 8 == 0 && end - at >= 8; at += 8)
        if (*(const uint64_t *)at != word)
            return false;
    for (; at < end; at++)
        if (*(const unsigned char *)at != slack_byte(slot, at))
            return false;
    return true;
}

void hw_slot_fill_slack(const hw_slot *slot)
{
    uintptr_t start, end;
    hw_trap_pages(slot, &start, &end);
    fill(slot, start, (uintptr_t)slot->address);
    fill(slot, (uintptr_t)(slot->address + slot->size), end);
}

static bool slack_is_whole(const hw_slot *slot)
{
    uintptr_t start, end;
    hw_trap_pages(slot, &start, &end);
    return holds(slot, start, (uintptr_t)slot->address) && holds(slot, (uintptr_t)(slot->address + slot->size), end);
}

hw_unpooled hw_trap_told(const hw_slot *slot)
{
    uintptr_t start, end;
    hw_trap_pages(slot, &start, &end);
    return (hw_unpooled){slot->address, slot->size,    slot->site,
                         slot->origin,  slot->pattern, (uint64_t)(slot->address - start),
                         hw_page()};
}

/* The way that a store took to the guard where it was told. */
static bool is_told(const hw_slot *slot)
{
    uintptr_t start, end;
    hw_trap_pages(slot, &start, &end);
    return atomic_load(&slot->told[0].pc) && holds(slot, start, (uintptr_t)slot->address);
}

void hw_slot_inspect(const hw_slot *slot, const hw_context *context)
{
    hw_outcome outcome = {.slacks = 1};
    hw_unpooled block = hw_trap_told(slot);
    hw_context with = *context;
    hw_fault fault = {.reason = HW_SLACK};
    if (slack_is_whole(slot))
        return;
    if (is_told(slot)) {
        hw_slot_fill_slack(slot);
        return;
    }
    with.unpooled = &block;
    hw_tell_fault(&with, NULL, &fault);
    hw_slot_fill_slack(slot);
    atomic_fetch_add(&hw_repairs, 1);
    hw_tell_outcome(&outcome);
}

/* --- accesses that were told ---------------------------------------------------------------------- */

enum { TOLD = sizeof((hw_slot *)0)->told / sizeof((hw_slot *)0)->told[0] };

size_t hw_slot_distance(const hw_slot *slot, uintptr_t address)
{
    if (address < slot->address)
        return (size_t)(slot->address - address);
    size_t past = address - (uintptr_t)slot->address;
    return past < slot->size ? 0 : past - (size_t)slot->size + 1;
}

void hw_slot_forget_told(hw_slot *slot)
{
    for (unsigned i = 0; i < TOLD; i++) {
        atomic_store(&slot->told[i].times, 0);
        atomic_store(&slot->told[i].farthest, 0);
        atomic_store(&slot->told[i].pc, 0);
    }
}

bool hw_trap_is_told(hw_slot *slot, uint64_t pc, uint32_t line, uintptr_t address)
{
    for (unsigned i = 0; i < TOLD; i++) {
        uint64_t known = 0;
        bool first = atomic_compare_exchange_strong(&slot->told[i].pc, &known, pc);
        if (first)
            atomic_store(&slot->told[i].line, line);
        else if (known != pc || atomic_load(&slot->told[i].line) != line)
            continue;
        atomic_fetch_add(&slot->told[i].times, 1);
        if (first || hw_slot_distance(slot, address) >= hw_slot_distance(slot, atomic_load(&slot->told[i].farthest)))
            atomic_store(&slot->told[i].farthest, address);
        return !first;
    }
    return true;
}

/* Where steps came to an end a page stayed open: what is in it behind the farthest access was written, too. */
static uintptr_t written_until(uintptr_t farthest)
{
    enum { PIECE = 256 };
    unsigned char piece[PIECE];
    for (uintptr_t end = (farthest | (hw_page() - 1)) + 1; end > farthest + 1; end -= PIECE) {
        size_t last = hw_peek(piece, end - PIECE, PIECE);
        while (last && !piece[last - 1])
            last--;
        if (last && end - PIECE + last - 1 > farthest)
            return end - PIECE + last - 1;
    }
    return farthest;
}

/* Of several Python lines it is not known whose an end would be. */
static bool is_of_one_line(hw_slot *slot, unsigned one)
{
    for (unsigned i = 0; i < TOLD; i++)
        if (i != one && atomic_load(&slot->told[i].pc) == atomic_load(&slot->told[one].pc))
            return false;
    return true;
}

void hw_slot_tell_ends(hw_slot *slot)
{
    bool open = atomic_load(&slot->stepped) > HW_STEPS_MOST;
    for (unsigned i = 0; i < TOLD; i++) {
        uint64_t times = atomic_exchange(&slot->told[i].times, 0);
        uintptr_t farthest = (uintptr_t)atomic_load(&slot->told[i].farthest);
        if ((times > 1 || (times && open)) && is_of_one_line(slot, i))
            hw_tell_end_of_access((uintptr_t)slot->address, atomic_load(&slot->told[i].pc),
                                  open && farthest > slot->address ? written_until(farthest) : farthest, times);
    }
}
