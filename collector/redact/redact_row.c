/* Rows: their columns walked, and those rewritten in which something was found. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/stats.h"
#include "collector/genai/genai_parts.h"
#include "collector/redact/redact_core.h"
#include "collector/redact/redact_match.h"

#define ANCHORS_MAX (1u << 20)
#define SHARED 256u /* texts that rows share: resources, services, names */
#define NUMBERS_OF_PLACEHOLDERS 1000000000u

STATS_COUNTER(overfull, "telltale_redaction_overflow_total", "",
              "Texts with more findings than can be told apart; they were hidden as a whole.")

struct anchor {
    uint32_t word, end;
};

/* Where a text of the row stands. */
struct place {
    struct bytes key;
    enum genai_parts_zone zone; /* as the row says, before the key's own */
};

/* What is known of a text that many rows point to; out is the text itself where it is clean. */
struct shared {
    const uint8_t *in;
    uint32_t size, batch; /* which of the scan's batches */
    struct bytes out;
};

struct redact_scan {
    const struct redact *r;
    struct redact_engine_scratch *scratch;
    struct anchor *anchors; /* of the bytes looked at, in the order of their ends */
    uint32_t anchor_count, anchor_cap, anchor_next;
    bool anchors_lost; /* no room: every text is looked at by itself */
    bool has_own, has_digits; /* something to look for in them */
    bool is_probing; /* nothing is written yet: most of what is looked at closely is clean */
    struct bytes raw;
    struct redact_matches matches;
    struct buf text, out[3]; /* of values, of nested ones by level */
    struct shared shared[SHARED];
    uint32_t batch; /* counts them */
    /* the row of the moment */
    const struct redact_policy *policy;
    uint32_t org;
    struct tsdb_id16 trace;
    struct redact_found *found;
    bool failed;
};

struct redact_scan *redact_scan_new(const struct redact *r)
{
    struct redact_scan *s = calloc(1, sizeof *s);
    if (!s || !(s->scratch = redact_engine_scratch_new(r->words, r->patterns))) {
        free(s);
        return NULL;
    }
    s->r = r;
    s->policy = &r->policy;
    return s;
}

void redact_scan_free(struct redact_scan *s)
{
    if (!s)
        return;
    redact_engine_scratch_free(s->scratch);
    redact_match_done(&s->matches);
    buf_done(&s->text);
    for (size_t i = 0; i < ARRAY_LEN(s->out); i++)
        buf_done(&s->out[i]);
    free(s->anchors);
    free(s);
}

void redact_batch(struct redact_scan *s, const struct tsdb_batch *b)
{
    if (++s->batch == 0) { /* after four thousand million of them */
        memset(s->shared, 0, sizeof s->shared);
        s->batch = 1;
    }
    s->org = b->org;
}

/* --- is there anything? ---------------------------------------------------------------------------------- */

static bool on_anchor(void *ctx, uint32_t word, size_t from, size_t end)
{
    struct redact_scan *s = ctx;
    (void)from;
    if (s->raw.data[end - 1] == '@' && /* half of all doubles have one */
        (end < 2 || s->raw.data[end - 2] <= ' ' || end >= s->raw.size || s->raw.data[end] <= ' '))
        return true;
    if (s->anchor_count == s->anchor_cap) {
        uint32_t cap = MAX(s->anchor_cap * 2, 64);
        struct anchor *more = cap <= ANCHORS_MAX ? realloc(s->anchors, cap * sizeof *more) : NULL;
        if (!more) {
            s->anchors_lost = true;
            return false;
        }
        s->anchors = more;
        s->anchor_cap = cap;
    }
    s->anchors[s->anchor_count++] = (struct anchor){word, (uint32_t)end};
    return true;
}

static bool on_any(void *ctx, uint32_t id, size_t from, size_t to)
{
    (void)id, (void)from, (void)to;
    *(bool *)ctx = true;
    return false;
}

/* One pass over all bytes of a column, keys and encoding included. False: nothing in it can be sensitive. */
static bool look(struct redact_scan *s, struct bytes raw)
{
    s->anchor_count = s->anchor_next = 0;
    s->anchors_lost = s->has_own = false;
    s->raw = raw;
    redact_engine_scan(s->r->words, s->scratch, raw, on_anchor, s);
    s->has_digits = redact_match_has_digits(raw);
    if (s->r->patterns)
        redact_engine_scan(s->r->patterns, s->scratch, raw, on_any, &s->has_own);
    return s->anchor_count || s->anchors_lost || s->has_digits || s->has_own;
}

/* --- placeholders ------------------------------------------------------------------------------------------- */

/* One number has one placeholder, however it is written. */
static size_t put_plain(uint8_t group, uint32_t type, struct bytes value, uint8_t *out, size_t max)
{
    size_t n = 0;
    bool is_number =
        group == REDACT_FINANCIAL || group == REDACT_NATIONAL_ID || type == REDACT_TYPE_PHONE;
    for (size_t i = 0; i < value.size && n < max; i++) {
        uint8_t c = value.data[i];
        if (is_number && !redact_match_is_digit(c) && !redact_match_is_alpha(c))
            continue;
        if ((is_number || type == REDACT_TYPE_EMAIL) && c >= 'A' && c <= 'Z')
            c |= 32;
        out[n++] = c;
    }
    return n;
}

static void sign(const struct redact_scan *s, uint32_t type, struct bytes value, bool by_trace,
                 uint8_t out[crypto_auth_hmacsha256_BYTES])
{
    crypto_auth_hmacsha256_state h;
    const char *name = s->r->names[type];
    uint8_t plain[256], org[4];
    size_t n = type < REDACT_TYPE_COUNT && value.size <= sizeof plain
                   ? put_plain(s->r->groups[type], type, value, plain, sizeof plain)
                   : 0;
    bytes_put_u32le(org, s->org);
    crypto_auth_hmacsha256_init(&h, s->r->key, sizeof s->r->key);
    crypto_auth_hmacsha256_update(&h, (const uint8_t *)name, strlen(name) + 1);
    crypto_auth_hmacsha256_update(&h, org, sizeof org);
    if (by_trace)
        crypto_auth_hmacsha256_update(&h, s->trace.b, sizeof s->trace.b);
    crypto_auth_hmacsha256_update(&h, n ? plain : value.data, n ? n : value.size);
    crypto_auth_hmacsha256_final(&h, out);
}

static void put_name(struct buf *out, const char *name)
{
    for (; *name; name++)
        buf_u8(out, (uint8_t)(*name >= 'a' && *name <= 'z' ? *name & ~32 : *name));
}

/* <EMAIL_482139071>: of its trace; <EMAIL:gkbanpdo…>: everywhere. Letters there, so that no digits look like a number again. */
static void put_placeholder(struct redact_scan *s, enum redact_action action, uint32_t type,
                            struct bytes value, struct buf *out)
{
    uint8_t mac[crypto_auth_hmacsha256_BYTES];
    sign(s, type, value, action == REDACT_MASK, mac);
    buf_u8(out, '<');
    put_name(out, s->r->names[type]);
    if (action == REDACT_MASK) {
        buf_printf(out, "_%u", (unsigned)(bytes_u64le(mac) % NUMBERS_OF_PLACEHOLDERS));
    } else {
        buf_u8(out, ':');
        for (size_t i = 0; i < 16; i++)
            buf_u8(out, (uint8_t)('a' + (mac[i / 2] >> (i & 1) * 4 & 15)));
    }
    buf_u8(out, '>');
}

static void note(struct redact_scan *s, uint32_t type, enum redact_action action, bool in_output)
{
    struct redact_found *f = s->found;
    for (uint32_t i = 0; i < f->count; i++)
        if (f->finding[i].type == type && f->finding[i].action == action &&
            f->finding[i].in_output == in_output) {
            f->finding[i].count++;
            return;
        }
    if (f->count < REDACT_FINDINGS_MAX)
        f->finding[f->count++] = (struct redact_finding){.name = s->r->names[type],
                                                         .type = (uint8_t)type,
                                                         .action = (uint8_t)action,
                                                         .in_output = in_output,
                                                         .count = 1};
}

/* Instead of a whole text; of JSON it leaves JSON. */
static void put_whole(struct buf *out, struct bytes text, const char *name, const char *what)
{
    struct bytes t = bytes_trim(text);
    bool is_json = t.size && (t.data[0] == '{' || t.data[0] == '[');
    buf_clear(out);
    buf_str(out, is_json ? "\"<" : "<");
    put_name(out, name);
    buf_str(out, what);
    buf_str(out, is_json ? ">\"" : ">");
}

/* --- one text ------------------------------------------------------------------------------------------------ */

static void anchors_of(struct redact_scan *s, const struct redact_subject *t)
{
    size_t from = (size_t)(t->text.data - s->raw.data), to = from + t->text.size;
    const struct redact_engine_word *words;
    redact_match_words(&words);
    while (s->anchor_next < s->anchor_count && s->anchors[s->anchor_next].end <= from)
        s->anchor_next++;
    for (; s->anchor_next < s->anchor_count && s->anchors[s->anchor_next].end <= to;
         s->anchor_next++) {
        struct anchor a = s->anchors[s->anchor_next];
        if (a.end >= from + strlen(words[a.word].text)) /* else it began in the key */
            redact_match_word(t, a.word, a.end - from, &s->matches);
    }
}

static bool on_own(void *ctx, uint32_t id, size_t from, size_t to)
{
    struct redact_scan *s = ctx;
    struct redact_matches *m = &s->matches;
    uint32_t type = REDACT_TYPE_COUNT + id;
    if (m->count && m->list[m->count - 1].type == type && m->list[m->count - 1].from == from)
        m->list[m->count - 1].to = (uint32_t)to; /* the longest from one place */
    else if (to > from)
        redact_match_add(m, from, to, type);
    return !m->overflow;
}

static void find(struct redact_scan *s, const struct redact_subject *t)
{
    s->matches.count = 0;
    s->matches.overflow = s->anchors_lost;
    if (t->text.size > UINT32_MAX / 2)
        s->matches.overflow = true;
    if (s->matches.overflow)
        return;
    if (s->anchor_count) { /* a key that says something has a word that is one, too */
        anchors_of(s, t);
        redact_match_key(t, &s->matches);
    }
    if (s->has_digits && redact_match_has_digits(t->text))
        redact_match_numbers(t, &s->matches);
    if (s->has_own)
        redact_engine_scan(s->r->patterns, s->scratch, t->text, on_own, s);
    redact_match_settle(&s->matches);
}

/* The text with placeholders, in s->text; false: it stays as it is. While probing: is there anything in it? */
static bool hide(struct redact_scan *s, const struct place *p, struct bytes text)
{
    struct redact_subject t = {text, p->key};
    bool is_changed = false;
    size_t done = 0;
    find(s, &t);
    if (s->is_probing)
        return s->matches.count || s->matches.overflow;
    if (s->matches.overflow) {
        stats_add(&overfull, 1);
        put_whole(&s->text, text, "redacted", "");
        return true;
    }
    if (!s->matches.count)
        return false;
    enum genai_parts_zone zone = MAX(p->zone, genai_parts_zone_of(p->key));
    bool in_output = zone == GENAI_PARTS_OUTPUT;
    const uint8_t *actions = s->policy->action[zone ? REDACT_CONTENT : REDACT_ELSEWHERE];
    buf_clear(&s->text);
    for (uint32_t i = 0; i < s->matches.count; i++) {
        struct redact_match m = s->matches.list[i];
        enum redact_action action = (enum redact_action)actions[m.type];
        note(s, m.type, action, in_output);
        if (action == REDACT_KEEP)
            continue;
        is_changed = true;
        if (action == REDACT_DROP) {
            put_whole(&s->text, text, s->r->names[m.type], "_DROPPED");
            return true;
        }
        buf_bytes_append(&s->text, bytes_slice(text, done, m.from));
        put_placeholder(s, action, m.type, bytes_slice(text, m.from, m.to), &s->text);
        done = m.to;
    }
    buf_bytes_append(&s->text, bytes_slice(text, done, text.size));
    return is_changed;
}

/* --- encoded values -------------------------------------------------------------------------------------------- */

static bool put_value(struct redact_scan *s, const struct place *p, struct tsdb_value v,
                      struct buf *out, unsigned depth);

/* Nested content: rewritten into a buffer of its own, then put. */
static bool put_nested(struct redact_scan *s, const struct place *p, struct tsdb_value v,
                       struct buf *out, unsigned depth)
{
    struct tsdb_attrs_iter it = tsdb_attrs_begin(v.bytes);
    struct buf inner = {0};
    struct bytes key;
    struct tsdb_value one;
    bool is_changed = false;
    if (v.type == TSDB_VALUE_ARRAY)
        while (tsdb_attrs_next_value(&it, &one))
            is_changed |= put_value(s, p, one, &inner, depth + 1);
    else
        while (tsdb_attrs_next(&it, &key, &one)) {
            struct place at = {key, MAX(p->zone, genai_parts_zone_of(p->key))};
            if (!s->is_probing)
                buf_lenbytes(&inner, key);
            is_changed |= put_value(s, &at, one, &inner, depth + 1);
        }
    s->failed = s->failed || inner.failed;
    v.bytes = buf_bytes(&inner);
    if (!s->is_probing)
        tsdb_attrs_put_value(out, v);
    buf_done(&inner);
    return is_changed;
}

static bool put_value(struct redact_scan *s, const struct place *p, struct tsdb_value v,
                      struct buf *out, unsigned depth)
{
    bool is_changed = false;
    if (v.type == TSDB_VALUE_STRING || v.type == TSDB_VALUE_BYTES) {
        if (v.bytes.size > 3 && hide(s, p, v.bytes)) {
            v.bytes = buf_bytes(&s->text);
            is_changed = true;
        }
        s->failed = s->failed || s->text.failed;
        if (!s->is_probing)
            tsdb_attrs_put_value(out, v);
        return is_changed;
    }
    if ((v.type == TSDB_VALUE_ARRAY || v.type == TSDB_VALUE_KVLIST) && depth < TSDB_ATTRS_DEPTH_MAX)
        return put_nested(s, p, v, out, depth);
    if (!s->is_probing)
        tsdb_attrs_put_value(out, v);
    return false;
}

static bool put_attrs(struct redact_scan *s, const struct place *row, struct bytes attrs,
                      struct buf *out)
{
    struct tsdb_attrs_iter it = tsdb_attrs_begin(attrs);
    struct bytes key;
    struct tsdb_value v;
    bool is_changed = false;
    while (tsdb_attrs_next(&it, &key, &v)) {
        struct place p = {key, row->zone};
        if (!s->is_probing)
            buf_lenbytes(out, key);
        is_changed |= put_value(s, &p, v, out, 0);
        if (is_changed && s->is_probing)
            break;
    }
    return is_changed;
}

static bool put_events(struct redact_scan *s, const struct place *row, struct bytes events,
                       struct buf *out)
{
    struct tsdb_attrs_iter it = tsdb_attrs_begin(events);
    struct tsdb_event e;
    struct buf *attrs = &s->out[1], *name = &s->out[2];
    bool is_changed = false;
    while (tsdb_attrs_next_event(&it, &e)) {
        struct place p = {BYTES_NONE, genai_parts_zone_of_record(e.name)},
                     of_name = {BYTES_NONE, GENAI_PARTS_ELSEWHERE};
        buf_clear(attrs);
        if (e.name.size > 3 && hide(s, &of_name, e.name)) {
            buf_clear(name);
            buf_bytes_append(name, buf_bytes(&s->text));
            e.name = buf_bytes(name);
            is_changed = true;
        }
        is_changed |= put_attrs(s, &p, e.attrs, attrs);
        e.attrs = buf_bytes(attrs);
        if (!s->is_probing)
            tsdb_attrs_put_event(out, &e);
        s->failed = s->failed || attrs->failed || name->failed;
    }
    return is_changed;
}

static bool put_links(struct redact_scan *s, const struct place *row, struct bytes links,
                      struct buf *out)
{
    struct tsdb_attrs_iter it = tsdb_attrs_begin(links);
    struct tsdb_link l;
    struct buf *attrs = &s->out[1];
    bool is_changed = false;
    while (tsdb_attrs_next_link(&it, &l)) {
        buf_clear(attrs);
        is_changed |= put_attrs(s, row, l.attrs, attrs);
        l.attrs = buf_bytes(attrs);
        if (!s->is_probing)
            tsdb_attrs_put_link(out, &l);
        s->failed = s->failed || attrs->failed;
    }
    return is_changed;
}

static bool put_body(struct redact_scan *s, const struct place *row, struct bytes body,
                     struct buf *out)
{
    struct tsdb_attrs_iter it = tsdb_attrs_begin(body);
    struct tsdb_value v;
    return tsdb_attrs_next_value(&it, &v) && put_value(s, row, v, out, 0);
}

static bool put_text(struct redact_scan *s, const struct place *row, struct bytes text,
                     struct buf *out)
{
    if (!hide(s, row, text))
        return false;
    buf_bytes_append(out, buf_bytes(&s->text));
    s->failed = s->failed || s->text.failed;
    return true;
}

/* --- columns ----------------------------------------------------------------------------------------------------- */

typedef bool (*put_column)(struct redact_scan *s, const struct place *row, struct bytes column,
                           struct buf *out);

static bool column(struct redact_scan *s, const struct place *row, struct tsdb_batch *b,
                   struct bytes *io, put_column put)
{
    struct buf *out = &s->out[0];
    if (io->size < 4 || !look(s, *io))
        return true;
    buf_clear(out);
    s->is_probing = true;
    bool has_any = put(s, row, *io, out);
    s->is_probing = false;
    if (!has_any)
        return !s->failed;
    s->anchor_next = 0;
    buf_clear(out);
    if (put(s, row, *io, out)) {
        struct bytes copy = arena_copy(b->arena, buf_bytes(out));
        s->failed = s->failed || out->failed || !copy.data;
        *io = copy;
    }
    return !s->failed;
}

/* The same for texts that many rows share. What was found counts for the first row; a resource belongs to no trace. */
static bool shared_column(struct redact_scan *s, struct tsdb_batch *b, struct bytes *io,
                          put_column put)
{
    static const struct place elsewhere = {{NULL, 0}, GENAI_PARTS_ELSEWHERE};
    uintptr_t at = (uintptr_t)io->data;
    struct shared *known = &s->shared[(at ^ at >> 8 ^ at >> 16) % SHARED];
    if (io->size < 4)
        return true;
    if (known->in != io->data || known->size != io->size || known->batch != s->batch) {
        struct tsdb_id16 trace = s->trace;
        struct bytes in = *io;
        memset(&s->trace, 0, sizeof s->trace);
        bool ok = column(s, &elsewhere, b, io, put);
        s->trace = trace;
        if (!ok)
            return false;
        *known = (struct shared){in.data, (uint32_t)in.size, s->batch, *io};
    }
    *io = known->out;
    return true;
}

static void begin_row(struct redact_scan *s, struct bytes service, struct tsdb_id16 trace,
                      struct redact_found *out)
{
    s->policy = redact_policy_of(s->r, service);
    s->trace = trace;
    s->found = out;
    s->failed = false;
    out->count = 0;
}

bool redact_span(struct redact_scan *s, struct tsdb_batch *b, uint32_t row,
                 struct redact_found *out)
{
    struct tsdb_spans *c = &b->spans;
    struct place p = {.zone = GENAI_PARTS_ELSEWHERE};
    out->attrs = c->attrs[row];
    out->events = c->events[row];
    out->body = BYTES_NONE;
    out->count = 0;
    if (s->r->is_off)
        return true;
    begin_row(s, c->service[row], c->trace_id[row], out);
    bool ok = column(s, &p, b, &c->attrs[row], put_attrs);
    ok = ok && column(s, &p, b, &c->events[row], put_events);
    ok = ok && column(s, &p, b, &c->links[row], put_links);
    ok = ok && column(s, &p, b, &c->status_message[row], put_text);
    ok = ok && shared_column(s, b, &c->name[row], put_text);
    ok = ok && shared_column(s, b, &c->resource_attrs[row], put_attrs);
    ok = ok && shared_column(s, b, &c->service[row], put_text);
    /* what a tool or a retriever put out is no model's answer */
    if (out->count && genai_parts_is_source(out->attrs, out->events))
        for (uint32_t i = 0; i < out->count; i++)
            out->finding[i].in_output = false;
    return ok;
}

bool redact_log(struct redact_scan *s, struct tsdb_batch *b, uint32_t row, struct redact_found *out)
{
    struct tsdb_logs *c = &b->logs;
    struct place p = {.zone = genai_parts_zone_of_record(c->event_name[row])};
    out->attrs = c->attrs[row];
    out->events = BYTES_NONE;
    out->body = c->body[row];
    out->count = 0;
    if (s->r->is_off)
        return true;
    begin_row(s, c->service[row], c->trace_id[row], out);
    bool ok = column(s, &p, b, &c->attrs[row], put_attrs);
    ok = ok && column(s, &p, b, &c->body[row], put_body);
    ok = ok && shared_column(s, b, &c->event_name[row], put_text);
    ok = ok && shared_column(s, b, &c->resource_attrs[row], put_attrs);
    ok = ok && shared_column(s, b, &c->service[row], put_text);
    return ok;
}

bool redact_text(struct redact_scan *s, struct bytes key, struct bytes text, struct buf *out,
                 struct redact_found *found)
{
    struct place p = {key, GENAI_PARTS_CONTENT};
    begin_row(s, BYTES_NONE, (struct tsdb_id16){{0}}, found);
    if (s->r->is_off || (!look(s, text) && !key.size) || !hide(s, &p, text))
        buf_bytes_append(out, text);
    else
        buf_bytes_append(out, buf_bytes(&s->text));
    return !s->failed && !s->text.failed && buf_ok(out);
}

void redact_blank(struct redact_scan *s, uint8_t *data, size_t size)
{
    struct redact_subject t = {bytes_of(data, size), BYTES_NONE};
    if (s->r->is_off || !look(s, t.text))
        return;
    find(s, &t);
    if (s->matches.overflow)
        memset(data, '*', size);
    for (uint32_t i = 0; i < s->matches.count; i++) {
        struct redact_match m = s->matches.list[i];
        if (s->r->policy.action[REDACT_CONTENT][m.type] != REDACT_KEEP)
            memset(data + m.from, '*', m.to - m.from);
    }
}
