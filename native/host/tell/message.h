/* Composing a message or a record (docs/format.md, "Events"): a head, the stack, and sections behind it. What there is
   no room for is left out. */
#ifndef HEAPWITNESS_MESSAGE_H
#define HEAPWITNESS_MESSAGE_H

#include "tell/channel.h"

enum { HW_MESSAGE = 128 << 10 };

typedef struct hw_message {
    unsigned char *bytes;
    size_t used, room, most; /* `most` is what `room` may be raised to */
} hw_message;

/* With memory of `bytes`, as long as there is so much; false: there is none at all. */
bool hw_message_begin(hw_message *m, size_t bytes);
void hw_message_end(const hw_message *m);
/* The head; what is known at the end is written by hw_message_finish. */
void hw_message_start(hw_message *m, hw_event *event, enum hw_event_type type);
void hw_message_finish(hw_message *m, hw_event *event);

void hw_put(hw_message *m, const void *bytes, size_t length);
void hw_put_stack(hw_message *m, hw_event *event, const hw_caller *caller);
/* Where the section begins, for hw_close_section. */
size_t hw_open_section(hw_message *m, enum hw_section_kind kind, uint64_t address);
void hw_close_section(hw_message *m, size_t at);
void hw_put_section(hw_message *m, enum hw_section_kind kind, uint64_t address, const void *bytes, size_t length);
/* What the kernel says of the process: HW_MAPS or HW_COMMAND. */
void hw_put_own_file(hw_message *m, enum hw_section_kind kind);
void hw_put_maps(hw_message *m);
void hw_put_memory(hw_message *m, uintptr_t start, size_t length);

#endif
