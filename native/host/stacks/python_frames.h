/* The Python frames of the calling thread, as CPython keeps them: which code object, and where in it.

   CPython is looked for among what the program was linked with or is itself, and where it loads libraries, in those
   that allocate (3.11 to 3.14, with the GIL); its frames are read by offsets, a row a version, which the tests hold
   against interpreters. A thread reads what it alone changes. All the same nothing is taken on trust, for it may be in
   the middle of a change (a signal, a library of coroutines that exchanges stacks, the end of the interpreter): an
   address is followed once its page is known to be there, and a code object is one by its type (python_code.h). What
   makes no sense is no frame.

   Frames are followed through libraries' code up to the first that is none: most are the program's own at once. Then
   where it is tells which code it is, too, and nothing of the code need be looked at. */
#ifndef HEAPWITNESS_PYTHON_FRAMES_H
#define HEAPWITNESS_PYTHON_FRAMES_H

#include "os/system.h"

enum {
    HW_PYTHON_FAST = 4,
    HW_PYTHON_MOST = 16,
    HW_PYTHON_PAGES = 256,
    HW_PYTHON_LIVES = 1 << 16,
    HW_PYTHON_TURNS = 256
};

/* Offsets in bytes within CPython's structures. */
typedef struct hw_python_layout {
    unsigned minor, told;       /* the word of what the runtime tells that is `state` */
    unsigned finalizing, key;   /* runtime: the thread state that ends the interpreter; the key of a thread's own */
    unsigned state, nested;     /* thread state: the innermost frame, or what holds it at `nested` */
    unsigned code, instruction; /* frame */
    unsigned previous, owner, entry, function;
    unsigned first_line, file, name, lines, bytecode; /* code object */
    unsigned ascii, compact;                          /* text: its characters */
} hw_python_layout;
enum { HW_PYTHON_NONE = 0xFFFF };
/* Of code objects, in all versions: how many instructions there are, and bytes of each. */
enum { HW_PYTHON_SIZE = 16, HW_PYTHON_UNIT = 2 };

typedef struct hw_python_frame {
    uintptr_t code, instruction;
    bool entry; /* C code called the interpreter here */
} hw_python_frame;

/* Where frames were followed through, innermost first, with those of C between them. */
enum { HW_PYTHON_STEPS = 2 * HW_PYTHON_FAST };
typedef struct hw_python_step {
    uintptr_t frame, instruction;
} hw_python_step;
typedef struct hw_python_path {
    uint64_t key;          /* that no other frames have as long as their code lives */
    uint32_t deaths, many; /* how many code objects had died, and how many steps there are */
    bool alone;            /* the key is that of the innermost frame */
    bool ends;             /* it ends where all paths through these frames do */
    hw_python_step step[HW_PYTHON_STEPS];
} hw_python_path;

/* What an allocation in a library was found to be, whose innermost frame alone has `key`, 0 for none: as long as each
   frame leads to the next and is where it was, and no code died, it is that again. */
enum { HW_PYTHON_CHAINS = 256 };
typedef struct hw_python_chain {
    uint64_t key;
    uintptr_t frame;
    uint32_t site, deaths;
    hw_python_step step[HW_PYTHON_STEPS]; /* from the innermost on, up to one without a frame */
} hw_python_chain;

/* A thread's: where its state is named while `key` holds, and pages that were there when they were looked at. */
typedef struct hw_python_view {
    uint64_t key;
    const uintptr_t *state;
    bool busy;
    uintptr_t known; /* the state that was looked at */
    uintptr_t none;  /* what `state` leads to while it is not known */
    /* Of the C stack, and of frames: they do not drive each other out. */
    uintptr_t nested[HW_PYTHON_PAGES], frames[HW_PYTHON_PAGES];
    hw_python_chain chains[HW_PYTHON_CHAINS]; /* hw_python_chain_of */
} hw_python_view;

/* Of all code objects at some addresses: how often one died, whether there ever was a record of one, and whether the
   last one is a library's. */
extern _Atomic uint32_t hw_python_lives[HW_PYTHON_LIVES];
enum { HW_PYTHON_LIBRARY = 1, HW_PYTHON_SEEN = 2, HW_PYTHON_DEATH = 4 };
static inline _Atomic uint32_t *hw_python_life(uintptr_t code)
{
    return &hw_python_lives[(code >> 4 ^ code >> 16) % HW_PYTHON_LIVES];
}

/* Of those of which there is a record: how many died, and how many had instructions in some pages. So where a frame is
   can be told from where another one was, without a look at its code. */
extern _Atomic uint32_t hw_python_deaths;
extern _Atomic uint64_t hw_python_turns[HW_PYTHON_TURNS];
static inline _Atomic uint64_t *hw_python_turn(uintptr_t instruction)
{
    return &hw_python_turns[instruction / HW_LEAST_PAGE % HW_PYTHON_TURNS];
}

/* Once, when everything is loaded that the program was linked with. */
void hw_python_look(void);
/* Set once a library was loaded: then code that allocates and is not known yet may be CPython's. Returns whether there
   is one by now. */
extern _Atomic bool hw_python_may_come;
bool hw_python_comes(uintptr_t pc);
/* The library that it came with, which must stay; NULL: none. */
const char *hw_python_file(void);
/* The view is another thread's from now on. */
void hw_python_forget(hw_python_view *view);
/* What was found; NULL: no CPython that is known. */
const hw_python_layout *hw_python_here(void);
/* The same as a number from 0 on, for code that is made for each. */
unsigned hw_python_version(void);
/* Whether it is CPython's own code, whatever the domain (sites.h). */
bool hw_python_is_own(uint64_t pc);
/* The type of code objects. */
uintptr_t hw_python_code_type(void);

#endif
