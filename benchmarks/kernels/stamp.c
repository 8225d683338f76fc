/* Prints the times (ns, monotonic) at which its main begins and ends; it sleeps for so many milliseconds between. */

#include "kernel.h"

#include <time.h>

int main(int count, char **words)
{
    double begun = now_ns();
    long wait = count > 1 ? atol(words[1]) : 0;
    struct timespec time = {.tv_sec = wait / 1000, .tv_nsec = wait % 1000 * 1000000};
    if (wait > 0)
        nanosleep(&time, NULL);
    printf("%.0f %.0f\n", begun, now_ns());
    return 0;
}
