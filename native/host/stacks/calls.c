#define _GNU_SOURCE
#include "stacks/calls.h"

#include "stacks/sites.h"

#include <string.h>

/* USES: how often a remembered return address is believed before its code is looked at again. */
enum { KNOWN = 4096, ADDRESS_BITS = 48, USES = 1024, CODE = 7 };
#define ADDRESS ((UINT64_C(1) << ADDRESS_BITS) - 1)

/* An address, and how often it was believed above it; 0: none. */
static _Atomic uint64_t known[KNOWN];

static _Atomic uint64_t *entry_of(uint64_t address)
{
    return &known[(address * UINT64_C(0x9E3779B97F4A7C15) >> 32) % KNOWN];
}

/* The kernel maps nothing at the lowest ones. */
static bool may_be_address(uint64_t word)
{
    return word >= HW_LEAST_PAGE && word <= ADDRESS;
}

static bool is_known(uint64_t address)
{
    _Atomic uint64_t *entry = entry_of(address);
    uint64_t now = atomic_load_explicit(entry, memory_order_relaxed);
    if ((now & ADDRESS) != address || !address || now >> ADDRESS_BITS >= USES)
        return false;
    atomic_store_explicit(entry, now + (UINT64_C(1) << ADDRESS_BITS), memory_order_relaxed);
    return true;
}

/* The code in front of an address; where nothing is known of the machine's, that it can be read must do. */
static bool ends_with_call(const unsigned char code[CODE])
{
#if defined(__x86_64__)
    if (code[2] == 0xE8)
        return true;
    for (int length = 2; length <= CODE; length++) /* FF /2: call through a register or memory */
        if (code[CODE - length] == 0xFF && (code[CODE - length + 1] >> 3 & 7) == 2)
            return true;
    return false;
#elif defined(__aarch64__)
    uint32_t last;
    memcpy(&last, code + CODE - sizeof last, sizeof last);
    /* bl; blr and its forms that check a signature */
    return last >> 26 == 0x25 || (last & 0xFFFFFC1F) == 0xD63F0000 || (last & 0xFEFFF800) == 0xD63F0800;
#else
    (void)code;
    return true;
#endif
}

unsigned hw_calls_before(const uint64_t *word, unsigned count)
{
    unsigned char code[HW_FAST_FRAMES][CODE];
    unsigned good = 0;
    while (good < count && is_known(word[good]))
        good++;
    const uint64_t *asked = word + good;
    unsigned likely = 0;
    while (good + likely < count && may_be_address(asked[likely]))
        likely++;
    if (likely == 0)
        return good;
    unsigned readable = hw_peek_many(code[0], asked, likely < HW_FAST_FRAMES ? likely : HW_FAST_FRAMES, CODE);
    for (unsigned i = 0; i < readable && ends_with_call(code[i]); i++) {
        atomic_store_explicit(entry_of(asked[i]), asked[i], memory_order_relaxed);
        good++;
    }
    return good;
}
