/* A library that allocates before any constructor of the heap has run, and frees after its destructors; linked
   with -DTHREADS it even starts a thread in its constructor. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *made_early, *made_earlier;

static void *(*choose_copy(void))(void *, const void *, size_t)
{
    return memcpy; /* resolvers run while the program is relocated */
}
void *early_copy(void *, const void *, size_t) __attribute__((ifunc("choose_copy")));

static void *allocate_on(void *unused)
{
    for (int i = 0; i < 20000; i++)
        free(malloc((size_t)(i % 1000)));
    return unused;
}

static pthread_t thread;

__attribute__((constructor(101))) static void earlier(void)
{
    made_earlier = strdup("earlier");
    setenv("MADE_EARLY", "1", 1);
    pthread_create(&thread, NULL, allocate_on, NULL);
}

__attribute__((constructor)) static void early(void)
{
    made_early = calloc(100, 30);
    strcpy(made_early, "early");
}

__attribute__((destructor)) static void late(void)
{
    if (strcmp(made_early, "early") || strcmp(made_earlier, "earlier"))
        _exit(9);
    free(made_early);
    made_early = malloc(700000);
}

__attribute__((destructor(101))) static void latest(void)
{
    pthread_join(thread, NULL);
    free(made_early);
    free(made_earlier);
    free(malloc(1000));
}
