#define _GNU_SOURCE
#include "stacks/python_frames.h"

#include "os/settings.h"
#include "stacks/python_follow.h"
#include "stacks/python_symbols.h"
#include "stacks/sites.h"

#include <pthread.h>
#include <string.h>

enum { CODE_NAME = 24, CODE_DEALLOC = 48, OWN_KEYS = 32, THREAD = 0x580 };
/* Words of what the runtime tells: where the first of each are. */
enum { TOLD = 64, TOLD_FINALIZING = 4, TOLD_FRAME = 6 };

static _Atomic unsigned version = HW_PYTHON_VERSIONS;
_Atomic uint32_t hw_python_lives[HW_PYTHON_LIVES], hw_python_deaths;
_Atomic uint64_t hw_python_turns[HW_PYTHON_TURNS];
/* How code objects that die are laid out, and what CPython does with them. */
static const hw_python_layout *dying;
static void (*dealloc)(void *);
static hw_python_symbols symbols;
char *hw_python_runtime;
uintptr_t hw_python_none;
_Atomic bool hw_python_may_come;
/* From a thread's descriptor: where the C library keeps what the first keys lead to; 0: not known. */
static unsigned keyed;

uintptr_t hw_python_code_type(void)
{
    return (uintptr_t)symbols.code_type;
}

const hw_python_layout *hw_python_here(void)
{
    unsigned known = hw_python_version();
    return known < HW_PYTHON_VERSIONS ? &hw_python_layouts[known] : NULL;
}

unsigned hw_python_version(void)
{
    return atomic_load_explicit(&version, memory_order_acquire);
}

/* --- which CPython ----------------------------------------------------------------------------- */

bool hw_python_is_own(uint64_t pc)
{
    return (pc & ((UINT64_C(1) << HW_DOMAIN_AT) - 1)) - symbols.start < symbols.bytes;
}

/* Another code object may come to lie where one was: what is known of its frames is told apart by that. */
static void code_dies(void *code)
{
    const hw_python_layout *l = dying;
    _Atomic uint32_t *life = hw_python_life((uintptr_t)code);
    uint32_t was = atomic_load(life);
    if (was & HW_PYTHON_SEEN) {
        uintptr_t at = (uintptr_t)code + l->bytecode;
        uintptr_t end = at + HW_PYTHON_UNIT * hw_word_of((uintptr_t)code + HW_PYTHON_SIZE);
        for (unsigned pages = 0; at < end && pages < HW_PYTHON_TURNS; at = (at | (HW_LEAST_PAGE - 1)) + 1, pages++)
            atomic_fetch_add(hw_python_turn(at), 1);
        atomic_fetch_add(&hw_python_deaths, 1);
    }
    atomic_store(life, (was & ~(uint32_t)HW_PYTHON_LIBRARY) + HW_PYTHON_DEATH);
    dealloc(code);
}

/* From 3.13 on the runtime tells its version, whether threads run without the GIL (then frames look otherwise), and
   offsets, which other builds may have others of. */
static bool is_laid_out(const hw_python_layout *l)
{
    uint64_t words[TOLD];
    memcpy(words, hw_python_runtime, sizeof words);
    const uint64_t *state = words + l->told, *frame = state + TOLD_FRAME;
    return l->minor < 13 || (words[1] == *symbols.version && words[2] == 0 && words[TOLD_FINALIZING] == l->finalizing &&
                             state[0] == l->state && frame[0] == l->previous && frame[1] == l->code &&
                             frame[2] == l->instruction && frame[4] == l->owner);
}

/* With other objects, as some builds for debugging have, the type's words are elsewhere. */
static bool watch_deaths(const hw_python_layout *l)
{
    const char *name;
    memcpy(&name, symbols.code_type + CODE_NAME, sizeof name);
    char text[5] = {0};
    if (hw_peek(text, (uintptr_t)name, sizeof text) != sizeof text || memcmp(text, "code", sizeof text) != 0)
        return false;
    memcpy((void *)&dealloc, symbols.code_type + CODE_DEALLOC, sizeof dealloc);
    if (!dealloc)
        return false;
    dying = l;
    void (*ours)(void *) = code_dies;
    memcpy(symbols.code_type + CODE_DEALLOC, (void *)&ours, sizeof ours);
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

static void take(const hw_python_symbols *found)
{
    if (!found->version)
        return;
    symbols = *found;
    hw_python_runtime = found->runtime;
    hw_python_none = (uintptr_t)found->none;
    for (unsigned i = 0; i < HW_PYTHON_VERSIONS; i++)
        if (*symbols.version >> 16 == (3u << 8 | hw_python_layouts[i].minor) && is_laid_out(&hw_python_layouts[i]) &&
            watch_deaths(&hw_python_layouts[i])) {
            find_keyed();
            atomic_store(&version, i);
        }
}

void hw_python_look(void)
{
    hw_python_symbols found = hw_python_linked();
    if (hw_setting.python_lines)
        take(&found);
}

HW_COLD bool hw_python_comes(uintptr_t pc)
{
    static _Atomic bool came;
    if (hw_python_here())
        return true;
    if (!hw_setting.python_lines || atomic_load_explicit(&came, memory_order_relaxed))
        return false;
    hw_python_symbols found = hw_python_loaded(pc);
    if (found.version && !atomic_exchange(&came, true))
        take(&found);
    return hw_python_here() != NULL;
}

const char *hw_python_file(void)
{
    return hw_python_here() ? symbols.file : NULL;
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
    if (view->state) /* else it is new, and its pages need not be touched */
        for (unsigned i = 0; i < HW_PYTHON_CHAINS; i++)
            view->chains[i].key = 0;
    /* Neither a key, nor a page, nor a state is ever that. */
    memset(view, 0xFF, offsetof(hw_python_view, chains));
    view->busy = false;
    view->none = 0;
    view->state = &view->none;
}

/* Where the C library keeps what the interpreter's key leads to; NULL: the key is not there yet, or that is not known.
 */
static const uintptr_t *place_of_state(const hw_python_layout *l)
{
    uint32_t words[2];
    if (!keyed || l->key == HW_PYTHON_NONE)
        return NULL;
    memcpy(words, hw_python_runtime + l->key, sizeof words);
    return words[0] == 1 && words[1] < OWN_KEYS
               ? (const uintptr_t *)((uintptr_t)pthread_self() + keyed) + 2 * (size_t)words[1]
               : NULL;
}

/* The calling thread's state; 0: it has none. */
static uintptr_t state_of(hw_python_view *view, const hw_python_layout *l)
{
    if (view->busy) /* what CPython asks of the loader */
        return 0;
    view->busy = true;
    atomic_signal_fence(memory_order_seq_cst);
    uintptr_t state = (uintptr_t)symbols.state();
    atomic_signal_fence(memory_order_seq_cst);
    view->busy = false;
    const uintptr_t *place = state ? place_of_state(l) : NULL;
    if (place && *place == state) { /* else they lie elsewhere in this build */
        view->state = place;
        memcpy(&view->key, hw_python_runtime + l->key, sizeof view->key);
    }
    return state;
}

uintptr_t hw_python_innermost(hw_python_view *view)
{
    const hw_python_layout *l = hw_python_here();
    uintptr_t state;
    if (HW_UNLIKELY(!hw_python_knows(view, *l, &state))) {
        state = state_of(view, l);
        uintptr_t ends = hw_word_of((uintptr_t)hw_python_runtime + l->finalizing);
        /* At the interpreter's end other threads' states are freed under them. */
        if (!state || (ends && ends != state) || !hw_python_is_there(view->frames, state + l->state, sizeof state))
            return 0;
        view->known = state;
    }
    uintptr_t frame = hw_word_of(state + l->state);
    if (l->nested == HW_PYTHON_NONE)
        return frame;
    return frame && hw_python_is_there(view->nested, frame + l->nested, sizeof frame) ? hw_word_of(frame + l->nested)
                                                                                      : 0;
}

/* A signal handler may come at any time, and may allocate itself. */
void hw_python_keep_chain(hw_python_view *view, const hw_python_path *path, uint64_t key, uint32_t site)
{
    hw_python_chain *to = hw_python_chain_of(view, path->step->frame, key);
    to->key = 0;
    atomic_signal_fence(memory_order_seq_cst);
    memcpy(to->step, path->step + 1, (path->many - 1) * sizeof *path->step);
    to->step[path->many - 1].frame = 0;
    to->frame = path->step->frame;
    to->deaths = path->deaths;
    to->site = site;
    atomic_signal_fence(memory_order_seq_cst);
    to->key = key;
}

unsigned hw_python_follow(hw_python_view *view, hw_python_frame *frames, unsigned most, unsigned own,
                          hw_python_path *path)
{
    const hw_python_layout *l = hw_python_here();
    return hw_python_walk(view, *l, hw_python_innermost(view), frames, most, own, path);
}
