#include "detectors/message.h"

#include <stdio.h>

#include "base/check.h"

static struct bytes pair_of(const struct query_slo_pair *list, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (bytes_equal_str(list[i].name, name))
            return list[i].value;
    return BYTES_NONE;
}

struct bytes message_label(const struct webhook_note *n, const char *name)
{
    return pair_of(n->labels, n->label_count, name);
}

bool message_has_label(const struct webhook_note *n, struct bytes name)
{
    for (size_t i = 0; i < n->label_count; i++)
        if (bytes_equal(n->labels[i].name, name))
            return true;
    return false;
}

struct bytes message_annotation(const struct webhook_note *n, const char *name)
{
    return pair_of(n->annotations, n->annotation_count, name);
}

struct bytes message_summary(const struct webhook_note *n)
{
    struct bytes s = message_annotation(n, "summary");
    return s.size ? s : message_label(n, "alertname");
}

const char *message_state(const struct webhook_note *n)
{
    bool is_test = n->event && strncmp(n->event, "test", 4) == 0;
    return n->is_resolved ? "RESOLVED" : is_test ? "TEST" : "FIRING";
}

bool message_is_page(const struct webhook_note *n)
{
    struct bytes s = message_label(n, "severity");
    return bytes_equal_str(s, "page") || bytes_equal_str(s, "critical");
}

struct bytes message_fit(struct bytes text, size_t max)
{
    size_t n = MIN(text.size, max);
    while (n < text.size && n && (text.data[n] & 0xc0) == 0x80)
        n--;
    return bytes_slice(text, 0, n);
}

static bool is_url(struct bytes v)
{
    return bytes_has_prefix(v, BYTES_LIT("https://")) || bytes_has_prefix(v, BYTES_LIT("http://"));
}

size_t message_facts(const struct webhook_note *n, struct query_slo_pair *out, size_t max)
{
    static const char *const told[] = {"alertname", "severity", "service"};
    size_t count = 0;
    struct bytes service = message_label(n, "service");
    if (service.size && count < max)
        out[count++] = (struct query_slo_pair){BYTES_LIT("service"), service};
    for (size_t i = 0; i < n->annotation_count && count < max; i++)
        if (!bytes_equal_str(n->annotations[i].name, "summary") &&
            !bytes_equal_str(n->annotations[i].name, "description") &&
            !is_url(n->annotations[i].value))
            out[count++] = n->annotations[i];
    for (size_t i = 0; i < n->label_count && count < max; i++) {
        bool is_told = false;
        for (size_t k = 0; k < ARRAY_LEN(told); k++)
            is_told = is_told || bytes_equal_str(n->labels[i].name, told[k]);
        if (!is_told)
            out[count++] = n->labels[i];
    }
    return count;
}

size_t message_links(const struct webhook_note *n, struct query_slo_pair *out, size_t max)
{
    size_t count = 0;
    bool has_page = false;
    for (size_t i = 0; i < n->annotation_count && count < max; i++)
        if (is_url(n->annotations[i].value)) {
            has_page = has_page || bytes_equal_str(n->annotations[i].value, n->link);
            out[count++] = n->annotations[i];
        }
    if (!has_page && n->link && count < max)
        out[count++] = (struct query_slo_pair){BYTES_LIT("alert"), bytes_str(n->link)};
    return count;
}

/* --- by kind ------------------------------------------------------------------------------------- */

void message_write(const struct detectors_receiver *r, const struct webhook_note *n,
                   const char *external_url, struct buf *out)
{
    switch (r->kind) {
    case DETECTORS_SLACK: message_slack(n, out); break;
    case DETECTORS_TEAMS: message_teams(n, out); break;
    case DETECTORS_PAGERDUTY: message_pagerduty(n, external_url, out); break;
    case DETECTORS_ALERTMANAGER: message_alertmanager(n, out); break;
    case DETECTORS_EMAIL: message_mail(r, n, out); break;
    case DETECTORS_WEBHOOK: webhook_note_body(n, r->name, external_url, out); break;
    }
}

void message_seal(const struct detectors_receiver *r, struct bytes body, struct buf *out)
{
    if (r->kind == DETECTORS_PAGERDUTY && body.size > 1) {
        buf_printf(out, "{\"routing_key\":\"%s\",", r->routing_key);
        body = bytes_slice(body, 1, body.size);
    }
    buf_bytes_append(out, body);
}

enum err message_url(const struct detectors_receiver *r, char *out, size_t size)
{
    static const struct bytes path = {(const uint8_t *)"/api/v2/alerts", 14};
    struct bytes url = bytes_str(r->url);
    bool adds = r->kind == DETECTORS_ALERTMANAGER && !bytes_has_suffix(url, path);
    while (adds && url.size && url.data[url.size - 1] == '/')
        url.size--;
    int n = snprintf(out, size, "%.*s%s", (int)url.size, (const char *)url.data,
                     adds ? (const char *)path.data : "");
    return n < 0 || (size_t)n >= size ? ERR_TOO_LARGE : ERR_OK;
}
