/* All Python frames of the calling thread, followed from the innermost one on (python_frames.h).

   Most are the last ones but for where the innermost is. So those are kept, with the frames that belong to the
   interpreter alone: while each leads to the next and is where it was, and no code died, they are the same. As in
   trail.h each has the sum of what it is and of all that are outside of it, and frames have the difference of two of
   them as their key. */
#ifndef HEAPWITNESS_PYTHON_TRAIL_H
#define HEAPWITNESS_PYTHON_TRAIL_H

#include "stacks/python_code.h"

enum { HW_PYTHON_TRAIL = 128 };

typedef struct hw_python_trail {
    uint32_t first, deaths; /* the last frames take up the rest of them; HW_PYTHON_TRAIL: there are none */
    struct {
        uintptr_t frame, previous, instruction;
        uint8_t mark; /* whether C code called it, or who owns it */
        bool is_shim;
        uint16_t number; /* how many others are outside of it, itself included, that are no shims */
    } at[HW_PYTHON_TRAIL];
    uint64_t sum[HW_PYTHON_TRAIL], word[HW_PYTHON_TRAIL]; /* word: as hw_python_word gives it; 0: not known yet */
} hw_python_trail;

/* How many frames there are from an innermost one on, HW_PYTHON_MOST at most, and their key, which no other frames have
   as long as their code lives. Not while another call is at the trail. */
unsigned hw_python_trail_follow(hw_python_trail *trail, hw_python_view *view, uintptr_t innermost, uint64_t *key);
/* Those that were followed just now as words; returns how many, up to the first that cannot be told. */
unsigned hw_python_trail_words(hw_python_trail *trail, hw_python_codes *codes, uint64_t *words);
void hw_python_trail_forget(hw_python_trail *trail);

#endif
