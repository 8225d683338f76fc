/* Damage on one side of a fork; each case has a clean twin (clean=1).

   what=child     the child writes past the end of a block that it inherited, and frees it; the parent's is intact
   what=own       the child does so with a block of its own
   what=exit      the child does so and ends by exit() without freeing
   what=parent    the parent does so after the fork; the child's is intact
   what=exec      the child executes `program` with a bug of its own
   what=spawn     the same by posix_spawn
   what=tree      children of children, three deep, the last of them does so

   before=joined  another thread has used the heap, and is gone before the fork
   before=alive   ... and waits meanwhile */

#include "case.h"

#include <pthread.h>
#include <semaphore.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { SIZE = 40 };

static size_t extra;

static __attribute__((noinline)) unsigned char *allocate(void)
{
    unsigned char *block = malloc(SIZE); /* culprit: malloc */
    if (block == NULL)
        abort();
    memset(block, 0, SIZE);
    return block;
}

static __attribute__((noinline)) void overrun(unsigned char *block)
{
    memset(block, 0x41, SIZE + extra);
}

static void wait_for(pid_t child)
{
    int status;
    if (waitpid(child, &status, 0) != child)
        abort();
    fact("child_status", (uintptr_t)(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status)));
}

static int tree(int depth, unsigned char *block)
{
    if (depth == 0) {
        overrun(block);
        free(block);
        return 0;
    }
    pid_t child = fork();
    if (child == 0)
        exit(tree(depth - 1, block));
    int status;
    waitpid(child, &status, 0);
    free(block);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static void child_body(unsigned char *block)
{
    char *program = (char *)(uintptr_t)word("program", "/bin/true");
    char *arguments[] = {program, (char *)"how=memset", (char *)"size=24", is("clean", "1") ? NULL : (char *)"extra=3",
                         NULL};
    if (is("what", "child")) {
        overrun(block);
        free(block);
    } else if (is("what", "own")) {
        unsigned char *own = allocate();
        overrun(own);
        free(own);
    } else if (is("what", "exit"))
        overrun(block);
    else if (is("what", "parent"))
        free(block);
    else if (is("what", "exec")) {
        execv(program, arguments);
        _exit(126);
    } else if (is("what", "spawn")) {
        pid_t spawned;
        if (posix_spawn(&spawned, program, NULL, NULL, arguments, environ) != 0)
            abort();
        int status;
        waitpid(spawned, &status, 0);
    }
}

static sem_t used, over;

static void *use_heap(void *argument)
{
    free(malloc(SIZE));
    sem_post(&used);
    sem_wait(&over);
    return argument;
}

static void begin_thread(void)
{
    pthread_t thread;
    sem_init(&used, 0, 0);
    sem_init(&over, 0, is("before", "joined"));
    if (pthread_create(&thread, NULL, use_heap, NULL) != 0)
        abort();
    sem_wait(&used);
    if (is("before", "joined"))
        pthread_join(thread, NULL);
}

int main(int argc, char **argv)
{
    case_begin(argc, argv);
    if (word("before", NULL) != NULL)
        begin_thread();
    extra = is("clean", "1") ? 0 : number("extra", 3);
    unsigned char *block = allocate();
    if (is("what", "tree")) {
        fact("child_status", (uintptr_t)tree(3, block));
        return case_done();
    }
    pid_t child = fork();
    if (child == 0) {
        child_body(block);
        exit(7);
    }
    if (is("what", "parent"))
        overrun(block);
    wait_for(child);
    fact("pid", (uintptr_t)getpid());
    fact("child", (uintptr_t)child);
    free(block);
    return case_done();
}
