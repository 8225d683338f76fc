/* Following Python frames, inlined where each allocation and release does it. */
#ifndef HEAPWITNESS_PYTHON_FOLLOW_H
#define HEAPWITNESS_PYTHON_FOLLOW_H

#include "stacks/python_frames.h"
#include "stacks/sites.h"

#include <string.h>

/* Where CPython's _PyRuntime and None are. */
extern char *hw_python_runtime;
extern uintptr_t hw_python_none;

/* clang-format off */
static const hw_python_layout hw_python_layouts[] = {
    {.minor = 11, .finalizing = 24, .key = 592, .state = 56, .nested = 8, .code = 32, .instruction = 56, .previous = 48,
     .owner = 69, .entry = 68, .first_line = 72, .file = 112, .name = 128, .lines = 136, .bytecode = 184,
     .ascii = 48, .compact = 72},
    {.minor = 12, .finalizing = 24, .key = 1544, .state = 56, .nested = 0, .code = 0, .instruction = 56, .previous = 8,
     .owner = 70, .entry = HW_PYTHON_NONE, .first_line = 68, .file = 112, .name = 128, .lines = 136, .bytecode = 192,
     .ascii = 40, .compact = 56},
    {.minor = 13, .told = 23, .finalizing = 608, .key = 2160, .state = 72, .nested = HW_PYTHON_NONE, .code = 0, .instruction = 56,
     .previous = 8, .owner = 70, .entry = HW_PYTHON_NONE, .function = 16, .first_line = 68, .file = 112, .name = 128,
     .lines = 136, .bytecode = 200, .ascii = 40, .compact = 56},
    {.minor = 14, .told = 26, .finalizing = 784, .key = 2336, .state = 72, .nested = HW_PYTHON_NONE, .code = 0,
     .instruction = 56, .previous = 8, .owner = 74, .entry = HW_PYTHON_NONE, .function = 16, .first_line = 68, .file = 112,
     .name = 128, .lines = 136, .bytecode = 208, .ascii = 40, .compact = 56},
};
/* clang-format on */
enum { HW_PYTHON_VERSIONS = sizeof hw_python_layouts / sizeof *hw_python_layouts };

enum {
    HW_PYTHON_FRAME = 80, /* bytes of one that are read, in any version */
    HW_PYTHON_SHIM = 3,   /* owners from here on: no Python code runs in it */
    HW_PYTHON_UNSEEN = 1, /* no frame is there */
    HW_PYTHON_MARKS = 7   /* in the low bits of a pointer newer versions keep them */
};

/* Whether an address is there; then its page is kept. */
bool hw_python_look_at(uintptr_t *page, uintptr_t at);

static inline uintptr_t hw_word_of(uintptr_t at)
{
    uintptr_t word;
    memcpy(&word, (const void *)at, sizeof word);
    return word;
}

static inline uintptr_t *hw_python_page(uintptr_t *known, uintptr_t at)
{
    return &known[at / HW_LEAST_PAGE % HW_PYTHON_PAGES];
}

/* A word that is known to be there, by one look: else there is more to do. */
static inline bool hw_python_is_known(const uintptr_t *known, uintptr_t at)
{
    return known[at / HW_LEAST_PAGE % HW_PYTHON_PAGES] == at / HW_LEAST_PAGE;
}

static inline bool hw_python_is_there(uintptr_t *known, uintptr_t at, unsigned bytes)
{
    uintptr_t end = at + bytes - 1;
    return (hw_python_is_known(known, at) || hw_python_look_at(hw_python_page(known, at), at)) &&
           (at % HW_LEAST_PAGE <= HW_LEAST_PAGE - bytes || hw_python_is_known(known, end) ||
            hw_python_look_at(hw_python_page(known, end), end));
}

/* The key of a frame of the program's own that is the innermost, or of any frame where the others do not count. */
static inline uint64_t hw_python_key_of(uintptr_t instruction)
{
    return instruction * UINT64_C(0x9E3779B97F4A7C15) +
           atomic_load_explicit(hw_python_turn(instruction), memory_order_relaxed);
}

/* The key of several, one on another; the first one on HW_PYTHON_SEVERAL. */
#define HW_PYTHON_SEVERAL UINT64_C(0x2545F4914F6CDD1D)
/* Of none: no caller alone has a key like that. */
#define HW_PYTHON_NOTHING UINT64_C(0xD6E8FEB86659FD93)
static inline uint64_t hw_python_key_on(uint64_t key, uintptr_t instruction, uint32_t life)
{
    key = (key ^ instruction ^ (uint64_t)(life / HW_PYTHON_DEATH) << 48) * UINT64_C(0x9E3779B97F4A7C15);
    return key ^ key >> 32;
}

/* From 3.12 on there is a frame in which no Python code runs where C code calls the interpreter. */
static inline bool hw_python_is_border(const hw_python_layout l, uintptr_t frame)
{
    return l.entry == HW_PYTHON_NONE && ((const unsigned char *)frame)[l.owner] >= HW_PYTHON_SHIM;
}

/* No Python code runs in it: so it is as well with one that 3.13 puts between a class that is called often and its
   __init__. It is as any other but for its function, which is None. */
static inline bool hw_python_is_shim(const hw_python_layout l, uintptr_t frame)
{
    return hw_python_is_border(l, frame) ||
           (l.function && (hw_word_of(frame + l.function) & ~(uintptr_t)HW_PYTHON_MARKS) == hw_python_none);
}

static inline hw_python_frame hw_python_frame_at(const hw_python_layout l, uintptr_t frame)
{
    return (hw_python_frame){.code = hw_word_of(frame + l.code) & ~(uintptr_t)HW_PYTHON_MARKS,
                             .instruction = hw_word_of(frame + l.instruction),
                             .entry = l.entry != HW_PYTHON_NONE && ((const char *)frame)[l.entry]};
}

static inline bool hw_python_is_library(uintptr_t code)
{
    return atomic_load_explicit(hw_python_life(code), memory_order_relaxed) & HW_PYTHON_LIBRARY;
}

/* The calling thread's state, if that was looked at. */
static inline __attribute__((always_inline)) bool hw_python_knows(const hw_python_view *view, const hw_python_layout l,
                                                                  uintptr_t *state)
{
    const char *runtime = hw_python_runtime;
    uintptr_t ends = hw_word_of((uintptr_t)runtime + l.finalizing);
    *state = *view->state;
    return (l.key == HW_PYTHON_NONE || view->key == hw_word_of((uintptr_t)runtime + l.key)) && *state == view->known &&
           (HW_LIKELY(!ends) || ends == *state);
}

/* Where all is as usual: the innermost frame, the word of whose instruction is known to be there. Else it is
   0 where there is none. */
static inline __attribute__((always_inline)) bool hw_python_glance(const hw_python_view *view, const hw_python_layout l,
                                                                   uintptr_t *frame)
{
    uintptr_t state;
    *frame = HW_PYTHON_UNSEEN;
    if (!hw_python_knows(view, l, &state))
        return false;
    *frame = hw_word_of(state + l.state);
    if (l.nested != HW_PYTHON_NONE) {
        if (!hw_python_is_known(view->nested, *frame + l.nested))
            return false;
        *frame = hw_word_of(*frame + l.nested);
    }
    return hw_python_is_known(view->frames, *frame + l.instruction);
}

/* Where the chain is kept that begins with a frame. */
static inline hw_python_chain *hw_python_chain_of(hw_python_view *view, uintptr_t frame, uint64_t key)
{
    return &view->chains[(frame >> 3 ^ key) % HW_PYTHON_CHAINS];
}

/* The site of the frames, if they are those that were followed last; else HW_SITE_UNKNOWN. */
static inline __attribute__((always_inline)) uint32_t hw_python_chain_site(const hw_python_chain *c,
                                                                           const hw_python_layout l, uintptr_t frame,
                                                                           uint64_t key)
{
    const uint32_t site = c->site;
    atomic_signal_fence(memory_order_seq_cst); /* a signal handler may put another one there */
    if (c->key != key || c->frame != frame ||
        c->deaths != atomic_load_explicit(&hw_python_deaths, memory_order_relaxed))
        return HW_SITE_UNKNOWN;
    for (const hw_python_step *step = c->step; step->frame; step++) {
        if (hw_word_of(frame + l.previous) != step->frame)
            return HW_SITE_UNKNOWN;
        frame = step->frame;
        if (hw_word_of(frame + l.instruction) != step->instruction)
            return HW_SITE_UNKNOWN;
    }
    return site;
}
/* Let that find it; `key` is the innermost frame's alone. */
void hw_python_keep_chain(hw_python_view *view, const hw_python_path *path, uint64_t key, uint32_t site);

/* As hw_python_follow, from a frame on. */
static inline __attribute__((always_inline)) unsigned hw_python_walk(hw_python_view *view, const hw_python_layout l,
                                                                     uintptr_t frame, hw_python_frame *frames,
                                                                     unsigned most, unsigned own, hw_python_path *path)
{
    unsigned n = 0, step = 0, left = own;
    bool shim = false;
    uint64_t key = HW_PYTHON_SEVERAL;
    path->deaths = atomic_load_explicit(&hw_python_deaths, memory_order_relaxed);
    for (; frame && step < 2 * most + 1; step++) {
        if (!hw_python_is_there(view->frames, frame, HW_PYTHON_FRAME))
            break;
        uintptr_t instruction = hw_word_of(frame + l.instruction);
        if (hw_python_is_shim(l, frame)) {
            shim |= n == 0;
            if (n && hw_python_is_border(l, frame))
                frames[n - 1].entry = true;
        } else if (n == most || !left) {
            break;
        } else {
            frames[n] = hw_python_frame_at(l, frame);
            uint32_t life = atomic_load_explicit(hw_python_life(frames[n++].code), memory_order_relaxed);
            left -= !(life & HW_PYTHON_LIBRARY);
            key = hw_python_key_on(key, instruction, life);
        }
        if (step < HW_PYTHON_STEPS)
            path->step[step] = (hw_python_step){frame, instruction};
        frame = hw_word_of(frame + l.previous);
    }
    path->many = step;
    path->ends = n && (n == most || !left || (left < own && !frame)) && step <= HW_PYTHON_STEPS;
    path->alone = !shim && (most == 1 || (n == 1 && !left));
    path->key = n == 0 ? HW_PYTHON_NOTHING : path->alone ? hw_python_key_of(frames->instruction) : key;
    return n;
}

/* The innermost frame of the calling thread; 0 for none. */
uintptr_t hw_python_innermost(hw_python_view *view);
/* Frames, innermost first, through libraries' up to the first `own` that are none; `most` at most. Returns how many. */
unsigned hw_python_follow(hw_python_view *view, hw_python_frame *frames, unsigned most, unsigned own,
                          hw_python_path *path);

#endif
