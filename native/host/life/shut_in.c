#define _GNU_SOURCE
#include "life/shut_in.h"

#include "arena/arena.h"
#include "life/lifecycle.h"
#include "os/confined.h"
#include "os/record.h"
#include "os/signals.h"
#include "stacks/unwound.h"
#include "traps/fault.h"

/* Bytes that an arena can grow by without the kernel: address space, memory only as it is used. */
enum { PROVISION = 64 << 20 };

void *hw_shut_in_begins(const struct sock_fprog *filter, bool whole)
{
    if (!hw_process_is_ours() && !hw_memory_is_own()) {
        hw_confines_child(filter);
        return NULL;
    }
    if (!hw_has_libcs_storage())
        return NULL;
    /* The unwinder's first use needs a futex. */
    hw_caller here = HW_HERE;
    uint64_t frames[2];
    hw_unwind_surely(frames, 2, &here);
    hw_thread_note_id();
    void *confinement = hw_confines(filter, whole);
    bool may_end = hw_may_end_by_signal(), may_tell = hw_may_tell(), may_map = hw_may_map();
    bool may_trap = hw_may_trap();
    hw_confines_not(confinement, true);
    if (!may_map)
        hw_arena_provide(PROVISION);
    if (!may_tell)
        hw_record_keep();
    if (!may_trap)
        hw_traps_end();
    if (!may_end) /* then the kernel's own actions do what ours could not */
        hw_signal_let_all_go();
    hw_confines_not(confinement, false);
    return confinement;
}

void hw_shut_in_ends(void *confinement, bool done)
{
    if (!done)
        hw_confines_not(confinement, true);
}
