/* Children that share the program's memory and have a thread storage of their own, as Chromium's sandbox makes them.
   Ahead of that storage there may be nothing: whoever looks for errno there dies. */
#define _GNU_SOURCE
#include "check.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { PAGE = 4096 };
static char stack[256 << 10] __attribute__((aligned(16)));

static void end_well_in_a_child(int (*run)(void *), int before)
{
    int status = -1;
    char *pages = mmap(NULL, 3 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(pages != MAP_FAILED && mprotect(pages + PAGE, PAGE, PROT_READ | PROT_WRITE) == 0);
    CHECK(!before || mprotect(pages, PAGE, PROT_READ | PROT_WRITE) == 0);
    int flags = CLONE_FS | CLONE_VM | CLONE_VFORK | CLONE_SETTLS | SIGCHLD;
    pid_t child = clone(run, stack + sizeof stack, flags, NULL, NULL, pages + PAGE, NULL);
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(status == 0);
    for (int i = 0; i < PAGE; i++) /* nobody has written to what is not libc's */
        CHECK(!before || pages[i] == 0);
}

static int leave(void *unused)
{
    _exit(0);
}
static int leave_by_number(void *unused)
{
    return syscall(SYS_exit_group, 0);
}
static int change_root(void *unused)
{
    _exit(chroot("/proc/self/fdinfo/") == 0 ? 0 : 1);
}
static int start_a_program(void *unused)
{
    char *words[] = {"true", NULL};
    execve("/bin/true", words, environ);
    _exit(1);
}

static char *parents, *parents_large;
static int use_the_heap(void *unused)
{
    char *small = malloc(100), *zeroed = calloc(3, 100), *large = malloc(2 << 20);
    if (!small || !zeroed || !large || malloc_usable_size(small) < 100)
        _exit(1);
    for (int i = 0; i < 300; i++)
        if (zeroed[i])
            _exit(2);
    memset(small, 'a', 100);
    memset(large, 'b', 2 << 20);
    small = realloc(small, 5000);
    if (!small || small[0] != 'a' || small[99] != 'a')
        _exit(3);
    free(small);
    free(zeroed);
    free(large);
    free(parents);
    free(parents_large);
    _exit(0);
}

static void exits(void)
{
    end_well_in_a_child(leave, 0);
}
static void exits_by_number(void)
{
    end_well_in_a_child(leave_by_number, 0);
}
static void changes_root(void)
{
    end_well_in_a_child(change_root, 0);
}
static void becomes_another_program(void)
{
    end_well_in_a_child(start_a_program, 0);
}
/* With glibc's heap this writes to the storage, too. */
static void allocates(void)
{
    char *more[100];
    parents = malloc(300);
    parents_large = malloc(3 << 20);
    end_well_in_a_child(use_the_heap, getenv("LD_PRELOAD") != NULL);
    for (int i = 0; i < 100; i++) {
        more[i] = malloc(300);
        memset(more[i], i, 300);
    }
    for (int i = 0; i < 100; i++) {
        CHECK(more[i][0] == i && more[i][299] == i);
        free(more[i]);
    }
}

static const test_case cases[] = {
    {"exits", exits},
    {"exits_by_number", exits_by_number},
    {"changes_root", changes_root},
    {"becomes_another_program", becomes_another_program},
    {"allocates", allocates},
};

int main(int argc, char **argv)
{
    return RUN_CASE(cases, argc, argv);
}
