/* Random programs on malloc with one damage or wrong release each, and the truth about it.

   Usage: target SEED FIRST COUNT plain|poison. Runs FIRST to before FIRST + COUNT, each in a forked child, that says
   what it is about to do and ends with status 0 when all that it can check is as it should be. What is done follows
   from the seed and the run's number, as far as the threads' turns do not matter. Lines on standard output:

     run NUMBER PID ROW MODE BLOCK SIZE MAKER START STOP WROTE WROTE_END SEEN SEEN_END POINTER KINDS ALIKE LOST FLAGS
     note NUMBER ADDRESS: IS/WAS ...     what was not restored
     end NUMBER STATUS     0; 1 not restored; 2 a payload is wrong; 4 nothing was done; 128 + the signal that ended it

   It knows the heap's format (docs/format.md), to damage it and to see whether it was restored. */
#include "damage.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const rows[] = {
    "overflow-fill", "overflow-text", "overflow-words",  "overflow-big",
    "skipping",      "slack",         "underflow",       "bit",
    "word",          "header",        "backup",          "both",
    "links",         "control-fixed", "control-derived", "control-copy",
    "run-edge",      "double",        "double-big",      "interior",
    "in-header",     "misaligned",    "outside",         "family",
};
enum { ROWS = sizeof rows / sizeof rows[0] };

static bool do_it(worker *w, truth *t, unsigned row, bool poison, unsigned long number)
{
    t->row = rows[row];
    if (strstr(t->row, "big") && w->count < BLOCKS)
        w->blocks[w->count++] = make(w, BIG + pick(w, 1 << 20));
    return row < DAMAGES ? damage(w, t, row, poison, number) : release_wrongly(w, t, row, number);
}

/* Whether all blocks that the damage did not reach hold what was put there. */
static bool payloads_are_right(const truth *t)
{
    for (unsigned i = 0; i <= threads; i++)
        for (unsigned k = 0; k < workers[i].count; k++) {
            const block *b = &workers[i].blocks[k];
            if (b->at && (b->at >= t->stop || b->at + b->size <= t->start) && !is_filled(b))
                return false;
        }
    return true;
}

static int one(uint64_t seed, unsigned long number, bool poison)
{
    uint64_t state = (seed * UINT64_C(0x9E3779B97F4A7C15) + number) * UINT64_C(0xBF58476D1CE4E5B9) | 1;
    for (unsigned i = 0; i <= THREADS; i++) {
        workers[i].state = (state + i) * UINT64_C(0x94D049BB133111EB) | 1;
        workers[i].usual = 1 + pick(&workers[i], pick(&workers[i], 2) ? 300 : IN_RUNS);
    }
    worker *w = &workers[0];
    pick(w, 2);
    threads = pick(w, 3) ? 0 : 1 + pick(w, THREADS);
    together();
    truth t = {.of = {.at = NULL}};
    bool done = false;
    for (int tries = 0; tries < 30 && !done; tries++) {
        forget_watches();
        t = (truth){.flags = pick(w, 2) ? CHECK : 0};
        done = do_it(w, &t, (unsigned)(number % ROWS), poison, number);
        forget_holes();
    }
    if (!done)
        return 4;
    bool restored = true;
    if (t.flags & CHECK) {
        raise(SIGUSR2);
        restored = t.lost || is_restored(number);
    }
    if (!payloads_are_right(&t))
        return 2;
    together();
    if (!payloads_are_right(&t))
        return 2;
    if (pick(w, 3)) /* else the rest is left to the check at exit */
        for (unsigned i = 0; i <= threads; i++)
            while (workers[i].count)
                drop(&workers[i].blocks[--workers[i].count]);
    return restored ? 0 : 1;
}

int main(int count, char **words)
{
    if (count != 5)
        return 2;
    uint64_t seed = strtoull(words[1], NULL, 0);
    unsigned long first = strtoul(words[2], NULL, 0), runs = strtoul(words[3], NULL, 0);
    bool poison = strcmp(words[4], "poison") == 0;
    for (unsigned long number = first; number < first + runs; number++) {
        pid_t child = fork();
        if (child == 0)
            exit(one(seed, number, poison));
        int status = 0;
        while (waitpid(child, &status, 0) < 0)
            ;
        char line[64];
        int length = snprintf(line, sizeof line, "end %lu %d\n", number,
                              WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
        if (write(1, line, (size_t)length) != length)
            return 3;
    }
    return 0;
}
