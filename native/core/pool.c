/* A pool as a whole: laying it out, letting it grow, and the control block's witness. */
#include "node.h"

/* The control block's witness: a copy of its fixed part, the last bytes of the pool. */
void hw_control_copy(hw_pool *pool)
{
    __builtin_memcpy(hw_at(pool, pool->size) - HW_WITNESSED, pool, HW_WITNESSED);
}

static bool copy_is_right(const hw_pool *pool)
{
    const uint32_t *fixed = (const uint32_t *)pool,
                   *copy = (const uint32_t *)(const void *)(hw_at(pool, pool->size) - HW_WITNESSED);
    for (unsigned i = 0; i < HW_WITNESSED / 4; i++)
        if (fixed[i] != copy[i])
            return false;
    return true;
}

static uint32_t granules_of(size_t bytes, unsigned log2)
{
    size_t granules = bytes >> log2;
    return granules < HW_MOST ? (uint32_t)granules : 0;
}

hw_pool *hw_pool_init(void *memory, size_t bytes, unsigned log2, const uint32_t secret[4])
{
    bytes &= ~(size_t)15;
    if (memory == NULL || ((uintptr_t)memory & 15) || (log2 != 3 && log2 != 4) || bytes < HW_LEAST ||
        granules_of(bytes, log2) == 0)
        return NULL;
    hw_pool *pool = memory;
    pool->magic = HW_MAGIC;
    pool->shape = HW_VERSION | log2 << 8;
    pool->size = granules_of(bytes, log2);
    for (int i = 0; i < 4; i++)
        pool->secret[i] = secret[i];
    pool->check = hw_control_check(pool);
    hw_control_copy(pool);
    hw_index_clear(pool);
    uint32_t first = hw_first(pool), end = hw_end(pool);
    hw_fault none;
    hw_save(pool, first, (hw_header){.size = end - first, .meta = hw_meta(0, HW_FREE, HW_MALLOC, 0)});
    hw_save(pool, end,
            (hw_header){.size = pool->size - end, .prev_size = end - first, .meta = hw_meta(0, HW_ENDNODE, 0, 0)});
    hw_index_insert(pool, first, &none);
    pool->nodes = 1;
    return pool;
}

int hw_pool_extend(hw_pool *pool, size_t bytes, hw_fault *fault)
{
    *fault = (hw_fault){0};
    if (!hw_control_is_valid(pool) || !copy_is_right(pool)) { /* the copy is written anew: rule 1 */
        hw_fail(fault, HW_CONTROL_BLOCK, 0);
        return HW_DAMAGED;
    }
    uint32_t size = granules_of(bytes & ~(size_t)15, HW_LOG2(pool));
    if (size < pool->size || size - pool->size < hw_min_node(pool))
        return HW_NOMEM;
    uint32_t end = hw_end(pool), first = hw_first(pool), grown = size - pool->size;
    if (!hw_pair_is_valid(pool, end, fault) || !hw_pair_is_valid(pool, first, fault))
        return HW_DAMAGED;
    hw_header last_header = *hw_own(pool, end), first_header = *hw_own(pool, first);
    uint32_t last = end - last_header.prev_size;
    if (!hw_pair_is_valid(pool, last, fault))
        return HW_DAMAGED;
    hw_header tail = *hw_own(pool, last);
    bool absorb = hw_state_of(tail.meta) == HW_FREE;
    if (pool->flags & HW_FLAG_STALE ? !hw_fail(fault, HW_LINKS, 0) : absorb && !hw_index_remove(pool, last, fault))
        return HW_DAMAGED;
    /* Nothing of the old end node may pass for a node, a tombstone or a witness. */
    hw_clear(hw_at(pool, end), HW_END);
    pool->size = size;
    pool->check = hw_control_check(pool);
    hw_control_copy(pool);
    if (absorb) {
        tail.size += grown;
    } else {
        tail = (hw_header){.size = grown, .prev_size = last_header.prev_size, .meta = hw_meta(0, HW_FREE, 0, 0)};
        last = end;
        pool->nodes++;
    }
    hw_save(pool, first, first_header);
    hw_save(pool, last, tail);
    hw_save(pool, hw_end(pool),
            (hw_header){.size = last_header.size, .prev_size = tail.size, .meta = last_header.meta});
    hw_fault later; /* the index is stale then: the next call reports it */
    hw_index_insert(pool, last, &later);
    return HW_OK;
}
