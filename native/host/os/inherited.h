/* Filters (seccomp) that a process was started under, by a container, a service manager or a launcher: what they say
   cannot be read. So they are tried, where that is safe, before the engine makes any system call that the dynamic
   linker has not made before; then the engine knows them as it knows the program's own (confined.h). */
#ifndef HEAPWITNESS_INHERITED_H
#define HEAPWITNESS_INHERITED_H

#include <stdbool.h>

/* Once, before everything else that the engine asks of the kernel. */
void hw_inherited_look(void);
/* There are some and they could not be tried: nothing may be told but findings. */
bool hw_is_quiet(void);

#endif
