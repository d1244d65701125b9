#include "cli/serve_grounding.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/yaml_in.h"
#include "collector/genai/genai_parts.h"
#include "collector/stage/stage_tap.h"
#include "detectors/detectors_lexical.h"

#define LEXICAL "lexical" /* as a model: detectors_lexical.h */
#define SURGE_RESOLVE_MINUTES 5u
#define FINDING_TEXT 360u

/* --- configuration ------------------------------------------------------------------------------------ */

/* "0.05", "5%" */
static bool share_read(struct bytes text, double *out)
{
    bool is_percent = bytes_has_suffix(text, BYTES_LIT("%"));
    double v;
    if (is_percent)
        text = bytes_slice(text, 0, text.size - 1);
    if (!bytes_to_f64(bytes_trim(text), &v))
        return false;
    *out = is_percent ? v / 100 : v;
    return *out >= 0 && *out <= 1;
}

static bool option_read(const char *key, const char *text, double *out, struct buf *errors)
{
    if (share_read(bytes_str(text), out))
        return true;
    buf_printf(errors, "%s: '%s' is not valid; give a share such as 0.05 or 5%%\n", key, text);
    return false;
}

static bool services_read(struct serve_grounding *g, struct buf *errors)
{
    const struct yaml_node *map = g->options.services;
    bool ok = true;
    if (!map || map->type == YAML_NULL)
        return true;
    if (map->type != YAML_MAP) {
        buf_printf(errors, "%s:%u: grounding.services: give a map of service: share\n",
                   g->options.file, map->line);
        return false;
    }
    for (const struct yaml_node *n = map->child; n; n = n->next) {
        double share;
        if (g->service_count == CHECKER_SERVICES_MAX || n->type != YAML_SCALAR ||
            !share_read(n->text, &share)) {
            buf_printf(errors,
                       "%s:%u: grounding.services: give a share such as 0.05 or 5%%, for at most "
                       "%u services\n",
                       g->options.file, n->line, CHECKER_SERVICES_MAX);
            ok = false;
            continue;
        }
        g->services[g->service_count++] = (struct checker_share){n->key, share};
    }
    return ok;
}

enum err serve_grounding_read(struct serve_grounding *g, const struct serve_grounding_options *o,
                              struct buf *errors)
{
    *g = (struct serve_grounding){.options = *o};
    bool ok = option_read("grounding.sample", o->sample, &g->sample, errors);
    ok = option_read("grounding.targeted", o->targeted, &g->targeted, errors) && ok;
    ok = services_read(g, errors) && ok;
    if (o->cpu_percent < 1 || o->cpu_percent > 100) {
        buf_printf(errors, "grounding.cpu_percent: give 1 to 100\n");
        ok = false;
    }
    return ok ? ERR_OK : ERR_INVALID;
}

/* --- the tap --------------------------------------------------------------------------------------------- */

static bool tap_wants(void *ctx, uint32_t org, struct tsdb_id16 trace_id)
{
    return detectors_checker_wants(((struct serve_grounding *)ctx)->checker, org, trace_id);
}

static void tap_offer(void *ctx, const struct stage_tap_row *row)
{
    static const enum checker_kind kinds[] = {[STAGE_TAP_CALL] = CHECKER_CALL,
                                              [STAGE_TAP_SOURCE] = CHECKER_SOURCE,
                                              [STAGE_TAP_RECORD] = CHECKER_RECORD};
    struct checker_said s = {.kind = kinds[row->kind],
                             .is_anomalous = row->is_anomalous,
                             .org = row->org,
                             .trace_id = row->trace_id,
                             .span_id = row->span_id,
                             .end_ns = row->end_ns,
                             .attrs = row->attrs,
                             .events = row->events,
                             .event_name = row->event_name,
                             .body = row->body};
    const struct genai_row *r = row->call;
    if (r) {
        s.text[CHECKER_SERVICE] = r->service;
        s.text[CHECKER_ENV] = r->env;
        s.text[CHECKER_REGION] = r->region;
        s.text[CHECKER_PROVIDER] = r->provider;
        s.text[CHECKER_MODEL] = r->model;
        s.text[CHECKER_OPERATION] = r->operation;
        s.text[CHECKER_ENDPOINT] = r->endpoint;
        s.text[CHECKER_VARIANT] = r->variant;
        s.text[CHECKER_PLANE] = bytes_str(genai_plane_text(r->plane));
        s.text[CHECKER_PROMPT_NAME] = r->prompt_name;
        s.text[CHECKER_PROMPT_VERSION] = r->prompt_version;
        s.text[CHECKER_RESPONSE_ID] = r->response_id;
        s.text[CHECKER_CONVERSATION] = r->conversation_id;
    }
    detectors_checker_offer(((struct serve_grounding *)ctx)->checker, &s);
}

enum err serve_grounding_parts(const struct checker_said *const *rows, size_t count,
                               struct arena *a, struct checker_parts *out)
{
    struct genai_parts_row list[GENAI_PARTS_ROWS_MAX];
    struct genai_parts parts;
    size_t n = MIN(count, (size_t)GENAI_PARTS_ROWS_MAX);
    for (size_t i = 0; i < n; i++)
        list[i] = (struct genai_parts_row){.attrs = rows[i]->attrs,
                                           .events = rows[i]->events,
                                           .event_name = rows[i]->event_name,
                                           .body = rows[i]->body};
    enum err e = genai_parts_read(list, n, a, &parts);
    if (e == ERR_OK)
        *out = (struct checker_parts){.documents = parts.documents,
                                      .document_count = parts.document_count,
                                      .question = parts.question,
                                      .response = parts.response,
                                      .cut = parts.cut};
    return e;
}

/* --- the judge --------------------------------------------------------------------------------------------- */

static bool is_lexical(const struct serve_grounding *g)
{
    return g->options.model && strcmp(g->options.model, LEXICAL) == 0;
}

static enum err judge_open(void *ctx, struct err_msg *msg)
{
    struct serve_grounding *g = ctx;
    struct ground_options o = {.model = g->options.model, .threads = (unsigned)g->options.threads};
    return is_lexical(g) ? ERR_OK : ground_open(&o, &g->ground, msg);
}

static void judge_close(void *ctx)
{
    struct serve_grounding *g = ctx;
    ground_close(g->ground);
    g->ground = NULL;
}

static enum err judge_check(void *ctx, const struct ground_text *t, struct arena *a,
                            struct ground_verdict *out, struct err_msg *msg)
{
    struct serve_grounding *g = ctx;
    return is_lexical(g) ? detectors_lexical_check(t, a, out)
                         : ground_check(g->ground, t, 0, a, out, msg);
}

static const char *judge_version(void *ctx)
{
    const struct serve_grounding *g = ctx;
    return is_lexical(g) ? LEXICAL_VERSION : ground_version(g->ground);
}

static double judge_threshold(void *ctx)
{
    const struct serve_grounding *g = ctx;
    return is_lexical(g) ? LEXICAL_THRESHOLD : ground_threshold(g->ground);
}

/* --- life ----------------------------------------------------------------------------------------------------- */

static enum err start_checker(struct serve_grounding *g, struct stage *stage, struct err_msg *msg)
{
    struct detectors_checker_options o = {
        .db = g->db,
        .judge = {g, judge_open, judge_close, judge_check, judge_version, judge_threshold},
        .read = serve_grounding_parts,
        .sample = g->sample,
        .targeted = g->targeted,
        .services = g->services,
        .service_count = g->service_count,
        .memory_bytes = g->options.memory_bytes,
        .cpu_percent = (uint32_t)g->options.cpu_percent,
        .watch = g->watch,
        .labels = g->labels};
    struct stage_tap tap = {g, tap_wants, tap_offer};
    enum err e = detectors_checker_new(&o, &g->checker);
    if (e == ERR_OK)
        e = detectors_checker_start(g->checker, msg);
    if (e == ERR_OK)
        stage_set_tap(stage, &tap);
    return e;
}

/* Labels are taken and reports made also where nothing is checked: what was checked before is there. */
enum err serve_grounding_start(struct serve_grounding *g, struct tsdb *db, struct stage *stage,
                               struct err_msg *msg)
{
    g->db = db;
    enum err e = detectors_watch_new(db, &g->watch);
    if (e == ERR_OK)
        e = detectors_watch_load(g->watch);
    if (e == ERR_OK)
        e = detectors_grounding_open(db, &g->labels);
    if (e == ERR_OK && g->options.is_enabled)
        e = start_checker(g, stage, msg);
    return e == ERR_OK || msg->text[0]
               ? e
               : err_set(msg, e, "the grounding checker cannot start: %s", err_text(e));
}

void serve_grounding_stop(struct serve_grounding *g)
{
    if (g->checker)
        detectors_checker_stop(g->checker);
}

void serve_grounding_done(struct serve_grounding *g)
{
    detectors_checker_free(g->checker);
    detectors_grounding_close(g->labels);
    detectors_watch_free(g->watch);
    g->checker = NULL;
    g->labels = NULL;
    g->watch = NULL;
}

/* --- conditions ------------------------------------------------------------------------------------------------- */

static struct bytes who(const struct watch_stream *s, struct arena *a)
{
    return arena_printf(a, "%.60s, model %.60s%s%.40s", s->service[0] ? s->service : "(no service)",
                        s->model[0] ? s->model : "unknown", s->prompt[0] ? ", prompt " : "",
                        s->prompt);
}

static bool finding_of(const struct watch_stream *s, bool of_surge, struct arena *a,
                       struct detectors_finding *f)
{
    char since[CLOCK_RFC3339_MAX];
    *f = (struct detectors_finding){.subject = who(s, a), .severity = QUERY_SLO_TICKET};
    clock_rfc3339(s->surge_ms, since);
    if (of_surge) {
        f->summary =
            arena_printf(a,
                         "Answers of %.*s are less supported than they were: mean "
                         "probability %.0f %%, baseline %.0f %%",
                         (int)MIN(f->subject.size, (size_t)170), (const char *)f->subject.data,
                         s->recent_mean * 100, s->baseline_mean * 100);
        f->sentence = arena_printf(a,
                                   "Since %s. Look at flagged traces (GET "
                                   "/api/telltale/v1/grounding?service=), at what changed in the "
                                   "prompt, the model or the documents; docs/grounding.md has the "
                                   "test and its false-alarm rate.",
                                   since);
    } else {
        f->summary = arena_printf(a,
                                  "Grounding scores of %.*s are shaped unlike their baseline "
                                  "(PSI %.2f, more than %.2f)",
                                  (int)MIN(f->subject.size, (size_t)170),
                                  (const char *)f->subject.data, s->psi, WATCH_PSI_DRIFT);
        f->sentence = arena_printf(a, "%s",
                                   "The traffic or the documents may have changed, and the "
                                   "calibration may not hold: label some answers anew "
                                   "(docs/grounding.md).");
    }
    return f->subject.data && f->summary.data && f->sentence.data;
}

static enum err look(struct serve_grounding *g, bool of_surge, struct arena *a,
                     struct detectors_finding **out, size_t *out_count)
{
    struct watch_stream *list;
    size_t n = 0, found = 0;
    *out_count = 0;
    if (!g->watch)
        return ERR_OK;
    enum err e = detectors_watch_streams(g->watch, a, &list, &n);
    struct detectors_finding *all =
        e == ERR_OK ? ARENA_ARRAY(a, struct detectors_finding, n + 1) : NULL;
    if (e == ERR_OK && !all)
        e = ERR_NOMEM;
    for (size_t i = 0; e == ERR_OK && i < n && found < DETECTORS_FINDINGS_MAX; i++) {
        if (!(of_surge ? list[i].is_surging : list[i].is_drifting) ||
            list[i].org != TSDB_ORG_DEFAULT)
            continue;
        if (!finding_of(&list[i], of_surge, a, &all[found++]))
            e = ERR_NOMEM;
    }
    *out = all;
    *out_count = e == ERR_OK ? found : 0;
    return e;
}

static enum err look_surge(void *ctx, int64_t now_ms, struct arena *a,
                           struct detectors_finding **out, size_t *out_count)
{
    return look(ctx, true, a, out, out_count);
}

static enum err look_drift(void *ctx, int64_t now_ms, struct arena *a,
                           struct detectors_finding **out, size_t *out_count)
{
    return look(ctx, false, a, out, out_count);
}

void serve_grounding_conditions(struct serve_grounding *g,
                                struct detectors_condition out[SERVE_GROUNDING_CONDITIONS])
{
    out[0] = (struct detectors_condition){.name = "grounding_surge",
                                          .resolve_minutes = SURGE_RESOLVE_MINUTES,
                                          .look = look_surge,
                                          .ctx = g};
    out[1] = (struct detectors_condition){.name = "grounding_drift",
                                          .after_minutes = 30,
                                          .resolve_minutes = 60,
                                          .look = look_drift,
                                          .ctx = g};
}
