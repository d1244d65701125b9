/* Parts of a sample, labelled. */
#include "detectors/ground_example.h"

bool ground_example_marked(const struct ground_sample *s, uint32_t begin, uint32_t end)
{
    for (uint32_t i = 0; i < s->spans_count; i++)
        if (s->spans[i].begin < end && begin < s->spans[i].end)
            return true;
    return false;
}

static void label(const struct ground_sample *s, bool alone, struct ground_example *x)
{
    bool known = s->label == 0 || (s->label == 1 && s->grain == GROUND_GRAIN_SPAN);
    memset(x->labels, -1, x->part.count);
    x->whole = s->label == 1 && alone ? 1 : -1;
    if (!known)
        return;
    x->whole = 0;
    for (uint32_t t = x->part.first; t + 1 < x->part.count; t++) {
        bool marked = ground_example_marked(s, x->part.begin[t], x->part.end[t]);
        x->labels[t] = (int8_t)marked;
        if (marked)
            x->whole = 1;
    }
}

enum err ground_example_make(const struct ground_sample *s, const struct gpu_vocab *v,
                             const struct ground_idf *idf, float weight, struct arena *a,
                             struct ground_example **out, uint32_t *count)
{
    struct ground_context c;
    struct ground_answer answer;
    struct ground_part *parts;
    uint32_t n;
    enum err e = ground_context_make(s->documents, s->documents_count, a, &c);
    if (e == ERR_OK)
        e = ground_answer_make(s->response, a, &answer);
    struct ground_part_input in = {v, idf, &c, s->question, &answer, true};
    if (e == ERR_OK)
        e = ground_part_make(&in, a, &parts, &n);
    if (e != ERR_OK)
        return e;
    struct ground_example *x = ARENA_ARRAY(a, struct ground_example, n + 1);
    if (!x)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < n; i++) {
        x[i].part = parts[i], x[i].weight = weight;
        x[i].labels = ARENA_ARRAY(a, int8_t, parts[i].count);
        if (!x[i].labels)
            return ERR_NOMEM;
        label(s, n == 1, &x[i]);
    }
    *out = x, *count = n;
    return ERR_OK;
}
