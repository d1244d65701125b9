/* Native histograms as rule tests write them: {{schema:1 count:5 sum:3.5 z_bucket:1 z_bucket_w:0.01 buckets:[1 2 1] offset:-1}}. */
#include "query/query_text.h"

#include "base/check.h"

#include <math.h>

struct written { /* of one histogram */
    struct query_hist h;
    double *pos, *neg, *custom;
    size_t pos_n, neg_n, custom_n;
    int32_t offset, n_offset;
};

static enum err bad(struct err_msg *msg, struct bytes at)
{
    return err_set(msg, ERR_INVALID,
                   "a histogram is written {{schema:1 count:5 sum:3.5 buckets:[1 2 2]}}; it is not "
                   "understood at \"%.*s\"",
                   (int)MIN(at.size, 40), at.size ? (const char *)at.data : "");
}

static void skip_blanks(struct bytes *t)
{
    while (t->size && strchr(" \t\r\n", t->data[0]))
        *t = bytes_slice(*t, 1, t->size);
}

/* Up to a blank, a brace or a bracket. */
static struct bytes take_word(struct bytes *t)
{
    size_t n = 0;
    while (n < t->size && !strchr(" \t\r\n{}[]", t->data[n]))
        n++;
    struct bytes word = bytes_slice(*t, 0, n);
    *t = bytes_slice(*t, n, t->size);
    return word;
}

static bool take_number(struct bytes *t, double *out)
{
    return bytes_to_f64(take_word(t), out);
}

static bool take_whole(struct bytes *t, int32_t min, int32_t max, int32_t *out)
{
    int64_t v;
    struct bytes word = take_word(t);
    if (word.size && word.data[0] == '+')
        word = bytes_slice(word, 1, word.size);
    if (!bytes_to_i64(word, &v) || v < min || v > max)
        return false;
    *out = (int32_t)v;
    return true;
}

static bool take_list(struct bytes *t, struct arena *a, double **out, size_t *out_n)
{
    if (!t->size || t->data[0] != '[')
        return false;
    *t = bytes_slice(*t, 1, t->size);
    *out = ARENA_ARRAY(a, double, MIN(t->size, TSDB_HIST_BUCKETS_MAX) + 1);
    *out_n = 0;
    for (skip_blanks(t); t->size && t->data[0] != ']'; skip_blanks(t))
        if (!*out || *out_n == TSDB_HIST_BUCKETS_MAX || !take_number(t, &(*out)[(*out_n)++]))
            return false;
    if (!t->size)
        return false;
    *t = bytes_slice(*t, 1, t->size);
    return *out != NULL;
}

static bool take_hint(struct bytes *t, uint8_t *out)
{
    static const char *const names[] = {[TSDB_HIST_UNKNOWN_RESET] = "unknown",
                                        [TSDB_HIST_RESET] = "reset",
                                        [TSDB_HIST_NO_RESET] = "not_reset",
                                        [TSDB_HIST_GAUGE] = "gauge"};
    struct bytes word = take_word(t);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (bytes_equal_str(word, names[i])) {
            *out = (uint8_t)i;
            return true;
        }
    return false;
}

static bool take_field(struct bytes key, struct bytes *t, struct arena *a, struct written *w)
{
    int32_t schema;
    if (bytes_equal_str(key, "schema")) {
        bool fine = take_whole(t, TSDB_HIST_CUSTOM_SCHEMA, 8, &schema) &&
                    (schema >= -4 || schema == TSDB_HIST_CUSTOM_SCHEMA);
        w->h.schema = fine ? (int8_t)schema : 0;
        return fine;
    }
    if (bytes_equal_str(key, "sum"))
        return take_number(t, &w->h.sum);
    if (bytes_equal_str(key, "count"))
        return take_number(t, &w->h.count);
    if (bytes_equal_str(key, "z_bucket"))
        return take_number(t, &w->h.zero_count);
    if (bytes_equal_str(key, "z_bucket_w"))
        return take_number(t, &w->h.zero_threshold);
    if (bytes_equal_str(key, "offset"))
        return take_whole(t, INT32_MIN / 2, INT32_MAX / 2, &w->offset);
    if (bytes_equal_str(key, "n_offset"))
        return take_whole(t, INT32_MIN / 2, INT32_MAX / 2, &w->n_offset);
    if (bytes_equal_str(key, "buckets"))
        return take_list(t, a, &w->pos, &w->pos_n);
    if (bytes_equal_str(key, "n_buckets"))
        return take_list(t, a, &w->neg, &w->neg_n);
    if (bytes_equal_str(key, "custom_values"))
        return take_list(t, a, &w->custom, &w->custom_n);
    return bytes_equal_str(key, "counter_reset_hint") && take_hint(t, &w->h.hint);
}

static const struct query_hist_bucket *buckets(const double *counts, size_t n, int32_t offset,
                                               struct arena *a)
{
    struct query_hist_bucket *b = ARENA_ARRAY(a, struct query_hist_bucket, n + 1);
    for (size_t i = 0; b && i < n; i++)
        b[i] = (struct query_hist_bucket){offset + (int32_t)i, counts[i]};
    return b;
}

/* Custom bounds rise, and there is nothing but positive buckets between them. */
static bool is_sound(const struct written *w)
{
    bool is_custom = query_hist_is_custom(&w->h);
    for (size_t i = 1; i < w->custom_n; i++)
        if (!(w->custom[i] > w->custom[i - 1]))
            return false;
    if (!is_custom)
        return !w->custom_n && w->h.zero_threshold >= 0;
    return !w->neg_n && w->h.zero_count == 0 && w->offset >= 0 &&
           (size_t)w->offset + w->pos_n <= w->custom_n + 1;
}

enum err query_text_hist(struct bytes *text, struct arena *a, const struct query_hist **out,
                         struct err_msg *msg)
{
    struct written w = {.pos_n = 0};
    struct bytes t = *text;
    if (!bytes_has_prefix(t, BYTES_LIT("{{")))
        return bad(msg, t);
    t = bytes_slice(t, 2, t.size);
    for (skip_blanks(&t); !bytes_has_prefix(t, BYTES_LIT("}}")); skip_blanks(&t)) {
        struct bytes at = t;
        size_t colon = bytes_find(t, BYTES_LIT(":"));
        struct bytes key = bytes_slice(t, 0, colon);
        t = bytes_slice(t, MIN(colon + 1, t.size), t.size);
        if (!t.size || !take_field(key, &t, a, &w))
            return bad(msg, at);
    }
    if (!is_sound(&w))
        return err_set(msg, ERR_INVALID, "a histogram whose bounds and buckets do not fit");
    w.h.pos = buckets(w.pos, w.pos_n, w.offset, a);
    w.h.neg = buckets(w.neg, w.neg_n, w.n_offset, a);
    w.h.pos_count = (uint32_t)w.pos_n;
    w.h.neg_count = (uint32_t)w.neg_n;
    w.h.custom = w.custom;
    w.h.custom_count = (uint32_t)w.custom_n;
    *out = w.h.pos && w.h.neg ? query_hist_copy(&w.h, a) : NULL;
    if (!*out)
        return err_set(msg, ERR_LIMIT, "too many buckets");
    *text = bytes_slice(t, 2, t.size);
    return ERR_OK;
}
