/* A thread that writes for a caller that waits a moment for it. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>

#include "shared.h"

enum state {
    IDLE,
    ASKED, /* there is something to write, and the caller waits */
    DONE,
    LEFT,  /* the caller goes on without the result, */
    ENDED, /* which is there now */
    GONE,  /* the thread was killed */
    CLOSED,
};

struct disk_handover {
    /* The caller waits for it to be something else than ASKED, the thread for it to be ASKED. */
    atomic_uint state;
    struct disk_request request;
    int64_t result;
    int eventfd;
    atomic_int process; /* that writes */
    unsigned cpu;
    bool has_begun;
    atomic_bool is_closed;
    atomic_uint users; /* of this: the caller, and the thread */
    char memory[DISK_HANDED_OVER];
};

enum { SECOND = 1000000000 };

static int64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * (int64_t)SECOND + time.tv_nsec;
}

static void futex_wait(atomic_uint *word, unsigned seen, const struct timespec *timeout)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, timeout, NULL, 0);
}

static void futex_wake(atomic_uint *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

struct disk_handover *disk_handover_open(int eventfd, int *error)
{
    struct disk_handover *handover = calloc(1, sizeof *handover);

    *error = ENOMEM;
    if (handover == NULL)
        return NULL;
    /* The thread may come back from its disk long after the caller has closed its own. */
    handover->eventfd = fcntl(eventfd, F_DUPFD_CLOEXEC, 0);
    if (handover->eventfd < 0) {
        *error = errno;
        free(handover);
        return NULL;
    }
    handover->cpu = -1;
    atomic_store(&handover->users, 1);
    return handover;
}

static void let_go(struct disk_handover *handover)
{
    if (atomic_fetch_sub(&handover->users, 1) > 1)
        return;
    close(handover->eventfd);
    free(handover);
}

/* Tell the caller of the result, wherever it is. */
static void tell(struct disk_handover *handover, int64_t result)
{
    unsigned asked = ASKED;

    handover->result = result;
    if (atomic_compare_exchange_strong(&handover->state, &asked, DONE)) {
        futex_wake(&handover->state);
    } else {
        atomic_store(&handover->state, ENDED);
        signal_event(handover->eventfd);
    }
}

static int write_on(void *argument)
{
    struct disk_handover *handover = argument;

    atomic_store(&handover->process, getpid());
    for (;;) {
        unsigned state = atomic_load(&handover->state);

        if (state == CLOSED || (state == ENDED && atomic_load(&handover->is_closed)))
            return 0;
        if (state == ASKED || state == LEFT)
            tell(handover, perform(&handover->request));
        else
            futex_wait(&handover->state, state, NULL);
    }
}

static void *begin(void *argument)
{
    struct disk_handover *handover = argument;
    unsigned state;

    run_apart(write_on, handover);
    state = atomic_exchange(&handover->state, GONE);
    futex_wake(&handover->state);
    if (state == LEFT || state == ENDED) {
        if (state == LEFT)
            handover->result = -EIO;
        signal_event(handover->eventfd);
    }
    let_go(handover);
    return NULL;
}

/* Have the thread where its caller is. */
static void keep_near(struct disk_handover *handover)
{
    unsigned cpu = sched_getcpu();
    int process = atomic_load(&handover->process);
    cpu_set_t only;

    if (cpu == handover->cpu || process == 0)
        return;
    CPU_ZERO(&only);
    CPU_SET(cpu, &only);
    /* Elsewhere it only takes longer. */
    sched_setaffinity(process, sizeof only, &only);
    handover->cpu = cpu;
}

static bool has_thread(struct disk_handover *handover)
{
    if (handover->has_begun)
        return true;
    atomic_fetch_add(&handover->users, 1);
    handover->has_begun = start_thread(begin, handover);
    if (!handover->has_begun)
        atomic_fetch_sub(&handover->users, 1);
    return handover->has_begun;
}

int64_t disk_handover_write(
    struct disk_handover *handover, int fd, const void *memory, uint64_t length, uint64_t offset,
    uint64_t deadline, bool stays, int64_t patience)
{
    unsigned state = ASKED;
    int64_t end, left;

    if (atomic_load(&handover->state) != IDLE || !has_thread(handover))
        return -EBUSY;
    keep_near(handover);
    if (!stays)
        memory = memcpy(handover->memory, memory, length);
    handover->request = (struct disk_request){
        .memory = (uintptr_t)memory, .offset = offset, .length = length,
        .deadline = deadline, .fd = fd, .operation = DISK_WRITE,
    };
    atomic_store(&handover->state, ASKED);
    futex_wake(&handover->state);
    end = now() + patience;
    while (atomic_load(&handover->state) == ASKED && (left = end - now()) > 0) {
        struct timespec timeout = {left / SECOND, left % SECOND};

        futex_wait(&handover->state, ASKED, &timeout);
    }
    if (atomic_compare_exchange_strong(&handover->state, &state, LEFT))
        return -EINPROGRESS;
    if (state == GONE)
        return -EBUSY;
    atomic_store(&handover->state, IDLE);
    return handover->result;
}

int64_t disk_handover_ended(struct disk_handover *handover)
{
    unsigned state = ENDED;

    if (!atomic_compare_exchange_strong(&handover->state, &state, IDLE) && state != GONE)
        return -EINPROGRESS;
    clear_event(handover->eventfd);
    return handover->result;
}

void disk_handover_close(struct disk_handover *handover)
{
    unsigned state = IDLE;

    /* What is under way ends by itself. */
    atomic_store(&handover->is_closed, true);
    if (!atomic_compare_exchange_strong(&handover->state, &state, CLOSED)) {
        state = ENDED;
        atomic_compare_exchange_strong(&handover->state, &state, CLOSED);
    }
    futex_wake(&handover->state);
    let_go(handover);
}
