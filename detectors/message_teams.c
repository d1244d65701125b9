/* Microsoft Teams by a Workflow ("when a Teams webhook request is received"): an Adaptive Card. */
#include "base/check.h"
#include "detectors/message.h"

#define ACTIONS_MAX 6u /* a card shows no more */

struct size { /* of a card: what does not fit is written again, smaller */
    size_t summary, description, facts, fact;
};

static void text_block(struct json_out *j, struct bytes text, const char *size, const char *color)
{
    if (!text.size)
        return;
    json_out_object(j);
    json_out_key(j, "type");
    json_out_str(j, "TextBlock");
    json_out_key(j, "text");
    json_out_bytes(j, text);
    json_out_key(j, "wrap");
    json_out_bool(j, true);
    if (size) {
        json_out_key(j, "size");
        json_out_str(j, size);
        json_out_key(j, "weight");
        json_out_str(j, "Bolder");
    }
    if (color) {
        json_out_key(j, "color");
        json_out_str(j, color);
    }
    json_out_object_end(j);
}

static void fact_set(struct json_out *j, const struct webhook_note *n, const struct size *s)
{
    struct query_slo_pair facts[MESSAGE_FACTS_MAX];
    size_t count = message_facts(n, facts, MIN(s->facts, ARRAY_LEN(facts)));
    if (!count)
        return;
    json_out_object(j);
    json_out_key(j, "type");
    json_out_str(j, "FactSet");
    json_out_key(j, "facts");
    json_out_array(j);
    for (size_t i = 0; i < count; i++) {
        json_out_object(j);
        json_out_key(j, "title");
        json_out_bytes(j, message_fit(facts[i].name, 100));
        json_out_key(j, "value");
        json_out_bytes(j, message_fit(facts[i].value, s->fact));
        json_out_object_end(j);
    }
    json_out_array_end(j);
    json_out_object_end(j);
}

static void actions(struct json_out *j, const struct webhook_note *n)
{
    struct query_slo_pair list[ACTIONS_MAX];
    size_t count = message_links(n, list, ARRAY_LEN(list));
    json_out_key(j, "actions");
    json_out_array(j);
    for (size_t i = 0; i < count; i++) {
        if (list[i].value.size > 1000)
            continue;
        json_out_object(j);
        json_out_key(j, "type");
        json_out_str(j, "Action.OpenUrl");
        json_out_key(j, "title");
        json_out_bytes(j, message_fit(list[i].name, 60));
        json_out_key(j, "url");
        json_out_bytes(j, list[i].value);
        json_out_object_end(j);
    }
    json_out_array_end(j);
}

static void card(struct json_out *j, const struct webhook_note *n, const struct size *s)
{
    struct buf title;
    buf_init(&title, 0);
    buf_printf(&title, "[%s] ", message_state(n));
    buf_bytes_append(&title, message_fit(message_label(n, "alertname"), 200));
    json_out_object(j);
    json_out_key(j, "$schema");
    json_out_str(j, "http://adaptivecards.io/schemas/adaptive-card.json");
    json_out_key(j, "type");
    json_out_str(j, "AdaptiveCard");
    json_out_key(j, "version");
    json_out_str(j, "1.4");
    json_out_key(j, "body");
    json_out_array(j);
    text_block(j, buf_bytes(&title), "Large",
               n->is_resolved       ? "Good"
               : message_is_page(n) ? "Attention"
                                    : "Warning");
    text_block(j, message_fit(message_summary(n), s->summary), "Medium", NULL);
    text_block(j, message_fit(message_annotation(n, "description"), s->description), NULL, NULL);
    fact_set(j, n, s);
    json_out_array_end(j);
    actions(j, n);
    json_out_object_end(j);
    j->buf->failed = j->buf->failed || title.failed;
    buf_done(&title);
}

static void whole(const struct webhook_note *n, const struct size *s, struct buf *out)
{
    struct json_out j = json_out_to(out);
    json_out_object(&j);
    json_out_key(&j, "type");
    json_out_str(&j, "message");
    json_out_key(&j, "attachments");
    json_out_array(&j);
    json_out_object(&j);
    json_out_key(&j, "contentType");
    json_out_str(&j, "application/vnd.microsoft.card.adaptive");
    json_out_key(&j, "contentUrl");
    json_out_null(&j);
    json_out_key(&j, "content");
    card(&j, n, s);
    json_out_object_end(&j);
    json_out_array_end(&j);
    json_out_object_end(&j);
}

void message_teams(const struct webhook_note *n, struct buf *out)
{
    static const struct size sizes[] = {
        {2000, 8000, MESSAGE_FACTS_MAX, 500}, {500, 1000, 10, 100}, {300, 0, 0, 0}};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        if (i)
            buf_clear(out);
        whole(n, &sizes[i], out);
        if (out->size <= MESSAGE_TEAMS_MAX)
            return;
    }
}
