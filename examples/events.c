/* A handler that removes its own event; the dispatcher counts the call in the event when the handler is back.
   Under glibc: the count lands in the free list's pointer: a crash, if any, comes with a later malloc. */

#include <stdio.h>
#include <stdlib.h>

struct event {
    unsigned long calls;
    int (*handler)(struct event *);
    const char *name;
};

static struct event *new_event(const char *name, int (*handler)(struct event *))
{
    struct event *event = malloc(sizeof *event);
    event->calls = 0;
    event->name = name;
    event->handler = handler;
    return event;
}

static int again(struct event *event)
{
    printf("%s\n", event->name);
    return 1;
}

static int once(struct event *event)
{
    printf("%s, once\n", event->name);
    free(event);
    return 0;
}

static int dispatch(struct event *event)
{
    int keep = event->handler(event);
    event->calls++; /* freed by `once` */
    return keep;
}

int main(void)
{
    struct event *tick = new_event("tick", again);
    struct event *start = new_event("start", once);
    int kept = dispatch(start);
    kept += dispatch(tick);
    printf("%d event kept\n", kept);
    free(tick);
    return 0;
}
