/* The end of a program that the Go runtime ends: by a system call of its own, past the C library. */
#ifndef HEAPWITNESS_GO_EXIT_H
#define HEAPWITNESS_GO_EXIT_H

/* Where the main program is Go's: let its runtime's exit do the last check first. Before any code of the program runs.
   Only on x86-64; where anything is not as expected the program stays as it is. */
void hw_go_exit_watch(void);

#endif
