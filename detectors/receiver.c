#include "detectors/receiver.h"

#include <sodium.h>
#include <stdio.h>

#include "base/check.h"
#include "base/clock.h"
#include "detectors/message.h"

static const char *const kinds[] = {"webhook",   "slack",        "teams",
                                    "pagerduty", "alertmanager", "email"};

const char *detectors_receiver_kind_name(enum detectors_receiver_kind k)
{
    CHECK((size_t)k < ARRAY_LEN(kinds));
    return kinds[k];
}

bool receiver_kind_parse(struct bytes name, enum detectors_receiver_kind *out)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (bytes_equal_str(name, kinds[i])) {
            *out = (enum detectors_receiver_kind)i;
            return true;
        }
    return false;
}

/* --- what each kind needs ------------------------------------------------------------------------ */

/* "a@b": what could end a line or an address is refused. */
static bool is_address(const char *s)
{
    size_t n = strlen(s), at = strcspn(s, "@");
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] <= ' ' || (unsigned char)s[i] >= 127 ||
            strchr("<>(),;:\\\"[]", s[i]))
            return false;
    return at > 0 && at + 1 < n && !strchr(s + at + 1, '@') && n <= 254;
}

static bool is_routing_key(const char *s)
{
    for (size_t i = 0; s[i]; i++)
        if (!((s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z') ||
              (s[i] >= '0' && s[i] <= '9')))
            return false;
    return strlen(s) == 32;
}

static void check_mail(const struct detectors_receiver *r, const char *prefix, struct buf *errors)
{
    if (!r->mail_from || !is_address(r->mail_from))
        buf_printf(errors, "%sfrom: must be an address such as telltale@example.com\n", prefix);
    if (!r->mail_to[0])
        buf_printf(errors, "%sto: must be one to %u addresses\n", prefix, DETECTORS_MAIL_TO_MAX);
    for (size_t i = 0; i < DETECTORS_MAIL_TO_MAX && r->mail_to[i]; i++)
        if (!is_address(r->mail_to[i]))
            buf_printf(errors, "%sto: \"%.64s\" is no address\n", prefix, r->mail_to[i]);
    if (r->mail_password && !r->mail_user)
        buf_printf(errors, "%spassword: needs a username\n", prefix);
}

void receiver_check(const struct detectors_receiver *r, const char *prefix, struct buf *errors)
{
    struct webhook_url url;
    struct err_msg msg;
    enum err e = !r->url                      ? ERR_OK
                 : r->kind == DETECTORS_EMAIL ? webhook_mail_url_check(r->url, &url, &msg)
                                              : webhook_url_check(r->url, &url, &msg);
    if (!r->url)
        buf_printf(errors, "%surl: is missing\n", prefix);
    else if (e != ERR_OK)
        buf_printf(errors, "%surl: %s\n", prefix, msg.text);
    for (size_t k = 0; k < DETECTORS_SECRETS_MAX && r->secrets[k]; k++)
        if (webhook_secret_check(r->secrets[k], &msg) != ERR_OK)
            buf_printf(errors, "%ssecrets: %s\n", prefix, msg.text);
    if (r->secrets[0] && r->kind != DETECTORS_WEBHOOK && r->kind != DETECTORS_PAGERDUTY)
        buf_printf(errors,
                   "%ssecrets: only of type webhook (what is sent is signed with them) and "
                   "pagerduty (what comes back is)\n",
                   prefix);
    if (r->heartbeat && r->kind != DETECTORS_WEBHOOK)
        buf_printf(errors, "%sheartbeat: only of type webhook\n", prefix);
    if ((r->kind == DETECTORS_PAGERDUTY) != (r->routing_key != NULL) ||
        (r->routing_key && !is_routing_key(r->routing_key)))
        buf_printf(errors, "%srouting_key: of type pagerduty, and there 32 letters and digits\n",
                   prefix);
    if (r->kind == DETECTORS_EMAIL)
        check_mail(r, prefix, errors);
    else if (r->mail_from || r->mail_to[0] || r->mail_user || r->mail_password || r->mail_plain)
        buf_printf(errors, "%sfrom, to, username, password, require_tls: only of type email\n",
                   prefix);
}

/* --- asking -------------------------------------------------------------------------------------- */

size_t detectors_receivers(const struct detectors *d, const struct detectors_receiver **out)
{
    *out = d->o.receivers;
    return d->o.receiver_count;
}

void detectors_receiver_host(const struct detectors_receiver *r, char out[256])
{
    struct webhook_url url = {0};
    bool ok = (r->kind == DETECTORS_EMAIL ? webhook_mail_url_check(r->url, &url, NULL)
                                          : webhook_url_check(r->url, &url, NULL)) == ERR_OK;
    snprintf(out, 256, "%s", ok ? url.host : "");
}

/* --- a test -------------------------------------------------------------------------------------- */

static enum err stage(struct detectors *d, void *txn, const struct detectors_receiver *r,
                      const char *fingerprint, const char *event, int64_t now_ms)
{
    struct query_slo_pair labels[] = {{BYTES_LIT("alertname"), BYTES_LIT("TelltaleTest")},
                                      {BYTES_LIT("receiver"), bytes_str(r->name)},
                                      {BYTES_LIT("severity"), BYTES_LIT("ticket")}};
    struct query_slo_pair notes[] = {
        {BYTES_LIT("summary"), BYTES_LIT("A test of this receiver: nothing is wrong.")},
        {BYTES_LIT("description"),
         BYTES_LIT("Somebody asked Telltale to try this receiver. It took the way of every "
                   "notification.")}};
    struct webhook_note n = {.is_resolved = strcmp(event, "test") != 0,
                             .labels = labels,
                             .annotations = notes,
                             .label_count = ARRAY_LEN(labels),
                             .annotation_count = ARRAY_LEN(notes),
                             .group_count = 2,
                             .starts_ms = now_ms,
                             .ends_ms = now_ms + 1,
                             .link = d->o.external_url,
                             .fingerprint = fingerprint,
                             .event = event,
                             .now_ms = now_ms,
                             .group_key = BYTES_LIT("{}:{alertname=\"TelltaleTest\"}")};
    struct book_note about = {
        .fingerprint = fingerprint, .event = event, .slo_id = "test", .rule = "test"};
    struct buf body;
    buf_init(&body, BOOK_BODY_MAX);
    message_write(r, &n, d->o.external_url, &body);
    return book_stage(d, txn, r, &about, &body, now_ms);
}

enum err detectors_receiver_test(struct detectors *d, struct bytes name,
                                 char out_id[DETECTORS_WEBHOOK_ID_MAX])
{
    const struct detectors_receiver *r = NULL;
    uint8_t raw[16];
    char fingerprint[33];
    void *txn;
    for (size_t i = 0; i < d->o.receiver_count && !r; i++)
        if (bytes_equal_str(name, d->o.receivers[i].name))
            r = &d->o.receivers[i];
    if (!r)
        return ERR_NOT_FOUND;
    randombytes_buf(raw, sizeof(raw));
    bytes_to_hex(bytes_of(raw, sizeof(raw)), fingerprint);
    int64_t now_ms = clock_wall_ms();
    bool has_end = r->kind == DETECTORS_PAGERDUTY || r->kind == DETECTORS_ALERTMANAGER;
    outbox_begin(d->outbox);
    enum err e = d->store.begin(d->store.ctx, &txn);
    if (e == ERR_OK) {
        e = stage(d, txn, r, fingerprint, "test", now_ms);
        if (e == ERR_OK && has_end)
            e = stage(d, txn, r, fingerprint, "test-resolved", now_ms);
        if (e == ERR_OK)
            e = d->store.commit(d->store.ctx, txn);
        else
            d->store.abort(d->store.ctx, txn);
        if (e == ERR_OK)
            outbox_publish(d->outbox);
        else
            outbox_discard(d->outbox);
    }
    outbox_end(d->outbox);
    if (e == ERR_OK)
        snprintf(out_id, DETECTORS_WEBHOOK_ID_MAX, "%s-%.63s-test", fingerprint, r->name);
    return e;
}
