#include "detectors/attempt.h"

#include <assert.h>
#include <stdio.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/mail_client.h"
#include "detectors/message.h"

#define URL_MAX 2048u

/* The client's messages begin with the URL. */
static void hide_url(const char *url, const char *host, struct err_msg *msg)
{
    char kept[ERR_MSG_MAX];
    size_t n = strlen(url);
    const char *rest = strncmp(msg->text, url, n) == 0 ? msg->text + n : ": no answer";
    snprintf(kept, sizeof(kept), "%s%s", host, rest);
    memcpy(msg->text, kept, sizeof(kept));
}

static void send_http(const struct detectors_receiver *r, const struct webhook_url *url,
                      struct http_client *client, const char *id, struct bytes body,
                      struct attempt *out)
{
    int64_t now_s = clock_wall_ms() / 1000;
    char id_header[256], time_header[64], signature[WEBHOOK_SIGNATURES_MAX],
        signature_header[WEBHOOK_SIGNATURES_MAX + 32], address[URL_MAX];
    const char *headers[DETECTORS_HEADERS_MAX + 6];
    size_t n = 0;
    out->err = message_url(r, address, sizeof(address));
    if (out->err != ERR_OK) {
        (void)err_set(&out->msg, ERR_INVALID, "the URL is too long");
        return;
    }
    headers[n++] = "Content-Type: application/json";
    headers[n++] = "User-Agent: telltale/" TELLTALE_VERSION;
    if (r->kind == DETECTORS_WEBHOOK) {
        webhook_sign(r->secrets, id, now_s, body, signature);
        snprintf(id_header, sizeof(id_header), "webhook-id: %s", id);
        snprintf(time_header, sizeof(time_header), "webhook-timestamp: %lld", (long long)now_s);
        snprintf(signature_header, sizeof(signature_header), "webhook-signature: %s", signature);
        headers[n++] = id_header;
        headers[n++] = time_header;
        if (signature[0])
            headers[n++] = signature_header;
    }
    for (size_t i = 0; i < DETECTORS_HEADERS_MAX && r->headers[i]; i++)
        headers[n++] = r->headers[i];
    headers[n] = NULL;
    struct http_client_request req = {.method = "POST",
                                      .url = address,
                                      .headers = headers,
                                      .body = body,
                                      .timeout_ms = r->timeout_ms ? r->timeout_ms : 10000,
                                      .ca_file = r->ca_file};
    struct http_client_response res = {0};
    buf_init(&res.body, 0);
    out->err = http_client_send(client, &req, &res, &out->msg);
    if (out->err != ERR_OK)
        hide_url(address, url->host, &out->msg);
    if (out->err == ERR_TOO_LARGE && res.status / 100 == 2)
        out->err = ERR_OK; /* it took the notification; what else it says is not read */
    if (out->err == ERR_OK) {
        out->status = res.status;
        if (res.retry_after_s >= 0)
            out->retry_after_ms = MIN(res.retry_after_s * 1000, ATTEMPT_RETRY_AFTER_MAX_MS);
        snprintf(out->msg.text, sizeof(out->msg.text), "HTTP %d", res.status);
    }
    buf_done(&res.body);
}

static void send_mail(const struct detectors_receiver *r, struct bytes body, struct attempt *out)
{
    struct mail_client_message m = {.url = r->url,
                                    .from = r->mail_from,
                                    .user = r->mail_user,
                                    .password = r->mail_password,
                                    .needs_tls = !r->mail_plain,
                                    .ca_file = r->ca_file,
                                    .text = body,
                                    .timeout_ms = r->timeout_ms};
    static_assert(DETECTORS_MAIL_TO_MAX == MAIL_CLIENT_RECIPIENTS_MAX, "the same list");
    memcpy(m.to, r->mail_to, sizeof(m.to));
    out->err = mail_client_send(&m, &out->status, &out->msg);
}

void attempt_run(const struct detectors_receiver *r, const struct webhook_url *url,
                 struct http_client *client, const char *id, struct bytes body, struct attempt *out)
{
    *out = (struct attempt){.retry_after_ms = -1};
    out->err = webhook_connect_check(url, r->allow_private, &out->msg);
    if (out->err != ERR_OK)
        return;
    struct buf sealed;
    buf_init(&sealed, 0);
    message_seal(r, body, &sealed);
    if (!buf_ok(&sealed))
        out->err = ERR_NOMEM;
    else if (r->kind == DETECTORS_EMAIL)
        send_mail(r, buf_bytes(&sealed), out);
    else
        send_http(r, url, client, id, buf_bytes(&sealed), out);
    buf_done(&sealed);
    if (out->err != ERR_OK && !out->msg.text[0])
        (void)err_set(&out->msg, out->err, "%s", err_text(out->err));
}

bool attempt_is_taken(const struct attempt *a)
{
    return a->err == ERR_OK && a->status / 100 == 2;
}

bool attempt_is_final(const struct detectors_receiver *r, const struct attempt *a)
{
    if (a->err != ERR_OK)
        return a->err == ERR_INVALID;
    if (r->kind == DETECTORS_EMAIL) /* 4xx: not now; 5xx: never */
        return a->status / 100 == 5;
    return a->status / 100 != 2 && a->status / 100 != 5 && a->status != 408 && a->status != 429;
}
