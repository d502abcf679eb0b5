/* TLS for the clients of loadgen.c, over OpenSSL. Compiled in with -DWITH_TLS; without it, no client can use TLS.
 *
 * tls_read and tls_write return what read(2) and write(2) return, and set errno likewise. Certificates are not checked.
 */
#ifdef WITH_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>

/* The TLS state of a connected socket; NULL if there is none. */
static void *tls_attach(int fd) {
    static SSL_CTX *context;
    if (!context) {
        context = SSL_CTX_new(TLS_client_method());
        if (!context) return NULL;
        SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
        SSL_CTX_set_read_ahead(context, 1); /* a read(2) takes several records: a header is no read of its own */
    }
    SSL *tls = SSL_new(context);
    if (!tls || !SSL_set_fd(tls, fd)) return NULL;
    SSL_set_connect_state(tls);
    return tls;
}

static ssize_t tls_result(SSL *tls, int result) {
    if (result > 0) return result;
    int error = SSL_get_error(tls, result);
    ERR_clear_error();
    if (error == SSL_ERROR_ZERO_RETURN) return 0;
    errno = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? EAGAIN : ECONNRESET;
    return -1;
}

/* 1: done. -1 with EAGAIN: call it again when the socket is readable. */
static ssize_t tls_handshake(void *tls) { return tls_result(tls, SSL_do_handshake(tls)); }

static ssize_t tls_read(void *tls, void *into, size_t size) { return tls_result(tls, SSL_read(tls, into, (int)size)); }

static ssize_t tls_write(void *tls, const void *from, size_t size) {
    return tls_result(tls, SSL_write(tls, from, (int)size));
}

static void tls_free(void *tls) { SSL_free(tls); }
#else
static void *tls_attach(int fd) { return (void)fd, errno = ENOTSUP, NULL; }
static ssize_t tls_handshake(void *tls) { return (void)tls, -1; }
static ssize_t tls_read(void *tls, void *into, size_t size) { return (void)tls, (void)into, (void)size, -1; }
static ssize_t tls_write(void *tls, const void *from, size_t size) { return (void)tls, (void)from, (void)size, -1; }
static void tls_free(void *tls) { (void)tls; }
#endif
