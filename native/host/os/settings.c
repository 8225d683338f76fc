#define _GNU_SOURCE
#include "os/settings.h"

#include "os/system.h"

#include <stddef.h>
#include <string.h>
#include <unistd.h>

hw_settings hw_setting = {.unusual = true, .stacks = HW_STACKS_FAST, .on_error = 'g', .wait_ms = 10000};

static const char *value(const char *name)
{
    size_t length = strlen(name);
    for (char **entry = environ; entry && *entry; entry++)
        if (**entry == *name && strncmp(*entry, name, length) == 0 && (*entry)[length] == '=')
            return *entry + length + 1;
    return "";
}

static uint64_t number(const char *text, uint64_t otherwise, uint64_t most)
{
    uint64_t n = 0;
    if (*text < '0' || *text > '9')
        return otherwise;
    for (; *text >= '0' && *text <= '9'; text++)
        n = n > most ? most : n * 10 + (uint64_t)(*text - '0');
    return n > most ? most : n;
}

static void copy(char *into, size_t room, const char *text)
{
    size_t length = strlen(text);
    into[0] = 0;
    if (length < room)
        memcpy(into, text, length + 1);
}

void hw_settings_read(void)
{
    const char *stacks = value("HEAPWITNESS_STACKS"), *error = value("HEAPWITNESS_ON_ERROR");
    hw_setting.stacks = strcmp(stacks, "caller") == 0 ? HW_STACKS_CALLER
                        : strcmp(stacks, "full") == 0 ? HW_STACKS_FULL
                                                      : HW_STACKS_FAST;
    hw_setting.on_error = strcmp(error, "abort") == 0 ? 'a' : strcmp(error, "stop") == 0 ? 's' : 'g';
    hw_setting.poison = number(value("HEAPWITNESS_POISON"), 0, 1) != 0;
    hw_setting.check_every = number(value("HEAPWITNESS_CHECK_EVERY"), 0, UINT64_C(1) << 62);
    bool unusual = hw_setting.check_every || !atomic_load(&hw_fences_are_uneven);
    atomic_store_explicit(&hw_setting.unusual, unusual, memory_order_release);
    hw_setting.check_signal = (int)number(value("HEAPWITNESS_CHECK_SIGNAL"), 0, 64);
    hw_setting.python_lines = number(value("HEAPWITNESS_PYTHON_LINES"), 1, 1) != 0;
    hw_setting.map = number(value("HEAPWITNESS_MAP"), 0, 1) != 0;
    hw_setting.wait_ms = (unsigned)number(value("HEAPWITNESS_WAIT_MS"), 10000, 3600000);
    hw_setting.traps = value("HEAPWITNESS_TRAPS");
    hw_setting.trap_found = number(value("HEAPWITNESS_TRAP_FOUND"), 0, 1) != 0;
    hw_setting.trap_sample = (unsigned)number(value("HEAPWITNESS_TRAP_SAMPLE"), 0, 1u << 30);
    copy(hw_setting.socket, sizeof hw_setting.socket, value("HEAPWITNESS_SOCKET"));
    copy(hw_setting.log, sizeof hw_setting.log, value("HEAPWITNESS_LOG"));
}
