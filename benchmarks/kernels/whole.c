/* Keeps LIVE blocks and raises a signal ROUNDS times, at which the engine is told to check the whole heap; prints what
   one of the signals takes, in nanoseconds a block, the median.   whole LIVE ROUNDS SIGNAL */

#include "kernel.h"

#include <signal.h>

enum { MOST = 999 };

int main(int argc, char **argv)
{
    static double took[MOST];
    size_t live = argument(argc, argv, 1, 200000), rounds = argument(argc, argv, 2, 31);
    int number = (int)argument(argc, argv, 3, SIGUSR2);
    uint64_t state = 88172645463325252u;
    char **blocks = checked(malloc(live * sizeof *blocks));
    if (rounds == 0 || rounds > MOST)
        return 2;
    for (size_t i = 0; i < live; i++)
        blocks[i] = checked(malloc(random_size(&state)));
    for (size_t round = 0; round < rounds; round++) {
        double start = now_ns();
        raise(number);
        took[round] = (now_ns() - start) / live;
    }
    printf("%.3f\n", median(took, rounds));
    return 0;
}
