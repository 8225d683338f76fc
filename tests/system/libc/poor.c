/* Programs that have nothing left when they write past a block: `poor CASE`. Each ends with status 0, and it is told.
 */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

__attribute__((noinline)) static void write_past_a_block(void)
{
    char *block = malloc(24);
    CHECK(block);
    ((char *)hidden(block))[24] = 'x';
    free(block);
}

static void may_open_nothing(void)
{
    struct rlimit none = {0, 0};
    CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
    CHECK(open("/dev/null", O_RDONLY) == -1 && errno == EMFILE);
    write_past_a_block();
}
static void may_open_nothing_by_prlimit(void)
{
    struct rlimit none = {0, 0};
    CHECK(prlimit(getpid(), RLIMIT_NOFILE, &none, NULL) == 0);
    CHECK(open("/dev/null", O_RDONLY) == -1 && errno == EMFILE);
    write_past_a_block();
}
static void may_open_nothing_by_number(void)
{
    struct rlimit none = {0, 0};
    CHECK(syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &none, NULL) == 0);
    CHECK(open("/dev/null", O_RDONLY) == -1 && errno == EMFILE);
    write_past_a_block();
}
static void has_opened_all_it_may(void)
{
    struct rlimit limit, after;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = 100;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    while (open("/dev/null", O_RDONLY) >= 0)
        ;
    CHECK(errno == EMFILE);
    write_past_a_block();
    CHECK(open("/dev/null", O_RDONLY) == -1 && errno == EMFILE);
    CHECK(getrlimit(RLIMIT_NOFILE, &after) == 0 && after.rlim_cur == 100);
}
static void open_all(rlim_t limit)
{
    struct rlimit both = {limit, limit};
    CHECK(setrlimit(RLIMIT_NOFILE, &both) == 0);
    while (open("/dev/null", O_RDONLY) >= 0)
        ;
    CHECK(errno == EMFILE);
}
static void has_opened_all_it_ever_may(void)
{
    int status;
    open_all(100);
    write_past_a_block();
    CHECK(open("/dev/null", O_RDONLY) == -1 && errno == EMFILE);
    CHECK(waitpid(-1, &status, 0) == -1 && errno == ECHILD);
}
static void has_opened_all_it_ever_may_and_hears_of_its_children(void)
{
    CHECK(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
    has_opened_all_it_ever_may();
}
static void limit_memory_to_what_there_is(int resource)
{
    size_t pages = 0, data = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file && fscanf(file, "%zu %*s %*s %*s %*s %zu", &pages, &data) == 2);
    fclose(file);
    struct rlimit limit = {pages * 4096, pages * 4096};
    if (resource == RLIMIT_DATA)
        limit.rlim_cur = limit.rlim_max = data * 4096;
    CHECK(setrlimit(resource, &limit) == 0);
}
static void has_no_address_space_left(void)
{
    limit_memory_to_what_there_is(RLIMIT_AS);
    write_past_a_block();
}
/* The block is there before; afterwards nothing is to be had. */
static void has_used_up_its_address_space(void)
{
    char *block = malloc(24);
    CHECK(block);
    limit_memory_to_what_there_is(RLIMIT_AS);
    while (malloc(1000))
        ;
    ((char *)hidden(block))[24] = 'x';
    free(block);
}
static void may_have_no_more_data(void)
{
    limit_memory_to_what_there_is(RLIMIT_DATA);
    write_past_a_block();
}
static void has_no_address_space_left_and_may_not_write(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof code[0], code};
    free(hidden(malloc(24)));
    limit_memory_to_what_there_is(RLIMIT_AS);
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
    write_past_a_block();
}

static const test_case cases[] = {
    {"may_open_nothing", may_open_nothing},
    {"may_open_nothing_by_prlimit", may_open_nothing_by_prlimit},
    {"may_open_nothing_by_number", may_open_nothing_by_number},
    {"has_opened_all_it_may", has_opened_all_it_may},
    {"has_opened_all_it_ever_may", has_opened_all_it_ever_may},
    {"has_opened_all_it_ever_may_and_hears_of_its_children", has_opened_all_it_ever_may_and_hears_of_its_children},
    {"has_no_address_space_left", has_no_address_space_left},
    {"has_used_up_its_address_space", has_used_up_its_address_space},
    {"has_no_address_space_left_and_may_not_write", has_no_address_space_left_and_may_not_write},
    {"may_have_no_more_data", may_have_no_more_data},
};

int main(int argc, char **argv)
{
    return RUN_CASE(cases, argc, argv);
}
