/* Matchers against the series of one source: each distinct value is asked once, and only series that a posting list names are looked at. */
#include "base/check.h"
#include "tsdb/view_core.h"

#include <stdlib.h>

/* Answers of one pattern, each distinct value asked once. */
struct answers {
    struct {
        struct bytes value;
        bool used, matches;
    } * slots;
    uint32_t count, cap;
};

static bool ask(const struct tsdb_matcher *m, struct answers *s, struct arena *a,
                struct bytes value)
{
    if ((s->count + 1) * 2 > s->cap) {
        struct answers more = {.cap = s->cap ? s->cap * 2 : 64};
        more.slots = arena_alloc(a, more.cap * sizeof(*more.slots));
        if (!more.slots) /* no memory for remembering: ask every time */
            return m->match(m->ctx, value);
        for (uint32_t i = 0; i < s->cap; i++) {
            if (!s->slots[i].used)
                continue;
            uint32_t j = (uint32_t)hash64(s->slots[i].value, 0) & (more.cap - 1);
            while (more.slots[j].used)
                j = (j + 1) & (more.cap - 1);
            memcpy(&more.slots[j], &s->slots[i], sizeof(*more.slots));
            more.count++;
        }
        *s = more;
    }
    uint32_t j = (uint32_t)hash64(value, 0) & (s->cap - 1);
    while (s->slots[j].used && !bytes_equal(s->slots[j].value, value))
        j = (j + 1) & (s->cap - 1);
    if (!s->slots[j].used) {
        s->slots[j].value = value;
        s->slots[j].used = true;
        s->slots[j].matches = m->match(m->ctx, value);
        s->count++;
    }
    return s->slots[j].matches;
}

static bool test(const struct tsdb_matcher *m, struct answers *s, struct arena *a,
                 struct bytes value)
{
    bool ok = false;
    switch (m->op) {
    case TSDB_MATCH_EQ: ok = bytes_equal(value, m->value); break;
    case TSDB_MATCH_NE: ok = !bytes_equal(value, m->value); break;
    case TSDB_MATCH_RE: ok = s ? ask(m, s, a, value) : m->match(m->ctx, value); break;
    case TSDB_MATCH_NRE: ok = !(s ? ask(m, s, a, value) : m->match(m->ctx, value)); break;
    }
    return ok;
}

static bool matches(const struct tsdb_matcher *m, size_t n, struct answers *answers,
                    struct arena *a, struct tsdb_labels l)
{
    for (size_t i = 0; i < n; i++)
        if (!test(&m[i], answers ? &answers[i] : NULL, a, tsdb_labels_get(l, m[i].name)))
            return false;
    return true;
}

bool view_labels_match(const struct tsdb_matcher *m, size_t n, struct tsdb_labels l)
{
    return matches(m, n, NULL, NULL, l);
}

struct view_picker {
    const struct tsdb_matcher *m;
    size_t n;
    struct answers *answers;
    struct hash128 key; /* of all that the matchers say */
    bool has_key; /* it is all: no predicate without a pattern */
    struct arena *kept; /* answers: as long as the picker */
    struct arena *scratch; /* of one source */
};

/* The answers are a function of the key. */
static void make_key(struct view_picker *p)
{
    struct buf text = {0};
    p->has_key = p->n > 0;
    for (size_t i = 0; i < p->n; i++) {
        const struct tsdb_matcher *m = &p->m[i];
        p->has_key &= m->op == TSDB_MATCH_EQ || m->op == TSDB_MATCH_NE || m->value.size > 0;
        buf_u8(&text, (uint8_t)m->op);
        buf_lenbytes(&text, m->name);
        buf_lenbytes(&text, m->value);
    }
    p->has_key &= buf_ok(&text);
    p->key = hash128(buf_bytes(&text), 0);
    buf_done(&text);
}

struct view_picker *view_picker_new(const struct tsdb_matcher *m, size_t n)
{
    struct view_picker *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->m = m;
    p->n = n;
    make_key(p);
    p->kept = arena_new(64u << 20);
    p->scratch = arena_new(0);
    p->answers = p->kept ? ARENA_ARRAY(p->kept, struct answers, n + 1) : NULL;
    if (p->answers && p->scratch)
        return p;
    view_picker_free(p);
    return NULL;
}

void view_picker_free(struct view_picker *p)
{
    if (!p)
        return;
    arena_free(p->kept);
    arena_free(p->scratch);
    free(p);
}

bool view_picker_matches(struct view_picker *p, struct tsdb_labels l)
{
    return matches(p->m, p->n, p->answers, p->kept, l);
}

/* --- heads --------------------------------------------------------------------------------------- */

static bool is_of_name(const struct tsdb_matcher *m)
{
    return bytes_equal_str(m->name, "__name__");
}

static bool name_passes(struct view_picker *p, struct bytes name)
{
    for (size_t i = 0; i < p->n; i++)
        if (is_of_name(&p->m[i]) && !test(&p->m[i], &p->answers[i], p->kept, name))
            return false;
    return true;
}

static bool rest_passes(struct view_picker *p, struct tsdb_labels l)
{
    for (size_t i = 0; i < p->n; i++)
        if (!is_of_name(&p->m[i]) &&
            !test(&p->m[i], &p->answers[i], p->kept, tsdb_labels_get(l, p->m[i].name)))
            return false;
    return true;
}

/* The series of one name that match, from at on. */
static uint32_t pick_name(struct view_picker *p, const struct view_source *src, uint32_t first,
                          uint32_t *at)
{
    const struct head *h = src->head->head;
    uint32_t count = 0;
    for (uint32_t i = first; i < src->count; i = h->names.next[i]) {
        const struct head_series *s = head_series_at(h, i);
        if (s->ord_first < src->head->limit && rest_passes(p, s->info->labels))
            at[count++] = i;
    }
    return count;
}

/* Runs that ascend become one: by a mark for each position. */
static enum err in_order(struct view_picker *p, uint32_t positions, uint32_t *at, uint32_t count)
{
    uint8_t *marks = arena_alloc(p->scratch, positions + 1);
    if (!marks)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < count; i++)
        marks[at[i]] = 1;
    for (uint32_t i = 0, n = 0; n < count; i++)
        if (marks[i])
            at[n++] = i;
    return ERR_OK;
}

static enum err pick_head(struct view_picker *p, const struct tsdb_view *v,
                          const struct view_source *src, uint32_t *at, uint32_t *out_count)
{
    const struct head_names *names = &src->head->head->names;
    uint32_t count = 0, runs = 0;
    for (size_t i = 0; i < p->n; i++) {
        if (p->m[i].op != TSDB_MATCH_EQ || !is_of_name(&p->m[i]))
            continue;
        const struct head_name *name = head_names_find(names, v->org, p->m[i].value);
        *out_count = name && name_passes(p, name->name) ? pick_name(p, src, name->first, at) : 0;
        return ERR_OK;
    }
    for (uint32_t i = 0; i < src->count && p->n == 0; i++) { /* all: as they lie in memory */
        const struct head_series *s = head_series_at(src->head->head, i);
        if (s->info->org == v->org && s->ord_first < src->head->limit)
            at[count++] = i;
    }
    for (uint32_t i = 0; i < names->count && p->n > 0; i++) {
        if (names->names[i].org != v->org || !name_passes(p, names->names[i].name))
            continue;
        uint32_t more = pick_name(p, src, names->names[i].first, at + count);
        count += more;
        runs += more > 0;
    }
    *out_count = count;
    return runs > 1 ? in_order(p, src->count, at, count) : ERR_OK;
}

/* --- index blocks -------------------------------------------------------------------------------- */

/* One matcher over a segment. */
struct test {
    uint32_t lo, hi; /* the pairs of its name */
    bool absent_ok;
    uint8_t *answers; /* of pair lo + i: 0 not asked, 1 no, 2 yes */
};

static bool pair_ok(struct view_picker *p, const struct index_segment *s, size_t which,
                    struct test *t, uint32_t pair)
{
    uint8_t *answer = &t->answers[pair - t->lo];
    if (!*answer)
        *answer = test(&p->m[which], &p->answers[which], p->kept, s->pairs[pair].value) ? 2 : 1;
    return *answer == 2;
}

/* The pairs that which lets pass: how many series they have together. */
static uint64_t weigh(struct view_picker *p, const struct index_segment *s, size_t which,
                      struct test *t)
{
    uint64_t total = 0;
    if (p->m[which].op == TSDB_MATCH_EQ) { /* nothing else can pass */
        memset(t->answers, 1, t->hi - t->lo);
        uint32_t pair = index_segment_value(s, t->lo, t->hi, p->m[which].value);
        if (pair == t->hi)
            return 0;
        t->answers[pair - t->lo] = 2;
        return s->post_start[pair + 1] - s->post_start[pair];
    }
    for (uint32_t i = t->lo; i < t->hi; i++)
        if (pair_ok(p, s, which, t, i))
            total += s->post_start[i + 1] - s->post_start[i];
    return total;
}

/* The series of the pairs that t lets pass, ascending. */
static enum err candidates(struct view_picker *p, const struct index_segment *s,
                           const struct test *t, uint32_t *at, uint32_t *out_count)
{
    uint32_t n = 0;
    uint8_t *seen = arena_alloc(p->scratch, s->count + 1);
    if (!seen)
        return ERR_NOMEM;
    for (uint32_t i = t->lo; i < t->hi; i++)
        for (uint32_t k = t->answers[i - t->lo] == 2 ? s->post_start[i] : s->post_start[i + 1];
             k < s->post_start[i + 1]; k++)
            seen[s->post[k]] = 1;
    for (uint32_t i = 0; i < s->count; i++)
        if (seen[i])
            at[n++] = i;
    *out_count = n;
    return ERR_OK;
}

static enum err pick_index(struct view_picker *p, const struct index_segment *s, uint32_t *at,
                           uint32_t *out_count)
{
    struct test *t = ARENA_ARRAY(p->scratch, struct test, p->n + 1);
    size_t best = SIZE_MAX;
    uint64_t best_weight = UINT64_MAX;
    uint32_t n = s->count, kept = 0;
    *out_count = 0;
    if (!t)
        return ERR_NOMEM;
    for (size_t i = 0; i < p->n; i++) {
        index_segment_name(s, p->m[i].name, &t[i].lo, &t[i].hi);
        t[i].absent_ok = test(&p->m[i], &p->answers[i], p->kept, BYTES_NONE);
        t[i].answers = arena_alloc(p->scratch, t[i].hi - t[i].lo + 1);
        if (!t[i].answers)
            return ERR_NOMEM;
        if (t[i].absent_ok)
            continue;
        uint64_t weight = weigh(p, s, i, &t[i]);
        if (weight == 0)
            return ERR_OK;
        if (weight < best_weight) {
            best = i;
            best_weight = weight;
        }
    }
    if (best != SIZE_MAX) {
        enum err e = candidates(p, s, &t[best], at, &n);
        if (e != ERR_OK)
            return e;
    } else {
        for (uint32_t i = 0; i < n; i++)
            at[i] = i;
    }
    for (uint32_t i = 0; i < n; i++) {
        bool ok = true;
        for (size_t k = 0; k < p->n && ok; k++) {
            if (k == best)
                continue;
            uint32_t pair =
                t[k].lo < t[k].hi ? index_segment_pair(s, at[i], t[k].lo, t[k].hi) : UINT32_MAX;
            ok = pair == UINT32_MAX ? t[k].absent_ok : pair_ok(p, s, k, &t[k], pair);
        }
        if (ok)
            at[kept++] = at[i];
    }
    *out_count = kept;
    return ERR_OK;
}

static enum err pick_known(struct view_picker *p, const struct index_segment *s, uint32_t *at,
                           uint32_t *out_count)
{
    if (p->has_key && index_segment_recall(s, p->key, at, out_count))
        return ERR_OK;
    enum err e = pick_index(p, s, at, out_count);
    if (e == ERR_OK && p->has_key)
        index_segment_remember(s, p->key, at, *out_count);
    return e;
}

enum err view_pick(struct view_picker *p, const struct tsdb_view *v, const struct view_source *src,
                   const uint32_t **out, uint32_t *out_count)
{
    arena_reset(p->scratch);
    uint32_t *at = arena_alloc_raw(p->scratch, (src->count + 1) * sizeof(*at), sizeof(*at));
    *out = at;
    *out_count = 0;
    if (!at)
        return ERR_NOMEM;
    return src->head ? pick_head(p, v, src, at, out_count)
                     : pick_known(p, src->index, at, out_count);
}
