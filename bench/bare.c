/* The least that an iSCSI target can do: what is left when everything is left out.
 *
 * usage: bare FILE
 *
 * It listens on a free port of 127.0.0.1, prints it, and serves FILE to every initiator that logs
 * in, one blocking thread a connection: READ and WRITE (16), READ CAPACITY (16), nothing else.
 * There are no gates, no task management, no digests, no errors.  No target in any language can be
 * expected to be faster with the same client; the benchmarks show how near scstfs comes.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/fs.h>

enum {
    HEADER = 48,
    BLOCK = 4096,
    SEGMENT = 1 << 18, /* of one PDU, both ways */
    BURST = 1 << 20,   /* of one R2T */
    ROOM = 8 << 20,    /* for what has been received, and what is to be sent */
    TASKS = 256,
    SENT_FROM_FILE = 1 << 16,
    CREDIT = 127,
};

/* RFC 7143 11.1.1.2 */
enum {
    COMMAND = 0x01,
    LOGIN = 0x03,
    DATA_OUT = 0x05,
    LOGOUT = 0x06,
    RESPONSE = 0x21,
    LOGIN_RESPONSE = 0x23,
    DATA_IN = 0x25,
    LOGOUT_RESPONSE = 0x26,
    R2T = 0x31,
};

struct task {
    uint64_t offset;
    uint32_t itt, length, received, asked, r2t_sn;
};

struct connection {
    int socket;
    uint8_t *in, *out;
    size_t begin, end; /* of what has been received */
    size_t laid_out;
    uint32_t stat_sn, exp_cmd_sn;
    struct task tasks[TASKS];
};

static int file;
static uint64_t blocks;

static uint32_t number(const uint8_t *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof value);
    return be32toh(value);
}

static void put(uint8_t *at, uint32_t value)
{
    value = htobe32(value);
    memcpy(at, &value, sizeof value);
}

static void leave(struct connection *c)
{
    close(c->socket);
    free(c->in);
    free(c->out);
    free(c);
    pthread_exit(NULL);
}

static void flush(struct connection *c, int flags)
{
    for (size_t at = 0; at < c->laid_out;) {
        ssize_t sent = send(c->socket, c->out + at, c->laid_out - at, flags);

        if (sent <= 0)
            leave(c);
        at += sent;
    }
    c->laid_out = 0;
}

/* Room for a PDU that is to be sent; its header is zeros. */
static uint8_t *lay_out(struct connection *c, uint8_t opcode, uint8_t flags, size_t data)
{
    uint8_t *pdu;

    if (c->laid_out + HEADER + data > ROOM)
        flush(c, 0);
    pdu = c->out + c->laid_out;
    c->laid_out += HEADER + data;
    memset(pdu, 0, HEADER);
    pdu[0] = opcode;
    pdu[1] = flags;
    return pdu;
}

static void number_it(struct connection *c, uint8_t *pdu, bool has_status)
{
    put(pdu + 24, c->stat_sn);
    put(pdu + 28, c->exp_cmd_sn);
    put(pdu + 32, c->exp_cmd_sn + CREDIT);
    c->stat_sn += has_status;
}

/* Wait for `count` bytes; answers go out before that. */
static uint8_t *need(struct connection *c, size_t count)
{
    while (c->end - c->begin < count) {
        ssize_t got;

        if (c->begin == c->end)
            c->begin = c->end = 0;
        if (c->begin > ROOM / 2) {
            memmove(c->in, c->in + c->begin, c->end - c->begin);
            c->end -= c->begin;
            c->begin = 0;
        }
        flush(c, 0);
        got = recv(c->socket, c->in + c->end, ROOM - c->end, 0);
        if (got <= 0)
            leave(c);
        c->end += got;
    }
    return c->in + c->begin;
}

static void log_in(struct connection *c, const uint8_t *pdu)
{
    static const char answer[] =
        "TargetPortalGroupTag=1\0HeaderDigest=None\0DataDigest=None\0InitialR2T=Yes\0"
        "ImmediateData=Yes\0MaxRecvDataSegmentLength=262144\0MaxBurstLength=1048576\0"
        "FirstBurstLength=262144\0MaxConnections=1\0MaxOutstandingR2T=1\0DefaultTime2Wait=0\0"
        "DefaultTime2Retain=0\0ErrorRecoveryLevel=0";
    size_t length = sizeof answer;
    uint8_t *reply;

    c->exp_cmd_sn = number(pdu + 24);
    reply = lay_out(c, LOGIN_RESPONSE, 0x87, (length + 3) & ~3);
    reply[6] = length >> 8;
    reply[7] = length;
    memcpy(reply + 8, pdu + 8, 12); /* ISID, TSIH, ITT */
    reply[15] = 1;
    number_it(c, reply, true);
    memset(reply + HEADER, 0, (length + 3) & ~3);
    memcpy(reply + HEADER, answer, length);
}

static void do_read(struct connection *c, uint32_t itt, uint64_t offset, uint32_t length)
{
    for (uint32_t done = 0, data_sn = 0; done < length; data_sn++) {
        uint32_t size = length - done < SEGMENT ? length - done : SEGMENT;
        bool last = done + size == length, from_file = size >= SENT_FROM_FILE;
        uint8_t *pdu = lay_out(c, DATA_IN, last ? 0x81 : 0, from_file ? 0 : size);
        off_t at = offset + done;

        put(pdu + 4, size);
        put(pdu + 16, itt);
        memset(pdu + 20, 0xFF, 4);
        number_it(c, pdu, last);
        put(pdu + 36, data_sn);
        put(pdu + 40, done);
        if (!from_file) {
            if (pread(file, pdu + HEADER, size, at) != (ssize_t)size)
                leave(c);
        } else {
            flush(c, MSG_MORE);
            for (uint32_t left = size; left > 0;) {
                ssize_t sent = sendfile(c->socket, file, &at, left);

                if (sent <= 0)
                    leave(c);
                left -= sent;
            }
        }
        done += size;
    }
}

static void respond(struct connection *c, uint32_t itt)
{
    uint8_t *pdu = lay_out(c, RESPONSE, 0x80, 0);

    put(pdu + 16, itt);
    number_it(c, pdu, true);
}

static void go_on(struct connection *c, struct task *task)
{
    if (task->received == task->length) {
        respond(c, task->itt);
        task->length = 0;
    } else if (task->received == task->asked) {
        uint32_t left = task->length - task->received, size = left < BURST ? left : BURST;
        uint8_t *pdu = lay_out(c, R2T, 0x80, 0);

        put(pdu + 16, task->itt);
        put(pdu + 20, task - c->tasks);
        number_it(c, pdu, false);
        put(pdu + 36, task->r2t_sn++);
        put(pdu + 40, task->asked);
        put(pdu + 44, size);
        task->asked += size;
    }
}

static void take_data(
    struct connection *c, struct task *task, uint32_t at, const uint8_t *data, uint32_t size)
{
    if (pwrite(file, data, size, task->offset + at) != (ssize_t)size)
        leave(c);
    task->received += size;
    go_on(c, task);
}

static void command(struct connection *c, const uint8_t *pdu, const uint8_t *data, uint32_t size)
{
    const uint8_t *cdb = pdu + 32;
    uint64_t offset = ((uint64_t)number(cdb + 2) << 32 | number(cdb + 6)) * BLOCK;
    uint32_t itt = number(pdu + 16), length = number(cdb + 10) * BLOCK;

    c->exp_cmd_sn = number(pdu + 24) + 1;
    if (cdb[0] == 0x88) {
        do_read(c, itt, offset, length);
    } else if (cdb[0] == 0x8A) {
        struct task *task = c->tasks;

        while (task->length > 0)
            task++;
        *task = (struct task){offset, itt, length, 0, size, 0};
        take_data(c, task, 0, data, size);
    } else {
        /* READ CAPACITY (16) */
        uint8_t *reply = lay_out(c, DATA_IN, 0x81, 32);
        uint64_t last = htobe64(blocks - 1);

        put(reply + 4, 32);
        put(reply + 16, itt);
        memset(reply + 20, 0xFF, 4);
        number_it(c, reply, true);
        memset(reply + HEADER, 0, 32);
        memcpy(reply + HEADER, &last, sizeof last);
        put(reply + HEADER + 8, BLOCK);
    }
}

static void *serve(void *argument)
{
    struct connection *c = calloc(1, sizeof *c);

    c->socket = (intptr_t)argument;
    c->in = malloc(ROOM);
    c->out = malloc(ROOM);
    for (;;) {
        uint8_t *pdu = need(c, HEADER), *data;
        uint32_t size = number(pdu + 4) & 0xFFFFFF;

        pdu = need(c, HEADER + ((size + 3) & ~3));
        data = pdu + HEADER;
        c->begin += HEADER + ((size + 3) & ~3);
        switch (pdu[0] & 0x3F) {
        case LOGIN:
            log_in(c, pdu);
            break;
        case COMMAND:
            command(c, pdu, data, size);
            break;
        case DATA_OUT:
            take_data(c, &c->tasks[number(pdu + 20)], number(pdu + 40), data, size);
            break;
        case LOGOUT: {
            uint8_t *reply = lay_out(c, LOGOUT_RESPONSE, 0x80, 0);

            memcpy(reply + 16, pdu + 16, 4);
            number_it(c, reply, true);
            break;
        }
        default:
            leave(c);
        }
    }
    return NULL;
}

int main(int count, char **arguments)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct stat status;
    uint64_t bytes;

    if (count != 2 || (file = open(arguments[1], O_RDWR)) < 0 || fstat(file, &status) < 0) {
        fprintf(stderr, "usage: bare FILE\n");
        return 2;
    }
    bytes = status.st_size;
    if (S_ISBLK(status.st_mode) && ioctl(file, BLKGETSIZE64, &bytes) < 0)
        return 1;
    blocks = bytes / BLOCK;
    if (bind(listener, (struct sockaddr *)&address, size) < 0 || listen(listener, 128) < 0
        || getsockname(listener, (struct sockaddr *)&address, &size) < 0)
        return 1;
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        intptr_t accepted = accept(listener, NULL, NULL);
        pthread_t thread;

        if (accepted < 0)
            return 1;
        setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (pthread_create(&thread, NULL, serve, (void *)accepted) == 0)
            pthread_detach(thread);
    }
}
