/* What the parts written in C share; see native.h for what they are to Python. */

#ifndef SCSTFS_SHARED_H
#define SCSTFS_SHARED_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "native.h"

/* What read(2) and write(2) move at once, at most; the caller goes on with the rest. */
#define MOST_BYTES 0x7ffff000u

/* Modes of fallocate(2), whose header every user has to include. */
#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define ZERO (FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE)

static inline unsigned at_once(const struct disk_request *request)
{
    return request->length < MOST_BYTES ? request->length : MOST_BYTES;
}

static inline void *memory_of(const struct disk_request *request)
{
    return (void *)(uintptr_t)request->memory;
}

/* The system must not get a request any more. */
static inline bool is_late(const struct disk_request *request)
{
    const int64_t *deadline = (const int64_t *)(uintptr_t)request->deadline;
    struct timespec now;

    if (deadline == NULL)
        return false;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec >= __atomic_load_n(deadline, __ATOMIC_RELAXED);
}

/* Have an eventfd readable, or not.  Both are done already where they fail. */
static inline void signal_event(int eventfd)
{
    uint64_t one = 1;

    (void)!write(eventfd, &one, sizeof one);
}

static inline void clear_event(int eventfd)
{
    uint64_t count;

    (void)!read(eventfd, &count, sizeof count);
}

/* apart.c */

/* Start a thread of ours, which does not take the signals that are the program's. */
bool start_thread(void *(*body)(void *), void *argument);

/* Call a function in a process of its own; its result, or -1 if it was killed. */
int run_apart(int (*body)(void *), void *argument);

/* Do in this thread what a request is about: its result, or a negative errno. */
int64_t perform(const struct disk_request *request);

#endif
