/* Programs that shut themselves in, and then write past a block: `confined CASE DIRECTORY`. Each ends with status 0;
   what it did wrong to the heap has to be told all the same. DIRECTORY is an empty one. */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static const char *directory;

__attribute__((noinline)) static void write_past_a_block(void)
{
    char *block = malloc(24);
    CHECK(block);
    ((char *)hidden(block))[24] = 'x';
    free(block);
}

static void enter(void)
{
    CHECK(chroot(directory) == 0 && chdir("/") == 0);
    CHECK(access("/proc", F_OK) != 0);
}
static void give_up_root(void)
{
    CHECK(setgroups(0, NULL) == 0 && setgid(65534) == 0 && setuid(65534) == 0);
}
static void in_a_child(void (*run)(void))
{
    int status;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        run();
        exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}
static int open_files(void)
{
    int count = 0;
    for (int file = 0; file < 2000; file++)
        count += fcntl(file, F_GETFD) >= 0;
    return count;
}

static void changes_root(void)
{
    enter();
    write_past_a_block();
}
static void changes_root_twice(void)
{
    enter();
    CHECK(mkdir("inner", 0755) == 0 && chroot("inner") == 0 && chdir("/") == 0);
    write_past_a_block();
    CHECK(chroot("/") == 0);
}
/* By libc's syscall(): some launchers do, and for the others libc has no function. */
static void changes_root_by_number(void)
{
    CHECK(syscall(SYS_chroot, directory) == 0 && chdir("/") == 0);
    write_past_a_block();
}
static void moves_root_away(void)
{
    bool may = unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
               mount("none", directory, "tmpfs", 0, NULL) == 0;
    if (may) {
        CHECK(chdir(directory) == 0 && syscall(SYS_pivot_root, ".", ".") == 0 && umount2(".", MNT_DETACH) == 0);
        CHECK(access("/proc", F_OK) != 0);
    }
    write_past_a_block();
}
/* Everything of files that version 1 knows of is denied, and so are abstract sockets where the kernel knows how. */
static void denies_itself_files(void)
{
    uint64_t denied[3] = {0x1fff, 0, 1};
    long rules = syscall(444, denied, sizeof denied, 0);
    rules = rules >= 0 ? rules : syscall(444, denied, sizeof denied[0], 0);
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    if (rules >= 0)
        CHECK(syscall(446, rules, 0) == 0 && open("/proc/self/maps", O_RDONLY) < 0);
    write_past_a_block();
}
static void changes_root_and_forks(void)
{
    enter();
    in_a_child(write_past_a_block);
}
/* As daemons do: the child lives on. The first process waits until it has ended, too, and holds the pipe no more. */
static void enter_and_leave_a_child(void)
{
    pid_t parent = getpid();
    enter();
    if (fork() == 0) {
        while (getppid() == parent)
            usleep(1000);
        write_past_a_block();
    }
}
static void changes_root_and_leaves_a_child(void)
{
    int ends[2];
    char none;
    CHECK(pipe(ends) == 0);
    in_a_child(enter_and_leave_a_child);
    close(ends[1]);
    CHECK(read(ends[0], &none, 1) == 0);
}
static void changes_root_and_gives_it_up(void)
{
    enter();
    give_up_root();
    write_past_a_block();
}
static void changes_root_with_few_files(void)
{
    struct rlimit few = {20, 20};
    CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
    changes_root();
}
static void changes_root_of_a_child_that_shares_memory(void)
{
    int status;
    pid_t child = vfork();
    if (child == 0) {
        if (chroot(directory) != 0)
            _exit(1);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    write_past_a_block();
}
static void gives_up_root(void)
{
    give_up_root();
    write_past_a_block();
}
static void gives_up_root_and_forks(void)
{
    give_up_root();
    in_a_child(write_past_a_block);
}

/* Nobody is told of these two: one does nothing wrong, the other has closed all ways to tell. */

static void changes_root_in_vain(void)
{
    int before = open_files();
    errno = 0;
    CHECK(chroot("/nowhere/at/all") == -1 && errno == ENOENT);
    CHECK(open_files() == before);
}

/* A daemon closes all files that it does not know, and uses their numbers for its own. */
static void replaces_all_files(int first)
{
    char path[500];
    struct stat found;
    snprintf(path, sizeof path, "%s/own", directory);
    int own = open(path, O_RDWR | O_CREAT | O_APPEND, 0600);
    CHECK(own >= 0);
    enter();
    for (int file = first; file < 1000; file++)
        if (file != own)
            dup2(own, file);
    write_past_a_block();
    CHECK(fstat(own, &found) == 0 && found.st_size == 0);
}
static void closes_all_files(void)
{
    replaces_all_files(3);
}
static void replaces_stderr(void)
{
    replaces_all_files(2);
}

static const test_case cases[] = {
    {"changes_root", changes_root},
    {"changes_root_twice", changes_root_twice},
    {"changes_root_by_number", changes_root_by_number},
    {"moves_root_away", moves_root_away},
    {"denies_itself_files", denies_itself_files},
    {"changes_root_and_forks", changes_root_and_forks},
    {"changes_root_and_leaves_a_child", changes_root_and_leaves_a_child},
    {"changes_root_and_gives_it_up", changes_root_and_gives_it_up},
    {"changes_root_with_few_files", changes_root_with_few_files},
    {"changes_root_of_a_child_that_shares_memory", changes_root_of_a_child_that_shares_memory},
    {"gives_up_root", gives_up_root},
    {"gives_up_root_and_forks", gives_up_root_and_forks},
    {"changes_root_in_vain", changes_root_in_vain},
    {"closes_all_files", closes_all_files},
    {"replaces_stderr", replaces_stderr},
};

int main(int argc, char **argv)
{
    directory = argc > 2 ? argv[2] : "";
    return RUN_CASE(cases, argc, argv);
}
