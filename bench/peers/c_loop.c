/* The baseline: the cost of the kernel's send() alone. It answers each handshake with a fixed response and parses nothing.
 *
 *     c_loop PORT TRIGGER_PORT
 *
 * "FRAMES BYTES\n" on the trigger port: FRAMES frames of BYTES bytes go to every client, in one buffer and one send().
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_CLIENTS = 20000 };

static int clients[MAX_CLIENTS], count;

static void die(const char *what) {
    fprintf(stderr, "c_loop: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, (struct sockaddr *)&here, sizeof here) < 0 || listen(fd, 4096) < 0) die("listen");
    return fd;
}

static void send_all(int fd, const unsigned char *data, size_t size) {
    while (size) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL); /* blocks while the socket buffer is full; the clients read at once */
        if (sent < 0) return;
        data += sent, size -= (size_t)sent;
    }
}

static void broadcast(int frames, int size) {
    static unsigned char joined[1 << 20];
    size_t length = 0;
    for (int i = 0; i < frames && length + (size_t)size + 4 <= sizeof joined; i++) {
        joined[length++] = 0x81;
        if (size > 125) {
            joined[length++] = 126;
            joined[length++] = (unsigned char)(size >> 8);
        }
        joined[length++] = (unsigned char)size;
        memset(joined + length, 'x', (size_t)size);
        memcpy(joined + length, "@@0:0@@", 7);
        length += (size_t)size;
    }
    for (int i = 0; i < count; i++) send_all(clients[i], joined, length);
}

static void add_client(int fd) {
    static const char answer[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                 "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"; /* for the key of the load generator */
    char request[4096];
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (count == MAX_CLIENTS || read(fd, request, sizeof request) <= 0) {
        close(fd);
        return;
    }
    send_all(fd, (const unsigned char *)answer, sizeof answer - 1);
    clients[count++] = fd;
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    int listener = listen_on(atoi(argv[1])), trigger_listener = listen_on(atoi(argv[2])), poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    event.data.fd = trigger_listener;
    epoll_ctl(poller, EPOLL_CTL_ADD, trigger_listener, &event);
    puts("ready");
    fflush(stdout);
    for (;;) {
        if (epoll_wait(poller, &event, 1, -1) < 1) continue;
        if (event.data.fd == listener) add_client(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
        else if (event.data.fd == trigger_listener) {
            int fd = accept4(trigger_listener, NULL, NULL, SOCK_CLOEXEC);
            event = (struct epoll_event){.events = EPOLLIN, .data.fd = fd};
            epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
        } else {
            char line[256];
            int frames, size;
            ssize_t got = read(event.data.fd, line, sizeof line - 1);
            if (got <= 0) {
                close(event.data.fd);
                continue;
            }
            line[got] = 0;
            if (sscanf(line, "%d %d", &frames, &size) == 2 && size >= 7 && size < 65536) broadcast(frames, size);
        }
    }
}
