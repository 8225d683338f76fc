/* Sending a message to the supervisor, over a socket of its own, or appending it to the log. */
#ifndef HEAPWITNESS_SEND_H
#define HEAPWITNESS_SEND_H

#include "tell/message.h"

/* The connection, or a negative number when nobody takes the message. */
long hw_send(const hw_message *m);
/* Send it and wait for nothing; `first`: of this process. False: nobody takes it. */
bool hw_send_only(const hw_message *m, bool first);
/* Wait for the answer, and end the connection: 'g', 'a', 's', or 0 for none. */
char hw_hear(long fd);
/* Both. */
char hw_ask(const hw_message *m);
/* Nobody will ever listen at its socket again. */
bool hw_supervisor_is_gone(void);
/* To the log; false: it is not there, or takes nothing more. */
bool hw_append(const hw_message *m);

/* Messages that nobody will ever read. */
extern _Atomic uint64_t hw_dropped;

#endif
