/* Prints the time (ns, monotonic) at which its main begins. */

#include "kernel.h"

int main(void)
{
    printf("%.0f\n", now_ns());
    return 0;
}
