/* Signals that end the process where the program has not said otherwise: the engine's own function is called for
   them, and the program does not see it. What the program sees is kept where two of them cannot contradict each
   other: that the engine's function is installed is the kernel's to say, and it means that the program's is not. */
#ifndef HEAPWITNESS_SIGNALS_H
#define HEAPWITNESS_SIGNALS_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

enum { HW_SIGNALS = 65 }; /* numbers are below */

typedef void hw_signal_entry(int number, siginfo_t *information, void *context);

/* As libc's sigaction, with what is really installed. */
int hw_action(int number, const struct sigaction *action, struct sigaction *old);
/* Call `entry` for a signal from now on whenever its action is the default one; `always`: now whatever it is. With
   SA_NODEFER among the flags other signals may come meanwhile, else none. */
void hw_signal_take(int number, hw_signal_entry *entry, int flags, bool always);
/* The default action from now on, without the engine. */
void hw_signal_let_go(int number);
/* And take none from now on. */
void hw_signal_let_all_go(void);
/* The engine's functions run on no signal stack any more: some thread's is too small for them. */
void hw_signals_spare_stacks(void);
/* A signal that the program leaves its default action, and that the engine takes. */
bool hw_signal_is_taken(int number);

/* Fronts: the engine's function looks first at each signal of a number, whatever the program's action is, which the
   program goes on to see and to set. `first` says whether the signal was the engine's. */
typedef bool hw_signal_first(siginfo_t *information, void *context);
void hw_signal_front(int number, hw_signal_first *first);
/* False: the program has set another action by a bare system call. */
bool hw_signal_is_fronted(int number);
/* The function that the kernel calls for all of them. */
hw_signal_entry *hw_front_entry(void);
/* The signals that are fronted, as a mask: blocked, they would end the process. */
uint64_t hw_signals_let_in(void);

/* What the program's calls do and see. */
int hw_signal_change(int number, const struct sigaction *action, struct sigaction *old);
typedef void (*hw_handler)(int);
/* By one of libc's functions in the manner of signal(). */
hw_handler hw_signal_change_by(hw_handler (*function)(int, hw_handler), int number, hw_handler handler);
/* By siginterrupt. */
int hw_signal_interrupt_by(int (*function)(int, int), int number, int flag);

#endif
