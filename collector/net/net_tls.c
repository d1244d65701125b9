/* TLS by OpenSSL with memory BIOs: bytes in, bytes out, no socket. The context is replaced when its files change.
 *
 *   raw bytes -> BIO in -> SSL_accept / SSL_read -> net_conn_plain          net_conn_send -> SSL_write -> BIO out -> raw bytes
 */
#include "base/check.h"
#include "base/log.h"
#include "collector/net/net_conn.h"
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { PLAIN_BUF = 16 * 1024 };

struct file_stamp {
    struct timespec mtime;
    off_t size;
    ino_t inode;
};

struct net_tls_ctx {
    pthread_mutex_t lock;
    SSL_CTX *ctx; /* guarded by lock */
    char *cert, *key;
    struct file_stamp stamps[2]; /* guarded by lock */
};

struct net_tls {
    SSL *ssl;
    BIO *in, *out; /* the SSL's */
    bool ready, is_h2, shut;
};

/* --- the context ------------------------------------------------------------------------------ */

static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_size,
                       const unsigned char *in, unsigned in_size, void *arg)
{
    static const unsigned char ours[] = "\x02h2\x08http/1.1";
    unsigned char *chosen;

    if (SSL_select_next_proto(&chosen, out_size, ours, sizeof(ours) - 1, in, in_size) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static enum err openssl_error(struct err_msg *msg, const char *what, const char *file)
{
    char text[160] = "unknown error";
    unsigned long code = ERR_peek_last_error();

    if (code)
        ERR_error_string_n(code, text, sizeof(text));
    ERR_clear_error();
    return err_set(msg, ERR_INVALID, "%s %s: %s", what, file, text);
}

static enum err load(const char *cert, const char *key, SSL_CTX **out, struct err_msg *msg)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    enum err e = ERR_OK;

    if (!ctx)
        return err_set(msg, ERR_NOMEM, "out of memory for a TLS context");
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20");
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_max_early_data(ctx, 0);
    SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, NULL);
    if (SSL_CTX_use_certificate_chain_file(ctx, cert) != 1)
        e = openssl_error(msg, "cannot use the certificate file", cert);
    else if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
        e = openssl_error(msg, "cannot use the key file", key);
    else if (SSL_CTX_check_private_key(ctx) != 1)
        e = openssl_error(msg, "the key does not belong to the certificate", cert);
    if (e != ERR_OK) {
        SSL_CTX_free(ctx);
        return e;
    }
    *out = ctx;
    return ERR_OK;
}

static struct file_stamp stamp_of(const char *file)
{
    struct file_stamp s = {{0, 0}, 0, 0};
    struct stat st;

    if (stat(file, &st) == 0)
        s = (struct file_stamp){st.st_mtim, st.st_size, st.st_ino};
    return s;
}

static bool stamp_equal(struct file_stamp a, struct file_stamp b)
{
    return a.mtime.tv_sec == b.mtime.tv_sec && a.mtime.tv_nsec == b.mtime.tv_nsec &&
           a.size == b.size && a.inode == b.inode;
}

enum err net_tls_ctx_new(const char *cert, const char *key, struct net_tls_ctx **out,
                         struct err_msg *msg)
{
    struct net_tls_ctx *c;
    enum err e;

    if (!cert || !key)
        return err_set(msg, ERR_INVALID, "TLS needs both a certificate file and a key file");
    c = calloc(1, sizeof(*c));
    if (!c)
        return err_set(msg, ERR_NOMEM, "out of memory");
    pthread_mutex_init(&c->lock, NULL);
    c->cert = strdup(cert);
    c->key = strdup(key);
    c->stamps[0] = stamp_of(cert);
    c->stamps[1] = stamp_of(key);
    e = c->cert && c->key ? load(cert, key, &c->ctx, msg) : ERR_NOMEM;
    if (e != ERR_OK) {
        net_tls_ctx_free(c);
        return e;
    }
    *out = c;
    return ERR_OK;
}

void net_tls_ctx_free(struct net_tls_ctx *ctx)
{
    if (!ctx)
        return;
    SSL_CTX_free(ctx->ctx);
    pthread_mutex_destroy(&ctx->lock);
    free(ctx->cert);
    free(ctx->key);
    free(ctx);
}

enum err net_tls_ctx_reload(struct net_tls_ctx *ctx, struct err_msg *msg)
{
    struct file_stamp stamps[2] = {stamp_of(ctx->cert), stamp_of(ctx->key)};
    SSL_CTX *fresh = NULL, *old = NULL;
    enum err e = load(ctx->cert, ctx->key, &fresh, msg);

    pthread_mutex_lock(&ctx->lock);
    memcpy(ctx->stamps, stamps, sizeof(stamps)); /* also a bad pair is tried only once */
    if (e == ERR_OK) {
        old = ctx->ctx;
        ctx->ctx = fresh;
    }
    pthread_mutex_unlock(&ctx->lock);
    SSL_CTX_free(old); /* connections that use it hold it */
    net_stats_add(e == ERR_OK ? NET_COUNTED_TLS_RELOADS : NET_COUNTED_TLS_RELOAD_FAILURES, 1);
    return e;
}

void net_tls_ctx_watch(struct net_tls_ctx *ctx)
{
    struct err_msg msg = {""};
    bool changed;

    pthread_mutex_lock(&ctx->lock);
    changed = !stamp_equal(ctx->stamps[0], stamp_of(ctx->cert)) ||
              !stamp_equal(ctx->stamps[1], stamp_of(ctx->key));
    pthread_mutex_unlock(&ctx->lock);
    if (!changed)
        return;
    if (net_tls_ctx_reload(ctx, &msg) == ERR_OK)
        log_info("net", "the TLS certificate was read again from %s", ctx->cert);
    else
        log_error("net", "the TLS certificate changed but cannot be used, the old one stays: %s",
                  msg.text);
}

/* --- a connection's TLS ----------------------------------------------------------------------- */

struct net_tls *net_tls_new(struct net_tls_ctx *ctx)
{
    struct net_tls *tls = calloc(1, sizeof(*tls));

    if (!tls)
        return NULL;
    pthread_mutex_lock(&ctx->lock);
    tls->ssl = SSL_new(ctx->ctx);
    pthread_mutex_unlock(&ctx->lock);
    tls->in = BIO_new(BIO_s_mem());
    tls->out = BIO_new(BIO_s_mem());
    if (!tls->ssl || !tls->in || !tls->out) {
        BIO_free(tls->in);
        BIO_free(tls->out);
        SSL_free(tls->ssl);
        free(tls);
        return NULL;
    }
    BIO_set_mem_eof_return(tls->in, -1);
    SSL_set_bio(tls->ssl, tls->in, tls->out);
    SSL_set_accept_state(tls->ssl);
    return tls;
}

void net_tls_free(struct net_tls *tls)
{
    if (!tls)
        return;
    SSL_free(tls->ssl);
    free(tls);
}

bool net_tls_is_h2(const struct net_tls *tls)
{
    return tls->is_h2;
}

bool net_tls_is_ready(const struct net_tls *tls)
{
    return tls->ready;
}

static void flush(struct net_conn *conn)
{
    size_t n = BIO_ctrl_pending(conn->tls->out);
    uint8_t *data;
    int got;

    if (n == 0 || conn->closed)
        return;
    data = malloc(n);
    if (!data) {
        net_stats_refused(NET_REFUSED_NO_MEMORY);
        net_conn_close(conn);
        return;
    }
    got = BIO_read(conn->tls->out, data, (int)MIN(n, (size_t)INT32_MAX));
    if (got <= 0) {
        free(data);
        return;
    }
    net_conn_send_raw(conn, data, (size_t)got);
}

static bool handshake(struct net_conn *conn)
{
    struct net_tls *tls = conn->tls;
    const unsigned char *alpn;
    unsigned alpn_size;
    int rc, error;

    ERR_clear_error();
    rc = SSL_do_handshake(tls->ssl);
    error = SSL_get_error(tls->ssl, rc);
    if (rc != 1 && error != SSL_ERROR_WANT_READ)
        net_stats_refused(NET_REFUSED_TLS_HANDSHAKE); /* before the peer can know */
    flush(conn); /* our flight, or the alert */
    if (conn->closed)
        return false;
    if (rc == 1) {
        tls->ready = true;
        SSL_get0_alpn_selected(tls->ssl, &alpn, &alpn_size);
        tls->is_h2 = alpn_size == 2 && memcmp(alpn, "h2", 2) == 0;
        return true;
    }
    if (error != SSL_ERROR_WANT_READ) {
        tls->shut = true;
        net_conn_finish(conn);
    }
    return false;
}

void net_tls_feed(struct net_conn *conn, const uint8_t *data, size_t size)
{
    struct net_tls *tls = conn->tls;

    if (BIO_write(tls->in, data, (int)size) != (int)size) {
        net_stats_refused(NET_REFUSED_NO_MEMORY);
        net_conn_close(conn);
        return;
    }
    if (!tls->ready && !handshake(conn))
        return;
    while (!conn->closed && !conn->close_after_write) {
        int n, error;
        ERR_clear_error();
        n = SSL_read(tls->ssl, conn->loop->plain_buf, PLAIN_BUF);
        if (n > 0) {
            net_conn_plain(conn, conn->loop->plain_buf, (size_t)n);
            continue;
        }
        error = SSL_get_error(tls->ssl, n);
        flush(conn); /* key updates, alerts */
        if (conn->closed || error == SSL_ERROR_WANT_READ)
            return;
        tls->shut = true; /* after an error OpenSSL must not be used for sending */
        if (error == SSL_ERROR_ZERO_RETURN)
            tls->shut = false;
        net_conn_eof(conn);
        return;
    }
}

void net_tls_send(struct net_conn *conn, struct bytes data)
{
    struct net_tls *tls = conn->tls;

    if (conn->closed || tls->shut)
        return;
    while (data.size > 0) {
        int n;
        ERR_clear_error();
        n = SSL_write(tls->ssl, data.data, (int)MIN(data.size, (size_t)1 << 20));
        if (n <= 0) {
            net_conn_close(conn);
            return;
        }
        data = bytes_slice(data, (size_t)n, data.size);
    }
    flush(conn);
}

void net_tls_shutdown(struct net_conn *conn)
{
    if (conn->closed || conn->tls->shut || !conn->tls->ready)
        return;
    conn->tls->shut = true;
    ERR_clear_error();
    SSL_shutdown(conn->tls->ssl);
    flush(conn);
}
