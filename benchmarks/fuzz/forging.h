/* What the programs have in common that show the core bytes which an attacker chose: chances, patience, turns.

   Usage of each: SEED SECONDS. No call may take longer than a second. */
#ifndef HEAPWITNESS_FORGING_H
#define HEAPWITNESS_FORGING_H

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE = 1 };

static uint64_t state, seed;
static volatile const char *doing = "";

static uint32_t pick(uint32_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32) % below;
}

static void too_long(int number)
{
    (void)number;
    fprintf(stderr, "endless: %s, seed %llu\n", (const char *)doing, (unsigned long long)seed);
    _exit(1);
}

/* Of the processor's time: a machine that is busy with something else makes no call endless. 0 for no limit. */
static void allow(int seconds)
{
    struct itimerval limit = {.it_value = {.tv_sec = seconds}};
    setitimer(ITIMER_PROF, &limit, NULL);
}

static void call(const char *name)
{
    doing = name;
    allow(PATIENCE);
}

/* One seed after the other until the time is over. */
static int play_for(int count, char **words, void (*play)(void), const char *what)
{
    if (count != 3)
        return 2;
    signal(SIGPROF, too_long);
    seed = strtoull(words[1], NULL, 0);
    time_t end = time(NULL) + atol(words[2]);
    unsigned long played = 0;
    do {
        state = ++seed * UINT64_C(0x9E3779B97F4A7C15) | 1;
        play();
        played++;
    } while (time(NULL) < end);
    printf("%lu %s\n", played, what);
    return 0;
}

#endif
