/* Slack's incoming webhooks: an attachment with a colour, of blocks. */
#include "base/check.h"
#include "detectors/message.h"

static void block(struct json_out *j, const char *type)
{
    json_out_object(j);
    json_out_key(j, "type");
    json_out_str(j, type);
}

/* &, < and > are Slack's own; what would not fit whole is left out. */
static void escape(struct buf *b, struct bytes text, size_t max)
{
    for (size_t i = 0; i < text.size;) {
        size_t n = 1;
        while (i + n < text.size && (text.data[i + n] & 0xc0) == 0x80)
            n++;
        const char *name = text.data[i] == '&'   ? "&amp;"
                           : text.data[i] == '<' ? "&lt;"
                           : text.data[i] == '>' ? "&gt;"
                                                 : NULL;
        struct bytes one = name ? bytes_str(name) : bytes_slice(text, i, i + n);
        if (b->size + one.size > max)
            return;
        buf_bytes_append(b, one);
        i += n;
    }
}

/* {"type":…,"text":…} */
static void text_json(struct json_out *j, const char *type, const struct buf *text)
{
    block(j, type);
    json_out_key(j, "text");
    json_out_bytes(j, buf_bytes(text));
    json_out_object_end(j);
}

static void header(struct json_out *j, const struct webhook_note *n, struct buf *b)
{
    struct bytes service = message_label(n, "service");
    buf_clear(b);
    buf_printf(b, "[%s] ", message_state(n));
    escape(b, message_label(n, "alertname"), MESSAGE_SLACK_HEADER_MAX);
    if (service.size && b->size + 4 < MESSAGE_SLACK_HEADER_MAX) {
        buf_str(b, ": ");
        escape(b, service, MESSAGE_SLACK_HEADER_MAX);
    }
    block(j, "header");
    json_out_key(j, "text");
    text_json(j, "plain_text", b);
    json_out_object_end(j);
}

static void words(struct json_out *j, const struct webhook_note *n, struct buf *b)
{
    struct bytes more = message_annotation(n, "description");
    buf_clear(b);
    buf_str(b, "*");
    escape(b, message_summary(n), 1000);
    buf_str(b, "*");
    if (more.size) {
        buf_str(b, "\n");
        escape(b, more, MESSAGE_SLACK_TEXT_MAX);
    }
    block(j, "section");
    json_out_key(j, "text");
    text_json(j, "mrkdwn", b);
    json_out_object_end(j);
}

static void fields(struct json_out *j, const struct webhook_note *n, struct buf *b)
{
    struct query_slo_pair facts[MESSAGE_SLACK_FIELDS_MAX];
    size_t count = message_facts(n, facts, ARRAY_LEN(facts));
    if (!count)
        return;
    block(j, "section");
    json_out_key(j, "fields");
    json_out_array(j);
    for (size_t i = 0; i < count; i++) {
        buf_clear(b);
        buf_str(b, "*");
        escape(b, facts[i].name, 200);
        buf_str(b, "*\n");
        escape(b, facts[i].value, MESSAGE_SLACK_FIELD_MAX);
        text_json(j, "mrkdwn", b);
    }
    json_out_array_end(j);
    json_out_object_end(j);
}

/* <url|name>: a bar within the URL would end it. */
static void link_to(struct buf *b, const struct query_slo_pair *l)
{
    buf_str(b, b->size ? " · <" : "<");
    for (size_t i = 0; i < l->value.size; i++)
        if (l->value.data[i] == '|')
            buf_str(b, "%7C");
        else
            escape(b, bytes_slice(l->value, i, i + 1), SIZE_MAX);
    buf_str(b, "|");
    escape(b, l->name, SIZE_MAX);
    buf_str(b, ">");
}

static void links(struct json_out *j, const struct webhook_note *n, struct buf *b)
{
    struct query_slo_pair list[MESSAGE_LINKS_MAX];
    size_t count = message_links(n, list, ARRAY_LEN(list));
    buf_clear(b);
    for (size_t i = 0; i < count; i++)
        if (list[i].name.size + list[i].value.size < 300 && b->size < MESSAGE_SLACK_TEXT_MAX - 700)
            link_to(b, &list[i]);
    if (!b->size)
        return;
    block(j, "context");
    json_out_key(j, "elements");
    json_out_array(j);
    text_json(j, "mrkdwn", b);
    json_out_array_end(j);
    json_out_object_end(j);
}

void message_slack(const struct webhook_note *n, struct buf *out)
{
    struct json_out j = json_out_to(out);
    struct buf b;
    buf_init(&b, 0);
    buf_printf(&b, "[%s] ", message_state(n));
    escape(&b, message_summary(n), 1000);
    json_out_object(&j);
    json_out_key(&j, "text"); /* what a telephone's lock screen shows */
    json_out_bytes(&j, buf_bytes(&b));
    json_out_key(&j, "attachments");
    json_out_array(&j);
    json_out_object(&j);
    json_out_key(&j, "color");
    json_out_str(&j, n->is_resolved ? "#2eb886" : message_is_page(n) ? "#d00000" : "#daa038");
    json_out_key(&j, "blocks");
    json_out_array(&j);
    header(&j, n, &b);
    words(&j, n, &b);
    fields(&j, n, &b);
    links(&j, n, &b);
    json_out_array_end(&j);
    json_out_object_end(&j);
    json_out_array_end(&j);
    json_out_object_end(&j);
    out->failed = out->failed || b.failed;
    buf_done(&b);
}
