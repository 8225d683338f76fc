/* The functions by which a program confines itself (seccomp); syscall.c has the third way. */
#define _GNU_SOURCE
#include "life/shut_in.h"
#include "os/next.h"
#include "os/system.h"

#include <linux/seccomp.h>
#include <stdarg.h>
#include <sys/prctl.h>

typedef int function(int, unsigned long, unsigned long, unsigned long, unsigned long);

__attribute__((visibility("default"))) int prctl(int option, ...)
{
    va_list list;
    unsigned long word[4];
    va_start(list, option);
    for (unsigned i = 0; i < 4; i++)
        word[i] = va_arg(list, unsigned long);
    va_end(list);
    NEXT("prctl", function, -1);
    bool filtered = word[0] == SECCOMP_MODE_FILTER;
    if (HW_LIKELY(option != PR_SET_SECCOMP || (!filtered && word[0] != SECCOMP_MODE_STRICT)))
        return next(option, word[0], word[1], word[2], word[3]);
    void *confinement = hw_shut_in_begins(filtered ? (const struct sock_fprog *)word[1] : NULL, false);
    int result = next(option, word[0], word[1], word[2], word[3]);
    hw_shut_in_ends(confinement, result == 0);
    return result;
}
