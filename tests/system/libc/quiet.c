/* Programs to which a write of the engine's would be the end, or a long wait. Each ends with status 0. */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>

__attribute__((noinline)) static void write_past_a_block(void)
{
    char *block = malloc(24);
    CHECK(block);
    ((char *)hidden(block))[24] = 'x';
    free(block);
}

static void may_write_no_files(void)
{
    struct rlimit none = {0, 0};
    CHECK(setrlimit(RLIMIT_FSIZE, &none) == 0);
    write_past_a_block();
}
/* The files may have so many bytes: less than a record, more than there is. */
static void may_write_short_files(void)
{
    struct rlimit few = {1200, 1200};
    CHECK(setrlimit(RLIMIT_FSIZE, &few) == 0);
    write_past_a_block();
}
static void has_blocked_the_signal(void)
{
    sigset_t only, pending;
    sigemptyset(&only);
    sigaddset(&only, SIGXFSZ);
    CHECK(sigprocmask(SIG_BLOCK, &only, NULL) == 0);
    may_write_no_files();
    CHECK(sigpending(&pending) == 0 && !sigismember(&pending, SIGXFSZ));
}
static void handles_the_signal(void)
{
    signal(SIGXFSZ, (void (*)(int))abort);
    signal(SIGPIPE, (void (*)(int))abort);
    may_write_no_files();
}
/* Whoever started this has closed the other end of its stderr, or does not read there. */
static void damages(void)
{
    write_past_a_block();
}
static int times;
static void damages_again(void)
{
    for (int i = 0; i < times; i++)
        write_past_a_block();
}
static void fills_stderr_first(void)
{
    char bytes[4096] = {0};
    int flags = fcntl(2, F_GETFL);
    CHECK(fcntl(2, F_SETFL, flags | O_NONBLOCK) == 0);
    while (write(2, bytes, sizeof bytes) > 0)
        ;
    CHECK(fcntl(2, F_SETFL, flags) == 0);
    write_past_a_block();
}

static const test_case cases[] = {
    {"may_write_no_files", may_write_no_files},
    {"may_write_short_files", may_write_short_files},
    {"has_blocked_the_signal", has_blocked_the_signal},
    {"handles_the_signal", handles_the_signal},
    {"damages", damages},
    {"damages_again", damages_again},
    {"fills_stderr_first", fills_stderr_first},
};

int main(int argc, char **argv)
{
    times = argc > 2 ? atoi(argv[2]) : 0;
    return RUN_CASE(cases, argc, argv);
}
