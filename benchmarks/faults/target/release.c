#include "damage.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>

static void *free_it(void *pointer)
{
    free(pointer);
    return NULL;
}

static sem_t turn;

static void *free_in_turn(void *pointer)
{
    sem_wait(&turn);
    return free_it(pointer);
}

static bool twice(worker *w, truth *t, bool (*fits)(const block *), unsigned long number)
{
    block *b = some_block(w, fits);
    if (!b || b->family)
        return false;
    t->of = *b;
    t->kinds = DOUBLE;
    t->pointer = b->at;
    *b = (block){.at = NULL};
    /* Started before the first release: what its start allocates must not be this very block. */
    enum { HERE, FIRST_ELSEWHERE, THEN_ELSEWHERE, LATER, WAYS };
    unsigned how = pick(w, WAYS);
    bool elsewhere = how == FIRST_ELSEWHERE || how == THEN_ELSEWHERE;
    pthread_t other;
    sem_init(&turn, 0, 0);
    if (elsewhere && pthread_create(&other, NULL, free_in_turn, t->of.at) != 0)
        return false;
    tell(t, number);
    if (how != FIRST_ELSEWHERE)
        free_it(t->of.at);
    if (elsewhere) {
        sem_post(&turn);
        pthread_join(other, NULL);
    }
    if (how == LATER) /* and merged perhaps */
        for (unsigned k = 0; k < workers[0].count; k++)
            if (pick(w, 2) && workers[0].blocks[k].at) {
                drop(&workers[0].blocks[k]);
                workers[0].blocks[k].at = NULL;
            }
    if (how != THEN_ELSEWHERE)
        free_it(t->of.at);
    return true;
}

static bool invalid(worker *w, truth *t, const char *how, unsigned long number)
{
    static char outside[64];
    block *b = some_block(w, has_inside);
    if (!b)
        return false;
    t->kinds = INVALID;
    t->of = *b;
    if (*how == 'i') {
        t->pointer = b->at + 16 * (1 + pick(w, (uint32_t)((b->size - 17) / 16)));
    } else if (*how == 'm') {
        t->pointer = b->at + 1 + pick(w, 15);
    } else {
        t->pointer = *how == 'h' ? b->at - 16 : pick(w, 2) ? (unsigned char *)outside + 16 : (unsigned char *)&w->state;
        t->flags |= NO_CULPRIT;
    }
    tell(t, number);
    free_it(t->pointer);
    return true;
}

static bool mismatched(worker *w, truth *t, unsigned long number)
{
    block *b = some_block(w, is_any);
    if (!b || !_Znwm)
        return false;
    t->of = *b;
    t->kinds = MISMATCHED;
    t->pointer = b->at;
    *b = (block){.at = NULL};
    tell(t, number);
    if (t->of.family == 0)
        (pick(w, 2) ? _ZdlPv : _ZdaPv)(t->of.at);
    else
        free_it(t->of.at);
    return true;
}

bool release_wrongly(worker *w, truth *t, unsigned row, unsigned long number)
{
    switch (row) {
    case 17:
        return twice(w, t, is_small, number);
    case 18:
        return twice(w, t, is_big, number);
    case 19:
        return invalid(w, t, "interior", number);
    case 20:
        return invalid(w, t, "header", number);
    case 21:
        return invalid(w, t, "misaligned", number);
    case 22:
        return invalid(w, t, "outside", number);
    default:
        return mismatched(w, t, number);
    }
}
