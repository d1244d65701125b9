/* PagerDuty's Events API v2: trigger and resolve, told apart by the alert's fingerprint. The routing key is added when it is sent. */
#include "base/check.h"
#include "base/clock.h"
#include "detectors/message.h"

#define DETAIL_MAX 2048u
#define DETAILS_MAX 32768u /* of all values together: six times as much when each byte is escaped */

static void str(struct json_out *j, const char *key, struct bytes value)
{
    if (!value.size)
        return;
    json_out_key(j, key);
    json_out_bytes(j, value);
}

static struct bytes detail(struct bytes value, size_t *left)
{
    struct bytes cut = message_fit(value, MIN(*left, (size_t)DETAIL_MAX));
    *left -= cut.size;
    return cut;
}

static void details(struct json_out *j, const struct webhook_note *n)
{
    size_t left = DETAILS_MAX;
    json_out_key(j, "custom_details");
    json_out_object(j);
    for (size_t i = 0; i < n->label_count; i++) {
        json_out_key_bytes(j, n->labels[i].name);
        json_out_bytes(j, detail(n->labels[i].value, &left));
    }
    for (size_t i = 0; i < n->annotation_count; i++)
        if (!message_has_label(n, n->annotations[i].name)) {
            json_out_key_bytes(j, n->annotations[i].name);
            json_out_bytes(j, detail(n->annotations[i].value, &left));
        }
    json_out_object_end(j);
}

static void payload(struct json_out *j, const struct webhook_note *n, const char *external_url)
{
    char at[CLOCK_RFC3339_MAX];
    struct bytes service = message_label(n, "service"), slo = message_label(n, "slo");
    clock_rfc3339(n->starts_ms, at);
    json_out_key(j, "payload");
    json_out_object(j);
    str(j, "summary", message_fit(message_summary(n), MESSAGE_PAGERDUTY_SUMMARY_MAX));
    str(j, "source", service.size ? service : bytes_str(external_url));
    str(j, "severity", message_is_page(n) ? BYTES_LIT("critical") : BYTES_LIT("warning"));
    str(j, "timestamp", bytes_str(at));
    str(j, "component", slo);
    str(j, "group", service);
    str(j, "class", message_label(n, "alertname"));
    details(j, n);
    json_out_object_end(j);
}

static void links(struct json_out *j, const struct webhook_note *n)
{
    struct query_slo_pair list[MESSAGE_LINKS_MAX];
    size_t count = message_links(n, list, ARRAY_LEN(list));
    json_out_key(j, "links");
    json_out_array(j);
    for (size_t i = 0; i < count; i++) {
        json_out_object(j);
        str(j, "href", list[i].value);
        str(j, "text", list[i].name);
        json_out_object_end(j);
    }
    json_out_array_end(j);
}

void message_pagerduty(const struct webhook_note *n, const char *external_url, struct buf *out)
{
    struct json_out j = json_out_to(out);
    json_out_object(&j);
    json_out_key(&j, "event_action");
    json_out_str(&j, n->is_resolved ? "resolve" : "trigger");
    json_out_key(&j, "dedup_key");
    json_out_str(&j, n->fingerprint);
    if (!n->is_resolved) {
        payload(&j, n, external_url);
        links(&j, n);
        json_out_key(&j, "client");
        json_out_str(&j, "Telltale");
        str(&j, "client_url", bytes_str(n->link));
    }
    json_out_object_end(&j);
}
