/* Runs one command and writes what it cost: `wall_ns peak_kib status processor_ns`.

   usage: launch OUTPUT [KEY=VALUE...] -- COMMAND...

   The process that measures must be small: the peak resident size that wait4 gives includes what the child was
   before exec, a copy of its parent. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

int main(int argc, char **argv)
{
    int at = 2;
    while (at < argc && strcmp(argv[at], "--") != 0)
        at++;
    if (at + 1 >= argc) {
        fprintf(stderr, "usage: launch OUTPUT [KEY=VALUE...] -- COMMAND...\n");
        return 2;
    }
    uint64_t start = now_ns();
    pid_t child = fork();
    if (child == 0) {
        for (int i = 2; i < at; i++)
            putenv(argv[i]);
        execvp(argv[at + 1], argv + at + 1);
        perror(argv[at + 1]);
        _exit(127);
    }
    int status;
    struct rusage usage;
    if (child < 0 || wait4(child, &status, 0, &usage) != child)
        return 2;
    uint64_t wall = now_ns() - start;
    FILE *output = fopen(argv[1], "w");
    if (output == NULL)
        return 2;
    uint64_t busy = ((uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000u +
                     (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec)) *
                    1000u;
    fprintf(output, "%lu %ld %d %lu\n", (unsigned long)wall, usage.ru_maxrss,
            WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), (unsigned long)busy);
    return fclose(output) == 0 ? 0 : 2;
}
