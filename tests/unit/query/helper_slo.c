#include "query/helper_slo.h"
#include "base/check.h"
#include <pthread.h>
#include <stdlib.h>

#define LABELS_MAX 12u
#define MINUTES 130000u /* cells live in one dense row of minutes a series, around its first one */

struct series {
    char *names[LABELS_MAX], *values[LABELS_MAX];
    size_t label_count;
    int64_t *minutes;
    uint32_t first;
};

struct helper_slo {
    pthread_mutex_t lock;
    struct series *list;
    size_t count, cap;
    uint64_t seq, reads;
    struct change {
        uint64_t seq;
        uint32_t minute;
    } * changes;
    size_t change_count, change_cap;
};

struct helper_slo *helper_slo_new(void)
{
    struct helper_slo *h = calloc(1, sizeof(*h));
    CHECK(h);
    pthread_mutex_init(&h->lock, NULL);
    return h;
}

void helper_slo_free(struct helper_slo *h)
{
    for (size_t i = 0; i < h->count; i++) {
        for (size_t k = 0; k < h->list[i].label_count; k++) {
            free(h->list[i].names[k]);
            free(h->list[i].values[k]);
        }
        free(h->list[i].minutes);
    }
    free(h->list);
    free(h->changes);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

static const char *value_of(const struct series *s, struct bytes name)
{
    for (size_t i = 0; i < s->label_count; i++)
        if (bytes_equal_str(name, s->names[i]))
            return s->values[i];
    return "";
}

static bool matches(const struct series *s, const struct tsdb_matcher *m, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct bytes v = bytes_str(value_of(s, m[i].name));
        bool is_regex = m[i].op == TSDB_MATCH_RE || m[i].op == TSDB_MATCH_NRE;
        bool is_not = m[i].op == TSDB_MATCH_NE || m[i].op == TSDB_MATCH_NRE;
        bool hit = is_regex ? m[i].match(m[i].ctx, v) : bytes_equal(v, m[i].value);
        if (hit == is_not)
            return false;
    }
    return true;
}

static int64_t cell_of(const struct series *s, uint32_t minute)
{
    return minute >= s->first && minute - s->first < MINUTES ? s->minutes[minute - s->first] : 0;
}

static int64_t sum_of(const struct series *s, uint32_t from, uint32_t to)
{
    int64_t n = 0;
    for (uint32_t m = MAX(from, s->first); m < MIN(to, s->first + MINUTES); m++)
        n += s->minutes[m - s->first];
    return n;
}

static enum err minutes(void *ctx, const struct tsdb_matcher *m, size_t n, uint32_t from,
                        uint32_t to, int64_t *out)
{
    struct helper_slo *h = ctx;
    pthread_mutex_lock(&h->lock);
    h->reads++;
    for (size_t i = 0; i < h->count; i++) {
        if (!matches(&h->list[i], m, n))
            continue;
        for (uint32_t k = from; k < to; k++)
            out[k - from] += cell_of(&h->list[i], k);
    }
    pthread_mutex_unlock(&h->lock);
    return ERR_OK;
}

static enum err sum(void *ctx, const struct tsdb_matcher *m, size_t n, uint32_t from, uint32_t to,
                    int64_t *out)
{
    struct helper_slo *h = ctx;
    *out = 0;
    pthread_mutex_lock(&h->lock);
    h->reads++;
    for (size_t i = 0; i < h->count; i++) {
        if (!matches(&h->list[i], m, n))
            continue;
        *out += sum_of(&h->list[i], from, to);
    }
    pthread_mutex_unlock(&h->lock);
    return ERR_OK;
}

static enum err by(void *ctx, const struct tsdb_matcher *m, size_t n, struct bytes label,
                   uint32_t from, uint32_t to, struct arena *a, struct tsdb_cells_group **out,
                   size_t *out_count)
{
    struct helper_slo *h = ctx;
    pthread_mutex_lock(&h->lock);
    h->reads++;
    struct tsdb_cells_group *g = ARENA_ARRAY(a, struct tsdb_cells_group, h->count + 1);
    size_t count = 0;
    CHECK(g);
    for (size_t i = 0; i < h->count; i++) {
        if (!matches(&h->list[i], m, n))
            continue;
        int64_t total = sum_of(&h->list[i], from, to);
        size_t at = 0;
        struct bytes v = bytes_str(value_of(&h->list[i], label));
        while (at < count && !bytes_equal(g[at].value, v))
            at++;
        if (at == count)
            g[count++].value = arena_copy(a, v);
        g[at].sum += total;
    }
    pthread_mutex_unlock(&h->lock);
    *out = g;
    *out_count = count;
    return ERR_OK;
}

static enum err changed(void *ctx, uint64_t since_seq, uint32_t *out_from, uint32_t *out_to,
                        uint64_t *out_seq)
{
    struct helper_slo *h = ctx;
    *out_from = UINT32_MAX;
    *out_to = 0;
    pthread_mutex_lock(&h->lock);
    for (size_t i = h->change_count; i-- > 0 && h->changes[i].seq > since_seq;) {
        *out_from = MIN(*out_from, h->changes[i].minute);
        *out_to = MAX(*out_to, h->changes[i].minute);
    }
    *out_seq = h->seq;
    pthread_mutex_unlock(&h->lock);
    return ERR_OK;
}

struct query_slo_source helper_slo_source(struct helper_slo *h)
{
    return (struct query_slo_source){
        .ctx = h, .sum = sum, .minutes = minutes, .by = by, .changed = changed};
}

static bool same_labels(const struct series *s, const struct helper_slo_label *labels)
{
    size_t n = 0;
    for (size_t i = 0; labels[i].name; i++) {
        if (!labels[i].value || !labels[i].value[0])
            continue;
        n++;
        if (strcmp(value_of(s, bytes_str(labels[i].name)), labels[i].value) != 0)
            return false;
    }
    return n == s->label_count;
}

static struct series *find_series(struct helper_slo *h, const struct helper_slo_label *labels)
{
    for (size_t i = 0; i < h->count; i++)
        if (same_labels(&h->list[i], labels))
            return &h->list[i];
    if (h->count == h->cap) {
        h->cap = h->cap ? h->cap * 2 : 16;
        h->list = realloc(h->list, h->cap * sizeof(*h->list));
        CHECK(h->list);
    }
    struct series *s = &h->list[h->count++];
    *s = (struct series){.minutes = calloc(MINUTES, sizeof(int64_t))};
    CHECK(s->minutes);
    for (size_t i = 0; labels[i].name; i++) {
        if (!labels[i].value || !labels[i].value[0])
            continue;
        CHECK(s->label_count < LABELS_MAX);
        s->names[s->label_count] = strdup(labels[i].name);
        s->values[s->label_count++] = strdup(labels[i].value);
    }
    return s;
}

void helper_slo_add(struct helper_slo *h, const struct helper_slo_label *labels, uint32_t minute,
                    int64_t add)
{
    pthread_mutex_lock(&h->lock);
    struct series *s = find_series(h, labels);
    if (s->first == 0)
        s->first = minute - MINUTES / 2;
    CHECK(minute >= s->first && minute - s->first < MINUTES);
    s->minutes[minute - s->first] += add;
    if (h->change_count == h->change_cap) {
        h->change_cap = h->change_cap ? h->change_cap * 2 : 64;
        h->changes = realloc(h->changes, h->change_cap * sizeof(*h->changes));
        CHECK(h->changes);
    }
    h->changes[h->change_count++] = (struct change){++h->seq, minute};
    pthread_mutex_unlock(&h->lock);
}

void helper_slo_request(struct helper_slo *h, const char *service, const char *model,
                        const char *region, const char *outcome, const char *fault, uint32_t minute,
                        int64_t count)
{
    struct helper_slo_label labels[] = {{"__name__", "llm_user_requests_total"},
                                        {"job", "telltale"},
                                        {"service", service},
                                        {"model", model},
                                        {"region", region},
                                        {"outcome", outcome},
                                        {"fault", fault},
                                        {NULL, NULL}};
    helper_slo_add(h, labels, minute, count);
}

uint64_t helper_slo_reads(const struct helper_slo *h)
{
    return h->reads;
}
