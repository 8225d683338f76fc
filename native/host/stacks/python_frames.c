#define _GNU_SOURCE
#include "stacks/python_frames.h"

#include "os/settings.h"
#include "stacks/python_follow.h"

#include <pthread.h>
#include <string.h>

enum { CODE_NAME = 24, CODE_DEALLOC = 48, OWN_KEYS = 32, THREAD = 0x580 };
/* Words of what the runtime tells: where the first of each are. */
enum { TOLD = 64, TOLD_FINALIZING = 4, TOLD_FRAME = 6 };

static unsigned version = HW_PYTHON_VERSIONS;
_Atomic uint32_t hw_python_lives[HW_PYTHON_LIVES];
static void (*dealloc)(void *);
/* From a thread's descriptor: where the C library keeps what the first keys lead to; 0: not known. */
static unsigned keyed;

uintptr_t hw_python_code_type(void)
{
    return (uintptr_t)PyCode_Type;
}

const hw_python_layout *hw_python_here(void)
{
    return version < HW_PYTHON_VERSIONS ? &hw_python_layouts[version] : NULL;
}

unsigned hw_python_version(void)
{
    return version;
}

/* --- which CPython ----------------------------------------------------------------------------- */

/* Another code object may come to lie where one was: what is known of its frames is told apart by that. */
static void code_dies(void *code)
{
    _Atomic uint32_t *life = hw_python_life((uintptr_t)code);
    atomic_store(life, (atomic_load(life) & ~(uint32_t)HW_PYTHON_LIBRARY) + HW_PYTHON_DEATH);
    dealloc(code);
}

/* From 3.13 on the runtime tells its version, whether threads run without the GIL (then frames look otherwise), and
   offsets, which other builds may have others of. */
static bool is_laid_out(const hw_python_layout *l)
{
    uint64_t words[TOLD];
    memcpy(words, _PyRuntime, sizeof words);
    const uint64_t *state = words + l->told, *frame = state + TOLD_FRAME;
    return l->minor < 13 || (words[1] == Py_Version && words[2] == 0 && words[TOLD_FINALIZING] == l->finalizing &&
                             state[0] == l->state && frame[0] == l->previous && frame[1] == l->code &&
                             frame[2] == l->instruction && frame[4] == l->owner);
}

/* With other objects, as some builds for debugging have, the type's words are elsewhere. */
static bool watch_deaths(void)
{
    const char *name;
    memcpy(&name, PyCode_Type + CODE_NAME, sizeof name);
    char text[5] = {0};
    if (hw_peek(text, (uintptr_t)name, sizeof text) != sizeof text || memcmp(text, "code", sizeof text) != 0)
        return false;
    memcpy((void *)&dealloc, PyCode_Type + CODE_DEALLOC, sizeof dealloc);
    if (!dealloc)
        return false;
    void (*ours)(void *) = code_dies;
    memcpy(PyCode_Type + CODE_DEALLOC, (void *)&ours, sizeof ours);
    return true;
}

/* Where glibc keeps what a key leads to is found with a key of our own. */
static void find_keyed(void)
{
    static const uintptr_t values[2] = {UINT64_C(0x8E3A55F00FAA71C3), UINT64_C(0x17C5AA0FF0558E3C)};
    const char *thread = (const char *)pthread_self();
    pthread_key_t key;
    if (pthread_key_create(&key, NULL) != 0)
        return;
    for (unsigned at = 0; key < OWN_KEYS && at < THREAD && !keyed; at += sizeof(uintptr_t)) {
        bool here = true;
        for (unsigned i = 0; i < 2 && here; i++) {
            pthread_setspecific(key, (const void *)values[i]);
            here = hw_word_of((uintptr_t)thread + at) == values[i];
        }
        keyed = here && at >= key * 2 * sizeof(uintptr_t) ? at - key * 2 * (unsigned)sizeof(uintptr_t) : 0;
    }
    pthread_setspecific(key, NULL);
    pthread_key_delete(key);
}

void hw_python_look(void)
{
    if (!hw_setting.python_lines || !&Py_Version || !_PyRuntime || !PyCode_Type || !PyGILState_GetThisThreadState)
        return;
    for (unsigned i = 0; i < HW_PYTHON_VERSIONS; i++)
        if (Py_Version >> 16 == (3u << 8 | hw_python_layouts[i].minor) && is_laid_out(&hw_python_layouts[i]) &&
            watch_deaths())
            version = i;
    if (hw_python_here())
        find_keyed();
}

/* --- the slow part of following ------------------------------------------------------------------ */

HW_COLD bool hw_python_look_at(uintptr_t *page, uintptr_t at)
{
    char byte;
    if (hw_peek(&byte, at, 1) != 1)
        return false;
    *page = at / HW_LEAST_PAGE;
    return true;
}

void hw_python_forget(hw_python_view *view)
{
    memset(view, 0xFF, sizeof *view); /* neither a key, nor a page, nor a state is ever that */
    view->busy = false;
}

/* The calling thread's state; 0: it has none. */
static uintptr_t state_of(hw_python_view *view, const hw_python_layout *l)
{
    if (view->busy) /* what CPython asks of the loader */
        return 0;
    view->busy = true;
    atomic_signal_fence(memory_order_seq_cst);
    uintptr_t state = (uintptr_t)PyGILState_GetThisThreadState();
    atomic_signal_fence(memory_order_seq_cst);
    view->busy = false;
    if (state && keyed && l->key != HW_PYTHON_NONE) {
        uint32_t words[2];
        memcpy(words, _PyRuntime + l->key, sizeof words);
        const uintptr_t *named = (const uintptr_t *)((uintptr_t)pthread_self() + keyed) + 2 * (size_t)words[1];
        if (words[0] == 1 && words[1] < OWN_KEYS && *named == state) { /* else they lie elsewhere in this build */
            view->state = named;
            memcpy(&view->key, words, sizeof words);
        }
    }
    return state;
}

/* The innermost frame of the calling thread; 0 for none. */
static uintptr_t innermost(hw_python_view *view, const hw_python_layout *l)
{
    uintptr_t state = state_of(view, l), ends = hw_word_of((uintptr_t)_PyRuntime + l->finalizing);
    /* At the interpreter's end other threads' states are freed under them. */
    if (!state || (ends && ends != state) || !hw_python_is_there(view->frames, state + l->state, sizeof state))
        return 0;
    view->known = state;
    uintptr_t frame = hw_word_of(state + l->state);
    if (l->nested == HW_PYTHON_NONE)
        return frame;
    return frame && hw_python_is_there(view->nested, frame + l->nested, sizeof frame) ? hw_word_of(frame + l->nested)
                                                                                      : 0;
}

unsigned hw_python_follow(hw_python_view *view, hw_python_frame *frames, unsigned most, bool whole, uint64_t *key)
{
    const hw_python_layout *l = hw_python_here();
    unsigned n = 0;
    bool library = true;
    uintptr_t frame = innermost(view, l);
    *key = 0;
    for (unsigned step = 0; frame && step < 2 * most + 1; step++) {
        if (!hw_python_is_there(view->frames, frame, HW_PYTHON_FRAME))
            break;
        const char *at = (const char *)frame;
        if (l->entry == HW_PYTHON_NONE && (unsigned char)at[l->owner] >= HW_PYTHON_SHIM) {
            if (n)
                frames[n - 1].entry = true;
        } else if (n == most || (!whole && !library)) {
            break;
        } else {
            hw_python_frame *to = &frames[n++];
            to->code = hw_word_of(frame + l->code) & ~(uintptr_t)HW_PYTHON_MARKS;
            to->instruction = hw_word_of(frame + l->instruction);
            to->entry = l->entry != HW_PYTHON_NONE && at[l->entry];
            uint32_t life = atomic_load_explicit(hw_python_life(to->code), memory_order_relaxed);
            library = life & HW_PYTHON_LIBRARY;
            *key = hw_python_key_on(*key, to->instruction, life);
        }
        frame = hw_word_of(frame + l->previous);
    }
    return n;
}
