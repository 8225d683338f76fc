/* Goes through one pool with LIVE blocks in three ways that take turns, and prints what each takes, in nanoseconds a
   node, medians of ROUNDS: the check that compares everything; following the sizes alone, from node to node; reading
   a word of each cache line in order.   walk LIVE ROUNDS
   To be compiled with the heap's core, whose pools it looks into. */

#include "kernel.h"

#include "node.h"

enum { WAYS = 3, LINE = 64, MOST = 999 };

static hw_pool *pool;
static size_t bytes;

static uint64_t check(void)
{
    return hw_sound(pool, bytes, HW_LOG2(pool));
}

static uint64_t follow(void)
{
    uint64_t sum = 0;
    for (uint32_t node = hw_first(pool), end = hw_end(pool), size; node < end; node += size)
        sum += size = hw_own(pool, node)->size;
    return sum;
}

/* Up to where the last block ends; four sums, so that no addition waits for a load. */
static uint64_t read_lines(void)
{
    uint64_t sum[4] = {0};
    uint32_t last = hw_end(pool) - hw_own(pool, hw_end(pool))->prev_size;
    const unsigned char *end = hw_at(pool, last) - 4 * LINE;
    for (const unsigned char *at = (const unsigned char *)pool; at < end; at += 4 * LINE)
        for (int i = 0; i < 4; i++)
            sum[i] += *(const uint64_t *)(const void *)(at + i * LINE);
    return sum[0] + sum[1] + sum[2] + sum[3];
}

/* As a program has them after a while: every fifth block replaced, every tenth in a cache. */
static void fill(size_t live)
{
    const uint32_t secret[4] = {0x12345678, 0x9ABCDEF1, 0x0FEDCBA9, 0x87654321};
    uint64_t state = 88172645463325252u;
    uint32_t *blocks = checked(malloc(live * sizeof *blocks));
    hw_fault fault;
    bytes = (live * 512 + (1 << 20)) & ~(size_t)15;
    pool = checked(hw_pool_init(checked(aligned_alloc(4096, (bytes + 4095) & ~(size_t)4095)), bytes, 4, secret));
    for (size_t i = 0; i < live; i++)
        blocks[i] = hw_allocate(pool, random_size(&state), 16, HW_MALLOC, 1, &fault);
    for (size_t i = 0; i < live / 5; i++) {
        uint32_t *at = &blocks[(next_random(&state) >> 11) % live];
        hw_release(pool, *at, 2, &fault);
        *at = hw_allocate(pool, random_size(&state), 16, HW_MALLOC, 1, &fault);
    }
    for (size_t i = 0; i < live / 10; i++)
        hw_cache(pool, blocks[(next_random(&state) >> 11) % live], 2, false, &fault);
    free(blocks);
}

int main(int argc, char **argv)
{
    static uint64_t (*const way[WAYS])(void) = {check, follow, read_lines};
    static double took[WAYS][MOST];
    size_t rounds = argument(argc, argv, 2, 31);
    volatile uint64_t seen = 0;
    fill(argument(argc, argv, 1, 200000));
    if (rounds == 0 || rounds > MOST || !check())
        return 1;
    for (size_t round = 0; round < rounds; round++)
        for (int i = 0; i < WAYS; i++) {
            double start = now_ns();
            seen += way[i]();
            took[i][round] = (now_ns() - start) / pool->nodes;
        }
    for (int i = 0; i < WAYS; i++)
        printf("%.3f\n", median(took[i], rounds));
    return 0;
}
