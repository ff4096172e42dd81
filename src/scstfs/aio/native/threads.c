/* A pool of threads, which do what the other back ends cannot. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <time.h>

#include "shared.h"

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
        /* There is no thread to do anything. */
        struct worker none = {pool, NULL, NULL};
        struct group *group = wait_for_group(pool);

        if (group->first != NULL) {
            begin_job(&none, group);
            end_job(&none, -EAGAIN);
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
