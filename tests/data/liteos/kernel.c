/* A firmware as a kernel's own flags make it: optimised, a section a function, code from address 0 on. */
#include "heap.c"

#define NOINLINE __attribute__((noinline, used))
#define INLINE static inline __attribute__((always_inline))

typedef struct {
    void *stackPointer;
    uint16_t taskStatus;
    uint16_t priority;
    uint32_t taskId;
    char taskName[32];
} LosTaskCB;

LosTaskCB *g_taskCBArray;
volatile uint32_t g_count;

/* What nobody calls is thrown away, and its debug information says that it lies at 0. */
void thrown_away(uint32_t rounds)
{
    while (rounds-- > 0) {
        g_count += rounds * 3;
        g_count ^= rounds << 7;
        g_count -= rounds / 5;
    }
}

NOINLINE __attribute__((noreturn)) void panic(void *block)
{
    for (;;) {
        g_count += (uint32_t)(uintptr_t)block;
    }
}

NOINLINE void *take(void *pool, uint32_t size)
{
    g_count += size;
    return (char *)pool + g_count;
}

INLINE void *OsMemAllocWithCheck(void *pool, uint32_t size)
{
    void *block = take(pool, size); /* taken */
    g_count++;
    return block;
}

NOINLINE void *LOS_MemAlloc(void *pool, uint32_t size)
{
    void *block = OsMemAllocWithCheck(pool, size);
    g_count += 2;
    return block;
}

INLINE void *with_header(uint32_t size)
{
    void *block = LOS_MemAlloc(g_pool, size + 16); /* allocated */
    g_count += 3;
    return block;
}

NOINLINE void *new_packet(uint32_t size)
{
    void *block = with_header(size); /* inlined */
    g_count += 4;
    return block;
}

NOINLINE void receive(void)
{
    g_count += (uint32_t)(uintptr_t)new_packet(112); /* received */
    g_count += 5;
}

/* The call does not return, so what follows it in memory is another function. */
NOINLINE void give_up(void)
{
    g_count++;
    panic(g_pool); /* gave up */
}

NOINLINE uint32_t behind(uint32_t number)
{
    return number * 7 + g_count;
}

NOINLINE void reset(void)
{
    g_count = g_taskCBArray[0].taskStatus;
    for (;;) {
        receive(); /* started */
        if (behind(g_count) == 7) {
            give_up();
        }
    }
}
