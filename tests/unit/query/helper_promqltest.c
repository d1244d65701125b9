#include "query/helper_promqltest.h"

#include "base/check.h"
#include "query/promql_lex.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define STALE_BITS 0x7ff0000000000002ull
#define LINES_MAX 20000u
#define ITEMS_MAX 20000u

/* --- the store --------------------------------------------------------------------------------- */

struct item { /* one value of a series line */
    bool omitted, stale;
    double v;
    const struct query_hist *h;
    bool hint_given;
};

struct memory_series {
    struct tsdb_labels labels;
    size_t count;
    int64_t *t, *st;
    double *v;
    const struct tsdb_hist **h;
    bool has_hist, has_st;
};

struct memory_source {
    struct arena *arena;
    struct memory_series *series;
    size_t count;
};

struct memory_source *memory_source_new(void)
{
    struct memory_source *m = calloc(1, sizeof *m);
    CHECK(m);
    m->arena = arena_new(0);
    return m;
}

void memory_source_clear(struct memory_source *m)
{
    arena_free(m->arena);
    m->arena = arena_new(0);
    m->series = NULL;
    m->count = 0;
}

void memory_source_free(struct memory_source *m)
{
    arena_free(m->arena);
    free(m);
}

static bool matches(const struct tsdb_matcher *m, struct tsdb_labels l)
{
    struct bytes v = tsdb_labels_get(l, m->name);
    switch (m->op) {
    case TSDB_MATCH_EQ: return bytes_equal(v, m->value);
    case TSDB_MATCH_NE: return !bytes_equal(v, m->value);
    default: return m->match(m->ctx, v) == (m->op == TSDB_MATCH_RE);
    }
}

static int compare_series(const void *x, const void *y)
{
    return tsdb_labels_compare(((const struct tsdb_series *)x)->labels,
                               ((const struct tsdb_series *)y)->labels);
}

static enum err memory_select(void *ctx, const struct tsdb_matcher *m, size_t n, int64_t min_ms,
                              int64_t max_ms, struct arena *a, struct tsdb_series **out,
                              size_t *out_count)
{
    struct memory_source *s = ctx;
    struct tsdb_series *list = ARENA_ARRAY(a, struct tsdb_series, s->count + 1);
    size_t k = 0;
    if (!list)
        return ERR_LIMIT;
    for (size_t i = 0; i < s->count; i++) {
        bool ok = true;
        for (size_t j = 0; j < n && ok; j++)
            ok = matches(&m[j], s->series[i].labels);
        if (ok)
            list[k++] = (struct tsdb_series){.labels = s->series[i].labels, .handle = i};
    }
    if (k)
        qsort(list, k, sizeof *list, compare_series);
    *out = list;
    *out_count = k;
    return ERR_OK;
}

static enum err memory_points(void *ctx, const struct tsdb_series *s, int64_t min_ms,
                              int64_t max_ms, struct arena *a, struct tsdb_points *out)
{
    struct memory_source *m = ctx;
    const struct memory_series *from = &m->series[s->handle];
    size_t lo = 0, hi = from->count;
    while (lo < hi && from->t[lo] < min_ms)
        lo++;
    while (hi > lo && from->t[hi - 1] > max_ms)
        hi--;
    *out = (struct tsdb_points){.count = hi - lo, .t_ms = from->t + lo, .value = from->v + lo};
    if (from->has_hist)
        out->hist = (const struct tsdb_hist *const *)(from->h + lo);
    if (from->has_st)
        out->start_ms = from->st + lo;
    return ERR_OK;
}

struct query_source memory_source_of(struct memory_source *m)
{
    return (struct query_source){.ctx = m, .select = memory_select, .points = memory_points};
}

/* --- the language: series and values ----------------------------------------------------------- */

static bool parse_metric(struct bytes line, struct arena *a, struct tsdb_labels *out, size_t *rest)
{
    struct lexer l = {.text = line};
    struct tsdb_label labels[TSDB_LABELS_MAX];
    size_t n = 0;
    struct token t;
    const char *why;
    struct err_msg msg;
    if (line.size && line.data[0] != '{') {
        t = lexer_next(&l);
        if (t.kind != TOKEN_IDENTIFIER && t.kind != TOKEN_METRIC)
            return false;
        labels[n++] = (struct tsdb_label){BYTES_LIT("__name__"), t.text};
    }
    if (l.at < line.size && line.data[l.at] == '{') {
        lexer_next(&l);
        for (t = lexer_next(&l); t.kind != TOKEN_RIGHT_BRACE; t = lexer_next(&l)) {
            struct bytes name = t.text, value;
            if (t.kind == TOKEN_COMMA)
                continue;
            if (t.kind == TOKEN_STRING && !lexer_unquote(t.text, a, &name, &why))
                return false;
            if (t.kind != TOKEN_STRING && t.kind != TOKEN_IDENTIFIER)
                return false;
            struct lexer ahead = l;
            struct token next = lexer_next(&ahead);
            if (next.kind != TOKEN_EQL) { /* a quoted metric name */
                labels[n++] = (struct tsdb_label){BYTES_LIT("__name__"), name};
                continue;
            }
            l = ahead;
            t = lexer_next(&l);
            if (t.kind != TOKEN_STRING || !lexer_unquote(t.text, a, &value, &why))
                return false;
            labels[n++] = (struct tsdb_label){name, value};
        }
    }
    *rest = l.at;
    return tsdb_labels_build(labels, n, a, out, &msg) == ERR_OK;
}

static bool number_prefix(const char *s, double *out, const char **end)
{
    char *stop;
    if (s[0] == '0' && s[1] == 'x' && s[2] >= '0' && s[2] <= '9') { /* "0x5": zero, five times */
        *out = 0;
        *end = s + 1;
        return true;
    }
    if ((s[0] == '-' || s[0] == '+') && s[1] == '0' && s[2] == 'x') {
        *out = s[0] == '-' ? -0.0 : 0;
        *end = s + 2;
        return true;
    }
    *out = strtod(s, &stop);
    *end = stop;
    return stop != s;
}

static size_t list_of(const char *s, double *out, size_t max)
{
    size_t n = 0;
    while (*s && *s != ']' && n < max) {
        const char *end;
        while (*s == ' ' || *s == ',')
            s++;
        if (*s == ']' || !number_prefix(s, &out[n], &end))
            break;
        n++;
        s = end;
    }
    return n;
}

static const struct query_hist_bucket *buckets(const double *counts, size_t n, int32_t offset,
                                               struct arena *a)
{
    struct query_hist_bucket *b = ARENA_ARRAY(a, struct query_hist_bucket, n + 1);
    for (size_t i = 0; i < n; i++)
        b[i] = (struct query_hist_bucket){offset + (int32_t)i, counts[i]};
    return b;
}

/* At "{{": a histogram. Returns the text behind "}}" or NULL. */
static const char *parse_hist(const char *s, struct arena *a, struct query_hist *h,
                              bool *hint_given)
{
    double pos[1000], neg[1000], custom[1000];
    size_t pos_n = 0, neg_n = 0, custom_n = 0;
    int32_t offset = 0, n_offset = 0;
    const char *end = strstr(s, "}}");
    *h = (struct query_hist){0};
    *hint_given = false;
    for (s += 2; end && s < end;) {
        char key[40];
        int used = 0;
        if (*s == ' ') {
            s++;
            continue;
        }
        if (sscanf(s, "%39[a-z_]:%n", key, &used) != 1 || !used)
            return NULL;
        s += used;
        const char *value = s, *ignore;
        double v = 0;
        if (*s == '[')
            s = strchr(s, ']') + 1;
        else
            s += strcspn(s, " }");
        if (*value != '[')
            (void)number_prefix(value, &v, &ignore);
        if (!strcmp(key, "schema"))
            h->schema = (int8_t)v;
        else if (!strcmp(key, "sum"))
            h->sum = v;
        else if (!strcmp(key, "count"))
            h->count = v;
        else if (!strcmp(key, "z_bucket"))
            h->zero_count = v;
        else if (!strcmp(key, "z_bucket_w"))
            h->zero_threshold = v;
        else if (!strcmp(key, "offset"))
            offset = (int32_t)v;
        else if (!strcmp(key, "n_offset"))
            n_offset = (int32_t)v;
        else if (!strcmp(key, "buckets"))
            pos_n = list_of(value + 1, pos, 1000);
        else if (!strcmp(key, "n_buckets"))
            neg_n = list_of(value + 1, neg, 1000);
        else if (!strcmp(key, "custom_values"))
            custom_n = list_of(value + 1, custom, 1000);
        else if (!strcmp(key, "counter_reset_hint")) {
            *hint_given = true;
            h->hint = !strncmp(value, "gauge", 5)       ? TSDB_HIST_GAUGE
                      : !strncmp(value, "reset", 5)     ? TSDB_HIST_RESET
                      : !strncmp(value, "not_reset", 9) ? TSDB_HIST_NO_RESET
                                                        : TSDB_HIST_UNKNOWN_RESET;
        } else
            return NULL;
    }
    h->pos = buckets(pos, pos_n, offset, a);
    h->pos_count = (uint32_t)pos_n;
    h->neg = buckets(neg, neg_n, n_offset, a);
    h->neg_count = (uint32_t)neg_n;
    h->custom = memcpy(arena_alloc(a, sizeof custom), custom, sizeof custom);
    h->custom_count = (uint32_t)custom_n;
    return end ? end + 2 : NULL;
}

static const char *parse_times(const char *s, size_t *times)
{
    *times = 0;
    if (*s != 'x')
        return s;
    char *end;
    *times = strtoul(s + 1, &end, 10);
    return end;
}

static bool end_of_item(const char *s)
{
    return *s == 0 || *s == ' ' || *s == '\t';
}

static const char *parse_hist_item(const char *s, struct arena *a, struct item *out, size_t *n)
{
    struct query_hist first, step;
    bool given, step_given;
    double sign = 0;
    size_t times;
    s = parse_hist(s, a, &first, &given);
    if (s && (*s == '+' || *s == '-') && s[1] == '{') {
        sign = *s == '+' ? 1 : -1;
        s = parse_hist(s + 1, a, &step, &step_given);
    }
    if (!s)
        return NULL;
    s = parse_times(s, &times);
    const struct query_hist *h = query_hist_copy(&first, a);
    for (size_t i = 0; i <= times && *n < ITEMS_MAX && h; i++) {
        out[(*n)++] = (struct item){.h = h, .hint_given = given};
        if (sign != 0)
            h = query_hist_add(h, &step, sign, a, NULL);
    }
    return s;
}

/* Durations (of @st lines) when `durations`, else numbers; values of a series line. */
static bool parse_items(const char *s, bool durations, struct arena *a, struct item *out, size_t *n)
{
    *n = 0;
    for (;;) {
        while (*s == ' ' || *s == '\t')
            s++;
        if (!*s)
            return true;
        size_t times = 0;
        if (*s == '_') {
            s = parse_times(s + 1, &times);
            for (size_t i = 0; i < (times ? times : 1) && *n < ITEMS_MAX; i++)
                out[(*n)++] = (struct item){.omitted = true};
        } else if (!strncmp(s, "stale", 5)) {
            s += 5;
            out[(*n)++] = (struct item){.stale = true};
        } else if (!strncmp(s, "{{", 2)) {
            s = parse_hist_item(s, a, out, n);
        } else {
            double v = 0, step = 0;
            const char *end = s;
            for (int part = 0; part < 2; part++) {
                double *to = part ? &step : &v;
                if (part && *s != '+' && *s != '-')
                    break;
                if (durations) {
                    size_t sign = *s == '-' || *s == '+',
                           len = strspn(s + sign, "0123456789.ywdhms");
                    int64_t ms = 0;
                    struct bytes d = bytes_of(s + sign, len);
                    if (!lexer_duration_ms(d, &ms))
                        ms = 0;
                    *to = (double)(*s == '-' ? -ms : ms);
                    end = s + sign + len;
                } else if (!number_prefix(s, to, &end)) {
                    return false;
                }
                s = end;
            }
            s = parse_times(s, &times);
            for (size_t i = 0; i <= times && *n < ITEMS_MAX; i++, v += step)
                out[(*n)++] = (struct item){.v = v};
        }
        if (!s || !end_of_item(s) || *n >= ITEMS_MAX)
            return false;
    }
}

/* --- load -------------------------------------------------------------------------------------- */

static const struct tsdb_hist *stored_hist(const struct query_hist *h, uint8_t hint,
                                           struct arena *a)
{
    struct tsdb_hist *o = arena_alloc(a, sizeof *o);
    struct tsdb_hist_span *spans =
        ARENA_ARRAY(a, struct tsdb_hist_span, h->pos_count + h->neg_count + 2);
    double *pos = ARENA_ARRAY(a, double, h->pos_count + 1),
           *neg = ARENA_ARRAY(a, double, h->neg_count + 1);
    *o = (struct tsdb_hist){.schema = h->schema,
                            .hint = hint,
                            .zero_threshold = h->zero_threshold,
                            .zero_count = h->zero_count,
                            .count = h->count,
                            .sum = h->sum,
                            .pos_count = h->pos_count,
                            .neg_count = h->neg_count,
                            .custom_count = h->custom_count,
                            .pos = pos,
                            .neg = neg,
                            .custom = h->custom,
                            .pos_spans = spans};
    for (int side = 0; side < 2; side++) {
        const struct query_hist_bucket *b = side ? h->neg : h->pos;
        uint32_t n = side ? h->neg_count : h->pos_count, k = 0;
        struct tsdb_hist_span *s = spans + (side ? h->pos_count + 1 : 0);
        for (uint32_t i = 0; i < n; i++) {
            (side ? neg : pos)[i] = b[i].count;
            if (i && b[i].index == b[i - 1].index + 1)
                s[k - 1].length++;
            else
                s[k++] =
                    (struct tsdb_hist_span){i ? b[i].index - b[i - 1].index - 1 : b[i].index, 1};
        }
        *(side ? &o->neg_span_count : &o->pos_span_count) = k;
        if (side)
            o->neg_spans = s;
    }
    return o;
}

static struct memory_series *series_for(struct memory_source *m, struct tsdb_labels l, bool fresh)
{
    for (size_t i = 0; i < m->count && !fresh; i++)
        if (tsdb_labels_equal(m->series[i].labels, l))
            return &m->series[i];
    m->series = arena_grow(m->arena, m->series, sizeof *m->series, m->count, m->count + 1);
    struct memory_series *s = &m->series[m->count++];
    *s = (struct memory_series){.labels = l};
    return s;
}

/* What a real store answers as hint: unknown for the first, then by comparing with the one before. */
static uint8_t stored_hint(const struct item *it, const struct query_hist *prev, struct arena *a)
{
    struct query_hist now = *it->h;
    if (now.hint == TSDB_HIST_GAUGE || now.hint == TSDB_HIST_RESET)
        return now.hint;
    if (!prev)
        return now.hint;
    now.hint = TSDB_HIST_UNKNOWN_RESET;
    return query_hist_is_reset(&now, prev, a) ? TSDB_HIST_UNKNOWN_RESET : TSDB_HIST_NO_RESET;
}

static void store(struct memory_source *m, struct tsdb_labels l, int64_t step,
                  const struct item *it, size_t n, const struct item *st, size_t st_n)
{
    struct memory_series *s = series_for(m, l, false);
    size_t old = s->count, cap = old + n + 1;
    struct arena *a = m->arena;
    s->t = arena_grow(a, s->t, 8, old, cap);
    s->st = arena_grow(a, s->st, 8, old, cap);
    s->v = arena_grow(a, s->v, 8, old, cap);
    s->h = arena_grow(a, s->h, 8, old, cap);
    const struct query_hist *prev = NULL;
    for (size_t i = 0; i < n; i++) {
        if (it[i].omitted)
            continue;
        size_t k = s->count;
        uint64_t stale = STALE_BITS;
        s->t[k] = (int64_t)i * step;
        while (k > 0 && s->t[k - 1] >=
                            (int64_t)i * step) /* a second load may repeat times: the later wins */
            k--;
        s->t[k] = (int64_t)i * step;
        s->count = k + 1;
        s->st[k] = 0;
        s->h[k] = NULL;
        if (i < st_n && !st[i].omitted) {
            s->st[k] = s->t[k] + (int64_t)st[i].v;
            s->has_st = true;
        }
        if (it[i].stale)
            memcpy(&s->v[k], &stale, 8);
        else
            s->v[k] = it[i].v;
        if (it[i].h) {
            s->h[k] = stored_hist(it[i].h, stored_hint(&it[i], prev, a), a);
            s->v[k] = 0;
            s->has_hist = true;
            prev = it[i].h;
        } else {
            prev = NULL;
        }
    }
}

/* Custom-bucket histograms made of classic ones: load_with_nhcb. */
struct nhcb {
    struct tsdb_labels labels;
    size_t n;
    struct nhcb_bucket {
        double le;
        const double *v;
        const bool *has;
    } b[64];
    size_t b_count;
    const double *sum, *count;
    const bool *has_sum;
};

static bool suffix_of(struct bytes name, const char *suffix, struct bytes *base)
{
    if (!bytes_has_suffix(name, bytes_str(suffix)))
        return false;
    *base = bytes_slice(name, 0, name.size - strlen(suffix));
    return true;
}

static struct tsdb_labels relabel(struct tsdb_labels l, struct bytes name, struct arena *a)
{
    struct tsdb_label labels[TSDB_LABELS_MAX];
    struct tsdb_labels out = {BYTES_NONE};
    struct tsdb_labels_iter it = tsdb_labels_begin(l);
    struct err_msg msg;
    size_t n = 0;
    while (tsdb_labels_next(&it, &labels[n]))
        if (!bytes_equal_str(labels[n].name, "le")) {
            if (bytes_equal_str(labels[n].name, "__name__"))
                labels[n].value = name;
            n++;
        }
    CHECK(tsdb_labels_build(labels, n, a, &out, &msg) == ERR_OK);
    return out;
}

static void add_classic(struct nhcb *list, size_t *count, struct tsdb_labels l,
                        const struct item *it, size_t n, struct arena *a)
{
    struct bytes name = tsdb_labels_get(l, BYTES_LIT("__name__")), base;
    bool is_bucket = suffix_of(name, "_bucket", &base),
         is_sum = !is_bucket && suffix_of(name, "_sum", &base);
    bool is_count = !is_bucket && !is_sum && suffix_of(name, "_count", &base);
    double le = 0;
    if (!is_bucket && !is_sum && !is_count)
        return;
    if (is_bucket && !bytes_to_f64(tsdb_labels_get(l, BYTES_LIT("le")), &le))
        return;
    struct tsdb_labels labels = relabel(l, base, a);
    size_t k = 0;
    while (k < *count && !tsdb_labels_equal(list[k].labels, labels))
        k++;
    if (k == *count)
        list[(*count)++] = (struct nhcb){.labels = labels, .n = n};
    double *v = ARENA_ARRAY(a, double, n + 1);
    bool *has = ARENA_ARRAY(a, bool, n + 1);
    for (size_t i = 0; i < n; i++) {
        v[i] = it[i].v;
        has[i] = !it[i].omitted && !it[i].stale;
    }
    list[k].n = MIN(list[k].n, n);
    if (is_bucket && list[k].b_count < 64)
        list[k].b[list[k].b_count++] = (struct nhcb_bucket){le, v, has};
    else if (is_sum)
        list[k].sum = v;
    else if (is_count)
        list[k].count = v;
}

static int compare_le(const void *x, const void *y)
{
    double a = ((const struct nhcb_bucket *)x)->le, b = ((const struct nhcb_bucket *)y)->le;
    return (a > b) - (a < b);
}

static void store_nhcb(struct memory_source *m, struct nhcb *h, int64_t step)
{
    struct arena *a = m->arena;
    if (h->b_count == 0)
        return;
    qsort(h->b, h->b_count, sizeof h->b[0], compare_le);
    bool has_inf = h->b[h->b_count - 1].le == INFINITY;
    size_t bounds = h->b_count - has_inf;
    double *custom = ARENA_ARRAY(a, double, bounds + 1);
    struct item *it = ARENA_ARRAY(a, struct item, h->n + 1);
    for (size_t k = 0; k < bounds; k++)
        custom[k] = h->b[k].le;
    for (size_t i = 0; i < h->n; i++) {
        double counts[65], prev = 0;
        bool any = false;
        for (size_t k = 0; k < h->b_count; k++) {
            any |= h->b[k].has[i];
            counts[k] = h->b[k].v[i] - prev;
            prev = h->b[k].v[i];
        }
        double total = h->count && !has_inf ? h->count[i] : prev;
        if (!has_inf)
            counts[bounds] = total - prev;
        struct query_hist *q = arena_alloc(a, sizeof *q);
        *q = (struct query_hist){.schema = TSDB_HIST_CUSTOM_SCHEMA,
                                 .count = total,
                                 .sum = h->sum ? h->sum[i] : 0,
                                 .custom = custom,
                                 .custom_count = (uint32_t)bounds,
                                 .pos_count = (uint32_t)bounds + 1};
        q->pos = buckets(counts, bounds + 1, 0, a);
        it[i] = (struct item){.omitted = !any, .h = query_hist_compact(q, a)};
    }
    store(m, h->labels, step, it, h->n, NULL, 0);
}

static bool load_line(struct memory_source *m, const char *line, int64_t step, struct item *st,
                      size_t *st_n, struct nhcb *nhcb, size_t *nhcb_count, struct item *it)
{
    struct tsdb_labels l;
    size_t rest, n;
    if (!parse_metric(bytes_str(line), m->arena, &l, &rest))
        return false;
    l.enc = arena_copy(m->arena, l.enc);
    if (!strncmp(line + rest, "@st", 3))
        return parse_items(line + rest + 3, true, m->arena, st, st_n);
    if (!parse_items(line + rest, false, m->arena, it, &n))
        return false;
    store(m, l, step, it, n, st, *st_n);
    *st_n = 0;
    if (nhcb && *nhcb_count < 200)
        add_classic(nhcb, nhcb_count, l, it, n, m->arena);
    return true;
}

static bool load_lines(struct memory_source *m, char **lines, size_t *at, size_t count)
{
    const char *head = lines[*at];
    bool with_nhcb = !strncmp(head, "load_with_nhcb", 14);
    const char *text = strchr(head, ' ');
    int64_t step;
    while (text && *text == ' ')
        text++;
    if (!text || !lexer_duration_ms(bytes_str(text), &step))
        return false;
    struct item *it = calloc(ITEMS_MAX + 1, sizeof *it), *st = calloc(ITEMS_MAX + 1, sizeof *st);
    struct nhcb *nhcb = with_nhcb ? calloc(200, sizeof *nhcb) : NULL;
    size_t st_n = 0, nhcb_count = 0;
    bool ok = true;
    for (++*at; *at < count && lines[*at][0]; ++*at)
        ok &= load_line(m, lines[*at], step, st, &st_n, nhcb, &nhcb_count, it);
    for (size_t i = 0; i < nhcb_count; i++)
        store_nhcb(m, &nhcb[i], step);
    free(it);
    free(st);
    free(nhcb);
    return ok;
}

static size_t split_lines(char *text, char **lines, size_t max)
{
    size_t n = 0;
    for (char *line = text; line && n < max; n++) {
        char *next = strchr(line, '\n');
        if (next)
            *next++ = 0;
        while (*line == ' ' || *line == '\t')
            line++;
        size_t len = strlen(line);
        while (len && (line[len - 1] == ' ' || line[len - 1] == '\t' || line[len - 1] == '\r'))
            line[--len] = 0;
        if (*line == '#')
            *line = 0;
        lines[n] = line;
        line = next;
    }
    return n;
}

bool memory_source_load(struct memory_source *m, const char *text, const char **out_why)
{
    char *copy = strdup(text), *lines[1000];
    size_t n = split_lines(copy, lines, 1000), at = 0;
    bool ok = n > 0 && load_lines(m, lines, &at, n);
    *out_why = ok ? NULL : "bad load text";
    free(copy);
    return ok;
}

/* --- eval -------------------------------------------------------------------------------------- */

struct expected {
    struct tsdb_labels labels;
    struct item *items;
    size_t count;
};

struct check {
    const char *expr;
    bool range, ordered, fail, vector_range, has_scalar, has_string;
    bool warn, info, no_warn, no_info;
    int64_t start, end, step, vr_start, vr_end, vr_step;
    double scalar;
    struct bytes string;
    const char *fail_text;
    const char *notes[16];
    bool note_is_warn[16];
    size_t note_count;
    struct expected rows[400];
    size_t row_count;
    char why[600];
};

static bool duration_word(char **s, int64_t *out)
{
    while (**s == ' ')
        ++*s;
    size_t n = strcspn(*s, " \t");
    struct bytes word = bytes_of(*s, n);
    double v;
    *s += n;
    if (lexer_duration_ms(word, out))
        return true;
    bool ok = bytes_to_f64(word, &v);
    *out = ok ? (int64_t)(v * 1000) : 0;
    return ok;
}

static bool skip_word(char **s, const char *word)
{
    while (**s == ' ' || **s == '\t')
        ++*s;
    size_t n = strlen(word);
    if (strncmp(*s, word, n))
        return false;
    *s += n;
    return true;
}

static bool parse_head(char *line, struct check *c)
{
    char *s = line + 4;
    if (*s == '_') {
        c->fail = !strncmp(s, "_fail", 5);
        c->warn = !strncmp(s, "_warn", 5);
        c->info = !strncmp(s, "_info", 5);
        c->ordered = !strncmp(s, "_ordered", 8);
        s += strcspn(s, " ");
    }
    if (skip_word(&s, "instant")) {
        if (skip_word(&s, "at ") && !duration_word(&s, &c->start))
            return false;
        c->end = c->start;
    } else if (skip_word(&s, "range")) {
        c->range = true;
        if (!skip_word(&s, "from") || !duration_word(&s, &c->start) || !skip_word(&s, "to") ||
            !duration_word(&s, &c->end) || !skip_word(&s, "step") || !duration_word(&s, &c->step))
            return false;
    } else {
        return false;
    }
    while (*s == ' ' || *s == '\t')
        s++;
    c->expr = s;
    return *s != 0;
}

static bool parse_expect(char *s, struct check *c, struct arena *a)
{
    if (skip_word(&s, "range vector")) {
        c->vector_range = true;
        return skip_word(&s, "from") && duration_word(&s, &c->vr_start) && skip_word(&s, "to") &&
               duration_word(&s, &c->vr_end) && skip_word(&s, "step") &&
               duration_word(&s, &c->vr_step);
    }
    if (skip_word(&s, "string")) {
        const char *why;
        while (*s == ' ')
            s++;
        c->has_string = true;
        return lexer_unquote(bytes_str(s), a, &c->string, &why);
    }
    bool is_msg = strstr(s, " msg:") != NULL;
    char *text = is_msg ? strstr(s, " msg:") + 5 : NULL;
    while (text && *text == ' ')
        text++;
    if (skip_word(&s, "ordered"))
        c->ordered = true;
    else if (skip_word(&s, "fail")) {
        c->fail = true;
        c->fail_text = text;
    } else if (skip_word(&s, "no_warn"))
        c->no_warn = true;
    else if (skip_word(&s, "no_info"))
        c->no_info = true;
    else {
        bool warn = skip_word(&s, "warn");
        if (!warn && !skip_word(&s, "info"))
            return false;
        c->warn |= warn;
        c->info |= !warn;
        if (text && c->note_count < 16) {
            c->note_is_warn[c->note_count] = warn;
            c->notes[c->note_count++] = text;
        }
    }
    return true;
}

static bool parse_expectation(char *line, struct check *c, struct arena *a)
{
    size_t rest;
    char *end;
    if (!strncmp(line, "expect ", 7))
        return parse_expect(line + 7, c, a);
    if (!strncmp(line, "expected_fail", 13))
        return true;
    double v = strtod(line, &end);
    if (end != line && *end == 0) {
        c->has_scalar = true;
        c->scalar = v;
        return true;
    }
    if (c->row_count == ARRAY_LEN(c->rows))
        return false;
    struct expected *e = &c->rows[c->row_count++];
    struct item *tmp = calloc(ITEMS_MAX + 1, sizeof *tmp);
    bool ok = parse_metric(bytes_str(line), a, &e->labels, &rest) &&
              parse_items(line + rest, false, a, tmp, &e->count);
    e->items = memcpy(arena_alloc(a, (e->count + 1) * sizeof *tmp), tmp, e->count * sizeof *tmp);
    free(tmp);
    return ok;
}

static bool almost(double a, double b)
{
    if (isnan(a) || isnan(b))
        return isnan(a) && isnan(b);
    if (a == b)
        return true;
    double sum = fabs(a) + fabs(b), diff = fabs(a - b);
    if (a == 0 || b == 0 || sum < 2.2250738585072014e-308)
        return diff < 1e-6 * 2.2250738585072014e-308;
    return diff / fmin(sum, 1.7976931348623157e308) < 1e-6;
}

static bool same_hist(const struct item *want, const struct query_hist *got, struct arena *a)
{
    const struct query_hist *x = query_hist_compact(want->h, a), *y = query_hist_compact(got, a);
    bool ok = x->schema == y->schema && almost(x->count, y->count) && almost(x->sum, y->sum) &&
              almost(x->zero_count, y->zero_count) &&
              almost(x->zero_threshold, y->zero_threshold) && x->pos_count == y->pos_count &&
              x->neg_count == y->neg_count && x->custom_count == y->custom_count;
    for (uint32_t i = 0; ok && i < x->pos_count; i++)
        ok = x->pos[i].index == y->pos[i].index && almost(x->pos[i].count, y->pos[i].count);
    for (uint32_t i = 0; ok && i < x->neg_count; i++)
        ok = x->neg[i].index == y->neg[i].index && almost(x->neg[i].count, y->neg[i].count);
    for (uint32_t i = 0; ok && i < x->custom_count; i++)
        ok = x->custom[i] == y->custom[i];
    return ok && (!want->hint_given || want->h->hint == TSDB_HIST_UNKNOWN_RESET ||
                  want->h->hint == got->hint);
}

static bool same_cell(const struct item *want, double v, const struct query_hist *h,
                      struct arena *a)
{
    if (want->h || h)
        return want->h && h && same_hist(want, h, a);
    return almost(want->v, v);
}

static struct expected *expected_for(struct check *c, struct tsdb_labels l)
{
    for (size_t i = 0; i < c->row_count; i++)
        if (tsdb_labels_equal(c->rows[i].labels, l))
            return &c->rows[i];
    return NULL;
}

static void say_labels(char *out, size_t size, struct tsdb_labels l)
{
    struct tsdb_labels_iter it = tsdb_labels_begin(l);
    struct tsdb_label label;
    size_t n = 0;
    out[0] = 0;
    while (tsdb_labels_next(&it, &label) && n + 80 < size)
        n += (size_t)snprintf(out + n, size - n, "%.*s=%.*s ", (int)MIN(label.name.size, 30u),
                              (const char *)label.name.data, (int)MIN(label.value.size, 30u),
                              (const char *)label.value.data);
}

static struct bytes hist_say(const struct query_hist *h, struct arena *a)
{
    struct bytes t = query_hist_text(h, a);
    return arena_printf(a, "s%d z%g:%g hint%d %.*s", h->schema, h->zero_threshold, h->zero_count,
                        h->hint, BYTES_ARG(t));
}

/* A row of values against expected points at start, start + step, ... */
static bool check_row(struct check *c, const struct expected *e, const struct query_row *r,
                      int64_t start, int64_t step, struct arena *a)
{
    size_t k = 0;
    char labels[200];
    say_labels(labels, sizeof labels, r->labels);
    for (size_t i = 0; i < e->count; i++) {
        int64_t t = start + (int64_t)i * step;
        bool have = k < r->count && r->t_ms[k] == t;
        if (e->items[i].omitted) {
            if (have) {
                snprintf(c->why, sizeof c->why, "%s: unexpected point at %lld", labels,
                         (long long)t);
                return false;
            }
            continue;
        }
        if (!have) {
            snprintf(c->why, sizeof c->why, "%s: no point at %lld", labels, (long long)t);
            return false;
        }
        const struct query_hist *h = r->hist ? r->hist[k] : NULL;
        if (!same_cell(&e->items[i], r->value[k], h, a)) {
            struct bytes x = e->items[i].h ? hist_say(e->items[i].h, a)
                                           : arena_printf(a, "%.17g", e->items[i].v);
            struct bytes y = h ? hist_say(h, a) : arena_printf(a, "%.17g", r->value[k]);
            snprintf(c->why, sizeof c->why, "%s at %lld: want %.*s got %.*s", labels, (long long)t,
                     BYTES_ARG(x), BYTES_ARG(y));
            return false;
        }
        k++;
    }
    if (k < r->count) {
        snprintf(c->why, sizeof c->why, "%s: extra point at %lld", labels, (long long)r->t_ms[k]);
        return false;
    }
    return true;
}

static bool check_rows(struct check *c, const struct query_result *r, int64_t start, int64_t step,
                       struct arena *a)
{
    size_t wanted = 0;
    for (size_t i = 0; i < c->row_count; i++) {
        bool any = false;
        for (size_t k = 0; k < c->rows[i].count; k++)
            any |= !c->rows[i].items[k].omitted;
        wanted += any;
    }
    for (size_t i = 0; i < r->count; i++) {
        struct expected *e = expected_for(c, r->rows[i].labels);
        char labels[300];
        say_labels(labels, sizeof labels, r->rows[i].labels);
        if (!e) {
            snprintf(c->why, sizeof c->why, "unexpected series %s", labels);
            return false;
        }
        if (c->ordered && (size_t)(e - c->rows) != i) {
            snprintf(c->why, sizeof c->why, "%s at the wrong place", labels);
            return false;
        }
        if (!check_row(c, e, &r->rows[i], start, step, a))
            return false;
    }
    if (r->count != wanted) {
        snprintf(c->why, sizeof c->why, "%zu series, want %zu", r->count, wanted);
        return false;
    }
    return true;
}

static bool check_notes(struct check *c, const struct query_result *r)
{
    if ((c->warn && !r->warning_count) || (c->info && !r->info_count)) {
        snprintf(c->why, sizeof c->why, "expected a%s",
                 c->warn && !r->warning_count ? " warning" : "n info");
        return false;
    }
    if ((!c->warn && c->no_warn && r->warning_count) || (!c->info && c->no_info && r->info_count)) {
        struct bytes t = r->warning_count ? r->warnings[0] : r->infos[0];
        snprintf(c->why, sizeof c->why, "unexpected: " BYTES_FMT, BYTES_ARG(t));
        return false;
    }
    for (size_t i = 0; i < c->note_count; i++) {
        const struct bytes *list = c->note_is_warn[i] ? r->warnings : r->infos;
        size_t n = c->note_is_warn[i] ? r->warning_count : r->info_count, k = 0;
        while (k < n && !bytes_equal_str(list[k], c->notes[i]))
            k++;
        if (k == n) {
            snprintf(c->why, sizeof c->why, "no note \"%.200s\", first: \"%.*s\"", c->notes[i],
                     n ? (int)MIN(list[0].size, 200u) : 0, n ? (const char *)list[0].data : "");
            return false;
        }
    }
    return true;
}

static bool check_result(struct check *c, const struct query_result *r, struct arena *a)
{
    if (!check_notes(c, r))
        return false;
    if (c->has_string)
        return r->type == QUERY_STRING && bytes_equal(r->string, c->string);
    if (c->has_scalar) {
        bool ok = r->type == QUERY_SCALAR && almost(r->rows[0].value[0], c->scalar);
        if (!ok)
            snprintf(c->why, sizeof c->why, "want scalar %g, got %g", c->scalar,
                     r->type == QUERY_SCALAR ? r->rows[0].value[0] : NAN);
        return ok;
    }
    if (r->type == QUERY_STRING) {
        snprintf(c->why, sizeof c->why, "got a string");
        return false;
    }
    if (c->vector_range)
        return check_rows(c, r, c->vr_start, c->vr_step, a);
    return check_rows(c, r, c->start, c->range ? c->step : 1, a);
}

/* An instant query must give the same as the middle step of a range query around it. */
static bool check_as_range(struct check *c, struct query_source *src, struct arena *a)
{
    struct query_result r;
    struct err_msg msg;
    struct query_limits limits = {.samples_max = 100000};
    enum err e = query_range(src, &limits, bytes_str(c->expr), c->start - 60000, c->start + 60000,
                             60000, a, &r, &msg);
    if (e != ERR_OK) {
        snprintf(c->why, sizeof c->why, "as range: %s", msg.text);
        return false;
    }
    struct query_row *rows = ARENA_ARRAY(a, struct query_row, r.count + 1);
    size_t n = 0;
    for (size_t i = 0; i < r.count; i++)
        for (size_t k = 0; k < r.rows[i].count; k++)
            if (r.rows[i].t_ms[k] == c->start)
                rows[n++] =
                    (struct query_row){r.rows[i].labels, 1, r.rows[i].t_ms + k, r.rows[i].value + k,
                                       r.rows[i].hist ? r.rows[i].hist + k : NULL};
    struct query_result middle = {.type = QUERY_VECTOR, .rows = rows, .count = n};
    if (c->has_scalar)
        return n == 1 && almost(rows[0].value[0], c->scalar);
    bool ok = check_rows(c, &middle, c->start, 1, a);
    if (!ok) {
        char why[500];
        snprintf(why, sizeof why, "%.490s", c->why);
        snprintf(c->why, sizeof c->why, "as range: %s", why);
    }
    return ok;
}

static bool run_check(struct check *c, struct query_source *src, struct arena *a)
{
    struct query_result r;
    struct err_msg msg = {""};
    struct query_limits limits = {.samples_max = 100000};
    struct bytes text = bytes_str(c->expr);
    enum err e = c->range ? query_range(src, &limits, text, c->start, c->end, c->step, a, &r, &msg)
                          : query_instant(src, &limits, text, c->start, a, &r, &msg);
    if (c->fail) {
        if (e != ERR_OK && c->fail_text && !strstr(msg.text, c->fail_text)) {
            snprintf(c->why, sizeof c->why, "failed with \"%s\"", msg.text);
            return false;
        }
        if (e == ERR_OK)
            snprintf(c->why, sizeof c->why, "should fail");
        return e != ERR_OK;
    }
    if (e != ERR_OK) {
        snprintf(c->why, sizeof c->why, "%s", msg.text);
        return false;
    }
    if (!check_result(c, &r, a))
        return false;
    bool skip = c->range || c->vector_range || c->has_string || c->ordered ||
                strstr(c->expr, "range()") || strstr(c->expr, "step()") ||
                strstr(c->expr, "start()") || strstr(c->expr, "end()") || strstr(c->expr, "sort");
    return skip || check_as_range(c, src, a);
}

/* --- files ------------------------------------------------------------------------------------- */

static char *read_text(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    rewind(f);
    char *text = calloc(1, (size_t)size + 1);
    size_t got = fread(text, 1, (size_t)size, f);
    fclose(f);
    text[got] = 0;
    return text;
}

static bool is_known(const char *known, const char *file, size_t line)
{
    char key[200];
    snprintf(key, sizeof key, "%s:%zu ", file, line);
    for (const char *at = known; at && (at = strstr(at, key)); at++)
        if (at == known || at[-1] == '\n')
            return true;
    return false;
}

static void judge(struct promqltest_totals *t, const char *known, const char *file, size_t line,
                  bool ok, const char *expr, const char *why, bool verbose)
{
    bool expected = is_known(known, file, line);
    *(ok ? &t->passed : &t->failed) += 1;
    if (ok == expected)
        t->unexpected++;
    if ((!ok && (verbose || !expected)) || (ok && expected))
        printf("%s:%zu %s: %.160s\n      %s\n", file, line,
               ok ? "passes but is listed as failing" : "fails", expr, why);
}

void promqltest_run_file(const char *path, const char *known, bool verbose,
                         struct promqltest_totals *totals)
{
    char *text = read_text(path), **lines = calloc(LINES_MAX, sizeof *lines);
    const char *slash = strrchr(path, '/'), *file = slash ? slash + 1 : path;
    CHECK(text && lines);
    size_t n = split_lines(text, lines, LINES_MAX);
    struct memory_source *m = memory_source_new();
    struct check *c = calloc(1, sizeof *c);
    for (size_t i = 0; i < n; i++) {
        size_t line = i + 1;
        if (!lines[i][0])
            continue;
        if (!strncmp(lines[i], "clear", 5)) {
            memory_source_clear(m);
        } else if (!strncmp(lines[i], "load", 4)) {
            if (!load_lines(m, lines, &i, n))
                judge(totals, known, file, line, false, "load", "bad load", verbose);
        } else if (!strncmp(lines[i], "eval", 4)) {
            struct arena *a = arena_new(1u << 30);
            struct query_source src = memory_source_of(m);
            memset(c, 0, sizeof *c);
            bool ok = parse_head(lines[i], c);
            while (i + 1 < n && lines[i + 1][0]) {
                if (!strncmp(lines[i + 1], "eval", 4))
                    break;
                ok &= parse_expectation(lines[++i], c, a);
            }
            if (!ok)
                snprintf(c->why, sizeof c->why, "cannot read this case");
            judge(totals, known, file, line, ok && run_check(c, &src, a), c->expr ? c->expr : "",
                  c->why, verbose);
            arena_free(a);
        }
    }
    memory_source_free(m);
    free(c);
    free(lines);
    free(text);
}
