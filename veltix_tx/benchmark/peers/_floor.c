/* The floor: a server that does the least there is to do with messages of 15 or 22 bytes of header.

   serve() never returns. Everything happens with the interpreter's lock held, but for the waiting: commands are
   carried out meanwhile, in another thread. A connection that fails is closed without a word. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define READ_SIZE (256 * 1024)
#define LARGE (64 * 1024)
#define EVENTS 512
#define MESSAGE 200
#define PONG 1

enum { SINK, ECHO, BROADCAST };

/* What is the same for all connections. */
static struct {
    int epoll, mode, in_a_row, carries_time;
    size_t header, code_at, size_at, crc_at, id_at, id_size;
    PyObject *hello, *result, *handler, *crc32;
} server;

typedef struct {
    int shaking;          /* whether a handshake in JSON is not over yet */
    int asked_to_write;
    size_t in_size, out_size, out_room, out_at;
    unsigned char *in;    /* what is left of a read: less than a message */
    unsigned char *out;   /* what could not be written yet */
    PyObject *large;      /* a large content that is on its way */
    size_t large_at;
    unsigned char large_header[32];
    int in_all;           /* where it is in the list of all that have shaken hands; -1 */
} Connection;

static Connection **connections;
static int connections_room;
static int *all, all_count, all_room;
static unsigned char read_buffer[READ_SIZE + LARGE + 64];

/* The handler in C: what comes next, and how much has come. */
static PyObject *expected;
static Py_ssize_t expected_count, got, target;
static long wrong;
static double arrived_at;

static uint32_t table[8][256];

static void
prepare_table(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ ((crc & 1) ? 0xEDB88320u : 0u);
        }
        table[0][byte] = crc;
    }
    for (int byte = 0; byte < 256; byte++) {
        for (int slice = 1; slice < 8; slice++) {
            table[slice][byte] = (table[slice - 1][byte] >> 8) ^ table[0][table[slice - 1][byte] & 0xFF];
        }
    }
}

static uint32_t
crc_of(const unsigned char *at, size_t size)
{
    uint32_t crc = 0xFFFFFFFFu;
    for (; size >= 8; at += 8, size -= 8) {
        uint32_t low, high;
        memcpy(&low, at, 4);
        memcpy(&high, at + 4, 4);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        low = __builtin_bswap32(low);
        high = __builtin_bswap32(high);
#endif
        low ^= crc;
        crc = table[7][low & 0xFF] ^ table[6][low >> 8 & 0xFF] ^ table[5][low >> 16 & 0xFF] ^ table[4][low >> 24]
            ^ table[3][high & 0xFF] ^ table[2][high >> 8 & 0xFF] ^ table[1][high >> 16 & 0xFF] ^ table[0][high >> 24];
    }
    for (; size > 0; at++, size--) {
        crc = crc >> 8 ^ table[0][(crc ^ *at) & 0xFF];
    }
    return ~crc;
}

static uint32_t
be32(const unsigned char *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void
put_be(unsigned char *at, uint64_t value, int size)
{
    while (size-- > 0) {
        *at++ = (unsigned char)(value >> 8 * size);
    }
}

static double
now(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void
drop(int fd)
{
    Connection *connection = connections[fd];
    connections[fd] = NULL;
    if (connection->in_all >= 0) {
        int last = all[--all_count];
        all[connection->in_all] = last;
        if (connections[last] != NULL) {
            connections[last]->in_all = connection->in_all;
        }
    }
    free(connection->in);
    free(connection->out);
    Py_XDECREF(connection->large);
    free(connection);
    close(fd);
}

static void
append(unsigned char **buffer, size_t *size, size_t *room, const void *data, size_t number)
{
    if (*size + number > *room) {
        *room = (*size + number) * 2;
        *buffer = realloc(*buffer, *room);
        if (*buffer == NULL) {
            abort();
        }
    }
    memcpy(*buffer + *size, data, number);
    *size += number;
}

static void
watch(int fd, Connection *connection, int writing)
{
    struct epoll_event event = {.events = EPOLLIN | (writing ? EPOLLOUT : 0), .data.fd = fd};
    epoll_ctl(server.epoll, EPOLL_CTL_MOD, fd, &event);
    connection->asked_to_write = writing;
}

/* Write at once what goes, keep the rest. */
static void
put(int fd, Connection *connection, const unsigned char *data, size_t size)
{
    if (connection->out_size == 0) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent > 0) {
            data += sent;
            size -= (size_t)sent;
        }
    }
    if (size > 0) {
        append(&connection->out, &connection->out_size, &connection->out_room, data, size);
        if (!connection->asked_to_write) {
            watch(fd, connection, 1);
        }
    }
}

static void
go_on_writing(int fd, Connection *connection)
{
    ssize_t sent = send(fd, connection->out + connection->out_at, connection->out_size - connection->out_at, MSG_NOSIGNAL);
    if (sent > 0) {
        connection->out_at += (size_t)sent;
    }
    if (connection->out_at == connection->out_size) {
        connection->out_at = connection->out_size = 0;
        watch(fd, connection, 0);
    }
}

/* The replies to one read. */
static unsigned char *replies;
static size_t replies_size, replies_room;

static void
frame(const unsigned char *head, const unsigned char *content, size_t size, int with_id)
{
    unsigned char header[32];
    memcpy(header, head, server.header);
    put_be(header + server.size_at, size, 4);
    put_be(header + server.crc_at, crc_of(content, size), 4);
    if (server.carries_time) {
        put_be(header + 10, (uint64_t)(now(CLOCK_REALTIME) * 1000), 8);
    }
    if (!with_id) {
        memset(header + server.id_at, 0, server.id_size);
    }
    append(&replies, &replies_size, &replies_room, header, server.header);
    append(&replies, &replies_size, &replies_room, content, size);
}

static void
send_to_all(const unsigned char *head, const unsigned char *content, size_t size)
{
    replies_size = 0;
    for (int each = 0; each < server.in_a_row; each++) {
        frame(head, content, size, 0);
    }
    for (int each = 0; each < all_count; each++) {
        put(all[each], connections[all[each]], replies, replies_size);
    }
    replies_size = 0;
}

/* Return whether to go on. */
static int
handle(const unsigned char *head, const unsigned char *content, size_t size, PyObject *made)
{
    PyObject *answer = NULL;
    if (server.handler != NULL) {
        PyObject *object = made != NULL ? Py_NewRef(made) : PyBytes_FromStringAndSize((const char *)content, (Py_ssize_t)size);
        if (object == NULL) {
            return 0;
        }
        answer = PyObject_CallOneArg(server.handler, object);
        Py_DECREF(object);
        if (answer == NULL) {
            return 0;
        }
        if (server.mode != SINK) {
            content = (const unsigned char *)PyBytes_AsString(answer);
            if (content == NULL) {
                Py_DECREF(answer);
                return 0;
            }
            size = (size_t)PyBytes_GET_SIZE(answer);
        }
    } else if (server.mode == SINK) {
        PyObject *wanted = expected_count ? PyList_GET_ITEM(expected, got % expected_count) : NULL;
        wrong += got >= target || wanted == NULL || (size_t)PyBytes_GET_SIZE(wanted) != size
            || memcmp(PyBytes_AS_STRING(wanted), content, size) != 0;
        if (++got == target) {
            arrived_at = now(CLOCK_MONOTONIC);
        }
    }
    if (server.mode == ECHO) {
        frame(head, content, size, 1);
    } else if (server.mode == BROADCAST) {
        send_to_all(head, content, size);
    }
    Py_XDECREF(answer);
    return 1;
}

static void
keep(Connection *connection, const unsigned char *data, size_t size)
{
    connection->in = realloc(connection->in, size);
    if (connection->in == NULL) {
        abort();
    }
    memmove(connection->in, data, size);
    connection->in_size = size;
}

static void
joined(int fd, Connection *connection)
{
    if (all_count == all_room) {
        all_room = all_room ? all_room * 2 : 64;
        all = realloc(all, (size_t)all_room * sizeof *all);
        if (all == NULL) {
            abort();
        }
    }
    connection->in_all = all_count;
    all[all_count++] = fd;
}

/* As for parse. */
static int
finish_large(Connection *connection)
{
    PyObject *content = connection->large;
    PyObject *found = PyObject_CallOneArg(server.crc32, content);
    unsigned long crc = found == NULL ? 0 : PyLong_AsUnsignedLong(found);
    int good = found != NULL && crc == be32(connection->large_header + server.crc_at);
    connection->large = NULL;
    Py_XDECREF(found);
    good = good && handle(connection->large_header, (unsigned char *)PyBytes_AS_STRING(content),
                          (size_t)PyBytes_GET_SIZE(content), content);
    Py_DECREF(content);
    return PyErr_Occurred() ? -2 : good ? 0 : -1;
}

/* Parse what is there. Return -1 where the connection is to be closed, -2 where Python raised. */
static int
parse(int fd, Connection *connection, const unsigned char *data, size_t size)
{
    if (connection->shaking) {
        size_t length = size < 2 ? SIZE_MAX - 2 : ((size_t)data[0] << 8 | data[1]);
        if (size < 2 || size < 2 + length) {
            keep(connection, data, size);
            return 0;
        }
        data += 2 + length;
        size -= 2 + length;
        connection->shaking = 0;
        put(fd, connection, (unsigned char *)PyBytes_AS_STRING(server.result), (size_t)PyBytes_GET_SIZE(server.result));
        joined(fd, connection);
    }
    while (size >= server.header) {
        size_t length = be32(data + server.size_at);
        unsigned code = (unsigned)data[server.code_at] << 8 | data[server.code_at + 1];
        const unsigned char *content = data + server.header;
        if (length > LARGE) {
            size_t there = size - server.header < length ? size - server.header : length;
            connection->large = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)length);
            if (connection->large == NULL) {
                return -2;
            }
            memcpy(connection->large_header, data, server.header);
            memcpy(PyBytes_AS_STRING(connection->large), content, there);
            connection->large_at = there;
            data = content + there;
            size -= server.header + there;
            if (there < length) {
                break;
            }
            int outcome = finish_large(connection);
            if (outcome != 0) {
                return outcome;
            }
            continue;
        }
        if (size - server.header < length) {
            break;
        }
        if (crc_of(content, length) != be32(data + server.crc_at)) {
            return -1;
        }
        if (code == MESSAGE) {
            if (!handle(data, content, length, NULL)) {
                return -2;
            }
        } else if (connection->in_all < 0) {
            joined(fd, connection); /* the acknowledgement of a hello in a frame */
        }
        data = content + length;
        size -= server.header + length;
    }
    if (size > 0) {
        keep(connection, data, size);
    }
    return 0;
}

static int
readable(int fd, Connection *connection)
{
    PyObject *large = connection->large;
    size_t left = large != NULL ? connection->large_at : connection->in_size;
    unsigned char *buffer = large != NULL ? (unsigned char *)PyBytes_AS_STRING(large) : read_buffer;
    size_t room = large != NULL ? (size_t)PyBytes_GET_SIZE(large) - left : READ_SIZE;
    if (large == NULL && left > 0) {
        memcpy(read_buffer, connection->in, left);
    }
    ssize_t came = recv(fd, buffer + left, room, 0);
    if (came <= 0) {
        return came < 0 && errno == EAGAIN ? 0 : -1;
    }
    int outcome = 0;
    replies_size = 0;
    if (large == NULL) {
        free(connection->in);
        connection->in = NULL;
        connection->in_size = 0;
        outcome = parse(fd, connection, read_buffer, left + (size_t)came);
    } else {
        connection->large_at += (size_t)came;
        outcome = (size_t)came == room ? finish_large(connection) : 0;
    }
    if (outcome == 0 && replies_size > 0) {
        put(fd, connection, replies, replies_size);
    }
    return outcome;
}

static void
accept_all(int listener)
{
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        if (fd >= connections_room) {
            int room = (fd + 1) * 2;
            connections = realloc(connections, (size_t)room * sizeof *connections);
            if (connections == NULL) {
                abort();
            }
            memset(connections + connections_room, 0, (size_t)(room - connections_room) * sizeof *connections);
            connections_room = room;
        }
        Connection *connection = connections[fd] = calloc(1, sizeof *connection);
        if (connection == NULL) {
            abort();
        }
        connection->shaking = PyBytes_GET_SIZE(server.result) > 0;
        connection->in_all = -1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(server.epoll, EPOLL_CTL_ADD, fd, &event);
        put(fd, connection, (unsigned char *)PyBytes_AS_STRING(server.hello), (size_t)PyBytes_GET_SIZE(server.hello));
    }
}

static PyObject *
serve(PyObject *module, PyObject *arguments)
{
    int listener, header;
    struct epoll_event events[EVENTS];
    (void)module;
    if (!PyArg_ParseTuple(arguments, "iiiSSOOi", &listener, &server.mode, &header, &server.hello, &server.result,
                          &server.handler, &server.crc32, &server.in_a_row)) {
        return NULL;
    }
    server.handler = server.handler == Py_None ? NULL : server.handler;
    server.header = (size_t)header;
    server.carries_time = header == 22;
    server.code_at = header == 22 ? 0 : 3;
    server.size_at = server.code_at + 2;
    server.crc_at = server.code_at + 6;
    server.id_at = header == 22 ? 18 : 13;
    server.id_size = server.header - server.id_at;
    server.epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(server.epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int count;
        Py_BEGIN_ALLOW_THREADS
        count = epoll_wait(server.epoll, events, EVENTS, -1);
        Py_END_ALLOW_THREADS
        for (int each = 0; each < count; each++) {
            int fd = events[each].data.fd;
            if (fd == listener) {
                accept_all(listener);
                continue;
            }
            Connection *connection = connections[fd];
            if (events[each].events & EPOLLOUT) {
                go_on_writing(fd, connection);
            }
            if (events[each].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
                int outcome = readable(fd, connection);
                if (outcome == -2) {
                    return NULL;
                }
                if (outcome == -1) {
                    drop(fd);
                }
            }
        }
    }
}

static PyObject *
expect(PyObject *module, PyObject *arguments)
{
    PyObject *contents;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "O!n", &PyList_Type, &contents, &target)) {
        return NULL;
    }
    Py_XSETREF(expected, Py_NewRef(contents));
    expected_count = PyList_GET_SIZE(contents);
    got = 0;
    wrong = 0;
    arrived_at = 0;
    Py_RETURN_NONE;
}

static PyObject *
arrived(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return Py_BuildValue("nld", got, wrong, arrived_at);
}

static PyMethodDef functions[] = {
    {"serve", serve, METH_VARARGS, "Serve for ever."},
    {"expect", expect, METH_VARARGS, "Begin to count, with a list of contents that come over and over."},
    {"arrived", arrived, METH_NOARGS, "Return how many have come, how many were wrong, and when the last one came."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "_floor", .m_size = -1, .m_methods = functions};

PyMODINIT_FUNC
PyInit__floor(void)
{
    prepare_table();
    return PyModule_Create(&definition);
}
