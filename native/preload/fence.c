/* Single arrays of NumPy at guard pages, and an exception in Python once one was overrun (numpy.py).

   The store cannot raise it: it lies anywhere in C code, which would be left with its locks held and its work half
   done. It is told and let through (traps/fault.h), and Python is asked to raise as soon as it runs its own code again.
 */
#define _GNU_SOURCE
#include "python.h"

#include "heap/heap_fast.h"
#include "stacks/named.h"
#include "traps/blocks.h"
#include "traps/fault.h"

#include <string.h>

extern int Py_AddPendingCall(int (*function)(void *), void *argument) __attribute__((weak));
extern void *PyObject_CallNoArgs(void *callable) __attribute__((weak));
extern void Py_DecRef(void *object) __attribute__((weak));

static _Atomic(void *) raiser;

#define HERE HW_HERE_IN(hw_python_context(HW_OF_ARRAYS))

static void *take_from(void *how, size_t bytes, hw_caller caller)
{
    hw_arena *arena = hw_this_thread.arena;
    uint32_t site = arena ? hw_site_of(&arena->sites, &caller, 0) : 0;
    void *payload = hw_trap_fence(bytes, site, (unsigned)(uintptr_t)how);
    return payload ? payload : hw_heap_allocate(bytes, 0, HW_MALLOC, caller);
}

static void *take(void *how, size_t bytes)
{
    return take_from(how, bytes, HERE);
}

static void *take_cleared(void *how, size_t count, size_t each)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, each, &bytes))
        return NULL;
    void *payload = take_from(how, bytes, HERE);
    return payload ? memset(payload, 0, bytes) : NULL;
}

static void *resize(void *how, void *pointer, size_t bytes)
{
    (void)how;
    return hw_heap_resize(pointer, bytes + !bytes, HERE);
}

static void give_back(void *how, void *pointer, size_t bytes)
{
    (void)how;
    (void)bytes;
    if (pointer)
        hw_heap_release(pointer, HW_MALLOC, HERE);
}

#define HANDLER(how) {"heapwitness fence", 1, (void *)(uintptr_t)(how), take, take_cleared, resize, give_back}
__attribute__((visibility("default"))) hw_array_handler heapwitness_fence_end = HANDLER(HW_TRAP_TIGHT);
__attribute__((visibility("default"))) hw_array_handler heapwitness_fence_start = HANDLER(HW_TRAP_START);

static int raise_in_python(void *nothing)
{
    (void)nothing;
    void *result = PyObject_CallNoArgs(atomic_load(&raiser));
    if (!result)
        return -1;
    Py_DecRef(result);
    return 0;
}

/* Python takes such calls from anywhere and does them in its main thread: in others nothing is raised. The store that
   faulted is of an array, so no lock of Python's can be held by what it interrupts. */
static void ask_python(void)
{
    if (hw_thread_id() == hw_process_id())
        Py_AddPendingCall(raise_in_python, NULL);
}

/* Let arrays be fenced, and a callable raise what is to be raised; it is kept for good. False: this system cannot. */
__attribute__((visibility("default"))) bool heapwitness_fence(void *callable)
{
    if (!Py_AddPendingCall || !PyObject_CallNoArgs || !Py_DecRef)
        return false;
    if (!hw_trap_is_watched()) {
        hw_traps_on = true;
        hw_traps_watch();
    }
    atomic_store(&raiser, callable);
    hw_trap_was_told = ask_python;
    return hw_trap_is_watched();
}

/* Whether the data lies at guard pages. */
__attribute__((visibility("default"))) bool heapwitness_is_fenced(const void *data)
{
    return hw_trap_holds(data);
}
