/* Callers whose thread storage is not libc's (hw_is_foreign), as the child that a sandbox makes by clone with CLONE_VM
   and CLONE_SETTLS: they share the heap and have neither an arena nor a word of their own. They get big blocks; what
   they release is handed over to its arena's owner. Nothing is told on their behalf: what they meet that is odd stays
   as it is, and is found by who comes after them. */
#ifndef HEAPWITNESS_FOREIGN_H
#define HEAPWITNESS_FOREIGN_H

#include <stddef.h>

void hw_release_foreign(void *pointer, unsigned family);
void *hw_resize_foreign(void *pointer, size_t bytes);
/* Bytes that were requested; 0 for no block. */
size_t hw_foreign_size(const void *pointer);

#endif
