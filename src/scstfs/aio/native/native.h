/* Asynchronous disk I/O in batches: the part that calls liburing, libaio and the C library.
 *
 * Three back ends take the same requests and give the same completions: io_uring, the kernel's
 * AIO, and threads.  None of their functions waits for a disk.  This file is read by the C compiler
 * and by cffi (build.py), so that it has declarations only.
 */

enum {
    DISK_READ,
    DISK_WRITE,
    DISK_SYNC,    /* fdatasync(2) */
    DISK_PUNCH,   /* fallocate(2): give a range back; it reads as zeros */
    DISK_ZERO,    /* fallocate(2): make a range read as zeros and keep its space */
    DISK_DISCARD, /* BLKDISCARD of a block device */
    DISK_CLOSE,   /* close(2), in a thread */
    DISK_CANCEL,  /* the request whose token is in `offset`; has no completion of its own */
};

/* What is written is durable at the completion (RWF_DSYNC): a flag. */
enum { DISK_DURABLE = 1 };

/* Requests of one batch, at most. */
enum { DISK_BATCH = 256 };

struct disk_request {
    uint64_t token;
    uint64_t memory;
    uint64_t offset;
    uint64_t length;
    uint64_t deadline; /* of an int64_t: CLOCK_BOOTTIME (ns) from which on it ends with -ETIME; or 0 */
    int32_t fd;
    uint16_t operation;
    uint8_t flags;
    uint8_t threads; /* that may do this kind of thing with the file at the same time */
};

struct disk_completion {
    uint64_t token;
    int64_t result; /* bytes, or a negative errno */
};

/* A back end, the same four functions each:
 *
 * open    `entries` requests may be under way at the same time; the caller counts them.  NULL, and
 *         an errno in *error, where the system refuses.
 * submit  takes a batch by one system call.  Returns how many requests it has got that the system
 *         did not take; then the only thing to submit is nothing, until it returns 0.
 * drain   gives at most `most` completions; costs no system call where there are none.  `eventfd`
 *         becomes readable when there are; `woken` says that it was.
 * close   drops what has not begun, but for the closing of files, and leaves alone what is under way:
 *         its memory may still be written to. */

struct disk_ring;
struct disk_ring *disk_ring_open(unsigned entries, unsigned workers, int eventfd, int *error);
unsigned disk_ring_submit(struct disk_ring *ring, const struct disk_request *batch, unsigned count);
unsigned disk_ring_drain(
    struct disk_ring *ring, struct disk_completion *into, unsigned most, bool woken);
void disk_ring_close(struct disk_ring *ring);

struct disk_aio;
struct disk_aio *disk_aio_open(unsigned entries, int eventfd, int *error);
unsigned disk_aio_submit(struct disk_aio *aio, const struct disk_request *batch, unsigned count);
unsigned disk_aio_drain(
    struct disk_aio *aio, struct disk_completion *into, unsigned most, bool woken);
void disk_aio_close(struct disk_aio *aio);

struct disk_threads;
struct disk_threads *disk_threads_open(unsigned entries, unsigned most, int eventfd, int *error);
unsigned disk_threads_submit(
    struct disk_threads *pool, const struct disk_request *batch, unsigned count);
unsigned disk_threads_drain(
    struct disk_threads *pool, struct disk_completion *into, unsigned most, bool woken);
void disk_threads_close(struct disk_threads *pool);

/* A thread that writes for a caller that waits a moment for it.
 *
 * open    NULL, and an errno in *error, for want of memory.
 * write   writes, and waits at most so long (ns) for the end.  Returns what pwrite(2) would, or a
 *         negative errno.  -EINPROGRESS: the write goes on; `eventfd` becomes readable at its end.
 *         -EBUSY: the thread is not to be had.  `deadline` is that of a request, which the thread
 *         looks at right before it writes.  `memory` is free in any case, unless it `stays` as
 *         it is until the end; then there may be more than DISK_HANDED_OVER bytes.
 * ended   what became of the write that went on; -EINPROGRESS before its end.
 * close   leaves alone what is under way.
 *
 * The thread runs on the CPU of its caller, which sleeps meanwhile: that takes two changes of task,
 * where another CPU would have to be woken, which takes far longer. */
enum { DISK_HANDED_OVER = 128 * 1024 };
struct disk_handover;
struct disk_handover *disk_handover_open(int eventfd, int *error);
int64_t disk_handover_write(
    struct disk_handover *handover, int fd, const void *memory, uint64_t length, uint64_t offset,
    uint64_t deadline, bool stays, int64_t patience);
int64_t disk_handover_ended(struct disk_handover *handover);
void disk_handover_close(struct disk_handover *handover);

/* Make a system call that may wait for a disk, without keeping the program from ending meanwhile.
 * Returns what it returned, or a negative errno; for threads that may be waited for. */
int64_t disk_call(int64_t number, const uint64_t *arguments);

/* How many of these, and of requests in threads, wait for a disk now. */
unsigned disk_calls(void);
