/* See native.h for what these functions are to their callers. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifdef HAVE_LIBURING
#include <liburing.h>
#endif
#ifdef HAVE_LIBAIO
#include <libaio.h>
#endif

#include "native.h"

/* What read(2) and write(2) move at once, at most; the caller goes on with the rest. */
#define MOST_BYTES 0x7ffff000u

/* Of <linux/blkdev.h> since Linux 6.12. */
#ifndef BLOCK_URING_CMD_DISCARD
#define BLOCK_URING_CMD_DISCARD _IO(0x12, 0)
#endif

/* The user_data of what nobody waits for. */
#define NO_TOKEN UINT64_MAX

static const int PUNCH = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
static const int ZERO = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;

static unsigned at_once(const struct disk_request *request)
{
    return request->length < MOST_BYTES ? request->length : MOST_BYTES;
}

static void *memory_of(const struct disk_request *request)
{
    return (void *)(uintptr_t)request->memory;
}

/* Have an eventfd readable, or not.  Both are done already where they fail. */
static void signal_event(int eventfd)
{
    uint64_t one = 1;

    (void)!write(eventfd, &one, sizeof one);
}

static void clear_event(int eventfd)
{
    uint64_t count;

    (void)!read(eventfd, &count, sizeof count);
}

/* io_uring */

#ifdef HAVE_LIBURING

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

unsigned disk_ring_submit(struct disk_ring *ring, const struct disk_request *batch, unsigned count)
{
    int result = 1;

    for (unsigned i = 0; i < count; i++)
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

/* Threads of ours must not take the signals that are the program's. */
static bool start_thread(void *(*body)(void *), void *argument)
{
    enum { STACK = 256 * 1024 };
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    int error;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&thread, &attributes, body, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return error == 0;
}

/* The kernel's AIO: direct reads and writes */

#ifdef HAVE_LIBAIO

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

#else /* As above. */

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

/* Processes that share everything with this one: what they wait for does not keep this one from
 * ending.
 *
 * A thread that waits for a disk cannot be killed, and a process is not gone before all of its
 * threads are.  So what may wait for a disk is done by a process of its own that runs in the same
 * memory and with the same descriptors, while the thread that began it waits for its end, as in
 * vfork(2); and that wait can be interrupted by the end of the program.  It is not allowed to create
 * threads, nor anything else that the C library keeps for each process. */

struct apart {
    int (*body)(void *);
    void *argument;
    pid_t parent;
    int result;
};

enum { APART_STACK = 64 * 1024 };

static int begin_apart(void *argument)
{
    struct apart *apart = argument;

    prctl(PR_SET_NAME, "scstfs-disk");
    /* It is no use to anybody when the program has ended. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == apart->parent)
        apart->result = apart->body(apart->argument);
    return 0;
}

/* The result of `body`; -1 if somebody killed it. */
static int run_apart(int (*body)(void *), void *argument)
{
    struct apart apart = {body, argument, getpid(), -1};
    sigset_t all, before;
    int flags = CLONE_VM | CLONE_VFORK | CLONE_FILES | CLONE_FS;
    char *stack = mmap(
        NULL, APART_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    pid_t pid = -1;

    /* The program's handlers would be called there, too. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (stack != MAP_FAILED)
        pid = clone(begin_apart, stack + APART_STACK, flags, &apart);
    if (pid < 0)
        /* Better a thread that cannot be killed than none. */
        apart.result = body(argument);
    else
        while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
            continue;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (stack != MAP_FAILED)
        munmap(stack, APART_STACK);
    return apart.result;
}

/* Calls apart that have not returned. */
static atomic_uint calls_apart;

unsigned disk_calls(void)
{
    return atomic_load(&calls_apart);
}

struct system_call {
    long number;
    const uint64_t *arguments;
    long result;
    int error;
};

static int call_system(void *argument)
{
    struct system_call *call = argument;
    const uint64_t *a = call->arguments;

    atomic_fetch_add(&calls_apart, 1);
    call->result = syscall(call->number, a[0], a[1], a[2], a[3], a[4], a[5]);
    call->error = errno;
    atomic_fetch_sub(&calls_apart, 1);
    return 0;
}

int64_t disk_call(int64_t number, const uint64_t *arguments)
{
    struct system_call call = {number, arguments, -1, EIO};

    run_apart(call_system, &call);
    return call.result < 0 ? -(int64_t)call.error : call.result;
}

/* Threads */

struct job {
    struct job *next;
    struct disk_request request;
};

/* What is to be done of one kind with one file.  Its jobs begin in the order in which they came. */
struct group {
    struct group *next; /* of those that a thread may take a job from */
    bool is_ready;
    unsigned threads; /* at the same time */
    unsigned active, waiting;
    struct job *first, **last;
};

/* Reading, writing, anything else: no kind waits for another. */
enum { KINDS = 3 };

struct disk_threads {
    pthread_mutex_t lock;
    pthread_cond_t wanted;
    struct job *jobs, *unused;    /* one for each entry */
    struct group **groups;        /* KINDS for each file descriptor, as far as there were any */
    unsigned descriptors;
    struct group *first, **last;  /* those that are ready */
    struct disk_completion *done; /* room for all entries */
    atomic_uint completed;
    unsigned demand;              /* threads that would have something to do */
    unsigned threads, most;
    int eventfd;
    bool closed;
};

struct worker {
    struct disk_threads *pool;
    struct group *group; /* of what it does now, */
    struct job *job;     /* if anything */
};

/* Seconds after which a thread ends that has nothing to do. */
enum { PATIENCE = 10 };

static void destroy_pool(struct disk_threads *pool)
{
    for (unsigned i = 0; i < pool->descriptors; i++)
        free(pool->groups[i]);
    free(pool->groups);
    free(pool->jobs);
    free(pool->done);
    close(pool->eventfd);
    pthread_cond_destroy(&pool->wanted);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

struct disk_threads *disk_threads_open(unsigned entries, unsigned most, int eventfd, int *error)
{
    struct disk_threads *pool = calloc(1, sizeof *pool);
    pthread_condattr_t attributes;

    *error = ENOMEM;
    if (pool == NULL)
        return NULL;
    pool->jobs = calloc(entries, sizeof *pool->jobs);
    pool->done = calloc(entries, sizeof *pool->done);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->wanted, &attributes);
    pthread_condattr_destroy(&attributes);
    /* A thread may come back from its disk long after the caller has closed its own. */
    pool->eventfd = fcntl(eventfd, F_DUPFD_CLOEXEC, 0);
    if (pool->eventfd < 0)
        *error = errno;
    if (pool->jobs == NULL || pool->done == NULL || pool->eventfd < 0) {
        destroy_pool(pool);
        return NULL;
    }
    for (unsigned i = 0; i < entries; i++) {
        pool->jobs[i].next = pool->unused;
        pool->unused = &pool->jobs[i];
    }
    pool->last = &pool->first;
    pool->most = most;
    return pool;
}

static int64_t perform(const struct disk_request *request)
{
    struct iovec vector = {memory_of(request), at_once(request)};
    uint64_t range[2] = {request->offset, request->length};
    int flags = request->flags & DISK_DURABLE ? RWF_DSYNC : 0;
    int64_t result = -1;

    errno = EOPNOTSUPP;
    atomic_fetch_add(&calls_apart, 1);
    switch (request->operation) {
    case DISK_READ:
        result = preadv2(request->fd, &vector, 1, request->offset, 0);
        break;
    case DISK_WRITE:
        result = pwritev2(request->fd, &vector, 1, request->offset, flags);
        break;
    case DISK_SYNC:
        result = fdatasync(request->fd);
        break;
    case DISK_PUNCH:
        result = fallocate(request->fd, PUNCH, request->offset, request->length);
        break;
    case DISK_ZERO:
        result = fallocate(request->fd, ZERO, request->offset, request->length);
        break;
    case DISK_DISCARD:
        result = ioctl(request->fd, BLKDISCARD, range);
        break;
    case DISK_CLOSE:
        result = close(request->fd);
        break;
    }
    atomic_fetch_sub(&calls_apart, 1);
    return result < 0 ? -(int64_t)errno : result;
}

/* The functions below are called with the lock held. */

static struct group *group_of(struct disk_threads *pool, const struct disk_request *request)
{
    unsigned fd = request->fd;
    unsigned kind = request->operation < KINDS - 1 ? request->operation : KINDS - 1;

    if (fd >= pool->descriptors) {
        unsigned count = fd + fd / 2 + 64;
        struct group **groups = realloc(pool->groups, count * sizeof *groups);

        if (groups == NULL)
            return NULL;
        memset(groups + pool->descriptors, 0, (count - pool->descriptors) * sizeof *groups);
        pool->groups = groups;
        pool->descriptors = count;
    }
    if (pool->groups[fd] == NULL) {
        struct group *made = calloc(KINDS, sizeof *made);

        if (made == NULL)
            return NULL;
        for (unsigned i = 0; i < KINDS; i++)
            made[i].last = &made[i].first;
        pool->groups[fd] = made;
    }
    return pool->groups[fd] + kind;
}

static struct job *take_job(struct group *group, struct job **place)
{
    struct job *job = *place;

    *place = job->next;
    if (job->next == NULL)
        group->last = place;
    group->waiting--;
    return job;
}

static void complete(struct disk_threads *pool, struct job *job, int64_t result)
{
    unsigned completed = atomic_load_explicit(&pool->completed, memory_order_relaxed);

    pool->done[completed].token = job->request.token;
    pool->done[completed].result = result;
    job->next = pool->unused;
    pool->unused = job;
    atomic_store_explicit(&pool->completed, completed + 1, memory_order_release);
    if (completed == 0)
        signal_event(pool->eventfd);
}

/* How many threads a group could keep busy. */
static unsigned demand_of(const struct group *group)
{
    unsigned jobs = group->active + group->waiting;

    return jobs < group->threads ? jobs : group->threads;
}

/* See to it that a job of a group is done, if one waits and may begin. */
static void offer(struct disk_threads *pool, struct group *group)
{
    if (group->is_ready || group->first == NULL || group->active >= group->threads)
        return;
    group->is_ready = true;
    group->next = NULL;
    *pool->last = group;
    pool->last = &group->next;
    pthread_cond_signal(&pool->wanted);
}

/* The group whose turn it is; NULL after PATIENCE. */
static struct group *wait_for_group(struct disk_threads *pool)
{
    struct group *group;
    struct timespec until;
    int error = 0;

    if (pool->first == NULL) {
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += PATIENCE;
        while (pool->first == NULL && !pool->closed && error != ETIMEDOUT)
            error = pthread_cond_timedwait(&pool->wanted, &pool->lock, &until);
    }
    group = pool->first;
    if (group != NULL) {
        pool->first = group->next;
        if (pool->first == NULL)
            pool->last = &pool->first;
        group->is_ready = false;
    }
    return group;
}

static void begin_job(struct worker *worker, struct group *group)
{
    worker->group = group;
    worker->job = take_job(group, &group->first);
    group->active++;
    offer(worker->pool, group);
}

static void end_job(struct worker *worker, int64_t result)
{
    struct disk_threads *pool = worker->pool;
    struct group *group = worker->group;
    struct job *job = worker->job;
    unsigned before = demand_of(group);

    worker->job = NULL;
    group->active--;
    pool->demand -= before - demand_of(group);
    complete(pool, job, result);
    offer(pool, group);
}

/* A request that waits for a thread does so no longer. */
static void withdraw(struct disk_threads *pool, const struct disk_request *request)
{
    unsigned fd = request->fd;

    if (fd >= pool->descriptors || pool->groups[fd] == NULL)
        return;
    for (unsigned kind = 0; kind < KINDS; kind++) {
        struct group *group = pool->groups[fd] + kind;

        for (struct job **place = &group->first; *place != NULL; place = &(*place)->next) {
            unsigned before = demand_of(group);

            if ((*place)->request.token == request->offset) {
                complete(pool, take_job(group, place), -ECANCELED);
                pool->demand -= before - demand_of(group);
                return;
            }
        }
    }
}

static void queue_job(struct disk_threads *pool, const struct disk_request *request)
{
    struct group *group = group_of(pool, request);
    struct job *job = pool->unused;
    unsigned before;

    pool->unused = job->next;
    job->request = *request;
    job->next = NULL;
    if (group == NULL) {
        complete(pool, job, -ENOMEM);
        return;
    }
    if (group->active + group->waiting == 0)
        group->threads = request->threads;
    before = demand_of(group);
    *group->last = job;
    group->last = &job->next;
    group->waiting++;
    pool->demand += demand_of(group) - before;
    offer(pool, group);
}

/* The functions below take the lock. */

static int do_jobs(void *argument)
{
    struct worker *worker = argument;
    struct disk_threads *pool = worker->pool;
    struct group *group;

    pthread_mutex_lock(&pool->lock);
    while ((group = wait_for_group(pool)) != NULL) {
        int64_t result;

        if (group->first == NULL)
            continue;
        begin_job(worker, group);
        pthread_mutex_unlock(&pool->lock);
        result = perform(&worker->job->request);
        pthread_mutex_lock(&pool->lock);
        end_job(worker, result);
    }
    pthread_mutex_unlock(&pool->lock);
    return 0;
}

static void *work(void *argument)
{
    struct worker worker = {argument, NULL, NULL};
    struct disk_threads *pool = worker.pool;
    bool last;

    run_apart(do_jobs, &worker);
    pthread_mutex_lock(&pool->lock);
    if (worker.job != NULL)
        end_job(&worker, -EIO);
    pool->threads--;
    last = pool->closed && pool->threads == 0;
    pthread_mutex_unlock(&pool->lock);
    if (last)
        destroy_pool(pool);
    return NULL;
}

unsigned disk_threads_submit(
    struct disk_threads *pool, const struct disk_request *batch, unsigned count)
{
    pthread_mutex_lock(&pool->lock);
    for (unsigned i = 0; i < count; i++) {
        if (batch[i].operation == DISK_CANCEL)
            withdraw(pool, &batch[i]);
        else
            queue_job(pool, &batch[i]);
    }
    while (pool->threads < pool->demand && pool->threads < pool->most) {
        if (!start_thread(work, pool))
            break;
        pool->threads++;
    }
    while (pool->threads == 0 && pool->first != NULL) {
        /* There is nobody to do anything. */
        struct worker nobody = {pool, NULL, NULL};
        struct group *group = wait_for_group(pool);

        if (group->first != NULL) {
            begin_job(&nobody, group);
            end_job(&nobody, -EAGAIN);
        }
    }
    pthread_mutex_unlock(&pool->lock);
    return 0;
}

unsigned disk_threads_drain(
    struct disk_threads *pool, struct disk_completion *into, unsigned most, bool woken)
{
    unsigned count, completed;

    if (!woken && atomic_load_explicit(&pool->completed, memory_order_acquire) == 0)
        return 0;
    pthread_mutex_lock(&pool->lock);
    completed = atomic_load_explicit(&pool->completed, memory_order_relaxed);
    count = completed < most ? completed : most;
    memcpy(into, pool->done, count * sizeof *into);
    memmove(pool->done, pool->done + count, (completed - count) * sizeof *into);
    atomic_store_explicit(&pool->completed, completed - count, memory_order_release);
    clear_event(pool->eventfd);
    if (count < completed)
        signal_event(pool->eventfd);
    pthread_mutex_unlock(&pool->lock);
    return count;
}

/* Files are closed all the same. */
static void drop_jobs(struct group *group)
{
    for (struct job **place = &group->first; *place != NULL;) {
        if ((*place)->request.operation == DISK_CLOSE)
            place = &(*place)->next;
        else
            take_job(group, place);
    }
}

void disk_threads_close(struct disk_threads *pool)
{
    bool last;

    pthread_mutex_lock(&pool->lock);
    pool->closed = true;
    for (unsigned i = 0; i < pool->descriptors; i++)
        for (unsigned kind = 0; pool->groups[i] != NULL && kind < KINDS; kind++)
            drop_jobs(&pool->groups[i][kind]);
    last = pool->threads == 0;
    pthread_cond_broadcast(&pool->wanted);
    pthread_mutex_unlock(&pool->lock);
    if (last)
        destroy_pool(pool);
}
