/* The file that records go to when nobody answers, and what of it a process keeps when it changes its root: then
   neither its path nor /proc leads anywhere any more. */
#ifndef HEAPWITNESS_RECORD_H
#define HEAPWITNESS_RECORD_H

#include <stdbool.h>
#include <stddef.h>

enum hw_appended { HW_APPENDED, HW_NO_FILE, HW_FORBIDDEN_FILE, HW_FILE_IS_FULL };
/* Append to the file that the settings name. */
enum hw_appended hw_record_append(const void *bytes, size_t length);
/* It is kept, and needs no further descriptor. */
bool hw_record_is_open(void);
/* Before the root or the user is changed: that file, /proc/self/maps and the socket's path stay open. When it was not
 * changed after all: no more; errno stays. */
void hw_record_keep(void);
void hw_record_forget(void);
/* Before a process gets a new limit: with hardly any descriptors left to it the same stays open. */
struct rlimit;
void hw_descriptors_limited(int process, int resource, const struct rlimit *limit);
/* The descriptor of /proc/self/maps; negative when it was not kept, or says nothing because this is the child of a
   process that has ended. */
long hw_record_maps(void);
/* What was kept of the supervisor's socket, to connect by; negative for nothing. */
long hw_record_socket(void);
/* What was mapped when the root was changed; NULL when it was not. */
const char *hw_record_maps_then(size_t *length);

/* A sentence for the user, on what was stderr at the start: a number that has another file now is the program's. */
void hw_say_init(void);
void hw_say(const char *text, size_t length);

#endif
