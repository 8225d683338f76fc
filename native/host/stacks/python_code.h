/* What is kept of a code object, so that a line can be told when it is gone: its file, its name, its first line and the
   table that leads from instructions to lines, as CPython has them. */
#ifndef HEAPWITNESS_PYTHON_CODE_H
#define HEAPWITNESS_PYTHON_CODE_H

#include "stacks/python_frames.h"

enum { HW_PYTHON_CODES = 2048, HW_PYTHON_TEXT = 128 << 10, HW_PYTHON_OBJECTS = 1024 };

/* A code object of which there is a record. */
typedef struct hw_python_code {
    uintptr_t code;
    uint32_t life, site; /* 0: it is none */
    size_t instructions;
} hw_python_code;

/* A thread's memory of them, and room to copy one. */
typedef struct hw_python_codes {
    uint32_t records; /* how many were made */
    hw_python_code known[HW_PYTHON_CODES];
    uintptr_t pages[HW_PYTHON_OBJECTS]; /* that were there when they were looked at */
    uint64_t words[HW_PYTHON_TEXT / 8];
} hw_python_codes;

/* A frame in a word: the number of its code's record, whether C code called it, and how many instructions come before.
   0: it is no frame. */
#define HW_PYTHON_ENTRY (UINT64_C(1) << 24)
uint64_t hw_python_word(hw_python_codes *codes, const hw_python_frame *frame);
/* The words of `count` frames, innermost first. False: there is no record of one of them. */
bool hw_python_known_words(const hw_python_codes *codes, const hw_python_frame *frames, unsigned count,
                           uint64_t *words);

#endif
