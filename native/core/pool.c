/* A pool as a whole: laying it out, letting it grow, and the control block's witness. */
#include "node.h"

#include "pool.h"

void hw_control_copy(hw_pool *pool)
{
    __builtin_memcpy(hw_payload(pool, hw_end(pool)), pool, HW_WITNESSED);
}

static uint32_t granules_of(size_t bytes, unsigned log2)
{
    size_t granules = bytes >> log2;
    return granules < UINT32_C(0x80000000) ? (uint32_t)granules : 0;
}

hw_pool *hw_pool_init(void *memory, size_t bytes, unsigned log2, const uint32_t secret[4])
{
    bytes &= ~(size_t)15;
    if (memory == NULL || ((uintptr_t)memory & 15) || (log2 != 3 && log2 != 4) ||
        bytes < (size_t)HW_CONTROL + HW_MIN_NODE + HW_END || granules_of(bytes, log2) == 0)
        return NULL;
    hw_pool *pool = memory;
    *pool = (hw_pool){.magic = HW_MAGIC, .shape = 1 | log2 << 8, .size = granules_of(bytes, log2)};
    for (int i = 0; i < 4; i++)
        pool->secret[i] = secret[i];
    pool->check = hw_keyed(pool->secret, pool->magic, pool->shape, pool->size, 0);
    hw_control_copy(pool);
    uint32_t first = hw_first(pool), end = hw_end(pool);
    hw_fault fault;
    hw_save(pool, first, (hw_header){.size = end - first, .meta = hw_meta(0, HW_FREE, HW_MALLOC, 0)});
    hw_save(pool, end,
            (hw_header){.size = pool->size - end, .prev_size = end - first, .meta = hw_meta(0, HW_ENDNODE, 0, 0)});
    hw_index_insert(pool, first, &fault);
    pool->nodes = 1;
    return pool;
}

int hw_pool_extend(hw_pool *pool, size_t bytes, hw_fault *fault)
{
    *fault = (hw_fault){0};
    if (!hw_control_holds(pool)) {
        hw_fail(fault, HW_CONTROL_BLOCK, 0);
        return HW_DAMAGED;
    }
    uint32_t size = granules_of(bytes & ~(size_t)15, HW_LOG2(pool));
    if (size == 0 || size < pool->size + hw_min_node(pool))
        return HW_NOMEM;
    uint32_t end = hw_end(pool), first = hw_first(pool), grown = size - pool->size;
    if (!hw_pair_holds(pool, end, fault) || !hw_pair_holds(pool, first, fault))
        return HW_DAMAGED;
    hw_header end_header = *hw_own(pool, end);
    uint32_t last = end - end_header.prev_size;
    if (!hw_pair_holds(pool, last, fault))
        return HW_DAMAGED;
    bool absorb = hw_state_of(hw_own(pool, last)->meta) == HW_FREE;
    if (absorb && !hw_index_remove(pool, last, fault))
        return HW_DAMAGED;
    hw_header first_header = *hw_own(pool, first), tail = *hw_own(pool, last);
    pool->size = size;
    pool->check = hw_keyed(pool->secret, pool->magic, pool->shape, pool->size, 0);
    hw_control_copy(pool);
    hw_save(pool, first, first_header);
    if (absorb) {
        hw_bury(pool, end);
        tail.size += grown;
        end = last;
    } else {
        tail = (hw_header){.size = grown, .prev_size = end_header.prev_size, .meta = hw_meta(0, HW_FREE, 0, 0)};
        pool->nodes++;
    }
    hw_save(pool, end, tail);
    hw_save(pool, hw_end(pool),
            (hw_header){.size = end_header.size, .prev_size = tail.size, .meta = end_header.meta});
    hw_index_insert(pool, end, fault);
    *fault = (hw_fault){0};
    return HW_OK;
}
