/* Work that needs a descriptor, in a program that has opened as many files as it may. */
#ifndef HEAPWITNESS_COPY_H
#define HEAPWITNESS_COPY_H

#include <stdbool.h>

typedef bool hw_opening(void *argument);
/* Here, if a file can be opened; else in a copy of the process, of which nothing stays but what is written to files.
   What the work gives, false where there is no copy to be had. */
bool hw_with_descriptor(hw_opening *work, void *argument);

#endif
