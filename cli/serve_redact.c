#include "cli/serve_redact.h"

#include <inttypes.h>

#include "base/check.h"
#include "base/clock.h"
#include "tsdb/tsdb_read.h"

enum err serve_redact_read(struct serve_redact *s, const struct serve_redact_options *o,
                           struct buf *errors)
{
    struct redact_options r = {.is_off = !o->is_enabled,
                               .actions = o->actions,
                               .content = o->content,
                               .services = o->services,
                               .patterns = o->patterns,
                               .alerts = o->alerts,
                               .file = o->file};
    *s = (struct serve_redact){0};
    enum err e = redact_new(&r, &s->rules, errors);
    struct err_msg msg = {""};
    if (e == ERR_OK && o->key && redact_parse_key(s->rules, o->key, &msg) != ERR_OK) {
        buf_printf(errors, "%s\n", msg.text);
        serve_redact_done(s);
        e = ERR_INVALID;
    }
    return e;
}

enum err serve_redact_start(struct serve_redact *s, const struct serve_redact_options *o,
                            const char *dir, struct tsdb *db, uint32_t org, struct stage *stage,
                            struct err_msg *msg)
{
    enum err e = o->key ? ERR_OK : redact_load_key(s->rules, dir, msg);
    s->db = db;
    s->org = org;
    if (e == ERR_OK && o->is_enabled)
        stage_set_redact(stage, s->rules);
    return e;
}

void serve_redact_done(struct serve_redact *s)
{
    redact_free(s->rules);
    s->rules = NULL;
}

/* --- the condition ----------------------------------------------------------------------------------- */

/* One series of the last hour: a kind, a service, how many and since when. */
struct leak {
    struct hash128 series;
    struct bytes service, class;
    int64_t count;
    uint32_t first;
};

struct leaks {
    struct leak list[SERVE_REDACT_SERIES];
    uint32_t count;
    const struct redact *rules;
    struct arena *arena;
    bool failed;
};

static bool alerts(const struct redact *r, struct bytes class)
{
    for (uint32_t i = 0; i < redact_type_count(r); i++)
        if (bytes_equal_str(class, redact_type_name(r, i)))
            return redact_type_alerts(r, i);
    return false; /* a pattern that is not in the file any more */
}

static uint32_t on_series(void *ctx, struct hash128 identity, const struct tsdb_labels *labels)
{
    struct leaks *l = ctx;
    for (uint32_t i = 0; i < l->count; i++)
        if (hash128_equal(l->list[i].series, identity))
            return i;
    if (!labels)
        return TSDB_CELLS_ASK;
    struct bytes name = tsdb_labels_get(*labels, BYTES_LIT("__name__")),
                 class = tsdb_labels_get(*labels, BYTES_LIT("class")),
                 service = tsdb_labels_get(*labels, BYTES_LIT("service"));
    if (!bytes_equal_str(name, STAGE_REDACT_OUTPUT) || !alerts(l->rules, class) ||
        l->count == SERVE_REDACT_SERIES)
        return TSDB_CELLS_SKIP;
    struct leak *one = &l->list[l->count];
    *one = (struct leak){.series = identity, .first = UINT32_MAX};
    one->service =
        service.size ? arena_copy(l->arena, service) : BYTES_LIT("a service without a name");
    one->class = arena_copy(l->arena, class);
    l->failed = l->failed || !one->service.data || !one->class.data;
    return l->count++;
}

static void on_cell(void *ctx, uint32_t series, uint32_t minute, int64_t add)
{
    struct leak *one = &((struct leaks *)ctx)->list[series];
    one->count += add;
    one->first = MIN(one->first, minute);
}

static enum err read_leaks(struct serve_redact *s, int64_t now_ms, struct leaks *l)
{
    struct tsdb_view *view;
    uint32_t now = (uint32_t)(now_ms / 60000);
    struct tsdb_cells_walk w = {.ctx = l, .series = on_series, .cell = on_cell};
    enum err e = tsdb_view_open(s->db, s->org, NULL, &view);
    if (e != ERR_OK)
        return e;
    e = tsdb_cells_walk(view, now - SERVE_REDACT_RECENT_MINUTES, now + 1, &w);
    tsdb_view_close(view);
    return e == ERR_OK && l->failed ? ERR_NOMEM : e;
}

static enum err look(void *ctx, int64_t now_ms, struct arena *a, struct detectors_finding **out,
                     size_t *out_count)
{
    struct serve_redact *s = ctx;
    struct leaks *l = ARENA_ARRAY(a, struct leaks, 1);
    struct detectors_finding *list = ARENA_ARRAY(a, struct detectors_finding, SERVE_REDACT_SERIES);
    size_t found = 0;
    *out_count = 0;
    if (!l || !list)
        return ERR_NOMEM;
    l->rules = s->rules;
    l->arena = a;
    enum err e = read_leaks(s, now_ms, l);
    for (uint32_t i = 0; e == ERR_OK && i < l->count; i++) {
        char since[CLOCK_RFC3339_MAX];
        const struct leak *one = &l->list[i];
        if (one->count <= 0)
            continue;
        clock_rfc3339((int64_t)one->first * 60000, since);
        struct detectors_finding *f = &list[found++];
        f->severity = QUERY_SLO_PAGE;
        f->subject = arena_printf(a, "%.*s in answers of %.*s", (int)MIN(one->class.size, 40u),
                                  (const char *)one->class.data, (int)MIN(one->service.size, 60u),
                                  (const char *)one->service.data);
        f->summary = arena_printf(a,
                                  "Sensitive data in answers of %.*s: %" PRIi64
                                  " times %.*s since %s (" STAGE_REDACT_OUTPUT ")",
                                  (int)MIN(one->service.size, 60u), (const char *)one->service.data,
                                  one->count, (int)MIN(one->class.size, 40u),
                                  (const char *)one->class.data, since);
        f->sentence = arena_printf(
            a, "It was masked before it was stored unless configured otherwise, but whoever asked "
               "has seen it. Traces of that service hold the placeholders; if it is a credential, "
               "revoke it. docs/redaction.md says what is found and how to switch a kind off.");
        if (!f->subject.data || !f->summary.data || !f->sentence.data)
            e = ERR_NOMEM;
    }
    *out = list;
    *out_count = e == ERR_OK ? found : 0;
    return e;
}

struct detectors_condition serve_redact_condition(struct serve_redact *s)
{
    return (struct detectors_condition){.name = "sensitive_output", .look = look, .ctx = s};
}
