/* What pages the heap asks the kernel for, and what it gives back. */
#include "check.h"

#include <stdbool.h>

static bool has_mapping_with(const char *flag)
{
    char line[512];
    bool found = false;
    FILE *file = fopen("/proc/self/smaps", "r");
    CHECK(file);
    while (fgets(line, sizeof line, file))
        found |= strncmp(line, "VmFlags:", 8) == 0 && strstr(line, flag);
    fclose(file);
    return found;
}

static void take(size_t bytes)
{
    enum { EACH = 500 };
    for (size_t taken = 0; taken < bytes; taken += EACH)
        CHECK(malloc(EACH));
}

static void little_has_small_pages(void)
{
    take(8 << 20);
    CHECK(!has_mapping_with(" hg"));
}

/* What was asked for before stays as it is, so that what is given back does not come back by itself. */
static void much_asks_for_large_ones_at_its_end_only(void)
{
    take(80 << 20);
    CHECK(has_mapping_with(" hg"));
    CHECK(has_mapping_with(" nh"));
}

/* What a program needed once, and does not need again, does not stay with it for good. */
static void memory_of_a_passed_peak_goes_back(void)
{
    enum { MOST = 32000, LATER = 2000, ROUNDS = 400, EACH = 1000 };
    static char *block[MOST];
    size_t before = resident();
    for (int round = 0; round < ROUNDS; round++) {
        int count = round == 0 ? MOST : LATER;
        for (int i = 0; i < count; i++) {
            block[i] = malloc(EACH);
            CHECK(block[i]);
            memset(block[i], 1, EACH);
        }
        for (int i = 0; i < count; i++)
            free(block[i]);
    }
    CHECK(resident() < before + MOST / 4 * EACH);
}

static const test_case cases[] = {
    {"little_has_small_pages", little_has_small_pages},
    {"much_asks_for_large_ones_at_its_end_only", much_asks_for_large_ones_at_its_end_only},
    {"memory_of_a_passed_peak_goes_back", memory_of_a_passed_peak_goes_back},
};

int main(int argc, char **argv)
{
    return RUN_CASE(cases, argc, argv);
}
