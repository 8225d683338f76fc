/* How one gets from a function's frame to its caller's: a rule for a return address, worked out from the call
   frame information that compilers leave for unwinding (.eh_frame, as the DWARF standard and the x86-64 ABI
   describe it). The information never changes while the code is there, so a rule is found once and then kept.

   Only what nearly all frames need is understood: the caller's frame is at a distance from the stack pointer or
   from rbp, or a word in the frame holds its address (code that aligns its stack). All else, a signal's frame say,
   has no rule, and is left to the general unwinder. */
#ifndef HEAPWITNESS_FRAME_RULES_H
#define HEAPWITNESS_FRAME_RULES_H

#include <stdbool.h>
#include <stdint.h>

typedef enum hw_rule_kind {
    HW_RULE_NONE, /* cannot be said in these terms */
    HW_RULE_LAST, /* no caller, or none that is known */
    HW_RULE_SP,   /* the caller's stack pointer is the stack pointer + cfa */
    HW_RULE_BP,   /* ... is rbp + cfa */
    HW_RULE_WORD  /* ... is in the word at rbp + cfa */
} hw_rule_kind;

/* Where the caller's rbp is. */
typedef enum hw_saved { HW_SAVED_NOT, HW_SAVED_BELOW_CALLER, HW_SAVED_BY_BP } hw_saved;

typedef struct hw_rule {
    uint64_t pc;
    uint32_t code; /* the four bytes before pc: code may make room for other code (dlclose) */
    uint8_t kind, saved;
    int32_t cfa; /* bytes */
    int32_t bp;  /* bytes from the caller's stack pointer, or from rbp; unless it is HW_SAVED_NOT */
} hw_rule;

/* The rule for a return address. Takes no lock, allocates nothing. */
void hw_rule_find(uint64_t pc, hw_rule *rule);

static inline uint32_t hw_code_before(uint64_t pc)
{
    uint32_t code;
    __builtin_memcpy(&code, (const char *)pc - sizeof code, sizeof code);
    return code;
}

#endif
