/* Operations of the heap that a signal handler leaves by longjmp, with writes past blocks before: `left CASE`. */
#define _GNU_SOURCE
#include "check.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/time.h>

enum { BLOCKS = 300, ROUNDS = 400 };
static sigjmp_buf out;
static volatile sig_atomic_t inside;
static volatile int rounds;
static char *volatile kept[BLOCKS];

static void leave(int number)
{
    if (inside) {
        inside = 0;
        siglongjmp(out, 1);
    }
}

/* Each round ends by a jump out of what is almost always an operation. */
static void leave_many_operations(void)
{
    struct sigaction action = {.sa_handler = leave};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    while (rounds < ROUNDS) {
        struct itimerval soon = {{0, 0}, {0, 50 + rounds % 50}};
        rounds++;
        if (sigsetjmp(out, 1) == 0) {
            inside = 1;
            CHECK(setitimer(ITIMER_REAL, &soon, NULL) == 0);
            for (unsigned i = 0;; i++)
                free(malloc(600 + i % 2000));
        }
        free(malloc(10));
    }
}

static void fill(void)
{
    for (int i = 0; i < BLOCKS; i++)
        kept[i] = malloc(200);
}
static void is_healthy(void)
{
    fill();
    leave_many_operations();
}
static void is_damaged_in_two_places(void)
{
    fill();
    kept[50][200] = 'x';
    kept[250][200] = 'y';
    leave_many_operations();
}

static const test_case cases[] = {
    {"is_healthy", is_healthy},
    {"is_damaged_in_two_places", is_damaged_in_two_places},
};

int main(int argc, char **argv)
{
    return RUN_CASE(cases, argc, argv);
}
