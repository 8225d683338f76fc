/* A small firmware: the heap's structures, tasks, and two functions that allocate. */
#include "heap.c"

typedef struct {
    void *stackPointer;
    uint16_t taskStatus;
    uint16_t priority;
    uint32_t taskId;
#ifdef NAME_POINTER
    char *taskName;
#else
    char taskName[32];
#endif
} LosTaskCB;

LosTaskCB *g_taskCBArray;

extern void *LOS_MemAlloc(void *pool, uint32_t size);

void *new_packet(uint32_t size)
{
    return LOS_MemAlloc(g_pool, size + 16);
}

void network_task(void)
{
    for (;;) {
        new_packet(112);
    }
}

void *LOS_MemAlloc(void *pool, uint32_t size)
{
    return (char *)pool + size;
}
