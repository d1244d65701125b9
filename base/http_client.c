#include "base/http_client.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>

struct http_client {
    CURL *curl;
    char error[CURL_ERROR_SIZE];
};

struct receive {
    struct buf *body;
    size_t max;
    bool too_large;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static void global_init(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

struct http_client *http_client_new(void)
{
    pthread_once(&once, global_init);
    struct http_client *c = calloc(1, sizeof(*c));
    if (c && !(c->curl = curl_easy_init())) {
        free(c);
        return NULL;
    }
    return c;
}

void http_client_free(struct http_client *c)
{
    if (!c)
        return;
    curl_easy_cleanup(c->curl);
    free(c);
}

static size_t on_body(char *data, size_t size, size_t n, void *ctx)
{
    struct receive *r = ctx;
    size_t bytes = size * n;
    if (bytes > r->max - r->body->size) {
        r->too_large = true;
        return 0;
    }
    buf_append(r->body, data, bytes);
    return r->body->failed ? 0 : bytes;
}

static bool headers_make(const struct http_client_request *req, struct curl_slist **out)
{
    struct curl_slist *list =
        curl_slist_append(NULL, "Expect:"); /* a 100-continue round trip helps nobody here */
    for (size_t i = 0; list && req->headers && req->headers[i]; i++) {
        struct curl_slist *longer = curl_slist_append(list, req->headers[i]);
        if (!longer) {
            curl_slist_free_all(list);
            list = NULL;
            break;
        }
        list = longer;
    }
    *out = list;
    return list != NULL;
}

static void options_set(struct http_client *c, const struct http_client_request *req,
                        struct curl_slist *headers, struct receive *r)
{
    CURL *curl = c->curl;
    curl_easy_reset(curl); /* connections stay */
    curl_easy_setopt(curl, CURLOPT_URL, req->url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "localhost,127.0.0.1,::1");
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)(req->timeout_ms ? req->timeout_ms : 10000));
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, c->error);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "telltale/" TELLTALE_VERSION);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, r);
    if (req->body.size || strcmp(req->method, "POST") == 0 || strcmp(req->method, "PUT") == 0) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)req->body.size);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS,
                         req->body.size ? (const char *)req->body.data : "");
    }
    if (strcmp(req->method, "HEAD") == 0)
        curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    else
        curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, req->method);
    if (req->ca_file)
        curl_easy_setopt(curl, CURLOPT_CAINFO, req->ca_file);
    if (req->insecure) {
        curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
    }
}

static enum err failure(struct http_client *c, const struct http_client_request *req, CURLcode rc,
                        const struct receive *r, struct err_msg *msg)
{
    const char *why = c->error[0] ? c->error : curl_easy_strerror(rc);
    if (r->too_large)
        return err_set(msg, ERR_TOO_LARGE, "%s: the answer is larger than %zu bytes", req->url,
                       r->max);
    if (rc == CURLE_OPERATION_TIMEDOUT)
        return err_set(msg, ERR_TIMEOUT, "%s: %s", req->url, why);
    if (rc == CURLE_URL_MALFORMAT || rc == CURLE_UNSUPPORTED_PROTOCOL)
        return err_set(msg, ERR_INVALID, "%s: %s", req->url, why);
    return err_set(msg, ERR_UNAVAILABLE, "%s: %s", req->url, why);
}

enum err http_client_send(struct http_client *c, const struct http_client_request *req,
                          struct http_client_response *out, struct err_msg *msg)
{
    struct buf body;
    struct curl_slist *headers;
    struct receive r = {.body = &body, .max = req->response_max ? req->response_max : 64u << 10};
    buf_init(&body, 0);
    if (!headers_make(req, &headers))
        return ERR_NOMEM;
    c->error[0] = 0;
    options_set(c, req, headers, &r);
    CURLcode rc = curl_easy_perform(c->curl);
    curl_slist_free_all(headers);
    if (rc != CURLE_OK) {
        buf_done(&body);
        return failure(c, req, rc, &r, msg);
    }
    long status = 0;
    curl_off_t retry_after = 0;
    const char *type = NULL;
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(c->curl, CURLINFO_RETRY_AFTER, &retry_after);
    curl_easy_getinfo(c->curl, CURLINFO_CONTENT_TYPE, &type);
    *out = (struct http_client_response){
        .status = (int)status, .retry_after_s = retry_after > 0 ? retry_after : -1, .body = body};
    if (type) {
        size_t n = strlen(type);
        n = n < sizeof(out->content_type) ? n : sizeof(out->content_type) - 1;
        memcpy(out->content_type, type, n);
    }
    return ERR_OK;
}
