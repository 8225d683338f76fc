/* A line on stderr about what nobody hears, once a process. */
#ifndef HEAPWITNESS_UNHEARD_H
#define HEAPWITNESS_UNHEARD_H

#include "tell/message.h"

/* Of a finding that is nowhere: what of it a line can hold. The message is the finding's. */
void hw_say_untold(const hw_message *m, const hw_event *event);
/* Of what was appended to the log, which somebody has to read if heapwitness was killed. */
void hw_say_unread(void);
/* At the end, of what was appended before. */
void hw_say_unread_at_end(void);

#endif
