/* Preloaded: says on standard error when a thread of a given name takes the lock of the C library's main heap, on which
 * the program's first thread allocates. A clone without fork hooks that happens just then copies the lock while it is held,
 * and the copy waits for it for ever. For glibc: the flags lie in the word before a block (malloc/malloc.c, "chunk"). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { MAPPED = 2, OTHER_HEAP = 4, FLAGS = 7, LARGEST_CACHED = 1040 };

static void *(*real_realloc)(void *, size_t);
static void (*real_free)(void *);

static int watched(void)
{
    static __thread int known; /* 0: not asked yet */
    if (known == 0) {
        char name[16] = "";
        const char *prefix = getenv("HEAP_WATCH");
        prctl(PR_GET_NAME, name);
        known = prefix && strncmp(name, prefix, strlen(prefix)) == 0 ? 1 : -1;
    }
    return known == 1;
}

static int on_main_heap(const void *block)
{
    return block && !(((const size_t *)block)[-1] & (MAPPED | OTHER_HEAP));
}

static void say(const char *call, const void *block)
{
    char name[16] = "", line[96];
    prctl(PR_GET_NAME, name);
    int length = snprintf(line, sizeof line, "%s: %s of %zu bytes takes the lock of the main heap\n", name, call,
                          ((const size_t *)block)[-1] & ~(size_t)FLAGS);
    if (write(STDERR_FILENO, line, (size_t)length) != length)
        abort();
}

void *realloc(void *block, size_t bytes)
{
    if (!real_realloc)
        *(void **)&real_realloc = dlsym(RTLD_NEXT, "realloc");
    if (on_main_heap(block) && watched())
        say("realloc", block);
    return real_realloc(block, bytes);
}

/* A small block goes to the thread's own cache first, which needs no lock. */
void free(void *block)
{
    if (!real_free)
        *(void **)&real_free = dlsym(RTLD_NEXT, "free");
    if (on_main_heap(block) && (((const size_t *)block)[-1] & ~(size_t)FLAGS) > LARGEST_CACHED && watched())
        say("free", block);
    real_free(block);
}
