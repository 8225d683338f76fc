#define _GNU_SOURCE
#include "stacks/named.h"

#include "os/system.h"
#include "stacks/sites.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <sys/syscall.h>

/* IDENTITY: bytes of a build id, or of a file's name, that are compared. */
enum { SITES_MOST = 256, FRAMES_MOST = 32, IDENTITY = 64, PAGE_OFFSET = HW_LEAST_PAGE - 1, NOTES_MOST = 64 << 10 };

typedef struct frame {
    uint64_t offset;
    bool by_name; /* else by build id */
    uint8_t length;
    unsigned char identity[IDENTITY]; /* of length 0: any module, any offset */
} frame;

typedef struct site {
    uint32_t frames, how;
    uint32_t name; /* 1 + the first that has the same frames */
    hw_watch_wish wish;
    _Atomic uint64_t blocks;
    frame frame[FRAMES_MOST];
} site;

bool hw_traps_on;
unsigned hw_traps_sample;
bool hw_traps_stand_in;
static site *sites;
static unsigned count;

/* --- the list ------------------------------------------------------------------------------------ */

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static const char *read_number(const char *at, uint64_t *number)
{
    const char *start = at;
    *number = 0;
    for (; digit(*at) >= 0 && at - start < 16; at++)
        *number = *number << 4 | (unsigned)digit(*at);
    return at > start ? at : NULL;
}

static const char *read_build_id(const char *at, frame *f)
{
    for (; digit(at[0]) >= 0 && digit(at[1]) >= 0; at += 2) {
        if (f->length == IDENTITY)
            return NULL;
        f->identity[f->length++] = (unsigned char)(digit(at[0]) << 4 | digit(at[1]));
    }
    return f->length ? at : NULL;
}

/* In the name the characters that separate, and '%', stand as %XX. */
static const char *read_name(const char *at, frame *f)
{
    for (; *at && *at != '+' && *at != ',' && *at != ';'; at++) {
        if (f->length == IDENTITY)
            return NULL;
        bool escaped = *at == '%' && digit(at[1]) >= 0 && digit(at[2]) >= 0;
        f->identity[f->length++] = escaped ? (unsigned char)(digit(at[1]) << 4 | digit(at[2])) : (unsigned char)*at;
        at += escaped ? 2 : 0;
    }
    f->by_name = true;
    return f->length ? at : NULL;
}

/* BUILDID+OFFSET, /NAME+OFFSET or ?; NULL: it is none. */
static const char *read_frame(const char *at, frame *f)
{
    *f = (frame){0};
    if (*at == '?')
        return at + 1;
    at = *at == '/' ? read_name(at + 1, f) : read_build_id(at, f);
    return at && *at == '+' ? read_number(at + 1, &f->offset) : NULL;
}

/* watch+OFFSET@PLACE:, or with a minus, or without @PLACE. */
static const char *read_wish(const char *at, hw_watch_wish *wish)
{
    uint64_t number;
    bool before = *at == '-';
    wish->place = HW_ANY_PLACE;
    if (!before && *at != '+')
        return NULL;
    at = read_number(at + 1, &number);
    if (!at || number > INT32_MAX)
        return NULL;
    wish->offset = before ? -(int32_t)number : (int32_t)number;
    if (*at == '@') {
        at = read_number(at + 1, &number);
        wish->place = (uint32_t)number % HW_PLACES;
    }
    return at && *at == ':' ? at + 1 : NULL;
}

static const char *read_how(const char *at, site *s)
{
    static const char *const names[] = {"end:", "start:", "tight:"}, watch[] = "watch";
    for (uint32_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strncmp(at, names[i], strlen(names[i])) == 0) {
            s->how = HW_TRAP_END + i;
            return at + strlen(names[i]);
        }
    s->how = HW_TRAP_WATCH;
    return strncmp(at, watch, strlen(watch)) == 0 ? read_wish(at + strlen(watch), &s->wish) : NULL;
}

/* HOW:FRAME,FRAME...#NUMBER; the number may be missing. */
static const char *read_site(const char *at, site *s)
{
    *s = (site){0};
    at = read_how(at, s);
    while (at && s->frames < FRAMES_MOST) {
        at = read_frame(at, &s->frame[s->frames]);
        if (at)
            s->frames++;
        if (!at || *at != ',')
            break;
        at++;
    }
    if (at && *at == '#')
        at = read_number(at + 1, &s->wish.number);
    return at && s->frames && s->frame[0].length ? at : NULL;
}

static uint32_t name_of(const site *s)
{
    uint32_t name = 1;
    for (const site *other = sites; other < s; other++, name++)
        if (other->frames == s->frames && memcmp(other->frame, s->frame, s->frames * sizeof *s->frame) == 0)
            break;
    return name;
}

void hw_traps_read(const char *list, bool found, unsigned sample)
{
    hw_traps_on = found || sample;
    hw_traps_sample = sample;
    if (!*list || !(sites = hw_map(SITES_MOST * sizeof *sites)))
        return;
    bool watches = false, guards = false;
    while (list && *list && count < SITES_MOST) {
        const char *next = strchr(list, ';');
        bool is = read_site(list, &sites[count]) != NULL;
        sites[count].name = is ? name_of(&sites[count]) : 0;
        watches |= is && sites[count].how == HW_TRAP_WATCH;
        guards |= is && sites[count].how != HW_TRAP_WATCH;
        count += is;
        list = next ? next + 1 : NULL;
    }
    hw_traps_on |= count != 0;
    hw_traps_stand_in = watches && guards;
}

/* --- sites that were found ------------------------------------------------------------------------ */

enum { FOUND_MOST = 64 };
static struct found {
    uint32_t how, frames;
    uint64_t pc[FRAMES_MOST];
} found[FOUND_MOST];
static _Atomic uint32_t found_claimed, found_count;

static bool begins_alike(const uint64_t *one, unsigned frames, const uint64_t *other, unsigned others)
{
    unsigned most = frames < others ? frames : others;
    return most && memcmp(one, other, most * sizeof *one) == 0;
}

static unsigned how_found(const uint64_t *pc, unsigned frames)
{
    for (uint32_t i = 0; i < atomic_load(&found_count); i++)
        if (begins_alike(pc, frames, found[i].pc, found[i].frames))
            return found[i].how;
    return HW_TRAP_NOT;
}

static void add(unsigned how, const uint64_t *pc, unsigned frames)
{
    if (how < HW_TRAP_END || how > HW_TRAP_TIGHT || frames == 0 || frames > FRAMES_MOST || how_found(pc, frames))
        return;
    uint32_t at = atomic_load(&found_claimed);
    do {
        if (at == FOUND_MOST)
            return;
    } while (!atomic_compare_exchange_weak(&found_claimed, &at, at + 1));
    found[at] = (struct found){.how = how, .frames = frames};
    memcpy(found[at].pc, pc, frames * sizeof *pc);
    /* In order: who came before publishes first. */
    for (uint32_t before = at; !atomic_compare_exchange_weak(&found_count, &before, at + 1); before = at)
        hw_sleep(0);
}

void hw_traps_add(const uint64_t *list, size_t words)
{
    if (!hw_traps_on)
        return;
    for (size_t at = 0; at < words;) {
        unsigned how = (unsigned)(list[at] & 0xFF), frames = (unsigned)(list[at] >> 8 & 0xFF);
        if (++at + frames > words)
            return;
        add(how, list + at, frames);
        at += frames;
    }
    hw_sites_judge_again();
}

/* --- modules ------------------------------------------------------------------------------------- */

typedef struct module {
    uint64_t pc;
    const frame *asked;
    bool same;
} module;

static bool has_build_id(const struct dl_phdr_info *info, const frame *f)
{
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        if (header->p_type != PT_NOTE || header->p_memsz > NOTES_MOST)
            continue;
        const unsigned char *at = (const unsigned char *)(info->dlpi_addr + header->p_vaddr),
                            *end = at + header->p_memsz;
        while ((size_t)(end - at) >= sizeof(ElfW(Nhdr))) {
            ElfW(Nhdr) note;
            memcpy(&note, at, sizeof note);
            const unsigned char *name = at + sizeof note, *id = name + hw_round_up(note.n_namesz, 4);
            if (id > end || note.n_descsz > (size_t)(end - id))
                break;
            if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && memcmp(name, "GNU", 4) == 0)
                return note.n_descsz >= f->length && memcmp(id, f->identity, f->length) == 0;
            at = id + hw_round_up(note.n_descsz, 4);
        }
    }
    return false;
}

static bool has_name(const struct dl_phdr_info *info, const frame *f)
{
    char own[512] = {0};
    const char *path = info->dlpi_name;
    if (!path || !*path) { /* the program itself */
        long length = hw_call(SYS_readlinkat, AT_FDCWD, (long)"/proc/self/exe", (long)own, sizeof own - 1, 0, 0);
        if (length < 0) /* the first thread has ended */
            length = hw_call(SYS_readlinkat, AT_FDCWD, (long)"/proc/thread-self/exe", (long)own, sizeof own - 1, 0, 0);
        path = length > 0 ? own : "";
    }
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t length = strlen(name) < IDENTITY ? strlen(name) : IDENTITY;
    return length == f->length && memcmp(name, f->identity, length) == 0;
}

static int look_at(struct dl_phdr_info *info, size_t size, void *argument)
{
    module *m = argument;
    (void)size;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        if (header->p_type != PT_LOAD || m->pc - 1 - (info->dlpi_addr + header->p_vaddr) >= header->p_memsz)
            continue;
        m->same = m->pc - info->dlpi_addr == m->asked->offset &&
                  (m->asked->by_name ? has_name(info, m->asked) : has_build_id(info, m->asked));
        return 1;
    }
    return 0;
}

static bool is_frame(uint64_t pc, const frame *f)
{
    module m = {.pc = pc, .asked = f};
    if (f->length == 0)
        return true;
    if ((pc ^ f->offset) & PAGE_OFFSET) /* modules begin at pages: it is not worth a look */
        return false;
    dl_iterate_phdr(look_at, &m);
    return m.same;
}

uint32_t hw_trap_names(void)
{
    return count ? count : 1;
}

unsigned hw_trap_named(const uint64_t *pc, unsigned frames, uint32_t *name)
{
    *name = 0;
    for (unsigned i = 0; i < count; i++) {
        const site *s = &sites[i];
        unsigned most = frames < s->frames ? frames : s->frames, same = 0;
        while (same < most && is_frame(pc[same], &s->frame[same]))
            same++;
        if (most && same == most) {
            *name = s->name;
            return s->how;
        }
    }
    unsigned how = how_found(pc, frames);
    return how == HW_TRAP_NOT && hw_traps_sample == 1 ? HW_TRAP_END : how;
}

/* --- their blocks -------------------------------------------------------------------------------- */

uint64_t hw_trap_count(uint32_t name)
{
    site *s = &sites[name - 1];
    bool all = s->how == HW_TRAP_WATCH || !hw_trap_is_enough();
    return all ? atomic_fetch_add(&s->blocks, 1) + 1 : 0;
}

bool hw_trap_is_meant(uint32_t name, uint64_t number)
{
    for (unsigned i = name - 1; i < count; i++)
        if (sites[i].name == name && sites[i].how != HW_TRAP_WATCH &&
            (!sites[i].wish.number || sites[i].wish.number == number))
            return true;
    return false;
}

const hw_watch_wish *hw_trap_next_wish(uint32_t name, const hw_watch_wish *last)
{
    bool passed = !last;
    for (unsigned i = name - 1; i < count; i++) {
        if (passed && sites[i].name == name && sites[i].how == HW_TRAP_WATCH)
            return &sites[i].wish;
        passed |= &sites[i].wish == last;
    }
    return NULL;
}

/* --- how many were trapped ------------------------------------------------------------------------ */

hw_trap_counts hw_trap_counted;

bool hw_trap_is_enough(void)
{
    return atomic_load_explicit(&hw_trap_counted.trapped, memory_order_relaxed) >= HW_TRAPPED_FREELY;
}
