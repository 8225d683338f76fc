/* The process that calls `daemon` ends in it past anything that could look at its heap: so our `_exit` ends it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static bool is_null_device(int file)
{
    struct stat status;
    if (fstat(file, &status) != 0)
        return false;
    bool is = S_ISCHR(status.st_mode) && status.st_rdev == makedev(1, 3);
    errno = is ? errno : ENODEV;
    return is;
}

/* Input, output and errors go nowhere from now on. */
static int let_go(void)
{
    int nowhere = open("/dev/null", O_RDWR);
    if (nowhere < 0)
        return -1;
    if (!is_null_device(nowhere)) {
        int number = errno;
        close(nowhere);
        errno = number;
        return -1;
    }
    for (int file = STDIN_FILENO; file <= STDERR_FILENO; file++)
        dup2(nowhere, file);
    if (nowhere > STDERR_FILENO)
        close(nowhere);
    return 0;
}

__attribute__((visibility("default"))) int daemon(int stays, int keeps)
{
    pid_t child = fork();
    if (child > 0)
        _exit(0);
    if (child < 0 || setsid() < 0)
        return -1;
    /* There may be no such directory any more. */
    int ignored = stays ? 0 : chdir("/");
    (void)ignored;
    return keeps ? 0 : let_go();
}
