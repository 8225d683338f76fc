/* From before main to after exit: who allocates when, and whose malloc it is. */
#define _GNU_SOURCE
#include "check.h"

#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>

static const char *plugin, *nested;

#ifdef WITH_EARLY
extern char *made_early, *made_earlier;
static void early(void)
{
    CHECK(strcmp(made_early, "early") == 0 && strcmp(made_earlier, "earlier") == 0);
    CHECK(malloc_usable_size(made_early) >= 3000);
    made_earlier = realloc(made_earlier, 10000);
    CHECK(strcmp(made_earlier, "earlier") == 0);
}
#endif

static char *last;
static void at_exit(void)
{
    free(last);
    last = malloc(3000000);
    free(malloc(10));
}
static void exits(void)
{
    static char *kept[10000];
    for (int i = 0; i < 10000; i++)
        kept[i] = malloc((size_t)i);
    last = malloc(10);
    atexit(at_exit);
    CHECK(kept[9999]);
}

static void opens_and_closes(void)
{
    for (int i = 0; i < 100; i++) {
        void *library = dlopen(plugin, i % 2 ? RTLD_NOW : RTLD_LAZY | RTLD_GLOBAL);
        CHECK(library);
        char *(*make)(size_t) = (char *(*)(size_t))dlsym(library, "plugin_make");
        char *(*grow)(char *, size_t) = (char *(*)(char *, size_t))dlsym(library, "plugin_grow");
        char *block = make(100);
        CHECK(block[99] == 0);
        block = grow(block, 5000);
        CHECK(dlclose(library) == 0);
        free(block);
        CHECK(dlopen("/nowhere/at/all.so", RTLD_NOW) == NULL && dlerror());
    }
}

/* With RTLD_DEEPBIND a library prefers its own libraries' functions to those that were there before it. */
static void binds_deeply(void)
{
    void *library = dlopen(plugin, RTLD_NOW | RTLD_DEEPBIND);
    CHECK(library);
    char *(*make)(size_t) = (char *(*)(size_t))dlsym(library, "plugin_make");
    char *(*grow)(char *, size_t) = (char *(*)(char *, size_t))dlsym(library, "plugin_grow");
    void (*release)(void *) = (void (*)(void *))dlsym(library, "plugin_release");
    for (size_t size = 1; size < 2000000; size = size * 3 + 1) {
        free(make(size));
        release(malloc(size));
        char *block = grow(malloc(size), size * 2);
        CHECK(block);
        block = realloc(block, size * 3);
        CHECK(block);
        release(block);
    }
    CHECK(dlclose(library) == 0);
}

/* A library asks for another one that only its own run path leads to. */
static void opens_for_a_library(void)
{
    void *library = dlopen(nested, RTLD_NOW);
    CHECK(library);
    int (*opens)(const char *) = (int (*)(const char *))dlsym(library, "nested_opens");
    CHECK(opens("plugin.so"));
    CHECK(!dlopen("plugin.so", RTLD_NOW));
    dlclose(library);
}

static void *in_thread(void *block)
{
    void *library = dlopen(plugin, RTLD_NOW);
    CHECK(library);
    free(block);
    CHECK(dlclose(library) == 0);
    return strdup("from a thread");
}
static void threads_open(void)
{
    for (int i = 0; i < 50; i++) {
        pthread_t thread[4];
        for (int k = 0; k < 4; k++)
            CHECK(pthread_create(&thread[k], NULL, in_thread, malloc(50)) == 0);
        for (int k = 0; k < 4; k++) {
            void *text;
            pthread_join(thread[k], &text);
            free(text);
        }
    }
}

/* glibc's own names for the same functions. */
static void inner_names(void)
{
    void *(*inner_malloc)(size_t) = (void *(*)(size_t))dlsym(RTLD_DEFAULT, "__libc_malloc");
    void *(*inner_calloc)(size_t, size_t) = (void *(*)(size_t, size_t))dlsym(RTLD_DEFAULT, "__libc_calloc");
    void *(*inner_realloc)(void *, size_t) = (void *(*)(void *, size_t))dlsym(RTLD_DEFAULT, "__libc_realloc");
    void *(*inner_memalign)(size_t, size_t) = (void *(*)(size_t, size_t))dlsym(RTLD_DEFAULT, "__libc_memalign");
    void (*inner_free)(void *) = (void (*)(void *))dlsym(RTLD_DEFAULT, "__libc_free");
    CHECK(inner_malloc && inner_calloc && inner_realloc && inner_memalign && inner_free);
    for (size_t size = 1; size < 2000000; size = size * 3 + 1) {
        free(inner_malloc(size));
        inner_free(malloc(size));
        free(inner_calloc(1, size));
        inner_free(inner_realloc(malloc(size), size * 2));
        free(realloc(inner_memalign(64, size), size * 2));
    }
    CHECK(malloc_usable_size(last = inner_malloc(77)) >= 77);
    inner_free(last);
}

/* By the next definition: of the C library, past the heap that stands before it. */
static void next_names(void)
{
    void *(*next_malloc)(size_t) = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
    void (*next_free)(void *) = (void (*)(void *))dlsym(RTLD_NEXT, "free");
    CHECK(next_malloc && next_free);
    for (size_t size = 1; size < 2000000; size = size * 3 + 1) {
        next_free(next_malloc(size));
        free(next_malloc(size));
        next_free(malloc(size));
    }
}

/* Looked up in the C library alone, as ctypes.CDLL("libc.so.6") does: what its functions give is released by its free.
 */
static void names_of_libc_alone(void)
{
    void *libc = dlopen("libc.so.6", RTLD_NOW);
    CHECK(libc);
    void *(*libcs_malloc)(size_t) = (void *(*)(size_t))dlsym(libc, "malloc");
    void *(*libcs_realloc)(void *, size_t) = (void *(*)(void *, size_t))dlsym(libc, "realloc");
    int (*libcs_align)(void **, size_t, size_t) = (int (*)(void **, size_t, size_t))dlsym(libc, "posix_memalign");
    size_t (*libcs_size)(void *) = (size_t (*)(void *))dlsym(libc, "malloc_usable_size");
    char *(*libcs_strdup)(const char *) = (char *(*)(const char *))dlsym(libc, "strdup");
    void (*libcs_free)(void *) = (void (*)(void *))dlsym(libc, "free");
    CHECK(libcs_malloc && libcs_realloc && libcs_align && libcs_size && libcs_strdup && libcs_free);
    libcs_free(libcs_strdup("of libc's"));
    libcs_free(strdup("ours"));
    free(libcs_strdup("of libc's"));
    for (size_t size = 1; size < 2000000; size = size * 3 + 1) {
        void *block;
        free(libcs_malloc(size));
        libcs_free(malloc(size));
        CHECK((block = libcs_realloc(malloc(size), size * 2)) && libcs_size(block) >= size * 2);
        free(block);
        CHECK(libcs_align(&block, 64, size) == 0);
        libcs_free(block);
    }
    CHECK(dlsym(libc, "getenv") == dlsym(RTLD_DEFAULT, "getenv") && !dlerror());
    CHECK(!dlsym(libc, "of_nobody") && strstr(dlerror(), "of_nobody") && !dlerror());
    CHECK(dlclose(libc) == 0);
}

static void *of_version(void *library, const char *name)
{
    static const char *const versions[] = {"GLIBC_2.2.5", "GLIBC_2.17"}; /* the first ones of two machines */
    void *found = dlvsym(library, name, versions[0]);
    return found ? found : dlvsym(library, name, versions[1]);
}

/* What is looked up by its version is of the same heap. */
static void names_with_versions(void)
{
    void *libc = dlopen("libc.so.6", RTLD_NOW), *libraries[] = {RTLD_DEFAULT, RTLD_NEXT, libc};
    for (unsigned i = 0; i < sizeof libraries / sizeof libraries[0]; i++) {
        void *(*versions_malloc)(size_t) = (void *(*)(size_t))of_version(libraries[i], "malloc");
        void (*versions_free)(void *) = (void (*)(void *))of_version(libraries[i], "free");
        CHECK(versions_malloc && versions_free);
        free(versions_malloc(100));
        versions_free(malloc(100));
        CHECK(of_version(libraries[i], "getenv") && !dlerror());
        CHECK(!dlvsym(libraries[i], "malloc", "OF_NOBODY") && strstr(dlerror(), "OF_NOBODY") && !dlerror());
    }
    CHECK(dlclose(libc) == 0);
}

/* The same of a library, for which the C library's own functions are the next ones. */
static void names_behind_a_library(void)
{
    static const char *const ways[] = {"plugin_next", "plugin_next_version"};
    void *library = dlopen(plugin, RTLD_NOW);
    CHECK(library);
    for (unsigned i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        void *(*find)(const char *) = (void *(*)(const char *))dlsym(library, ways[i]);
        void *(*next_malloc)(size_t) = (void *(*)(size_t))find("malloc");
        void *(*next_realloc)(void *, size_t) = (void *(*)(void *, size_t))find("realloc");
        void (*next_free)(void *) = (void (*)(void *))find("free");
        CHECK(next_malloc && next_realloc && next_free);
        for (size_t size = 1; size < 2000000; size = size * 3 + 1) {
            free(next_malloc(size));
            next_free(strdup("ours"));
            free(next_realloc(malloc(size), size * 2));
        }
        dlerror();
        CHECK(!find("of_nobody") && strstr(dlerror(), "of_nobody"));
    }
    CHECK(dlclose(library) == 0);
}

static const test_case cases[] = {
    {"exits", exits},
    {"opens_and_closes", opens_and_closes},
    {"binds_deeply", binds_deeply},
    {"opens_for_a_library", opens_for_a_library},
    {"threads_open", threads_open},
    {"inner_names", inner_names},
    {"next_names", next_names},
    {"names_of_libc_alone", names_of_libc_alone},
    {"names_with_versions", names_with_versions},
    {"names_behind_a_library", names_behind_a_library},
#ifdef WITH_EARLY
    {"early", early},
#endif
};

int main(int argc, char **argv)
{
    plugin = argc > 2 ? argv[2] : "";
    nested = argc > 3 ? argv[3] : "";
    return RUN_CASE(cases, argc, argv);
}
