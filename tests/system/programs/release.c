/* Releases what must not be released.

   what=cached|merged|neighbours|thread: a block that was freed already
   what=interior|offset8|offset1|end|header|stack|static|literal|mapped|small: no block's start
   size=N   call=free|realloc    clean=1: the clean twin releases each block once */

#include "case.h"

#include <pthread.h>
#include <sys/mman.h>

enum { ROW = 64, MIDDLE = 40 };

static unsigned char *row[ROW];
static char a_static[64] __attribute__((aligned(16)));

static __attribute__((noinline)) void *allocate(size_t size)
{
    void *block = malloc(size); /* culprit: malloc */
    if (block == NULL)
        abort();
    memset(block, 0, size < 4096 ? size : 4096);
    return block;
}

static __attribute__((noinline)) void release(void *block)
{
    free(block); /* freed here */
}

static __attribute__((noinline)) void release_wrongly(void *block)
{
    fact("pointer", (uintptr_t)block);
    if (is("call", "realloc"))
        fact("answer", (uintptr_t)realloc(block, 100)); /* released wrongly: realloc */
    else
        free(block); /* released wrongly: free */
}

static void *releasing_thread(void *block)
{
    release(block);
    return NULL;
}

static void in_a_thread(void *(*body)(void *), void *argument)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, body, argument) != 0 || pthread_join(thread, NULL) != 0)
        abort();
}

static void release_twice(void)
{
    unsigned char *culprit = row[MIDDLE];
    fact("culprit", (uintptr_t)culprit);
    if (is("what", "thread"))
        in_a_thread(releasing_thread, culprit);
    else
        release(culprit);
    row[MIDDLE] = NULL;
    if (is("what", "merged")) {
        release(row[MIDDLE - 1]);
        row[MIDDLE - 1] = NULL;
    }
    if (is("what", "neighbours"))
        for (size_t i = MIDDLE - 2; i <= MIDDLE + 2; i++)
            if (i != MIDDLE) {
                release(row[i]);
                row[i] = allocate(number("size", 24));
            }
    if (!is("clean", "1"))
        release_wrongly(culprit);
}

static bool is_release_twice(void)
{
    static const char *const twice[] = {"cached", "merged", "neighbours", "thread"};
    for (size_t i = 0; i < sizeof twice / sizeof *twice; i++)
        if (is("what", twice[i]))
            return true;
    return false;
}

static void release_other(size_t size)
{
    unsigned char *culprit = row[MIDDLE];
    void *mapped = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    _Alignas(16) char on_stack[64] = "on the stack";
    const struct {
        const char *what;
        void *pointer;
    } wrong[] = {
        {"interior", culprit + ((size / 2 + 15) & ~(size_t)15)},
        {"offset8", culprit + 8},
        {"offset1", culprit + 1},
        {"end", culprit + size},
        {"header", culprit - 16},
        {"stack", on_stack},
        {"static", a_static},
        {"literal", (void *)(uintptr_t)"a literal"},
        {"mapped", (char *)mapped + 4096},
        {"small", (void *)16},
    };
    fact("culprit", (uintptr_t)culprit);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (is("what", wrong[i].what) && !is("clean", "1"))
            release_wrongly(wrong[i].pointer);
    if (on_stack[0] != 'o' || munmap(mapped, 65536) != 0)
        abort();
}

int main(int argc, char **argv)
{
    case_begin(argc, argv);
    size_t size = number("size", 24);
    for (size_t i = 0; i < ROW; i++)
        row[i] = allocate(size);
    if (is_release_twice())
        release_twice();
    else
        release_other(size);
    for (size_t i = 0; i < ROW; i++)
        release(row[i]);
    return case_done();
}
