/* Checks of the whole heap that are left in the middle: HEAPWITNESS_CHECK_SIGNAL is SIGUSR2. After that each writes
   past a block, and a check has to tell it. */
#define _GNU_SOURCE
#include "check.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/time.h>

enum { BLOCKS = 200000, TIMES = 20 };
static sigjmp_buf back;
static volatile sig_atomic_t jumps;
static void *blocks[BLOCKS];

static void fill_the_heap(void)
{
    for (int i = 0; i < BLOCKS; i++)
        blocks[i] = malloc(100);
}
static void write_past_a_block(void)
{
    ((char *)hidden(blocks[7]))[100] = 'x';
    raise(SIGUSR2);
    puts("asked");
    fflush(stdout);
    _exit(0);
}
static void jump(int number)
{
    siglongjmp(back, ++jumps);
}
static void are_left_by_a_jump(void)
{
    struct itimerval soon = {{0, 0}, {0, 2000}};
    fill_the_heap();
    signal(SIGALRM, jump);
    if (sigsetjmp(back, 1) < TIMES) {
        CHECK(setitimer(ITIMER_REAL, &soon, NULL) == 0);
        for (;;)
            raise(SIGUSR2);
    }
    free(malloc(1));
    write_past_a_block();
}

static void *check_for_ever(void *unused)
{
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    free(malloc(1));
    for (;;)
        raise(SIGUSR2);
    return NULL;
}
static void are_left_by_a_cancelled_thread(void)
{
    fill_the_heap();
    for (int i = 0; i < 3; i++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, check_for_ever, NULL) == 0);
        usleep(20000 + 3000 * i);
        CHECK(pthread_cancel(thread) == 0 && pthread_join(thread, NULL) == 0);
    }
    write_past_a_block();
}

static char *big;
static void *check_once(void *unused)
{
    raise(SIGUSR2);
    return NULL;
}
/* Its damage is told by a thread that waits for its answer, while another releases it. */
static void wait_for_an_answer(void)
{
    pthread_t thread;
    big = malloc(2 << 20);
    ((char *)hidden(big))[2 << 20] = 'x';
    CHECK(pthread_create(&thread, NULL, check_once, NULL) == 0);
    sleep(1);
    free(big);
    CHECK(pthread_join(thread, NULL) == 0);
}

static const test_case cases[] = {
    {"are_left_by_a_jump", are_left_by_a_jump},
    {"are_left_by_a_cancelled_thread", are_left_by_a_cancelled_thread},
};

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "wait_for_an_answer") == 0) {
        wait_for_an_answer();
        return 0;
    }
    return RUN_CASE(cases, argc, argv);
}
