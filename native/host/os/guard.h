/* Work that follows what other code left in memory, which an overwrite may have hit: the loader's tables lie in the
   heap that is looked at. A fault in it costs the work's result and nothing else. */
#ifndef HEAPWITNESS_GUARD_H
#define HEAPWITNESS_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef void hw_work(void *argument);

/* Do it; false: it met memory that is not there, and was broken off. Only while the process's faults come to the
   handler that was named (hw_guard_handler); where the program handles them itself, a fault is the program's. What is
   locked in the work stays locked. Costs no system call. */
bool hw_guarded(hw_work *work, void *argument);
/* The same, whoever handles faults, and even where the thread blocks them: where the program handles them, a copy of
   the process does the work. It shares `argument` of `bytes`, which hold no pointers into themselves. */
bool hw_guarded_apart(hw_work *work, void *argument, size_t bytes);

/* Which handler calls hw_guard_caught. */
void hw_guard_handler(uintptr_t handler);
/* For that handler, first of all: a fault at `pc` in guarded work leads back to where that began. */
void hw_guard_caught(int code, uintptr_t pc, uintptr_t sp);

#endif
