/* Programs of root that become another user's and write past a block, `users CASE`, each time in two processes. */
#define _GNU_SOURCE
#include "check.h"

#include <grp.h>
#include <sys/resource.h>
#include <sys/wait.h>

enum { NOBODY = 65534 };

__attribute__((noinline)) static void write_past_a_block(void)
{
    char *block = malloc(24);
    CHECK(block);
    ((char *)hidden(block))[24] = 'x';
    free(block);
}
static void in_both_processes(void)
{
    int status;
    pid_t child = fork();
    CHECK(child >= 0);
    write_past_a_block();
    if (child == 0)
        exit(0);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static void setuid_(void)
{
    CHECK(setgroups(0, NULL) == 0 && setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
    in_both_processes();
}
static void setuid_and_no_file_may_grow(void)
{
    struct rlimit none = {0, 0};
    CHECK(setrlimit(RLIMIT_FSIZE, &none) == 0);
    setuid_();
}
static void setreuid_(void)
{
    CHECK(setreuid(NOBODY, NOBODY) == 0);
    in_both_processes();
}
static void setresuid_(void)
{
    CHECK(setresuid(NOBODY, NOBODY, NOBODY) == 0);
    in_both_processes();
}
static void seteuid_(void)
{
    CHECK(seteuid(NOBODY) == 0);
    in_both_processes();
}
static void setuid_and_no_file_is_left(void)
{
    struct rlimit none = {0, 0};
    CHECK(setuid(NOBODY) == 0 && setrlimit(RLIMIT_NOFILE, &none) == 0);
    for (int file = 3; file < 1024; file++)
        close(file);
    write_past_a_block();
}
static void becomes_itself(void)
{
    char *words[] = {"users", "writes", NULL};
    CHECK(setuid(NOBODY) == 0);
    execv("/proc/self/exe", words);
}
static void writes(void)
{
    write_past_a_block();
}

static const test_case cases[] = {
    {"setuid", setuid_},     {"setuid_and_no_file_may_grow", setuid_and_no_file_may_grow},
    {"setreuid", setreuid_}, {"setresuid", setresuid_},
    {"seteuid", seteuid_},   {"setuid_and_no_file_is_left", setuid_and_no_file_is_left},
    {"writes", writes},      {"becomes_itself", becomes_itself},
};

int main(int argc, char **argv)
{
    return RUN_CASE(cases, argc, argv);
}
