#include "base/mail_client.h"

#include <curl/curl.h>
#include <string.h>

#include "base/check.h"
#include "base/http_client.h"

struct upload {
    struct bytes left;
};

static size_t on_read(char *out, size_t size, size_t n, void *ctx)
{
    struct upload *u = ctx;
    size_t take = MIN(size * n, u->left.size);
    if (take)
        memcpy(out, u->left.data, take);
    u->left = bytes_slice(u->left, take, u->left.size);
    return take;
}

static bool recipients_make(const struct mail_client_message *m, struct curl_slist **out)
{
    struct curl_slist *list = NULL;
    for (size_t i = 0; i < MAIL_CLIENT_RECIPIENTS_MAX && m->to[i]; i++) {
        struct curl_slist *longer = curl_slist_append(list, m->to[i]);
        if (!longer) {
            curl_slist_free_all(list);
            return false;
        }
        list = longer;
    }
    *out = list;
    return list != NULL;
}

static void options_set(CURL *curl, const struct mail_client_message *m, struct curl_slist *to,
                        struct upload *u, char *error)
{
    curl_easy_setopt(curl, CURLOPT_URL, m->url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "smtp,smtps");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)(m->timeout_ms ? m->timeout_ms : 10000));
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error);
    curl_easy_setopt(curl, CURLOPT_MAIL_FROM, m->from);
    curl_easy_setopt(curl, CURLOPT_MAIL_RCPT, to);
    curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(curl, CURLOPT_READDATA, u);
    curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(curl, CURLOPT_USE_SSL, (long)(m->needs_tls ? CURLUSESSL_ALL : CURLUSESSL_TRY));
    if (m->user) {
        curl_easy_setopt(curl, CURLOPT_USERNAME, m->user);
        curl_easy_setopt(curl, CURLOPT_PASSWORD, m->password ? m->password : "");
    }
    if (m->ca_file)
        curl_easy_setopt(curl, CURLOPT_CAINFO, m->ca_file);
}

static enum err failure(CURLcode rc, int status, const char *error, struct err_msg *msg)
{
    const char *why = error[0] ? error : curl_easy_strerror(rc);
    if (status >= 400 && status < 600) { /* it has spoken */
        (void)err_set(msg, ERR_OK, "SMTP %d: %s", status, why);
        return ERR_OK;
    }
    if (rc == CURLE_OPERATION_TIMEDOUT)
        return err_set(msg, ERR_TIMEOUT, "%s", why);
    if (rc == CURLE_URL_MALFORMAT || rc == CURLE_UNSUPPORTED_PROTOCOL)
        return err_set(msg, ERR_INVALID, "%s", why);
    return err_set(msg, ERR_UNAVAILABLE, "%s", why);
}

enum err mail_client_send(const struct mail_client_message *m, int *out_status, struct err_msg *msg)
{
    char error[CURL_ERROR_SIZE] = "";
    struct upload u = {m->text};
    struct curl_slist *to = NULL;
    struct http_client *unused = http_client_new(); /* libcurl is made ready in one place */
    http_client_free(unused);
    CURL *curl = curl_easy_init();
    if (!curl || !recipients_make(m, &to)) {
        if (curl)
            curl_easy_cleanup(curl);
        return ERR_NOMEM;
    }
    options_set(curl, m, to, &u, error);
    CURLcode rc = curl_easy_perform(curl);
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_slist_free_all(to);
    curl_easy_cleanup(curl);
    *out_status = rc == CURLE_OK ? 250 : (int)status;
    return rc == CURLE_OK ? ERR_OK : failure(rc, (int)status, error, msg);
}
