/* Alertmanager's API, version 2: POST /api/v2/alerts. While it fires no end is given: Alertmanager takes its own resolve_timeout from when it
 * hears of it, so that a body that waited is as good as a fresh one, and we tell it again every minute. */
#include "base/clock.h"
#include "detectors/message.h"

static void pairs(struct json_out *j, const char *key, const struct query_slo_pair *list, size_t n)
{
    json_out_key(j, key);
    json_out_object(j);
    for (size_t i = 0; i < n; i++) {
        json_out_key_bytes(j, list[i].name);
        json_out_bytes(j, list[i].value);
    }
    json_out_object_end(j);
}

void message_alertmanager(const struct webhook_note *n, struct buf *out)
{
    struct json_out j = json_out_to(out);
    char at[CLOCK_RFC3339_MAX];
    json_out_array(&j);
    json_out_object(&j);
    pairs(&j, "labels", n->labels, n->label_count);
    pairs(&j, "annotations", n->annotations, n->annotation_count);
    clock_rfc3339(n->starts_ms, at);
    json_out_key(&j, "startsAt");
    json_out_str(&j, at);
    if (n->is_resolved) {
        clock_rfc3339(n->ends_ms, at);
        json_out_key(&j, "endsAt");
        json_out_str(&j, at);
    }
    json_out_key(&j, "generatorURL");
    json_out_str(&j, n->link);
    json_out_object_end(&j);
    json_out_array_end(&j);
}
