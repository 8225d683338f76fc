#define _GNU_SOURCE
#include "os/room.h"

#include "os/system.h"

#include <signal.h>
#include <sys/syscall.h>

/* The start of the one that the thread is on, or was. */
static __thread uintptr_t innermost;

/* Unwinding comes across by the frame pointer, which a frame of no fixed size must have. */
static __attribute__((noinline)) void call_on(char *top, hw_work *work, void *argument, size_t variable)
{
    void *volatile frame = __builtin_alloca(variable);
    (void)frame;
#if defined(__x86_64__)
    __asm__ volatile("movq %%rsp, %%rbx\n\tmovq %1, %%rsp\n\tcallq *%2\n\tmovq %%rbx, %%rsp"
                     : "+D"(argument)
                     : "r"(top), "r"(work)
                     : "rax", "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "memory", "cc", "xmm0", "xmm1",
                       "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
                       "xmm13", "xmm14", "xmm15");
#elif defined(__aarch64__)
    register void *first __asm__("x0") = argument;
    __asm__ volatile("mov x19, sp\n\tmov sp, %1\n\tblr %2\n\tmov sp, x19"
                     : "+r"(first)
                     : "r"(top), "r"(work)
                     : "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15",
                       "x16", "x17", "x19", "x30", "memory", "cc", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8",
                       "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22",
                       "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31");
#else
    (void)top;
    work(argument);
#endif
}

typedef struct leaving {
    hw_work *work;
    void *argument;
    stack_t left;
} leaving;

/* The kernel takes a signal stack that was left for one that is free: a handler that comes meanwhile, as of a fault in
   guarded work, would begin at its start, over the frames that are still there. */
static void work_off_signal_stack(void *argument)
{
    leaving *l = argument;
    const stack_t none = {.ss_flags = SS_DISABLE};
    l->left.ss_flags &= ~SS_ONSTACK;
    bool gone = hw_call(SYS_sigaltstack, (long)&none, 0, 0, 0, 0, 0) == 0;
    l->work(l->argument);
    if (gone)
        hw_call(SYS_sigaltstack, (long)&l->left, 0, 0, 0, 0, 0);
}

void hw_on_stack(char *start, hw_work *work, void *argument)
{
    leaving l = {.work = work, .argument = argument};
    bool leaves = hw_call(SYS_sigaltstack, 0, (long)&l.left, 0, 0, 0, 0) == 0 && (l.left.ss_flags & SS_ONSTACK);
    if (leaves)
        call_on(start + HW_ROOM, work_off_signal_stack, &l, 16);
    else
        call_on(start + HW_ROOM, work, argument, 16);
}

void hw_with_room(hw_work *work, void *argument)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0), outer = innermost;
    char *stack = outer && here - outer < HW_ROOM ? NULL : hw_map(HW_ROOM);
    if (!stack) {
        work(argument);
        return;
    }
    innermost = (uintptr_t)stack;
    hw_on_stack(stack, work, argument);
    innermost = outer;
    hw_unmap(stack, HW_ROOM);
}
