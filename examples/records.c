/* A record parser that trusts its input: a key of up to 23 characters fits, a longer one is copied all the same.
   Under glibc: nothing is heard; the heap believes from then on that it is smaller than it is. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_BYTES = 24 };

static const char *const lines[] = {
    "port=8080",
    "timeout=30",
    "session_cookie_lifetime_ms=86400",
    "workers=4",
};

static char *new_key(void)
{
    return malloc(KEY_BYTES);
}

static char *parse_line(const char *line, long *value)
{
    const char *equals = strchr(line, '=');
    char *key = new_key();
    size_t length = (size_t)(equals - line);
    memcpy(key, line, length); /* 26 characters in the third line, and a terminator */
    key[length] = '\0';
    *value = strtol(equals + 1, NULL, 10);
    return key;
}

int main(void)
{
    size_t count = sizeof lines / sizeof *lines;
    char *keys[sizeof lines / sizeof *lines];
    for (size_t i = 0; i < count; i++) {
        long value;
        keys[i] = parse_line(lines[i], &value);
        printf("%-28s %ld\n", keys[i], value);
    }
    for (size_t i = 0; i < count; i++)
        free(keys[i]);
    return 0;
}
