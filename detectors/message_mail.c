/* A notification as a mail (RFC 5322): plain text, base64 so that no line is too long. The message id is the idempotency key, so that a mail that
 * is sent twice is shown once. */
#include "base/check.h"
#include "base/clock.h"
#include "detectors/message.h"
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define LINE_BYTES 54u /* become 72 characters */
#define WORD_BYTES 42u /* of an encoded word: at most 75 characters with its frame */
#define SUBJECT_MAX 400u
#define TEXT_MAX ((size_t)128 << 10)

static void base64(struct buf *out, struct bytes b)
{
    char text[sodium_base64_ENCODED_LEN(LINE_BYTES, sodium_base64_VARIANT_ORIGINAL)];
    CHECK(b.size <= LINE_BYTES);
    sodium_bin2base64(text, sizeof(text), b.data, b.size, sodium_base64_VARIANT_ORIGINAL);
    buf_str(out, text);
}

/* Encoded words (RFC 2047), cut between characters. */
static void subject(struct buf *out, struct bytes text)
{
    text = message_fit(text, SUBJECT_MAX);
    buf_str(out, "Subject:");
    while (text.size) {
        struct bytes one = message_fit(text, WORD_BYTES);
        if (!one.size) /* not UTF-8 */
            one = bytes_slice(text, 0, MIN(text.size, (size_t)WORD_BYTES));
        buf_str(out, " =?UTF-8?B?");
        base64(out, one);
        buf_str(out, "?=\r\n");
        text = bytes_slice(text, one.size, text.size);
    }
}

static void date(struct buf *out, int64_t now_ms)
{
    static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t s = (time_t)(now_ms / 1000);
    struct tm t = {0};
    gmtime_r(&s, &t);
    buf_printf(out, "Date: %s, %d %s %d %02d:%02d:%02d +0000\r\n", days[t.tm_wday], t.tm_mday,
               months[t.tm_mon], t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec);
}

static void pair(struct buf *b, const struct query_slo_pair *p)
{
    buf_bytes_append(b, p->name);
    buf_str(b, ": ");
    buf_bytes_append(b, message_fit(p->value, 2000));
    buf_str(b, "\r\n");
}

static void words(struct buf *b, const struct webhook_note *n)
{
    struct query_slo_pair list[MESSAGE_FACTS_MAX];
    char at[CLOCK_RFC3339_MAX];
    struct bytes more = message_annotation(n, "description");
    buf_bytes_append(b, message_fit(message_summary(n), 4000));
    buf_str(b, "\r\n\r\n");
    if (more.size) {
        buf_bytes_append(b, message_fit(more, 8000));
        buf_str(b, "\r\n\r\n");
    }
    size_t count = message_facts(n, list, ARRAY_LEN(list));
    for (size_t i = 0; i < count; i++)
        pair(b, &list[i]);
    clock_rfc3339(n->starts_ms, at);
    buf_printf(b, "began: %s\r\n", at);
    if (n->is_resolved) {
        clock_rfc3339(n->ends_ms, at);
        buf_printf(b, "over: %s\r\n", at);
    }
    buf_str(b, "\r\n");
    count = message_links(n, list, MESSAGE_LINKS_MAX);
    for (size_t i = 0; i < count; i++)
        pair(b, &list[i]);
}

void message_mail(const struct detectors_receiver *r, const struct webhook_note *n, struct buf *out)
{
    struct buf text;
    buf_init(&text, TEXT_MAX);
    buf_printf(&text, "[%s] %s: ", message_state(n), message_is_page(n) ? "page" : "ticket");
    buf_bytes_append(&text, message_summary(n));
    buf_printf(out, "From: Telltale <%s>\r\nTo: ", r->mail_from);
    for (size_t i = 0; i < DETECTORS_MAIL_TO_MAX && r->mail_to[i]; i++)
        buf_printf(out, "%s<%s>", i ? ",\r\n " : "", r->mail_to[i]);
    buf_str(out, "\r\n");
    subject(out, buf_bytes(&text));
    date(out, n->now_ms);
    /* The mails about one alert to one receiver are one thread. */
    buf_printf(out, "Message-ID: <%s-%s-%s@telltale.invalid>\r\n", n->fingerprint, r->name,
               n->event);
    if (strcmp(n->event, "firing") != 0)
        buf_printf(out, "References: <%s-%s-firing@telltale.invalid>\r\n", n->fingerprint, r->name);
    buf_str(out, "Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"
                 "Content-Type: text/plain; charset=utf-8\r\n"
                 "Content-Transfer-Encoding: base64\r\n\r\n");
    buf_clear(&text);
    words(&text, n);
    for (size_t i = 0; i < text.size; i += LINE_BYTES) {
        base64(out, bytes_slice(buf_bytes(&text), i, MIN(text.size, i + LINE_BYTES)));
        buf_str(out, "\r\n");
    }
    out->failed = out->failed || text.failed;
    buf_done(&text);
}
