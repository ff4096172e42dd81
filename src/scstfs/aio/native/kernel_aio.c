/* The kernel's AIO, through libaio: direct reads and writes. */

#define _GNU_SOURCE
#include <sys/uio.h>
#include <time.h>

#include "shared.h"

#ifdef HAVE_LIBAIO
#include <libaio.h>

struct disk_aio {
    io_context_t context;
    int eventfd;
    unsigned under_way;
    /* Those that the system would not take yet. */
    struct iocb blocks[DISK_BATCH];
    unsigned first, last;
    /* Completions of those that it refused. */
    struct disk_completion *refused;
    unsigned refusals;
};

struct disk_aio *disk_aio_open(unsigned entries, int eventfd, int *error)
{
    struct disk_aio *aio = calloc(1, sizeof *aio);
    int result = -ENOMEM;

    if (aio != NULL)
        aio->refused = calloc(entries, sizeof *aio->refused);
    if (aio != NULL && aio->refused != NULL)
        result = io_setup(entries, &aio->context);
    if (result < 0) {
        if (aio != NULL)
            free(aio->refused);
        free(aio);
        *error = -result;
        return NULL;
    }
    aio->eventfd = eventfd;
    return aio;
}

static void prepare_block(
    struct disk_aio *aio, struct iocb *block, const struct disk_request *request)
{
    void *memory = memory_of(request);
    int durable = request->flags & DISK_DURABLE ? RWF_DSYNC : 0;

    if (request->operation == DISK_READ)
        io_prep_pread(block, request->fd, memory, at_once(request), request->offset);
    else
        io_prep_pwrite(block, request->fd, memory, at_once(request), request->offset);
    /* What would have to wait comes back with EAGAIN, and is done by a thread. */
    block->aio_rw_flags = RWF_NOWAIT | durable;
    block->data = (void *)(uintptr_t)request->token;
    io_set_eventfd(block, aio->eventfd);
}

static void refuse(struct disk_aio *aio, const struct iocb *block, int result)
{
    aio->refused[aio->refusals].token = (uintptr_t)block->data;
    aio->refused[aio->refusals++].result = result;
    signal_event(aio->eventfd);
}

unsigned disk_aio_submit(struct disk_aio *aio, const struct disk_request *batch, unsigned count)
{
    struct iocb *pointers[DISK_BATCH];
    int result = 1;

    if (count > 0) {
        for (unsigned i = 0; i < count; i++)
            prepare_block(aio, &aio->blocks[i], &batch[i]);
        aio->first = 0;
        aio->last = count;
    }
    while (aio->first < aio->last) {
        unsigned left = aio->last - aio->first;

        for (unsigned i = 0; i < left; i++)
            pointers[i] = &aio->blocks[aio->first + i];
        result = io_submit(aio->context, left, pointers);
        if (result > 0) {
            aio->first += result;
            aio->under_way += result;
        } else if (result == -EAGAIN && aio->under_way > 0) {
            break;
        } else if (result != -EINTR) {
            /* It is the first one's fault. */
            refuse(aio, pointers[0], result == 0 ? -EAGAIN : result);
            aio->first++;
        }
    }
    return aio->last - aio->first;
}

unsigned disk_aio_drain(
    struct disk_aio *aio, struct disk_completion *into, unsigned most, bool woken)
{
    struct io_event events[DISK_BATCH];
    struct timespec now = {0, 0};
    unsigned count = 0;
    int found = 1;

    if (woken)
        clear_event(aio->eventfd);
    while (count < most && aio->refusals > 0)
        into[count++] = aio->refused[--aio->refusals];
    while (found > 0 && count < most && aio->under_way > 0) {
        unsigned wanted = most - count < DISK_BATCH ? most - count : DISK_BATCH;

        /* libaio looks into the memory that it shares with the kernel before it asks. */
        found = io_getevents(aio->context, 0, wanted, events, &now);
        for (int i = 0; i < found; i++) {
            into[count].token = (uintptr_t)events[i].data;
            into[count++].result = (long)events[i].res;
        }
        if (found > 0) {
            aio->under_way -= found;
            /* They are signalled after they can be seen: what came since is found in the next turn. */
            clear_event(aio->eventfd);
        }
    }
    if (aio->refusals > 0)
        signal_event(aio->eventfd);
    return count;
}

static void *destroy_aio(void *argument)
{
    struct disk_aio *aio = argument;

    io_destroy(aio->context);
    free(aio->refused);
    free(aio);
    return NULL;
}

void disk_aio_close(struct disk_aio *aio)
{
    /* io_destroy(2) waits for what is under way, maybe for ever. */
    if (aio->under_way == 0)
        destroy_aio(aio);
    else
        start_thread(destroy_aio, aio);
}

#else /* This was compiled without the library; without a context nothing else is called. */

struct disk_aio *disk_aio_open(unsigned entries, int eventfd, int *error)
{
    (void)entries, (void)eventfd;
    *error = ENOSYS;
    return NULL;
}

unsigned disk_aio_submit(struct disk_aio *aio, const struct disk_request *batch, unsigned count)
{
    (void)aio, (void)batch, (void)count;
    return 0;
}

unsigned disk_aio_drain(
    struct disk_aio *aio, struct disk_completion *into, unsigned most, bool woken)
{
    (void)aio, (void)into, (void)most, (void)woken;
    return 0;
}

void disk_aio_close(struct disk_aio *aio)
{
    (void)aio;
}

#endif
