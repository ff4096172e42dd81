/* What may wait for a disk: threads, and processes that share everything with this one.
 *
 * A thread that waits for a disk cannot be killed, and a process is not gone before all of its
 * threads are.  So what may wait for a disk is done by a process of its own that runs in the same
 * memory and with the same descriptors, while the thread that began it waits for its end, as in
 * vfork(2); and that wait can be interrupted by the end of the program.  It is not allowed to create
 * threads, nor anything else that the C library keeps for each process. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "shared.h"

bool start_thread(void *(*body)(void *), void *argument)
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
    /* It is of no use when the program has ended. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == apart->parent)
        apart->result = apart->body(apart->argument);
    return 0;
}

int run_apart(int (*body)(void *), void *argument)
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

int64_t perform(const struct disk_request *request)
{
    struct iovec vector = {memory_of(request), at_once(request)};
    uint64_t range[2] = {request->offset, request->length};
    int flags = request->flags & DISK_DURABLE ? RWF_DSYNC : 0;
    int64_t result = -1;

    if (is_late(request))
        return -ETIME;
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
