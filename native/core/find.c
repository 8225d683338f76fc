/* Asking about one place of a pool. */
#include "node.h"

uint32_t hw_next(const hw_pool *pool, uint32_t node)
{
    if (node == 0)
        return hw_first(pool);
    hw_header h;
    if (!hw_header_at(pool, node, &h) || h.size < hw_min_node(pool) || node + h.size >= hw_end(pool))
        return 0;
    return node + h.size;
}

uint32_t hw_locate(const hw_pool *pool, size_t offset)
{
    size_t granule = offset >> HW_LOG2(pool);
    hw_header h;
    for (uint32_t node = hw_first(pool); node && granule >= node; node = hw_next(pool, node))
        if (hw_header_at(pool, node, &h) && granule - node < h.size)
            return node;
    return 0;
}

bool hw_header_at(const hw_pool *pool, uint32_t node, hw_header *header)
{
    if (node < hw_first(pool) || node >= hw_end(pool))
        return false;
    *header = *hw_own(pool, node);
    return hw_is_valid(pool, node, header) && hw_state_of(header->meta) != HW_ENDNODE;
}

bool hw_tombstone_at(const hw_pool *pool, uint32_t node, hw_header *header)
{
    if (node < hw_first(pool) || node >= hw_end(pool))
        return false;
    *header = *hw_own(pool, node);
    header->check = ~header->check;
    return hw_is_valid(pool, node, header) && hw_state_of(header->meta) != HW_ENDNODE;
}
