#define _GNU_SOURCE
#include "stacks/python_code.h"

#include "stacks/python_follow.h"
#include "stacks/sites.h"

#include <string.h>

/* More than this of one is left out. */
enum { FILE_MOST = 4096, NAME_MOST = 2048, LINES_MOST = 96 << 10 };

/* Of CPython's objects, in all versions that are known. */
enum { TYPE = 8, STATE = 32, CHARACTERS = 72, BYTES = 32, CODE = 256, KIND = 2 };

/* The record's first two words; text follows, then zeros up to the next word. */
typedef struct head {
    uint32_t first_line;
    uint8_t minor, file_kind, name_kind, zero;
    uint16_t file, name; /* bytes */
    uint32_t lines;
} head;
_Static_assert(sizeof(head) == 2 * sizeof(uint64_t), "as docs/format.md has it");
_Static_assert(sizeof(head) + FILE_MOST + NAME_MOST + LINES_MOST <= HW_PYTHON_TEXT, "there is room");

static uint64_t word_of(const unsigned char *bytes, unsigned at)
{
    uint64_t word;
    memcpy(&word, bytes + at, sizeof word);
    return word;
}

/* Returns how many bytes are there. */
static size_t copy(hw_python_codes *codes, void *to, uintptr_t from, size_t bytes)
{
    size_t done = 0;
    while (done < bytes && from + done >= HW_LEAST_PAGE) {
        uintptr_t at = from + done, *page = &codes->pages[at / HW_LEAST_PAGE % HW_PYTHON_OBJECTS];
        size_t left = HW_LEAST_PAGE - at % HW_LEAST_PAGE, part = left < bytes - done ? left : bytes - done;
        if (*page != at / HW_LEAST_PAGE && !hw_python_look_at(page, at))
            break;
        memcpy((char *)to + done, (const void *)at, part);
        done += part;
    }
    return done;
}

/* The characters of a text object; returns how many bytes, and of how many each is. 0: it is none, or too long. */
static size_t copy_text(hw_python_codes *codes, char *to, size_t most, uintptr_t text, uint8_t *kind)
{
    const hw_python_layout *l = hw_python_here();
    unsigned char object[CHARACTERS];
    uint32_t state;
    if (copy(codes, object, text, sizeof object) < l->ascii)
        return 0;
    memcpy(&state, object + STATE, sizeof state);
    state >>= KIND;
    uint64_t length = word_of(object, HW_PYTHON_SIZE);
    bool compact = state >> 3 & 1, ascii = state >> 4 & 1;
    *kind = state & 7;
    if (!compact || (*kind != 1 && *kind != 2 && *kind != 4) || length > most / *kind)
        return 0;
    size_t bytes = (size_t)length * *kind;
    return copy(codes, to, text + (ascii ? l->ascii : l->compact), bytes) == bytes ? bytes : 0;
}

static size_t copy_lines(hw_python_codes *codes, char *to, uintptr_t lines)
{
    unsigned char object[BYTES];
    if (copy(codes, object, lines, sizeof object) != sizeof object)
        return 0;
    uint64_t bytes = word_of(object, HW_PYTHON_SIZE);
    return bytes <= LINES_MOST && copy(codes, to, lines + BYTES, (size_t)bytes) == bytes ? (size_t)bytes : 0;
}

/* By where the file lies. A path in wide characters is the program's own. */
static bool is_library(const char *file, size_t length)
{
    static const char *const places[] = {"/site-packages/", "/dist-packages/", "/lib/python3.",
                                         "/heapwitness/numpy.py"};
    for (unsigned i = 0; i < sizeof places / sizeof *places; i++)
        if (memmem(file, length, places[i], strlen(places[i])))
            return true;
    return false;
}

/* Make a record of it. 0: it is no code object, or cannot be kept. */
static HW_COLD uint32_t record(hw_python_codes *codes, uintptr_t code, size_t *instructions)
{
    const hw_python_layout *l = hw_python_here();
    unsigned char object[CODE];
    codes->records++;
    if (copy(codes, object, code, l->bytecode) != l->bytecode || word_of(object, TYPE) != hw_python_code_type())
        return 0;
    *instructions = (size_t)word_of(object, HW_PYTHON_SIZE);
    head first = {.minor = (uint8_t)l->minor};
    char *to = (char *)codes->words + sizeof first;
    memcpy(&first.first_line, object + l->first_line, sizeof first.first_line);
    first.file = (uint16_t)copy_text(codes, to, FILE_MOST, (uintptr_t)word_of(object, l->file), &first.file_kind);
    to += first.file;
    first.name = (uint16_t)copy_text(codes, to, NAME_MOST, (uintptr_t)word_of(object, l->name), &first.name_kind);
    to += first.name;
    if (first.file == 0 || first.name == 0)
        return 0;
    bool library = is_library((char *)codes->words + sizeof first, first.file);
    atomic_fetch_or(hw_python_life(code), HW_PYTHON_SEEN | (library ? HW_PYTHON_LIBRARY : 0));
    first.lines = (uint32_t)copy_lines(codes, to, (uintptr_t)word_of(object, l->lines));
    to += first.lines;
    memcpy(codes->words, &first, sizeof first);
    size_t bytes = (size_t)(to - (char *)codes->words);
    memset(to, 0, hw_round_up(bytes, sizeof(uint64_t)) - bytes);
    hw_site_record key = {.count = (uint16_t)(hw_round_up(bytes, sizeof(uint64_t)) / sizeof(uint64_t)),
                          .kind = HW_SITE_CODE};
    return hw_site_intern_record(&key, codes->words);
}

static inline unsigned slot_of(uintptr_t code)
{
    return (code >> 4 ^ code >> 16) % HW_PYTHON_CODES;
}

static inline uint64_t known_word(const hw_python_codes *codes, const hw_python_layout *l, const hw_python_frame *frame)
{
    const hw_python_code *known = &codes->known[slot_of(frame->code)];
    if (known->code != frame->code ||
        known->life != atomic_load_explicit(hw_python_life(frame->code), memory_order_relaxed) / HW_PYTHON_DEATH)
        return 0;
    /* Until 3.12 it is the one before the next: before the first one runs, there is none. */
    uintptr_t start = frame->code + l->bytecode, at = frame->instruction;
    at += at + HW_PYTHON_UNIT == start ? HW_PYTHON_UNIT : 0;
    uint64_t before = (at - start) / HW_PYTHON_UNIT;
    if (known->site == 0 || at < start || before >= known->instructions)
        return 0;
    return known->site | (frame->entry ? HW_PYTHON_ENTRY : 0) | before << 32;
}

bool hw_python_known_words(const hw_python_codes *codes, const hw_python_frame *frames, unsigned count, uint64_t *words)
{
    const hw_python_layout *l = hw_python_here();
    for (unsigned i = 0; i < count; i++)
        if ((words[i] = known_word(codes, l, &frames[i])) == 0)
            return false;
    return true;
}

uint64_t hw_python_word(hw_python_codes *codes, const hw_python_frame *frame)
{
    hw_python_code *known = &codes->known[slot_of(frame->code)];
    uint32_t life = atomic_load(hw_python_life(frame->code)) / HW_PYTHON_DEATH;
    if (known->code != frame->code || known->life != life || known->site == 0) {
        size_t instructions = 0;
        uint32_t site = record(codes, frame->code, &instructions);
        *known = (hw_python_code){.code = frame->code, .life = life, .site = site, .instructions = instructions};
    }
    return known_word(codes, hw_python_here(), frame);
}
