/* The functions that start programs. Those that the engine cannot be loaded into are told of; those that its name in
   LD_PRELOAD would keep from starting, or make complain, get an environment without it. */
#define _GNU_SOURCE
#include "life/lifecycle.h"
#include "os/confined.h"
#include "os/next.h"
#include "os/system.h"
#include "tell/channel.h"
#include "tell/stranger.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

enum { PATH = 4096, VARIABLES = 16384 };
static const char PRELOAD[] = "LD_PRELOAD=";
static const char *engine; /* the path that it was loaded by */

/* One call, by whichever function. */
typedef struct start start;
struct start {
    int (*go)(const start *, char *const *environment);
    const char *file;
    int directory, flags;
    char *const *words;
    bool replaces, searches;
    hw_caller caller;
    pid_t *child;
    const posix_spawn_file_actions_t *actions;
    const posix_spawnattr_t *attributes;
};

__attribute__((constructor(102))) static void find_engine(void)
{
    Dl_info information;
    if (dladdr((void *)&engine, &information))
        engine = information.dli_fname;
}

/* --- the environment -------------------------------------------------------------------------- */

static const char *const SEPARATORS = " :";

/* Where the engine stands in a list; NULL: it does not. */
static const char *engine_in(const char *list)
{
    size_t length = strlen(engine);
    for (const char *at = list; *at; at += strcspn(at, SEPARATORS)) {
        at += strspn(at, SEPARATORS);
        if (strncmp(at, engine, length) == 0 && strchr(" :", at[length]))
            return at;
    }
    return NULL;
}

static char *const *preload_of(char *const *environment)
{
    for (; environment && *environment; environment++)
        if (strncmp(*environment, PRELOAD, sizeof PRELOAD - 1) == 0)
            return environment;
    return NULL;
}

/* The variable without the engine; false: then nothing is left. */
static bool write_without(char *into, const char *variable, const char *at)
{
    size_t before = (size_t)(at - variable);
    const char *rest = at + strlen(engine);
    rest += strspn(rest, SEPARATORS);
    memcpy(into, variable, before);
    strcpy(into + before, rest);
    return into[sizeof PRELOAD - 1] != 0;
}

static int go_without(const start *s, char *const *environment, char *const *variable, const char *at)
{
    size_t count = 0, kept = 0;
    while (environment[count])
        count++;
    if (count > VARIABLES)
        return s->go(s, environment);
    char *without[count + 1], text[strlen(*variable) + 1];
    for (size_t i = 0; i < count; i++) {
        if (&environment[i] != variable)
            without[kept++] = environment[i];
        else if (write_without(text, *variable, at))
            without[kept++] = text;
    }
    without[kept] = NULL;
    return s->go(s, without);
}

/* The engine before what the program put in its place, as it is where something was there from the start. */
static int go_with(const start *s, char *const *environment, char *const *variable)
{
    size_t count = 0;
    while (environment[count])
        count++;
    if (count > VARIABLES)
        return s->go(s, environment);
    char *with[count + 1], text[strlen(*variable) + strlen(engine) + 2];
    stpcpy(stpcpy(stpcpy(stpcpy(text, PRELOAD), engine), ":"), *variable + sizeof PRELOAD - 1);
    for (size_t i = 0; i <= count; i++)
        with[i] = &environment[i] == variable ? text : environment[i];
    return s->go(s, with);
}

/* --- one way for all -------------------------------------------------------------------------- */

/* A program that is there, but not the engine's file: not in a root of its own, or not for this user. */
static bool is_out_of_reach(const start *s, const char *file)
{
    bool named = s->directory == AT_FDCWD && file[0] != 0;
    return hw_stranger_cannot_read(engine) && (!named || hw_stranger_may_be_run(file));
}

static __attribute__((noinline)) enum hw_stranger look(const start *s)
{
    char path[PATH];
    const char *file = s->file;
    if (s->searches && !strchr(file, '/')) {
        if (!hw_stranger_search(file, path, sizeof path))
            return HW_NO_STRANGER;
        file = path;
    }
    enum hw_stranger found = hw_stranger_look(s->directory, file);
    return found == HW_NO_STRANGER && is_out_of_reach(s, file) ? HW_OUT_OF_REACH : found;
}

/* That its environment does not name the engine is told of a program that is there: some try one directory after the
   other. And where it replaces this one, which does not end then. */
static bool is_told(const start *s, enum hw_stranger found)
{
    if (found != HW_NOT_TOLD)
        return found != HW_NO_STRANGER;
    return (s->replaces && hw_process_is_ours()) || s->searches || hw_stranger_may_be_run(s->file);
}

/* Libraries of its own take the engine's place, in an environment that is else as it was: nobody meant the engine. Who
   does leaves nothing there. (A sanitizer's library has to come first, with the heap that it brings.) */
static bool has_lost_it(char *const *environment, char *const *variable)
{
    static const char *const left[] = {"HEAPWITNESS_SOCKET=", "HEAPWITNESS_LOG="};
    const char *list = variable ? *variable + sizeof PRELOAD - 1 : "";
    if (!list[strspn(list, SEPARATORS)] || strstr(list, "san.so"))
        return false;
    for (; *environment; environment++)
        for (unsigned i = 0; i < sizeof left / sizeof left[0]; i++)
            if (strncmp(*environment, left[i], strlen(left[i])) == 0)
                return true;
    return false;
}

static int launch(const start *s, char *const *environment)
{
    if (!engine || !s->file)
        return s->go(s, environment);
    char *const *variable = preload_of(environment);
    const char *at = variable ? engine_in(*variable + sizeof PRELOAD - 1) : NULL;
    if (HW_UNLIKELY(hw_child_is_confined()))
        return at && !hw_may_be_loaded() ? go_without(s, environment, variable, at) : s->go(s, environment);
    if (!hw_has_libcs_storage())
        return s->go(s, environment);
    int before = errno;
    if (s->replaces)
        hw_program_is_replaced(s->caller);
    bool lost = !at && has_lost_it(environment, variable);
    enum hw_stranger found = at || lost ? look(s) : HW_NOT_TOLD;
    if (is_told(s, found))
        hw_tell_stranger(s->file[0] || !s->words || !s->words[0] ? s->file : s->words[0], found, s->replaces);
    errno = before;
    /* A fresh engine knows nothing of what its program is confined by, and would die of it. */
    bool would_die = (at || lost) && hw_confined && !hw_may_be_loaded();
    if (lost)
        return would_die || found != HW_NO_STRANGER ? s->go(s, environment) : go_with(s, environment, variable);
    return would_die || hw_stranger_minds(found) ? go_without(s, environment, variable, at) : s->go(s, environment);
}

typedef int executor(const char *, char *const *, char *const *);
typedef int executor_of(int, char *const *, char *const *);
typedef int executor_at(int, const char *, char *const *, char *const *, int);
typedef int spawner(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *, char *const *,
                    char *const *);

static int go_execve(const start *s, char *const *environment)
{
    NEXT("execve", executor, -1);
    return next(s->file, s->words, environment);
}
static int go_execvpe(const start *s, char *const *environment)
{
    NEXT("execvpe", executor, -1);
    return next(s->file, s->words, environment);
}
static int go_fexecve(const start *s, char *const *environment)
{
    NEXT("fexecve", executor_of, -1);
    return next(s->directory, s->words, environment);
}
static int go_execveat(const start *s, char *const *environment)
{
    NEXT("execveat", executor_at, -1);
    return next(s->directory, s->file, s->words, environment, s->flags);
}
static int go_spawn(const start *s, char *const *environment)
{
    NEXT("posix_spawn", spawner, ENOSYS);
    return next(s->child, s->file, s->actions, s->attributes, s->words, environment);
}
static int go_spawnp(const start *s, char *const *environment)
{
    NEXT("posix_spawnp", spawner, ENOSYS);
    return next(s->child, s->file, s->actions, s->attributes, s->words, environment);
}

EXPORT int execve(const char *path, char *const words[], char *const environment[])
{
    start s = {
        .go = go_execve, .file = path, .directory = AT_FDCWD, .words = words, .replaces = true, .caller = HW_HERE};
    return launch(&s, environment);
}

EXPORT int execv(const char *path, char *const words[])
{
    return execve(path, words, environ);
}

EXPORT int execvpe(const char *file, char *const words[], char *const environment[])
{
    start s = {.go = go_execvpe,
               .file = file,
               .directory = AT_FDCWD,
               .words = words,
               .replaces = true,
               .caller = HW_HERE,
               .searches = true};
    return launch(&s, environment);
}

EXPORT int execvp(const char *file, char *const words[])
{
    return execvpe(file, words, environ);
}

EXPORT int fexecve(int file, char *const words[], char *const environment[])
{
    start s = {.go = go_fexecve, .file = "", .directory = file, .words = words, .replaces = true, .caller = HW_HERE};
    return launch(&s, environment);
}

EXPORT int execveat(int directory, const char *path, char *const words[], char *const environment[], int flags)
{
    start s = {.go = go_execveat,
               .file = path,
               .directory = directory,
               .flags = flags,
               .words = words,
               .replaces = true,
               .caller = HW_HERE};
    return launch(&s, environment);
}

EXPORT int posix_spawn(pid_t *child, const char *path, const posix_spawn_file_actions_t *actions,
                       const posix_spawnattr_t *attributes, char *const words[], char *const environment[])
{
    start s = {.go = go_spawn,
               .file = path,
               .directory = AT_FDCWD,
               .words = words,
               .child = child,
               .actions = actions,
               .attributes = attributes};
    return launch(&s, environment);
}

EXPORT int posix_spawnp(pid_t *child, const char *file, const posix_spawn_file_actions_t *actions,
                        const posix_spawnattr_t *attributes, char *const words[], char *const environment[])
{
    start s = {.go = go_spawnp,
               .file = file,
               .directory = AT_FDCWD,
               .words = words,
               .searches = true,
               .child = child,
               .actions = actions,
               .attributes = attributes};
    return launch(&s, environment);
}

/* --- with the words one by one ---------------------------------------------------------------- */

/* After the first one, which must not be NULL. */
static size_t count_words(va_list list)
{
    size_t count = 1;
    while (va_arg(list, char *))
        count++;
    return count;
}

/* Of a function whose last named argument is `first`: an array of the words, and where the list stands after it. */
#define GATHER(words, list, first)                                                                                     \
    va_start(list, first);                                                                                             \
    size_t count_ = count_words(list);                                                                                 \
    va_end(list);                                                                                                      \
    char *words[count_ + 1];                                                                                           \
    va_start(list, first);                                                                                             \
    (words)[0] = (char *)(uintptr_t)(first);                                                                           \
    for (size_t i_ = 1; i_ <= count_; i_++)                                                                            \
    (words)[i_] = va_arg(list, char *)

EXPORT int execl(const char *path, const char *first, ...)
{
    va_list list;
    GATHER(words, list, first);
    va_end(list);
    return execve(path, words, environ);
}

EXPORT int execlp(const char *file, const char *first, ...)
{
    va_list list;
    GATHER(words, list, first);
    va_end(list);
    return execvpe(file, words, environ);
}

EXPORT int execle(const char *path, const char *first, ...)
{
    va_list list;
    GATHER(words, list, first);
    char *const *environment = va_arg(list, char *const *);
    va_end(list);
    return execve(path, words, environment);
}
