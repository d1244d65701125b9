#include "query/query_trace.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/json_in.h"
#include "base/json_out.h"

#include <stdlib.h>

#define LIMIT_DEFAULT 20u
#define LAYOUT_ROWS_MAX 200000u
#define ROUNDS_MAX 32 /* scans of one search: each yields at least one more trace */
#define SCRATCH_MAX ((size_t)256 << 20)

/* --- names ------------------------------------------------------------------------------------- */

const char *query_trace_outcome_name(uint8_t outcome)
{
    static const char *const names[TSDB_OUTCOME_COUNT] = {
        "",           "ok",      "provider_error", "rate_limited", "timeout",
        "stream_cut", "empty",   "invalid",        "caller_error", "cancelled",
        "abandoned",  "blocked", "quota_denied"};
    return outcome < TSDB_OUTCOME_COUNT ? names[outcome] : "";
}

const char *query_trace_fault_name(uint8_t fault)
{
    static const char *const names[] = {"", "provider", "platform", "caller", "policy"};
    return fault < ARRAY_LEN(names) ? names[fault] : "";
}

const char *query_trace_kind_name(uint8_t kind)
{
    static const char *const names[] = {"unspecified", "internal", "server",
                                        "client",      "producer", "consumer"};
    return kind < ARRAY_LEN(names) ? names[kind] : "unspecified";
}

/* --- the question ------------------------------------------------------------------------------ */

enum err query_trace_tags(struct bytes json, struct arena *a, struct query_trace_search *s,
                          struct err_msg *msg)
{
    struct json_node *root;
    enum err e = json_in_tree(json, 4, a, &root, msg);
    if (e != ERR_OK)
        return e;
    if (root->type != JSON_OBJECT)
        return err_set(msg, ERR_INVALID, "tags: give a JSON object of strings");
    for (const struct json_node *n = root->child; n; n = n->next) {
        struct bytes value = n->text;
        if (n->type == JSON_BOOL)
            value = n->boolean ? BYTES_LIT("true") : BYTES_LIT("false");
        else if (n->type != JSON_STRING && n->type != JSON_NUMBER)
            return err_set(msg, ERR_INVALID, "tags: the value of '" BYTES_FMT "' is not a string",
                           BYTES_ARG(n->key));
        if (s->tag_count == QUERY_TRACE_TAGS_MAX)
            return err_set(msg, ERR_INVALID, "tags: at most %u conditions", QUERY_TRACE_TAGS_MAX);
        s->tags[s->tag_count++] = (struct query_trace_tag){n->key, value};
    }
    return ERR_OK;
}

bool query_trace_duration(struct bytes text, int64_t *out_ns)
{
    static const struct {
        const char *unit;
        double ns;
    } units[] = {{"ns", 1},  {"us", 1e3}, {"µs", 1e3},  {"ms", 1e6},
                 {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}};
    double total = 0;
    if (!text.size)
        return false;
    while (text.size) {
        size_t digits = 0;
        double n;
        while (digits < text.size &&
               ((text.data[digits] >= '0' && text.data[digits] <= '9') || text.data[digits] == '.'))
            digits++;
        if (!digits || !bytes_to_f64(bytes_slice(text, 0, digits), &n))
            return false;
        text = bytes_slice(text, digits, text.size);
        size_t best = ARRAY_LEN(units), best_size = 0;
        for (size_t i = 0; i < ARRAY_LEN(units); i++)
            if (bytes_has_prefix(text, bytes_str(units[i].unit)) &&
                strlen(units[i].unit) > best_size) {
                best = i;
                best_size = strlen(units[i].unit);
            }
        if (best == ARRAY_LEN(units))
            return false;
        total += n * units[best].ns;
        text = bytes_slice(text, best_size, text.size);
    }
    if (!(total >= 0 && total < 9e18))
        return false;
    *out_ns = (int64_t)total;
    return true;
}

static bool is_failed(const struct tsdb_spans *t, uint32_t row)
{
    uint8_t outcome = TSDB_SPAN_GET(t, outcome, row, 0);
    if (outcome != TSDB_OUTCOME_NONE)
        return outcome != TSDB_OUTCOME_OK && outcome != TSDB_OUTCOME_BLOCKED &&
               outcome != TSDB_OUTCOME_CANCELLED;
    return TSDB_SPAN_GET(t, status, row, 0) == 2;
}

static bool is_genai(const struct tsdb_spans *t, uint32_t row)
{
    return TSDB_SPAN_GET(t, row_class, row, 0) & TSDB_CLASS_CALL;
}

/* Words of the search that are columns here. Jaeger's own spellings included. */
static bool column_text(const struct tsdb_spans *t, uint32_t row, struct bytes key,
                        struct bytes *out)
{
    const struct {
        const char *key;
        struct bytes *column;
    } columns[] = {{"model", t->model},       {"provider", t->provider},
                   {"endpoint", t->endpoint}, {"tenant", t->tenant},
                   {"env", t->env},           {"region", t->region},
                   {"variant", t->variant},   {"service", t->service},
                   {"name", t->name},         {"error_type", t->error_type}};
    for (size_t i = 0; i < ARRAY_LEN(columns); i++)
        if (bytes_equal_str(key, columns[i].key)) {
            *out = columns[i].column ? columns[i].column[row] : BYTES_NONE;
            return true;
        }
    if (bytes_equal_str(key, "outcome"))
        *out = bytes_str(query_trace_outcome_name(TSDB_SPAN_GET(t, outcome, row, 0)));
    else if (bytes_equal_str(key, "span.kind") || bytes_equal_str(key, "kind"))
        *out = bytes_str(query_trace_kind_name(TSDB_SPAN_GET(t, kind, row, 0)));
    else if (bytes_equal_str(key, "error"))
        *out = is_failed(t, row) ? BYTES_LIT("true") : BYTES_LIT("false");
    else if (bytes_equal_str(key, "otel.status_code") || bytes_equal_str(key, "status")) {
        static const char *const names[] = {"UNSET", "OK", "ERROR"};
        uint8_t status = TSDB_SPAN_GET(t, status, row, 0);
        *out = bytes_str(names[status < 3 ? status : 0]);
    } else
        return false;
    return true;
}

static bool tag_matches(const struct tsdb_spans *t, uint32_t row, const struct query_trace_tag *tag)
{
    struct tsdb_value v;
    struct bytes text;
    if (t->attrs && tsdb_attrs_find(t->attrs[row], tag->key, &v) &&
        tsdb_attrs_value_is(v, tag->value))
        return true;
    if (t->resource_attrs && tsdb_attrs_find(t->resource_attrs[row], tag->key, &v) &&
        tsdb_attrs_value_is(v, tag->value))
        return true;
    return column_text(t, row, tag->key, &text) && text.size && bytes_equal(text, tag->value);
}

/* Is the key a word for a column? */
static bool is_column_word(struct bytes key)
{
    static const char *const words[] = {"model", "provider", "endpoint",         "tenant",
                                        "env",   "region",   "variant",          "service",
                                        "name",  "outcome",  "error_type",       "span.kind",
                                        "kind",  "error",    "otel.status_code", "status"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (bytes_equal_str(key, words[i]))
            return true;
    return false;
}

#define BIT(column) (UINT64_C(1) << TSDB_SPAN_##column)
#define TEXTS (BIT(attrs) | BIT(resource_attrs))
#define WORDS                                                                               \
    (BIT(model) | BIT(provider) | BIT(endpoint) | BIT(tenant) | BIT(env) | BIT(region) |    \
     BIT(variant) | BIT(service) | BIT(name) | BIT(error_type) | BIT(outcome) | BIT(kind) | \
     BIT(status) | BIT(row_class) | BIT(trace_id))

/* A search as it goes on: rows of traces that were found before are no longer of interest. */
struct hunt {
    const struct query_trace_search *s;
    struct tsdb_id16 *ids; /* found, newest first */
    size_t count, max;
};

static bool is_found(const struct hunt *h, struct tsdb_id16 id)
{
    for (size_t i = 0; i < h->count; i++)
        if (memcmp(h->ids[i].b, id.b, sizeof id.b) == 0)
            return true;
    return false;
}

static bool keep_row(void *ctx, const struct tsdb_spans *t, uint32_t row)
{
    const struct hunt *h = ctx;
    const struct query_trace_search *s = h->s;
    if (s->errors_only && !is_failed(t, row))
        return false;
    if (s->genai_only && !is_genai(t, row))
        return false;
    for (uint32_t i = 0; i < s->tag_count; i++)
        if (is_column_word(s->tags[i].key) && !tag_matches(t, row, &s->tags[i]))
            return false;
    return !is_found(h, t->trace_id[row]);
}

/* One round: the newest rows that are left. *out_more: there may be others behind them. */
static enum err hunt_round(struct tsdb_view *v, const struct tsdb_span_filter *f, struct hunt *h,
                           bool *out_more)
{
    uint32_t rows = (uint32_t)MIN((h->max - h->count) * 4, QUERY_TRACE_ROWS_MAX);
    struct tsdb_spans found = {0};
    struct arena *scratch = arena_new(SCRATCH_MAX); /* rows are wide, and only their ids are kept */
    if (!scratch)
        return ERR_NOMEM;
    enum err e = tsdb_span_scan(v, f, rows, scratch, &found);
    if (e == ERR_NOT_FOUND)
        e = ERR_OK, found.count = 0;
    for (uint32_t row = 0; e == ERR_OK && row < found.count && h->count < h->max; row++)
        if (!is_found(h, found.trace_id[row]))
            h->ids[h->count++] = found.trace_id[row];
    *out_more = found.count == rows && h->count < h->max;
    arena_free(scratch);
    return e;
}

enum err query_trace_find(struct tsdb_view *v, const struct query_trace_search *s, struct arena *a,
                          struct tsdb_id16 **out, size_t *out_count)
{
    uint32_t limit = MIN(s->limit ? s->limit : LIMIT_DEFAULT, QUERY_TRACE_LIMIT_MAX);
    struct hunt h = {.s = s, .ids = ARENA_ARRAY(a, struct tsdb_id16, limit), .max = limit};
    struct tsdb_span_filter f = {.start_min_ns = s->start_min_ns,
                                 .start_max_ns = s->start_max_ns ? s->start_max_ns : INT64_MAX,
                                 .duration_min_ns = s->duration_min_ns,
                                 .duration_max_ns = s->duration_max_ns,
                                 .service = s->service,
                                 .name = s->operation,
                                 .newest_first = 1,
                                 .keep = keep_row,
                                 .ctx = &h,
                                 .keep_columns = WORDS,
                                 .columns = BIT(trace_id)};
    /* tags that are no words for columns are conditions of the store, which has filters for them */
    struct tsdb_where_attr *attrs = ARENA_ARRAY(a, struct tsdb_where_attr, s->tag_count + 1);
    struct tsdb_row_filter tags = {.attrs = attrs};
    for (uint32_t i = 0; attrs && i < s->tag_count; i++) {
        if (is_column_word(s->tags[i].key))
            f.keep_columns |= TEXTS;
        else
            attrs[tags.attr_count++] = (struct tsdb_where_attr){s->tags[i].key, s->tags[i].value};
    }
    f.more = &tags;
    enum err e = h.ids && attrs ? ERR_OK : ERR_LIMIT;
    if (f.duration_min_ns && !f.duration_max_ns)
        f.duration_max_ns = INT64_MAX;
    /* one trace may hold all the newest rows: go on without it */
    bool more = true;
    for (int round = 0; e == ERR_OK && more && round < ROUNDS_MAX; round++)
        e = hunt_round(v, &f, &h, &more);
    if (e == ERR_OK) {
        *out = h.ids;
        *out_count = h.count;
    }
    return e;
}

/* --- one line about a trace -------------------------------------------------------------------- */

static bool has_parent(const struct tsdb_spans *t, uint32_t row)
{
    static const struct tsdb_id8 none;
    return memcmp(t->parent_id[row].b, none.b, sizeof none.b) != 0;
}

static void add_known(int64_t *sum, int64_t v)
{
    if (v >= 0)
        *sum = *sum < 0 ? v : *sum + v;
}

void query_trace_summarise(const struct tsdb_spans *t, struct query_trace_summary *out)
{
    struct query_trace_summary s = {
        .input_tokens = -1, .output_tokens = -1, .cost_nanousd = -1, .ttft_ns = -1};
    uint32_t root = TSDB_NO_ROW;
    for (uint32_t row = 0; row < t->count; row++) {
        bool top = !has_parent(t, row);
        if (root == TSDB_NO_ROW || (top && !s.has_root) ||
            (top == s.has_root && t->start_ns[row] < t->start_ns[root]))
            root = row;
        s.has_root |= top;
        s.start_ns = row ? MIN(s.start_ns, t->start_ns[row]) : t->start_ns[row];
        s.end_ns = MAX(s.end_ns, t->end_ns[row]);
        if (is_failed(t, row)) {
            if (!s.errors++) {
                s.outcome_error = TSDB_SPAN_GET(t, error_type, row, BYTES_NONE);
                if (!s.outcome_error.size)
                    s.outcome_error = TSDB_SPAN_GET(t, status_message, row, BYTES_NONE);
                if (!s.outcome_error.size)
                    s.outcome_error =
                        bytes_str(query_trace_outcome_name(TSDB_SPAN_GET(t, outcome, row, 0)));
            }
        }
        if (!is_genai(t, row))
            continue;
        if (!s.calls++) {
            s.model = TSDB_SPAN_GET(t, model, row, BYTES_NONE);
            s.ttft_ns = TSDB_SPAN_GET(t, ttft_ns, row, -1);
        }
        add_known(&s.input_tokens, TSDB_SPAN_GET(t, input_tokens, row, -1));
        add_known(&s.output_tokens, TSDB_SPAN_GET(t, output_tokens, row, -1));
        add_known(&s.cost_nanousd, TSDB_SPAN_GET(t, cost_nanousd, row, -1));
    }
    if (root != TSDB_NO_ROW) {
        s.id = t->trace_id[root];
        s.weight =
            (double)TSDB_SPAN_GET(t, weight, root, TSDB_WEIGHT_ONE) / (double)TSDB_WEIGHT_ONE;
        s.service = TSDB_SPAN_GET(t, service, root, BYTES_NONE);
        s.name = TSDB_SPAN_GET(t, name, root, BYTES_NONE);
    }
    s.spans = t->count;
    *out = s;
}

/* --- the waterfall ----------------------------------------------------------------------------- */

struct by_id { /* rows sorted by span id, to find parents */
    struct tsdb_id8 id;
    uint32_t row;
};

static int compare_id(const void *x, const void *y)
{
    const struct by_id *a = x, *b = y;
    int c = memcmp(a->id.b, b->id.b, sizeof a->id.b);
    return c ? c : (a->row > b->row) - (a->row < b->row);
}

static uint32_t row_of(const struct by_id *ids, uint32_t n, struct tsdb_id8 id)
{
    uint32_t low = 0, high = n;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (memcmp(ids[mid].id.b, id.b, sizeof id.b) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low < n && memcmp(ids[low].id.b, id.b, sizeof id.b) == 0 ? ids[low].row : TSDB_NO_ROW;
}

/* Parents by id. A cycle (possible in hostile data) is cut: its member that is reached twice becomes a root. */
static enum err find_parents(const struct tsdb_spans *t, struct arena *a, uint32_t *parent)
{
    struct by_id *ids = ARENA_ARRAY(a, struct by_id, t->count);
    uint32_t *mark = ARENA_ARRAY(a, uint32_t, t->count);
    if (!ids || !mark)
        return ERR_LIMIT;
    for (uint32_t row = 0; row < t->count; row++)
        ids[row] = (struct by_id){t->span_id[row], row};
    qsort(ids, t->count, sizeof *ids, compare_id);
    for (uint32_t row = 0; row < t->count; row++) {
        parent[row] = has_parent(t, row) ? row_of(ids, t->count, t->parent_id[row]) : TSDB_NO_ROW;
        if (parent[row] == row)
            parent[row] = TSDB_NO_ROW;
    }
    for (uint32_t row = 0; row < t->count; row++) /* mark: 0 new, row + 1 on this walk's path */
        for (uint32_t at = row; at != TSDB_NO_ROW && mark[at] == 0;) {
            mark[at] = row + 1;
            uint32_t up = parent[at];
            if (up != TSDB_NO_ROW && mark[up] == row + 1)
                parent[at] = up = TSDB_NO_ROW;
            at = up;
        }
    return ERR_OK;
}

struct
    tree { /* children of a row: first[row], then next[...] until TSDB_NO_ROW, in order of start */
    uint32_t *first, *next, roots;
};

static enum err make_tree(const uint32_t *parent, uint32_t n, struct arena *a, struct tree *out)
{
    struct tree t = {ARENA_ARRAY(a, uint32_t, n), ARENA_ARRAY(a, uint32_t, n), TSDB_NO_ROW};
    if (!t.first || !t.next)
        return ERR_LIMIT;
    for (uint32_t row = 0; row < n; row++)
        t.first[row] = TSDB_NO_ROW;
    for (uint32_t row = n; row-- > 0;) { /* rows are sorted by start: from the last to the first */
        uint32_t *head = parent[row] == TSDB_NO_ROW ? &t.roots : &t.first[parent[row]];
        t.next[row] = *head;
        *head = row;
    }
    *out = t;
    return ERR_OK;
}

/* Depth first without recursion; the stack holds one sibling a level and is never longer than the rows. */
static enum err display_order(uint32_t n, const struct tree *tree, struct arena *a,
                              struct query_trace_layout *l)
{
    uint32_t *stack = ARENA_ARRAY(a, uint32_t, n + 1), top = 0, done = 0;
    if (!stack)
        return ERR_LIMIT;
    if (tree->roots != TSDB_NO_ROW)
        stack[top++] = tree->roots;
    while (top) {
        uint32_t row = stack[--top];
        l->order[done++] = row;
        l->depth[row] = l->parent[row] == TSDB_NO_ROW ? 0 : l->depth[l->parent[row]] + 1;
        if (tree->next[row] != TSDB_NO_ROW)
            stack[top++] = tree->next[row];
        if (tree->first[row] != TSDB_NO_ROW)
            stack[top++] = tree->first[row];
    }
    CHECK(done == n);
    return ERR_OK;
}

struct by_end {
    int64_t end_ns;
    uint32_t row;
};

static int latest_first(const void *x, const void *y)
{
    const struct by_end *a = x, *b = y;
    return a->end_ns < b->end_ns   ? 1
           : a->end_ns > b->end_ns ? -1
                                   : (a->row > b->row) - (a->row < b->row);
}

/* Back from a span's end: the child that ended last is what was waited for; then the one that ended last before that child began, and so
 * on; then the same within each of these. */
static enum err critical_path(const struct tsdb_spans *t, const struct tree *tree, struct arena *a,
                              struct query_trace_layout *l)
{
    struct by_end *children = ARENA_ARRAY(a, struct by_end, t->count);
    uint32_t last = TSDB_NO_ROW;
    if (!children)
        return ERR_LIMIT;
    for (uint32_t row = tree->roots; row != TSDB_NO_ROW; row = tree->next[row])
        if (last == TSDB_NO_ROW || t->end_ns[row] > t->end_ns[last])
            last = row;
    if (last != TSDB_NO_ROW)
        l->critical[last] = true;
    for (uint32_t i = 0; i < t->count; i++) { /* parents come before their children */
        uint32_t parent = l->order[i], count = 0;
        if (!l->critical[parent])
            continue;
        for (uint32_t c = tree->first[parent]; c != TSDB_NO_ROW; c = tree->next[c])
            children[count++] = (struct by_end){t->end_ns[c], c};
        if (count > 1)
            qsort(children, count, sizeof *children, latest_first);
        int64_t until = t->end_ns[parent];
        for (uint32_t k = 0; k < count; k++)
            if (children[k].end_ns <= until) {
                l->critical[children[k].row] = true;
                until = MIN(until, t->start_ns[children[k].row]);
            }
    }
    return ERR_OK;
}

enum err query_trace_layout(const struct tsdb_spans *t, struct arena *a,
                            struct query_trace_layout *out)
{
    struct query_trace_layout l = {
        ARENA_ARRAY(a, uint32_t, t->count), ARENA_ARRAY(a, uint32_t, t->count),
        ARENA_ARRAY(a, uint32_t, t->count), ARENA_ARRAY(a, bool, t->count)};
    struct tree tree;
    enum err e = ERR_OK;
    if (t->count > LAYOUT_ROWS_MAX ||
        (t->count && (!l.order || !l.depth || !l.parent || !l.critical)))
        return ERR_LIMIT;
    if (t->count) {
        e = find_parents(t, a, l.parent);
        if (e == ERR_OK)
            e = make_tree(l.parent, t->count, a, &tree);
        if (e == ERR_OK)
            e = display_order(t->count, &tree, a, &l);
        if (e == ERR_OK)
            e = critical_path(t, &tree, a, &l);
    }
    if (e == ERR_OK)
        *out = l;
    return e;
}
