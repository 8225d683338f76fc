/* A kernel's heap structures, as far as its debug information matters: names, types and options. */
#include <stdint.h>

#if defined(__LP64__)
#define WIDE
#endif
#ifndef TASKS
#define TASKS 65
#endif

typedef struct LinkedList {
    struct LinkedList *pstPrev;
    struct LinkedList *pstNext;
} LinkedList;

typedef struct {
    union {
        LinkedList freeNodeInfo;
        struct {
            uint32_t magic;
            uint32_t taskId : 16;
#ifdef LOSCFG_MEM_MUL_MODULE
            uint32_t moduleId : 16;
#endif
        };
    };
    struct tagLosMemDynNode *preNode;
#ifdef LOSCFG_MEM_HEAD_BACKUP
    uint32_t gapSize;
    uintptr_t checksum;
#endif
#ifdef LOSCFG_MEM_RECORDINFO
    uint32_t originSize;
#ifdef WIDE
    uint32_t padding1;
#endif
#endif
#ifdef LOSCFG_MEM_LEAKCHECK
    uintptr_t linkReg[3];
#endif
#ifdef WIDE
    uint32_t padding2;
#endif
    uint32_t sizeAndFlag;
} LosMemCtlNode;

typedef struct tagLosMemDynNode {
#ifdef LOSCFG_MEM_HEAD_BACKUP
    LosMemCtlNode backupNode;
#endif
    LosMemCtlNode selfNode;
} LosMemDynNode;

typedef struct {
    uint32_t memUsed;
    uint32_t memPeak;
} TaskMemUsedInfo;

typedef struct {
    uint32_t memTotalUsed;
    uint32_t memTotalPeak;
    TaskMemUsedInfo taskMemstats[TASKS];
} Memstat;

typedef struct {
    void *pool;
    uint32_t poolSize;
#ifdef LOSCFG_MEM_TASK_STAT
    Memstat stat;
#endif
#ifdef LOSCFG_MEM_MUL_POOL
    void *nextPool;
#endif
#ifdef EXTRA
    uint32_t extra;
#endif
} LosMemPoolInfo;

typedef struct {
    LinkedList listHead[26];
} LosMultipleDlinkHead;

LosMemDynNode *g_node;
LosMemPoolInfo *g_pool;
LosMultipleDlinkHead *g_lists;
Memstat *g_stat;
