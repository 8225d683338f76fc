#define _GNU_SOURCE
#include "traps/beside.h"

#include "heap/release.h"
#include "heap/small.h"
#include "run_node.h"

/* --- in a pool ------------------------------------------------------------------------------------ */

static bool find_in_pool(uint32_t region, hw_block *found)
{
    const hw_pool *pool = (const hw_pool *)(uintptr_t)atomic_load(&hw_region_at(region)->base);
    size_t offset = found->payload - (uintptr_t)pool;
    found->pool = pool;
    found->node = (uint32_t)((offset - HW_OVERHEAD) >> HW_FIXED_GRANULE_LOG2);
    return (offset & 15) == 0 && hw_header_glimpse(pool, found->node, &found->header) &&
           hw_state_of(found->header.meta) == HW_USED;
}

static bool is_same_in_pool(const hw_block *block, const hw_header *h)
{
    return h->size == block->header.size && h->meta == block->header.meta;
}

static bool is_live_in_pool(hw_block *block)
{
    hw_header h;
    if (hw_header_glimpse(block->pool, block->node, &h)) {
        if (!is_same_in_pool(block, &h))
            return false;
        block->header.prev_size = h.prev_size; /* the node before may be another one by now */
        return true;
    }
    uint32_t keeper = block->header.prev_size ? block->node - block->header.prev_size : hw_end(block->pool);
    h = *hw_backup_in(block->pool, keeper);
    return hw_is_valid(block->pool, block->node, &h) && is_same_in_pool(block, &h);
}

/* --- in a run ------------------------------------------------------------------------------------- */

static const char *node_of(const hw_block *block)
{
    return (const char *)block->payload - HW_RUN_OVERHEAD;
}

static bool find_in_run(uint32_t region, hw_block *found)
{
    const hw_arena *arena = hw_arena_numbered(atomic_load(&hw_region_at(region)->arena));
    const hw_run *run = hw_run_of(arena, (const void *)found->payload);
    found->run = run;
    found->node = run ? hw_run_node_at(run, (const void *)found->payload) : 0;
    if (!found->node || !hw_small_glimpse(run, found->node, &found->meta))
        return false;
    found->place = hw_place(run->salt, &hw_this_process.key, node_of(found));
    return hw_state_of(found->meta) == HW_USED;
}

/* By its salt a run that was laid out anew is another one. */
static bool is_header(const hw_block *block, uint64_t header)
{
    return (uint32_t)header == block->meta && !hw_run_unlike(block->place, &hw_this_process.key, header);
}

/* Of larger classes the header says not all of the size. */
static bool is_size(const hw_block *block, uint32_t stride)
{
    uint32_t slack = stride - HW_RUN_OVERHEAD - (uint32_t)block->bytes;
    uint32_t number = (block->node - HW_RUN_FIRST) / (stride >> HW_RUN_GRANULE_LOG2);
    return hw_run_is_small(block->run) ||
           hw_slack_word(block->run->aside->slack[number % HW_RUN_MIDS]) == hw_slack_entry(block->place, slack);
}

static bool is_live_in_run(const hw_block *block)
{
    const hw_run *run = block->run;
    const char *at = node_of(block);
    uint32_t stride = run->stride;
    if (!stride || hw_place(run->salt, &hw_this_process.key, at) != block->place)
        return false;
    uint64_t own = hw_word(at);
    if (hw_run_unlike(block->place, &hw_this_process.key, own))
        own = hw_word(at - hw_run_back(stride, block->node == HW_RUN_FIRST) + HW_RUN_BACKUP);
    return is_header(block, own) && is_size(block, stride);
}

/* --- in either ------------------------------------------------------------------------------------ */

bool hw_block_find(const void *payload, size_t bytes, hw_block *found)
{
    uint32_t region = hw_region_of(payload);
    uint32_t kind = region ? atomic_load_explicit(&hw_region_at(region)->kind, memory_order_acquire) : HW_UNUSED;
    *found = (hw_block){.payload = (uintptr_t)payload, .bytes = bytes ? bytes : 1};
    return (kind == HW_ARENA_POOL && find_in_pool(region, found)) ||
           (kind == HW_ARENA_RUNS && find_in_run(region, found));
}

__attribute__((no_sanitize("thread"))) bool hw_block_is_live(hw_block *block)
{
    return block->run ? is_live_in_run(block) : is_live_in_pool(block);
}

bool hw_block_beside(const hw_block *block, int32_t offset, uintptr_t *at, uint64_t *length)
{
    bool in_run = block->run != NULL;
    size_t overhead = in_run ? (size_t)HW_RUN_OVERHEAD : (size_t)HW_OVERHEAD;
    size_t size = in_run ? block->run->stride : (size_t)block->header.size << HW_FIXED_GRANULE_LOG2;
    uintptr_t node = block->payload - overhead, end = block->payload + block->bytes;
    uintptr_t byte = (offset < 0 ? block->payload : end) + (uintptr_t)(intptr_t)offset;
    if (byte < node || byte >= node + size + overhead || (byte >= block->payload && byte < end))
        return false;
    for (*length = 8; *length; *length /= 2) {
        *at = byte & ~(uintptr_t)(*length - 1);
        if (*at + *length <= block->payload || *at >= end)
            return true;
    }
    return false;
}
