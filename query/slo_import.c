/* What others write, in our words. Queries become the selectors of their counters: sum(rate(x{...}[w])) is counted as x{...}. */
#include <stdarg.h>
#include <stdio.h>

#include "base/check.h"
#include "query/query_slo_import.h"
#include "query/slo_document.h"

#define ARENA_BYTES ((size_t)64 << 20)

struct import {
    const char *file;
    struct arena *arena;
    struct buf *out, *errors;
    uint32_t documents, mistakes;
};

/* One objective, ready to be written. Empty fields are absent. */
struct found {
    struct bytes name, service, description, target, window;
    struct bytes good, bad, total; /* selectors */
    const struct yaml_node *labels;
};

static void complain(struct import *im, const struct yaml_node *at, const char *key,
                     const char *fmt, ...) PRINTF_LIKE(4, 5);
static void complain(struct import *im, const struct yaml_node *at, const char *key,
                     const char *fmt, ...)
{
    char text[ERR_MSG_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < ' ')
            *c = ' ';
    if (im->mistakes++ < SLO_ERRORS_MAX)
        buf_printf(im->errors, "%s:%u: %s: %s\n", im->file, at ? at->line : 1, key, text);
}

/* --- queries ------------------------------------------------------------------------------------- */

static struct bytes trim(struct bytes s)
{
    while (s.size && memchr(" \t\r\n", s.data[0], 4))
        s = bytes_slice(s, 1, s.size);
    while (s.size && memchr(" \t\r\n", s.data[s.size - 1], 4))
        s.size--;
    return s;
}

/* name( ... ): what is between, or false. */
static bool unwrap(struct bytes s, const char *name, struct bytes *out)
{
    size_t n = strlen(name);
    if (!bytes_has_prefix(s, bytes_str(name)))
        return false;
    s = trim(bytes_slice(s, n, s.size));
    if (s.size < 2 || s.data[0] != '(' || s.data[s.size - 1] != ')')
        return false;
    *out = trim(bytes_slice(s, 1, s.size - 1));
    return true;
}

/* sum(rate(SELECTOR[window])), sum(increase(...)), either alone, or a plain selector. */
static struct bytes selector_of(struct bytes query)
{
    struct bytes s = trim(query), inner;
    if (unwrap(s, "sum", &inner))
        s = inner;
    if (unwrap(s, "rate", &inner) || unwrap(s, "increase", &inner)) {
        s = inner;
        size_t at = s.size;
        while (at > 0 && s.data[at - 1] != '[')
            at--;
        if (at == 0 || s.data[s.size - 1] != ']')
            return BYTES_NONE;
        s = trim(bytes_slice(s, 0, at - 1));
    }
    return s;
}

static bool read_query(struct import *im, const struct yaml_node *map, const char *key,
                       struct bytes *out)
{
    const struct yaml_node *n = yaml_get(map, key);
    struct query_slo_selector parsed;
    struct err_msg msg;
    if (!n || n->type != YAML_SCALAR || !n->text.size) {
        complain(im, n ? n : map, key, "is missing");
        return false;
    }
    *out = selector_of(n->text);
    if (out->size && slo_selector_parse(*out, im->arena, &parsed, &msg) == ERR_OK)
        return true;
    complain(im, n, key, "\"" BYTES_FMT "\" is not the rate of one counter: %s",
             BYTES_ARG(bytes_slice(n->text, 0, MIN(n->text.size, (size_t)200))),
             out->size ? msg.text : "only sum(rate(selector[window])) is understood");
    return false;
}

/* --- writing ------------------------------------------------------------------------------------- */

/* A double-quoted YAML string. */
static void quoted(struct buf *out, struct bytes s)
{
    buf_u8(out, '"');
    for (size_t i = 0; i < s.size; i++) {
        uint8_t b = s.data[i];
        if (b == '"' || b == '\\')
            buf_printf(out, "\\%c", b);
        else if (b < ' ' || b == 0x7f)
            buf_u8(out, ' ');
        else
            buf_u8(out, b);
    }
    buf_u8(out, '"');
}

/* Lower case, '-' for what a name may not have, at most 63. */
static void name_of(struct buf *out, struct bytes service, struct bytes name)
{
    char text[64];
    size_t n = 0;
    const struct bytes parts[] = {service, name};
    for (size_t k = 0; k < 2; k++) {
        for (size_t i = 0; i < parts[k].size && n < 63; i++) {
            uint8_t b = parts[k].data[i];
            b = b >= 'A' && b <= 'Z' ? (uint8_t)(b + 32) : b;
            bool fits = (b >= 'a' && b <= 'z') || (b >= '0' && b <= '9');
            if (fits || (n && text[n - 1] != '-'))
                text[n++] = fits ? (char)b : '-';
        }
        if (k == 0 && n && n < 63 && text[n - 1] != '-')
            text[n++] = '-';
    }
    while (n && text[n - 1] == '-')
        n--;
    buf_append(out, n ? text : "imported", n ? n : 8);
}

static void write_selector(struct buf *out, const char *key, struct bytes query)
{
    buf_printf(out, "        %s: {metricSource: {type: Prometheus, spec: {query: ", key);
    quoted(out, query);
    buf_str(out, "}}}\n");
}

static void write_found(struct import *im, const struct found *f)
{
    struct buf *out = im->out;
    buf_str(out, im->documents++ ? "---\n" : "");
    buf_str(out, "apiVersion: openslo/v1\nkind: SLO\nmetadata:\n  name: ");
    name_of(out, f->service, f->name);
    buf_str(out, "\n  displayName: ");
    quoted(out, f->name);
    bool has_labels = false;
    for (const struct yaml_node *l = f->labels ? f->labels->child : NULL; l; l = l->next) {
        if (l->type != YAML_SCALAR)
            continue;
        buf_str(out, has_labels ? "" : "\n  labels:");
        buf_str(out, "\n    ");
        quoted(out, l->key);
        buf_str(out, ": ");
        quoted(out, l->text);
        has_labels = true;
    }
    buf_str(out, "\nspec:\n");
    if (f->description.size) {
        buf_str(out, "  description: ");
        quoted(out, f->description);
        buf_str(out, "\n");
    }
    buf_str(out, "  service: ");
    quoted(out, f->service.size ? f->service : f->name);
    buf_str(out, "\n  indicator:\n    metadata: {name: sli}\n    spec:\n      ratioMetric:\n"
                 "        counter: true\n");
    if (f->good.size)
        write_selector(out, "good", f->good);
    else
        write_selector(out, "bad", f->bad);
    write_selector(out, "total", f->total);
    buf_printf(out,
               "  timeWindow: [{duration: " BYTES_FMT ", isRolling: true}]\n"
               "  budgetingMethod: Occurrences\n  objectives: [{targetPercent: " BYTES_FMT "}]\n",
               BYTES_ARG(f->window), BYTES_ARG(f->target));
}

/* Both say percent. */
static bool read_target(struct import *im, const struct yaml_node *map, const char *key,
                        struct found *f)
{
    double v = 0;
    f->target = trim(yaml_get_str(map, key));
    if (bytes_to_f64(f->target, &v) && v > 0 && v < 100)
        return true;
    complain(im, map, key, "must be a percentage above 0 and below 100, not \"" BYTES_FMT "\"",
             BYTES_ARG(f->target));
    return false;
}

/* --- Sloth --------------------------------------------------------------------------------------- */

/* The Kubernetes form has the same keys in another case. */
struct sloth_keys {
    const char *error, *total;
};

static void sloth_one(struct import *im, const struct yaml_node *slo, struct bytes service,
                      const struct sloth_keys *keys)
{
    struct found f = {.name = yaml_get_str(slo, "name"),
                      .service = service,
                      .description = yaml_get_str(slo, "description"),
                      .window = BYTES_LIT("30d"),
                      .labels = yaml_get(slo, "labels")};
    const struct yaml_node *sli = yaml_get(slo, "sli"), *events = yaml_get(sli, "events");
    if (!f.name.size) {
        complain(im, slo, "name", "is missing");
        return;
    }
    if (!events) {
        complain(im, sli ? sli : slo, "sli",
                 "only events with an error query and a total query can be counted exactly; raw "
                 "ratios and plugins are not");
        return;
    }
    bool ok = read_target(im, slo, "objective", &f);
    ok = read_query(im, events, keys->error, &f.bad) && ok;
    ok = read_query(im, events, keys->total, &f.total) && ok;
    if (ok)
        write_found(im, &f);
}

static void sloth_all(struct import *im, const struct yaml_node *spec,
                      const struct sloth_keys *keys)
{
    const struct yaml_node *list = yaml_get(spec, "slos");
    if (!list || list->type != YAML_LIST)
        complain(im, spec, "slos", "must be a list");
    for (const struct yaml_node *n = list && list->type == YAML_LIST ? list->child : NULL; n;
         n = n->next)
        sloth_one(im, n, yaml_get_str(spec, "service"), keys);
}

/* --- Pyrra --------------------------------------------------------------------------------------- */

static void pyrra(struct import *im, const struct yaml_node *root)
{
    const struct yaml_node *meta = yaml_get(root, "metadata"), *spec = yaml_get(root, "spec"),
                           *indicator = yaml_get(spec, "indicator"),
                           *ratio = yaml_get(indicator, "ratio"),
                           *latency = yaml_get(indicator, "latency");
    struct found f = {.name = yaml_get_str(meta, "name"),
                      .description = yaml_get_str(spec, "description"),
                      .window = yaml_get_str(spec, "window"),
                      .labels = yaml_get(meta, "labels")};
    uint32_t minutes;
    bool ok = f.name.size > 0;
    if (!ok)
        complain(im, root, "metadata.name", "is missing");
    if (!ratio && !latency) {
        complain(im, indicator ? indicator : spec, "indicator",
                 "only ratio and latency of counters can be counted exactly; native histograms "
                 "and gauges are not");
        return;
    }
    ok = read_target(im, spec, "target", &f) && ok;
    if (!slo_document_minutes(f.window, &minutes) || minutes < 60) {
        complain(im, spec, "window", "\"" BYTES_FMT "\" is not a window", BYTES_ARG(f.window));
        ok = false;
    }
    if (ratio)
        ok = read_query(im, yaml_get(ratio, "errors"), "metric", &f.bad) && ok;
    else
        ok = read_query(im, yaml_get(latency, "success"), "metric", &f.good) && ok;
    ok = read_query(im, yaml_get(ratio ? ratio : latency, "total"), "metric", &f.total) && ok;
    if (ok)
        write_found(im, &f);
}

/* --- the stream ---------------------------------------------------------------------------------- */

static void import_one(struct import *im, const struct yaml_node *root)
{
    static const struct sloth_keys plain = {"error_query", "total_query"},
                                   kubernetes = {"errorQuery", "totalQuery"};
    struct bytes kind = yaml_get_str(root, "kind"), version = yaml_get_str(root, "version");
    if (root->type == YAML_NULL)
        return;
    if (root->type == YAML_MAP && bytes_equal_str(version, "prometheus/v1"))
        sloth_all(im, root, &plain);
    else if (root->type == YAML_MAP && bytes_equal_str(kind, "PrometheusServiceLevel"))
        sloth_all(im, yaml_get(root, "spec"), &kubernetes);
    else if (root->type == YAML_MAP && bytes_equal_str(kind, "ServiceLevelObjective"))
        pyrra(im, root);
    else
        complain(im, root, "document",
                 "is neither Sloth's (version: prometheus/v1, kind: PrometheusServiceLevel) nor "
                 "Pyrra's (kind: ServiceLevelObjective)");
}

enum err query_slo_import(const char *file, struct bytes text, struct buf *out, struct buf *errors)
{
    struct import im = {
        .file = file, .arena = arena_new(ARENA_BYTES), .out = out, .errors = errors};
    struct yaml_node *docs = NULL;
    struct err_msg msg;
    if (!im.arena)
        return ERR_NOMEM;
    enum err e = yaml_in_parse(text, im.arena, &docs, &msg);
    if (e != ERR_OK)
        buf_printf(errors, "%s: %s\n", file, msg.text);
    for (const struct yaml_node *n = docs; e == ERR_OK && n; n = n->next)
        import_one(&im, n);
    if (e == ERR_OK && im.documents == 0 && im.mistakes == 0)
        complain(&im, NULL, "document", "there is nothing to import");
    arena_free(im.arena);
    if (e != ERR_OK)
        return e;
    return im.mistakes ? ERR_INVALID : ERR_OK;
}
