#define _GNU_SOURCE
#include "stacks/frame_rules.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

#if defined(__x86_64__) && defined(DLFO_STRUCT_HAS_EH_DBASE)

/* glibc 2.35 and newer. */
extern int _dl_find_object(void *pc, struct dl_find_object *result) __attribute__((weak));

/* Numbers of registers, encodings of pointers and steps of programs, from the standards. */
enum { BP = 6, SP = 7, RETURN = 16, OTHER = 255 };
enum { ENC_UDATA4 = 3, ENC_SDATA4 = 11, ENC_SDATA8 = 12, ENC_PCREL = 0x10, ENC_DATAREL = 0x30 };
enum {
    ADVANCE = 1, /* these three have an operand in the same byte */
    OFFSET = 2,
    RESTORE = 3,
    NOP = 0,
    ADVANCE1 = 2,
    ADVANCE2 = 3,
    ADVANCE4 = 4,
    OFFSET_EXTENDED = 5,
    RESTORE_EXTENDED = 6,
    UNDEFINED = 7,
    SAME_VALUE = 8,
    REGISTER = 9,
    REMEMBER = 10,
    RECALL = 11,
    DEF_CFA = 12,
    DEF_CFA_REGISTER = 13,
    DEF_CFA_OFFSET = 14,
    DEF_CFA_EXPRESSION = 15,
    EXPRESSION = 16,
    OFFSET_EXTENDED_SF = 17,
    DEF_CFA_SF = 18,
    DEF_CFA_OFFSET_SF = 19,
    ARGUMENTS = 0x2E,
    OP_DEREF = 0x06,
    OP_BREG_BP = 0x70 + BP
};

/* One row of the table that a program describes: where the caller's frame, its rbp and its address are. */
typedef enum where { UNCHANGED, AT_CFA, AT_BP, NOWHERE, ODD } where;
typedef struct row {
    uint8_t base; /* BP or SP; OTHER: a word at rbp + cfa when `word` is set, else unknown */
    bool word;
    int64_t cfa;
    where bp, ra;
    int64_t bp_at, ra_at;
} row;

typedef struct program {
    const uint8_t *at, *end;
    uint64_t pc; /* the row's first instruction */
    uint64_t code_unit;
    int64_t data_unit;
    bool bad;
} program;

static uint64_t number(program *p)
{
    uint64_t value = 0;
    for (unsigned shift = 0; p->at < p->end && shift < 64; shift += 7) {
        uint8_t byte = *p->at++;
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (!(byte & 0x80))
            return value;
    }
    p->bad = true;
    return 0;
}

static int64_t signed_number(program *p)
{
    uint64_t value = 0;
    for (unsigned shift = 0; p->at < p->end && shift < 63;) {
        uint8_t byte = *p->at++;
        value |= (uint64_t)(byte & 0x7F) << shift;
        shift += 7;
        if (!(byte & 0x80))
            return (int64_t)(byte & 0x40 ? value | ~UINT64_C(0) << shift : value);
    }
    p->bad = true;
    return 0;
}

static uint64_t fixed(program *p, unsigned bytes)
{
    uint64_t value = 0;
    if ((size_t)(p->end - p->at) < bytes) {
        p->bad = true;
        return 0;
    }
    memcpy(&value, p->at, bytes);
    p->at += bytes;
    return value;
}

/* A pointer as the tables of this kind write them, relative to its own place. */
static uint64_t pointer(program *p, uint8_t encoding)
{
    uint64_t place = (uint64_t)(uintptr_t)p->at;
    switch (encoding) {
    case ENC_PCREL | ENC_SDATA4:
        return place + (uint64_t)(int64_t)(int32_t)fixed(p, 4);
    case ENC_PCREL | ENC_SDATA8:
        return place + fixed(p, 8);
    default:
        p->bad = true;
        return 0;
    }
}

/* An expression: rbp + n, or the word there. False: it is another one. */
static bool by_bp(program *p, int64_t *offset, bool *word)
{
    uint64_t length = number(p);
    if (p->bad || length > (uint64_t)(p->end - p->at))
        return !(p->bad = true);
    program e = {.at = p->at, .end = p->at + length};
    p->at += length;
    if (fixed(&e, 1) != OP_BREG_BP)
        return false;
    *offset = signed_number(&e);
    *word = e.at < e.end && *e.at == OP_DEREF;
    return !e.bad && e.at + *word == e.end;
}

static void saved(row *r, uint64_t reg, where how, int64_t offset)
{
    if (reg == BP) {
        r->bp = how;
        r->bp_at = offset;
    } else if (reg == RETURN) {
        r->ra = how;
        r->ra_at = offset;
    }
}

static void restored(row *r, const row *initial, uint64_t reg)
{
    if (reg == BP)
        saved(r, BP, initial->bp, initial->bp_at);
    else if (reg == RETURN)
        saved(r, RETURN, initial->ra, initial->ra_at);
}

static void based(row *r, uint64_t reg)
{
    r->base = reg == BP || reg == SP ? (uint8_t)reg : OTHER;
    r->word = false;
}

/* Follow the program up to the row of `pc`. */
static void follow(program *p, uint64_t pc, row *r, const row *initial)
{
    row stack[8];
    unsigned depth = 0;
    while (p->at < p->end && !p->bad) {
        uint8_t byte = *p->at++, low = byte & 0x3F;
        uint64_t reg, ahead = 0;
        switch (byte >> 6) {
        case ADVANCE:
            ahead = low * p->code_unit;
            break;
        case OFFSET:
            saved(r, low, AT_CFA, (int64_t)number(p) * p->data_unit);
            break;
        case RESTORE:
            restored(r, initial, low);
            break;
        default:
            switch (low) {
            case NOP:
                break;
            case ADVANCE1:
                ahead = fixed(p, 1) * p->code_unit;
                break;
            case ADVANCE2:
                ahead = fixed(p, 2) * p->code_unit;
                break;
            case ADVANCE4:
                ahead = fixed(p, 4) * p->code_unit;
                break;
            case OFFSET_EXTENDED:
                reg = number(p);
                saved(r, reg, AT_CFA, (int64_t)number(p) * p->data_unit);
                break;
            case OFFSET_EXTENDED_SF:
                reg = number(p);
                saved(r, reg, AT_CFA, signed_number(p) * p->data_unit);
                break;
            case RESTORE_EXTENDED:
                restored(r, initial, number(p));
                break;
            case UNDEFINED:
                saved(r, number(p), NOWHERE, 0);
                break;
            case SAME_VALUE:
                saved(r, number(p), UNCHANGED, 0);
                break;
            case REGISTER:
                saved(r, number(p), ODD, 0);
                number(p);
                break;
            case REMEMBER:
                if (depth == sizeof stack / sizeof *stack)
                    p->bad = true;
                else
                    stack[depth++] = *r;
                break;
            case RECALL:
                if (depth == 0)
                    p->bad = true;
                else
                    *r = stack[--depth];
                break;
            case DEF_CFA:
                based(r, number(p));
                r->cfa = (int64_t)number(p);
                break;
            case DEF_CFA_SF:
                based(r, number(p));
                r->cfa = signed_number(p) * p->data_unit;
                break;
            case DEF_CFA_REGISTER:
                based(r, number(p));
                break;
            case DEF_CFA_OFFSET:
                r->cfa = (int64_t)number(p);
                break;
            case DEF_CFA_OFFSET_SF:
                r->cfa = signed_number(p) * p->data_unit;
                break;
            case DEF_CFA_EXPRESSION: {
                bool word = false;
                r->base = OTHER;
                r->word = by_bp(p, &r->cfa, &word) && word;
                break;
            }
            case EXPRESSION: {
                bool word = false;
                int64_t offset = 0;
                reg = number(p);
                saved(r, reg, by_bp(p, &offset, &word) && !word ? AT_BP : ODD, offset);
                break;
            }
            case ARGUMENTS:
                number(p);
                break;
            default:
                p->bad = true;
            }
        }
        p->pc += ahead;
        if (p->pc > pc)
            return;
    }
}

/* The description of the function around `pc` in the table that is sorted for binary search; NULL: there is none. */
static const uint8_t *description(const uint8_t *header, uint64_t pc, bool *bad)
{
    /* version, encodings of the pointer to .eh_frame, of the count and of the table */
    if (header[0] != 1 || header[1] != (ENC_PCREL | ENC_SDATA4) || header[2] != ENC_UDATA4 ||
        header[3] != (ENC_DATAREL | ENC_SDATA4)) {
        *bad = true;
        return NULL;
    }
    uint32_t count;
    memcpy(&count, header + 8, sizeof count);
    const uint8_t *table = header + 12;
    int64_t wanted = (int64_t)(pc - (uint64_t)(uintptr_t)header);
    int32_t entry[2];
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        memcpy(entry, table + (size_t)middle * sizeof entry, sizeof entry);
        if (entry[0] <= wanted)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return NULL;
    memcpy(entry, table + (size_t)(low - 1) * sizeof entry, sizeof entry);
    return header + entry[1];
}

/* A record of .eh_frame: its bytes after the length. */
static program record(const uint8_t *at)
{
    uint32_t length;
    memcpy(&length, at, sizeof length);
    return (program){.at = at + 4, .end = at + 4 + length, .bad = length < 4 || length == 0xFFFFFFFF};
}

static bool row_of(uint64_t pc, row *r, bool *ends)
{
    struct dl_find_object object;
    if (&_dl_find_object == NULL)
        return false;
    *ends = _dl_find_object((void *)(uintptr_t)pc, &object) != 0 || object.dlfo_eh_frame == NULL;
    if (*ends)
        return true;
    bool bad = false;
    const uint8_t *at = description(object.dlfo_eh_frame, pc, &bad);
    *ends = at == NULL;
    if (at == NULL)
        return !bad;
    program p = record(at);
    const uint8_t *place = p.at;
    program common = record(place - (uint32_t)fixed(&p, 4));
    fixed(&common, 4);
    uint8_t version = (uint8_t)fixed(&common, 1), encoding = 0;
    const char *letters = (const char *)common.at;
    size_t most = (size_t)(common.end - common.at), length = strnlen(letters, most);
    /* "S" is a signal's frame; what else may come is about exceptions. */
    if (p.bad || common.bad || version != 1 || length == most || letters[0] != 'z' || strchr(letters, 'S'))
        return false;
    common.at += length + 1;
    p.code_unit = common.code_unit = number(&common);
    p.data_unit = common.data_unit = signed_number(&common);
    if (number(&common) != RETURN)
        return false;
    uint64_t data = number(&common);
    const uint8_t *steps = common.at + data;
    for (const char *letter = letters + 1; *letter && !common.bad; letter++) {
        uint8_t kind;
        switch (*letter) {
        case 'R':
            encoding = (uint8_t)fixed(&common, 1);
            break;
        case 'L':
            fixed(&common, 1);
            break;
        case 'P': /* only its size matters: 4 or 8 bytes, absolute ones too */
            kind = (uint8_t)fixed(&common, 1) & 0x0F;
            fixed(&common, kind == ENC_SDATA4 || kind == ENC_UDATA4 ? 4 : 8);
            break;
        default:
            return false;
        }
    }
    if (common.bad || steps > common.end)
        return false;
    common.at = steps;
    uint64_t start = p.pc = pointer(&p, encoding);
    /* The range has the same form as the start, without being relative to anything. */
    uint64_t range = fixed(&p, encoding == (ENC_PCREL | ENC_SDATA8) ? 8 : 4);
    uint64_t skipped = number(&p);
    if (p.bad || skipped > (uint64_t)(p.end - p.at))
        return false;
    p.at += skipped;
    *ends = pc < start || pc - start >= range;
    if (*ends)
        return true;
    *r = (row){.base = OTHER, .ra = ODD};
    common.pc = start;
    follow(&common, UINT64_MAX, r, r);
    row initial = *r;
    if (!common.bad)
        follow(&p, pc, r, &initial);
    return !common.bad && !p.bad;
}

void hw_rule_find(uint64_t pc, hw_rule *rule)
{
    row r;
    bool ends = false;
    *rule = (hw_rule){.pc = pc, .kind = HW_RULE_NONE};
    /* What returns there is the call before it, which may be the last instruction of its function. */
    if (!row_of(pc - 1, &r, &ends))
        return;
    if (ends || r.ra == NOWHERE) {
        rule->kind = HW_RULE_LAST;
        rule->code = ends ? 0 : hw_code_before(pc);
        return;
    }
    bool known = r.base != OTHER || r.word;
    if (!known || r.ra != AT_CFA || r.ra_at != -8 || r.cfa != (int32_t)r.cfa || r.bp_at != (int32_t)r.bp_at ||
        r.bp == NOWHERE || r.bp == ODD)
        return;
    rule->code = hw_code_before(pc);
    rule->kind = r.base == SP ? HW_RULE_SP : r.base == BP ? HW_RULE_BP : HW_RULE_WORD;
    rule->saved = r.bp == UNCHANGED ? HW_SAVED_NOT : r.bp == AT_CFA ? HW_SAVED_BELOW_CALLER : HW_SAVED_BY_BP;
    rule->cfa = (int32_t)r.cfa;
    rule->bp = (int32_t)r.bp_at;
}

#else

void hw_rule_find(uint64_t pc, hw_rule *rule)
{
    *rule = (hw_rule){.pc = pc, .kind = HW_RULE_NONE};
}

#endif
