/* A load generator: many clients in one thread that receive messages, count them and measure the latency. They are WebSocket
 * clients (RFC 6455) or read Server-Sent Events (HTML standard, section 9.2), each also over TLS (loadgen_tls.h).
 *
 *     loadgen HOST PORT [TRIGGER_PORT]
 *
 * It reads commands from standard input, one a line, and answers each with one line of JSON:
 *
 *     connect CLIENTS IN_FLIGHT PATH [deflate] [sse] [tls] [token=TOKEN]
 *                                       open CLIENTS more connections, at most IN_FLIGHT handshakes at a time;
 *                                       deflate: the clients offer permessage-deflate; sse: they read Server-Sent Events;
 *                                       TOKEN: of the header Authorization
 *     reset                             set all counters to zero
 *     await FRAMES SECONDS              return when every client has received FRAMES marked frames since the reset
 *     pump BATCHES FRAMES FILE SECONDS  BATCHES times: send FILE to the trigger port, wait until every client has FRAMES more
 *     report                            print the counters since the reset
 *     quit CLIENTS                      close CLIENTS connections, the newest first
 *
 * A marked frame contains "@@<number>:<nanoseconds of CLOCK_REALTIME>@@": the time of writing (PostgreSQL has the same clock).
 * For each number the first and the last arrival are recorded, in microseconds since that time. Pings are answered. Every frame
 * is read completely. A compressed frame (RFC 7692) is not inflated and counts as a marked one without a number. Of Server-Sent
 * Events each data line counts as a frame.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "loadgen_tls.h"

enum { BUFFER = 1 << 20, EVENTS = 1024, MARKS = 1 << 17 };
/* SECURING: in the handshake of TLS. SHAKING: in that of WebSocket, or before the response with the events. */
enum state { CLOSED, CONNECTING, SECURING, SHAKING, OPEN };

struct client {
    int fd;
    enum state state;
    int sse;   /* whether it reads Server-Sent Events */
    void *tls; /* NULL: without TLS */
    unsigned char *rest; /* an incomplete frame or chunk, or an incomplete response to the handshake */
    uint32_t rest_size, rest_capacity;
    uint32_t marked;
};

struct mark {
    uint32_t clients;
    int64_t written;     /* nanoseconds, from the mark */
    int64_t first, last; /* microseconds from `written` to the arrival */
};

static struct sockaddr_in address;
static struct client *clients;
static uint32_t clients_size, clients_capacity;
static struct mark *marks;
static uint32_t marks_size;
static unsigned char *buffer;
static char path[4096];
static const char *offer = ""; /* the header line with which browsers offer permessage-deflate */
static char authorization[2048]; /* the header line with the token */
static uint32_t deflating;     /* connections on which the server accepted it */
static int as_sse, over_tls;   /* how further clients connect */
static int poller, trigger = -1;
static uint32_t in_flight, open_clients, failed, lost; /* lost: open connections that the server closed */
static uint32_t target, reached;                       /* clients that have received `target` marked frames */
static uint64_t frames, marked, bytes, wire, reads;    /* bytes: payloads; wire: payloads with frame headers */
static char commands[8192];
static size_t commands_size;
static int commands_ended;

#define STDIN_TAG UINT32_MAX
#define TRIGGER_TAG (UINT32_MAX - 1)

static int64_t on_clock(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t now(void) { return on_clock(CLOCK_MONOTONIC); }

static void die(const char *what) {
    fprintf(stderr, "loadgen: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void watch(int fd, uint32_t tag, uint32_t events, int operation) {
    struct epoll_event event = {.events = events, .data.u32 = tag};
    if (epoll_ctl(poller, operation, fd, &event) < 0) die("epoll_ctl");
}

static void drop_client(struct client *c) {
    if (c->state == OPEN) open_clients--, lost++;
    else if (c->state != CLOSED) in_flight--, failed++;
    if (c->tls) tls_free(c->tls);
    c->tls = NULL;
    if (c->state != CLOSED) close(c->fd);
    c->state = CLOSED;
    free(c->rest);
    c->rest = NULL;
    c->rest_size = c->rest_capacity = 0;
}

static void start_client(void) {
    if (clients_size == clients_capacity) {
        clients_capacity = clients_capacity ? 2 * clients_capacity : 1024;
        clients = realloc(clients, clients_capacity * sizeof *clients);
        if (!clients) die("memory");
    }
    struct client *c = &clients[clients_size++];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    *c = (struct client){.fd = fd, .state = CONNECTING, .sse = as_sse};
    if (c->fd < 0) die("socket (raise the limit of open files: ulimit -n)");
    int on = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    in_flight++;
    watch(c->fd, clients_size - 1, EPOLLOUT, EPOLL_CTL_ADD);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS) drop_client(c);
}

static ssize_t receive(struct client *c, void *into, size_t size) {
    return c->tls ? tls_read(c->tls, into, size) : read(c->fd, into, size);
}

static ssize_t transmit(struct client *c, const void *from, size_t size) {
    return c->tls ? tls_write(c->tls, from, size) : write(c->fd, from, size);
}

static void send_request(struct client *c) {
    char request[8000], headers[512] = "Accept: text/event-stream\r\n";
    /* The key and its Sec-WebSocket-Accept are the example of RFC 6455 section 1.3. */
    if (!c->sse)
        snprintf(headers, sizeof headers,
                 "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                 "Sec-WebSocket-Version: 13\r\n%s",
                 offer);
    int length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: %s:%d\r\n%s%s\r\n", path,
                          inet_ntoa(address.sin_addr), ntohs(address.sin_port), headers, authorization);
    c->state = SHAKING;
    if (transmit(c, request, (size_t)length) != length) drop_client(c);
}

static void secure(struct client *c) {
    if (tls_handshake(c->tls) > 0) send_request(c);
    else if (errno != EAGAIN) drop_client(c);
}

static void connected(struct client *c) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        drop_client(c);
        return;
    }
    watch(c->fd, (uint32_t)(c - clients), EPOLLIN, EPOLL_CTL_MOD);
    if (!over_tls) {
        send_request(c);
        return;
    }
    c->state = SECURING;
    c->tls = tls_attach(c->fd);
    if (!c->tls) die("TLS");
    secure(c);
}

/* Find the mark, first at the offset of the previous frame's mark. NULL if there is none. */
static const unsigned char *mark_in(const unsigned char *text, uint64_t size) {
    static uint64_t offset;
    if (offset + 2 <= size && text[offset] == '@' && text[offset + 1] == '@') return text + offset;
    const unsigned char *found = memmem(text, size, "@@", 2);
    if (found) offset = (uint64_t)(found - text);
    return found;
}

/* Parse the number at `at`, and move `at` behind it. */
static uint64_t parse_number(const unsigned char **at, const unsigned char *end) {
    uint64_t n = 0;
    for (; *at < end && **at >= '0' && **at <= '9'; ++*at) n = 10 * n + (**at - '0');
    return n;
}

static void count_frame(struct client *c, const unsigned char *text, uint64_t size, int compressed, int64_t at) {
    frames++;
    bytes += size;
    const unsigned char *found = compressed ? NULL : mark_in(text, size), *end = text + size;
    if (!found && !compressed) return;
    marked++;
    if (++c->marked == target) reached++;
    if (!found) return;
    found += 2;
    uint64_t n = parse_number(&found, end);
    if (found == end || *found != ':' || n >= MARKS) return;
    struct mark *mark = &marks[n];
    if (!mark->clients++) {
        found++;
        mark->written = (int64_t)parse_number(&found, end);
        mark->first = (at - mark->written) / 1000;
        if (n >= marks_size) marks_size = n + 1;
    }
    mark->last = (at - mark->written) / 1000;
}

/* Client frames must be masked (RFC 6455 section 5.3). A mask of zeros leaves the payload unchanged. */
static void answer_ping(struct client *c, const unsigned char *payload, uint64_t size) {
    unsigned char frame[6 + 125] = {0x8a, 0x80 | (unsigned char)size};
    memcpy(frame + 6, payload, size);
    if (transmit(c, frame, 6 + size) < 0 && errno != EAGAIN) drop_client(c);
}

/* Count all complete frames; return the number of bytes consumed. */
static size_t take_frames(struct client *c, const unsigned char *data, size_t size, int64_t at) {
    size_t used = 0;
    while (c->state == OPEN && size - used >= 2) {
        const unsigned char *frame = data + used;
        size_t head = 2;
        uint64_t length = frame[1] & 0x7f;
        if (length == 126) {
            if (size - used < 4) break;
            length = (uint64_t)frame[2] << 8 | frame[3], head = 4;
        } else if (length == 127) {
            if (size - used < 10) break;
            length = 0, head = 10;
            for (int i = 2; i < 10; i++) length = length << 8 | frame[i];
        }
        if (length > BUFFER / 2) errno = EMSGSIZE, die("a frame from the server");
        if (size - used < head + length) break;
        switch (frame[0] & 0x0f) {
        case 0x8: drop_client(c); break;
        case 0x9: if (length <= 125) answer_ping(c, frame + head, length); break;
        case 0xa: break;
        default: count_frame(c, frame + head, length, frame[0] & 0x40, at);
        }
        wire += head + length;
        used += head + length;
    }
    return used;
}

/* Count the data lines of Server-Sent Events. The server writes whole events, so no line is divided between two chunks. */
static void count_lines(struct client *c, const unsigned char *line, size_t size, int64_t at) {
    for (const unsigned char *end = line + size, *next; line < end; line = next + 1) {
        next = memchr(line, '\n', (size_t)(end - line));
        if (!next) errno = EPROTO, die("a chunk that ends within a line");
        if (next - line > 5 && memcmp(line, "data:", 5) == 0) count_frame(c, line + 5, (uint64_t)(next - line - 5), 0, at);
    }
}

/* Count all complete chunks (RFC 9112 section 7.1); return the number of bytes consumed. */
static size_t take_chunks(struct client *c, const unsigned char *data, size_t size, int64_t at) {
    size_t used = 0;
    while (c->state == OPEN) {
        const unsigned char *end = memchr(data + used, '\n', size - used);
        if (!end) break;
        size_t length = strtoul((const char *)data + used, NULL, 16), head = (size_t)(end + 1 - (data + used));
        if (length > BUFFER / 2) errno = EMSGSIZE, die("a chunk from the server");
        if (size - used < head + length + 2) break;
        if (length) count_lines(c, end + 1, length, at);
        else drop_client(c); /* the end of the response */
        wire += head + length + 2;
        used += head + length + 2;
    }
    return used;
}

static int is_accepted(struct client *c, const unsigned char *head, size_t size) {
    if (c->sse) return memcmp(head, "HTTP/1.1 200", 12) == 0 && memmem(head, size, "chunked", 7);
    return memcmp(head, "HTTP/1.1 101", 12) == 0 && memmem(head, size, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", 28);
}

/* Read once. Returns whether there may be more to read. */
static int read_some(struct client *c) {
    if (c->rest_size) memcpy(buffer, c->rest, c->rest_size);
    ssize_t got = receive(c, buffer + c->rest_size, BUFFER - c->rest_size);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    if (got <= 0) {
        drop_client(c);
        return 0;
    }
    reads++;
    size_t size = c->rest_size + (size_t)got, used = 0;
    if (c->state == SHAKING) {
        const unsigned char *end = memmem(buffer, size, "\r\n\r\n", 4);
        if (end) {
            if (size < 12 || !is_accepted(c, buffer, (size_t)(end - buffer))) {
                drop_client(c);
                return 0;
            }
            c->state = OPEN;
            in_flight--, open_clients++;
            deflating += memmem(buffer, (size_t)(end - buffer), "permessage-deflate", 18) != NULL;
            used = (size_t)(end - buffer) + 4;
        }
    }
    if (c->state == OPEN) used += (c->sse ? take_chunks : take_frames)(c, buffer + used, size - used, on_clock(CLOCK_REALTIME));
    if (c->state == CLOSED) return 0;
    c->rest_size = (uint32_t)(size - used);
    if (c->rest_size > c->rest_capacity) {
        c->rest_capacity = c->rest_size;
        c->rest = realloc(c->rest, c->rest_capacity);
        if (!c->rest) die("memory");
    }
    if (c->rest_size) memcpy(c->rest, buffer + used, c->rest_size);
    return c->tls != NULL; /* OpenSSL may hold more, of which the socket says nothing */
}

static void readable(struct client *c) {
    while (read_some(c)) continue;
}

/* Wait for events, until `deadline` at the latest, and handle them. */
static void poll_events(int64_t deadline) {
    static struct epoll_event events[EVENTS];
    int64_t left = (deadline - now() + 999999) / 1000000;
    int count = epoll_wait(poller, events, EVENTS, left < 0 ? 0 : left > 1000 ? 1000 : (int)left);
    for (int i = 0; i < count; i++) {
        uint32_t tag = events[i].data.u32;
        if (tag == STDIN_TAG) {
            ssize_t got = read(0, commands + commands_size, sizeof commands - commands_size - 1);
            if (got > 0) commands_size += (size_t)got;
            else commands_ended = 1, watch(0, STDIN_TAG, 0, EPOLL_CTL_DEL);
        } else if (tag == TRIGGER_TAG) {
            char answer[65536]; /* responses to the trigger are ignored */
            if (read(trigger, answer, sizeof answer) == 0) errno = ECONNRESET, die("the trigger port");
        } else if (clients[tag].state == CONNECTING) {
            connected(&clients[tag]);
        } else if (clients[tag].state == SECURING) {
            secure(&clients[tag]);
        } else if (clients[tag].state != CLOSED) {
            readable(&clients[tag]);
        }
    }
}

static void reset(void) {
    frames = marked = bytes = wire = reads = lost = failed = reached = target = 0;
    memset(marks, 0, marks_size * sizeof *marks);
    marks_size = 0;
    for (uint32_t i = 0; i < clients_size; i++) clients[i].marked = 0;
}

static int await(uint32_t wanted, int64_t deadline) {
    target = wanted, reached = 0;
    for (uint32_t i = 0; i < clients_size; i++) reached += clients[i].state == OPEN && clients[i].marked >= wanted;
    while (reached < open_clients && now() < deadline) poll_events(deadline);
    return reached >= open_clients && open_clients > 0 && lost == 0;
}

static void do_connect(uint32_t count, uint32_t max_in_flight) {
    int64_t start = now();
    uint32_t before = open_clients, failed_before = failed;
    deflating = 0;
    for (uint32_t i = 0; i < count || in_flight;) {
        while (i < count && in_flight < max_in_flight) start_client(), i++;
        poll_events(start + 120LL * 1000000000);
        if (now() > start + 120LL * 1000000000) break;
    }
    printf("{\"connected\": %u, \"failed\": %u, \"deflate\": %u, \"seconds\": %.6f}\n", open_clients - before,
           failed - failed_before, deflating, (double)(now() - start) / 1e9);
}

static void do_pump(uint32_t batches, uint32_t batch_size, const char *file, double seconds) {
    FILE *source = fopen(file, "rb");
    if (!source) die(file);
    static char text[1 << 20];
    size_t size = fread(text, 1, sizeof text, source);
    fclose(source);
    int64_t start = now(), deadline = start + (int64_t)(seconds * 1e9);
    uint32_t done = 0;
    for (uint32_t i = 1; i <= batches && now() < deadline; i++) {
        for (size_t sent = 0; sent < size;) {
            ssize_t wrote = write(trigger, text + sent, size - sent);
            if (wrote > 0) sent += (size_t)wrote;
            else if (errno == EAGAIN) poll_events(now() + 1000000); /* reads the responses, which may block the server */
            else die("the trigger port");
        }
        if (!await(i * batch_size, deadline)) break;
        done++;
    }
    printf("{\"batches\": %u, \"clients\": %u, \"seconds\": %.6f, \"lost\": %u}\n", done, open_clients,
           (double)(now() - start) / 1e9, lost);
}

static void do_report(void) {
    printf("{\"clients\": %u, \"lost\": %u, \"frames\": %lu, \"marked\": %lu, \"bytes\": %lu, \"wire\": %lu, \"reads\": %lu, "
           "\"marks\": [",
           open_clients, lost, frames, marked, bytes, wire, reads);
    for (uint32_t i = 0, first = 1; i < marks_size; i++) {
        if (!marks[i].clients) continue;
        printf("%s[%u, %u, %ld, %ld]", first ? "" : ", ", i, marks[i].clients, marks[i].first, marks[i].last);
        first = 0;
    }
    printf("]}\n");
}

static void do_quit(uint32_t count) {
    uint32_t closed = 0;
    for (uint32_t i = clients_size; i-- && closed < count;)
        if (clients[i].state == OPEN) drop_client(&clients[i]), lost--, closed++;
    printf("{\"closed\": %u}\n", closed);
}

static void execute(char *line) {
    uint32_t a, b;
    double seconds;
    char text[4096];
    int options = 0;
    if (sscanf(line, "connect %u %u %4095s%n", &a, &b, path, &options) == 3 && b) {
        int deflate = strstr(line + options, " deflate") != NULL;
        offer = deflate ? "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" : "";
        as_sse = strstr(line + options, " sse") != NULL;
        over_tls = strstr(line + options, " tls") != NULL;
        const char *token = strstr(line + options, " token=");
        authorization[0] = 0;
        if (token && sscanf(token, " token=%1900s", text) == 1)
            snprintf(authorization, sizeof authorization, "Authorization: Bearer %s\r\n", text);
        do_connect(a, b);
    } else if (sscanf(line, "pump %u %u %4095s %lf", &a, &b, text, &seconds) == 4) do_pump(a, b, text, seconds);
    else if (sscanf(line, "await %u %lf", &a, &seconds) == 2) {
        int64_t start = now();
        int done = await(a, start + (int64_t)(seconds * 1e9));
        printf("{\"done\": %s, \"seconds\": %.6f, \"short\": %u}\n", done ? "true" : "false", (double)(now() - start) / 1e9,
               open_clients - reached);
    } else if (strcmp(line, "reset") == 0) reset(), printf("{}\n");
    else if (strcmp(line, "report") == 0) do_report();
    else if (sscanf(line, "quit %u", &a) == 1) do_quit(a);
    else printf("{\"error\": \"unknown command\"}\n");
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: loadgen HOST PORT [TRIGGER_PORT]\n");
        return 2;
    }
    address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2]))};
    if (inet_pton(AF_INET, argv[1], &address.sin_addr) != 1) errno = EINVAL, die(argv[1]);
    poller = epoll_create1(EPOLL_CLOEXEC);
    marks = calloc(MARKS, sizeof *marks);
    buffer = malloc(BUFFER);
    if (poller < 0 || !marks || !buffer) die("start");
    watch(0, STDIN_TAG, EPOLLIN, EPOLL_CTL_ADD);
    if (argc > 3) {
        struct sockaddr_in there = address;
        there.sin_port = htons((uint16_t)atoi(argv[3]));
        trigger = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (trigger < 0 || connect(trigger, (struct sockaddr *)&there, sizeof there) < 0) die("the trigger port");
        int on = 1;
        setsockopt(trigger, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        fcntl(trigger, F_SETFL, O_NONBLOCK);
        watch(trigger, TRIGGER_TAG, EPOLLIN, EPOLL_CTL_ADD);
    }
    for (;;) {
        char *end = memchr(commands, '\n', commands_size);
        if (!end && commands_ended) return 0;
        if (!end) {
            poll_events(now() + 1000000000);
            continue;
        }
        char line[8192];
        size_t size = (size_t)(end - commands);
        memcpy(line, commands, size);
        line[size] = 0;
        commands_size -= size + 1;
        memmove(commands, end + 1, commands_size);
        execute(line);
    }
}
