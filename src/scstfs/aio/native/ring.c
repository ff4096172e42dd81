/* io_uring, through liburing. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/fs.h>

#include "shared.h"

#ifdef HAVE_LIBURING
#include <liburing.h>

/* Of <linux/blkdev.h> since Linux 6.12. */
#ifndef BLOCK_URING_CMD_DISCARD
#define BLOCK_URING_CMD_DISCARD _IO(0x12, 0)
#endif

/* The user_data of what nothing waits for. */
#define NO_TOKEN UINT64_MAX

struct disk_ring {
    struct io_uring ring;
    int eventfd;
};

/* Without these another back end does better. */
static bool knows_enough(struct io_uring *ring)
{
    static const int needed[] = {
        IORING_OP_READ, IORING_OP_WRITE, IORING_OP_FSYNC, IORING_OP_FALLOCATE,
        IORING_OP_ASYNC_CANCEL,
    };
    struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
    bool enough = probe != NULL && (ring->features & IORING_FEAT_NODROP);

    for (size_t i = 0; enough && i < sizeof needed / sizeof *needed; i++)
        enough = io_uring_opcode_supported(probe, needed[i]);
    if (probe != NULL)
        io_uring_free_probe(probe);
    return enough;
}

static int set_up(struct io_uring *ring, unsigned entries)
{
    /* The best first; older kernels refuse flags that they do not know.  Completions are not to
     * interrupt what the thread does: it looks when it has time. */
    static const unsigned wanted[] = {
        IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN
            | IORING_SETUP_TASKRUN_FLAG,
        IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
        0,
    };
    int result = -EINVAL;

    for (size_t i = 0; result == -EINVAL && i < sizeof wanted / sizeof *wanted; i++) {
        struct io_uring_params parameters = {
            .flags = wanted[i] | IORING_SETUP_CQSIZE,
            .cq_entries = entries > DISK_BATCH ? entries : DISK_BATCH,
        };
        result = io_uring_queue_init_params(DISK_BATCH, ring, &parameters);
    }
    return result;
}

struct disk_ring *disk_ring_open(unsigned entries, unsigned workers, int eventfd, int *error)
{
    struct disk_ring *ring = calloc(1, sizeof *ring);
    unsigned limits[2] = {workers, 0};
    int result = ring == NULL ? -ENOMEM : set_up(&ring->ring, entries);

    if (result == 0) {
        result = -ENOSYS;
        if (knows_enough(&ring->ring))
            result = io_uring_register_eventfd(&ring->ring, eventfd);
        if (result < 0)
            io_uring_queue_exit(&ring->ring);
    }
    if (result < 0) {
        free(ring);
        *error = -result;
        return NULL;
    }
    ring->eventfd = eventfd;
    /* Else a few requests to a disk that hangs take all the threads that the kernel would have.
     * Before Linux 5.15 there is nothing to be done about that. */
    io_uring_register_iowq_max_workers(&ring->ring, limits);
    return ring;
}

static void prepare(struct io_uring_sqe *sqe, const struct disk_request *request)
{
    int fd = request->fd;
    uint64_t offset = request->offset, length = request->length, token = request->token;

    switch (request->operation) {
    case DISK_READ:
        io_uring_prep_read(sqe, fd, memory_of(request), at_once(request), offset);
        break;
    case DISK_WRITE:
        io_uring_prep_write(sqe, fd, memory_of(request), at_once(request), offset);
        sqe->rw_flags = request->flags & DISK_DURABLE ? RWF_DSYNC : 0;
        break;
    case DISK_SYNC:
        io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
        break;
    case DISK_PUNCH:
        io_uring_prep_fallocate(sqe, fd, PUNCH, offset, length);
        break;
    case DISK_ZERO:
        io_uring_prep_fallocate(sqe, fd, ZERO, offset, length);
        break;
    case DISK_DISCARD:
        io_uring_prep_rw(IORING_OP_URING_CMD, sqe, fd, NULL, 0, 0);
        sqe->cmd_op = BLOCK_URING_CMD_DISCARD;
        sqe->addr = offset;
        sqe->addr3 = length;
        break;
    case DISK_CANCEL:
        io_uring_prep_cancel64(sqe, offset, 0);
        token = NO_TOKEN;
        break;
    }
    io_uring_sqe_set_data64(sqe, token);
}

/* The kernel refuses what it does not know, and a thread says why. */
static void refuse(struct io_uring_sqe *sqe, const struct disk_request *request)
{
    io_uring_prep_rw(UINT8_MAX, sqe, -1, NULL, 0, 0);
    io_uring_sqe_set_data64(sqe, request->token);
}

unsigned disk_ring_submit(struct disk_ring *ring, const struct disk_request *batch, unsigned count)
{
    int result = 1;

    for (unsigned i = 0; i < count; i++)
        if (is_late(&batch[i]))
            refuse(io_uring_get_sqe(&ring->ring), &batch[i]);
        else
            prepare(io_uring_get_sqe(&ring->ring), &batch[i]);
    while (io_uring_sq_ready(&ring->ring) > 0 && (result > 0 || result == -EINTR))
        result = io_uring_submit(&ring->ring);
    return io_uring_sq_ready(&ring->ring);
}

/* Completions are behind the door: the kernel has them and waits to be asked. */
static bool are_behind(struct disk_ring *ring)
{
    unsigned state = io_uring_smp_load_acquire(ring->ring.sq.kflags);

    return state & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

unsigned disk_ring_drain(
    struct disk_ring *ring, struct disk_completion *into, unsigned most, bool woken)
{
    /* The kernel may leave the sign that completions are behind the door when there are none. */
    enum { TRIES = 4 };
    unsigned head, seen, count = 0, vain = 0;
    struct io_uring_cqe *cqe;

    while (count < most && vain < TRIES) {
        bool asks = are_behind(ring);

        if (!asks && !woken && io_uring_cq_ready(&ring->ring) == 0)
            break;
        /* First of all: what comes from now on is signalled, even if it is taken here.  Nor may
         * there be anything to take, but the beginning of the rest of a large transfer. */
        clear_event(ring->eventfd);
        if (asks)
            io_uring_get_events(&ring->ring);
        seen = 0;
        io_uring_for_each_cqe(&ring->ring, head, cqe) {
            if (count == most)
                break;
            seen++;
            if (io_uring_cqe_get_data64(cqe) == NO_TOKEN)
                continue;
            into[count].token = io_uring_cqe_get_data64(cqe);
            into[count++].result = cqe->res;
        }
        io_uring_cq_advance(&ring->ring, seen);
        vain = seen > 0 ? 0 : vain + 1;
        woken = false;
    }
    return count;
}

void disk_ring_close(struct disk_ring *ring)
{
    io_uring_queue_exit(&ring->ring);
    free(ring);
}

#else /* This was compiled without the library; without a ring nothing else is called. */

struct disk_ring *disk_ring_open(unsigned entries, unsigned workers, int eventfd, int *error)
{
    (void)entries, (void)workers, (void)eventfd;
    *error = ENOSYS;
    return NULL;
}

unsigned disk_ring_submit(struct disk_ring *ring, const struct disk_request *batch, unsigned count)
{
    (void)ring, (void)batch, (void)count;
    return 0;
}

unsigned disk_ring_drain(
    struct disk_ring *ring, struct disk_completion *into, unsigned most, bool woken)
{
    (void)ring, (void)into, (void)most, (void)woken;
    return 0;
}

void disk_ring_close(struct disk_ring *ring)
{
    (void)ring;
}

#endif
