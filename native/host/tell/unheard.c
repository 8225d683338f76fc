#define _GNU_SOURCE
#include "tell/unheard.h"

#include "os/record.h"
#include "tell/send.h"

#include <dlfcn.h>
#include <link.h>
#include <stddef.h>
#include <string.h>

#ifdef DLFO_STRUCT_HAS_EH_DBASE
extern int _dl_find_object(void *pc, struct dl_find_object *result) __attribute__((weak));
#endif

enum { LINE = 2560, FRAMES_SAID = 4, NAME_SAID = 200 };

/* The last byte is the newline's. */
typedef struct line {
    size_t length;
    char bytes[LINE];
} line;

/* Names are the program's, and none may command a terminal. */
static void add(line *l, const char *text, size_t most)
{
    for (; *text && most && l->length < LINE - 1; text++, most--)
        l->bytes[l->length++] = (unsigned char)*text < ' ' || *text == 127 ? '?' : *text;
}

static void add_text(line *l, const char *text)
{
    add(l, text, LINE);
}

static void add_address(line *l, uint64_t address)
{
    char digits[2 * sizeof address + 1], *first = digits + sizeof digits - 1;
    *first = 0;
    do
        *--first = "0123456789abcdef"[address % 16];
    while (address /= 16);
    add_text(l, "0x");
    add_text(l, first);
}

static void add_number(line *l, unsigned long number)
{
    char digits[24];
    add_text(l, hw_decimal(digits + sizeof digits, number));
}

static void say(line *l)
{
    l->bytes[l->length++] = '\n';
    hw_say(l->bytes, l->length);
}

/* The file's name and the address in it, as addr2line takes it. */
static void add_code(line *l, uint64_t pc)
{
#ifdef DLFO_STRUCT_HAS_EH_DBASE
    struct dl_find_object object;
    if (&_dl_find_object && _dl_find_object((void *)(uintptr_t)pc, &object) == 0) {
        const char *name = object.dlfo_link_map->l_name, *slash = strrchr(name, '/');
        add(l, *name ? slash ? slash + 1 : name : "the program", NAME_SAID);
        add_text(l, "+");
        pc -= object.dlfo_link_map->l_addr;
    }
#endif
    add_address(l, pc);
}

static void add_stack(line *l, const hw_message *m, const hw_event *event)
{
    size_t at = sizeof *event + event->windows * 2 * sizeof(uint32_t);
    for (unsigned i = 0; i < event->frames && i < FRAMES_SAID; i++, at += sizeof(uint64_t)) {
        uint64_t pc;
        memcpy(&pc, m->bytes + at, sizeof pc);
        add_text(l, i ? ", " : " from ");
        add_code(l, pc);
    }
}

static void add_finding(line *l, const hw_message *m, const hw_event *event)
{
    static const char *const operation[] = {"an allocation",  "a release", "a resize", "a check",
                                            "the last check", "an access", "a crash"};
    static const char *const wrong[] = {[HW_DOUBLE] = "a second release of ",
                                        [HW_INVALID] = "a release of what is no block, ",
                                        [HW_MISMATCH] = "a release by another family of "};
    bool is_release = event->reason < sizeof wrong / sizeof wrong[0] && wrong[event->reason];
    add_text(l, is_release ? wrong[event->reason] : "damage near ");
    add_address(l, event->pointer ? event->pointer : event->pool + event->node);
    if (!is_release && event->when < sizeof operation / sizeof operation[0]) {
        add_text(l, ", by ");
        add_text(l, operation[event->when]);
    }
    add_stack(l, m, event);
}

void hw_say_untold(const hw_message *m, const hw_event *event)
{
    static _Atomic uint32_t said_by;
    static const char alone[] = "run under `heapwitness run`, or set HEAPWITNESS_LOG=FILE, to see it";
    static const char shut_in[] = "neither the socket nor the file for records can be reached; --log FILE with a file "
                                  "that can be makes a report of it";
    line l = {0};
    bool asked = hw_setting.log[0] || hw_setting.socket[0];
    if (atomic_exchange(&said_by, event->pid) == event->pid)
        return;
    add_text(&l, "heapwitness: heap damage was found and repaired");
    add_text(&l, asked ? ", but cannot be told from in here: " : "; ");
    add_text(&l, asked ? shut_in : alone);
    add_text(&l, ". It was ");
    add_finding(&l, m, event);
    say(&l);
}

static _Atomic bool wrote, said_where;

void hw_say_unread(void)
{
    line l = {0};
    atomic_store(&wrote, true);
    if (atomic_load(&said_where) || !hw_supervisor_is_gone() || atomic_exchange(&said_where, true))
        return;
    add_text(&l, "heapwitness: what was found in process ");
    add_number(&l, hw_process_id());
    add_text(&l, " cannot be shown, since heapwitness is not there any more: `heapwitness report ");
    add_text(&l, hw_setting.log);
    add_text(&l, "` shows it");
    say(&l);
}

void hw_say_unread_at_end(void)
{
    if (atomic_load(&wrote))
        hw_say_unread();
}
