/* Files to cases. */
#include "detectors/ground_case.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"
#include "detectors/ground_example.h"

#define SCRATCH_MAX (512u << 20)
#define IDF_WORDS 16000u
#define IDF_TEXTS_LEAST 3u

/* How much of each set, and how much it counts: those that are skewed, easy or chit-chat would otherwise drown the rest. */
static const struct set_use {
    const char *set;
    uint32_t rows_max; /* 0: all */
    float tree_weight, token_weight;
    bool target;
} set_uses[] = {
    {"ragtruth", 0, 1, 1, true},
    {"ragtruth_qa", 0, 1, 1, true},
    {"quintd_human", 0, .5f, .8f, false},
    {"cliff", 0, .5f, .8f, false},
    {"bump", 600, .3f, .6f, false},
    {"xsumfaith", 450, .2f, .5f, false},
    {"attrbench_attributedqa", 0, .3f, .5f, false},
    {"attrbench_attrscore_gensearch", 0, .3f, .5f, false},
    {"attrbench_expertqa", 0, .3f, .5f, false},
    {"attrbench_hagrid", 0, .3f, .5f, false},
    {"attrbench_stanford_gensearch", 0, .3f, .5f, false},
    {"scifact", 400, .2f, .5f, false},
    {"factcheckgpt", 350, .2f, .5f, false},
    {"tabfact_pairs", 700, .2f, .5f, false},
    {"mtrag_human", 0, .3f, .5f, false},
    {"mtrag_un_reference", 0, .3f, .5f, false},
    {"q2_wow", 1, 0, 0, false},
    {"faithdial_audit", 1, 0, 0, false},
    {"dialfact", 1, 0, 0, false},
    {"storysumm", 0, .3f, .5f, false},
    {"sportsett_accuracy", 0, .5f, .8f, false},
    {"wice", 400, .3f, .6f, false},
    {"summedits", 500, .2f, .6f, false},
};
static const struct set_use other_set = {"", 0, 1, 1, true};

static const struct set_use *use_of(struct bytes set)
{
    for (unsigned i = 0; i < ARRAY_LEN(set_uses); i++)
        if (bytes_equal_str(set, set_uses[i].set))
            return &set_uses[i];
    return &other_set;
}

struct loading {
    struct arena *a;
    struct ground_cases *out;
    uint32_t cap;
    void (*bad)(void *, const char *, uint64_t, const char *);
    void *ctx;
};

static enum err add_case(void *ctx, const struct ground_sample *s)
{
    struct loading *l = ctx;
    struct ground_cases *c = l->out;
    if (s->doubtful || s->label < 0)
        return ERR_OK;
    if (c->count == l->cap) {
        uint32_t more = l->cap ? l->cap * 2 : 1024;
        c->cases = arena_grow(l->a, c->cases, sizeof(*c->cases), l->cap, more);
        l->cap = more;
        if (!c->cases)
            return ERR_NOMEM;
    }
    const struct set_use *u = use_of(s->set);
    c->cases[c->count++] =
        (struct ground_case){.s = *s,
                             .tree_weight = u->tree_weight,
                             .token_weight = u->token_weight,
                             .target = u->target && s->grain == GROUND_GRAIN_SPAN};
    return ERR_OK;
}

static void note_bad(void *ctx, const char *file, uint64_t line, const char *why)
{
    struct loading *l = ctx;
    l->out->bad_lines++;
    if (l->bad)
        l->bad(l->ctx, file, line, why);
}

/* --- files ----------------------------------------------------------------------------------------- */

static int is_data(const struct dirent *d)
{
    struct bytes name = bytes_str(d->d_name);
    return name.size && name.data[0] != '.' &&
           (bytes_has_suffix(name, BYTES_LIT(".jsonl")) ||
            bytes_has_suffix(name, BYTES_LIT(".json")));
}

/* *files 0: not a directory. */
static enum err load_directory(struct loading *l, const struct ground_data_sink *sink,
                               const char *path, int *files, struct err_msg *msg)
{
    struct dirent **names;
    enum err e = ERR_OK;
    int n = scandir(path, &names, is_data, alphasort);
    for (int i = 0; i < n; i++) {
        struct bytes file = arena_printf(l->a, "%s/%s", path, names[i]->d_name);
        if (e == ERR_OK)
            e = file.data ? ground_data_read_file((const char *)file.data, l->a, sink, msg)
                          : ERR_NOMEM;
        free(names[i]);
    }
    if (n >= 0)
        free(names);
    *files = n;
    return e;
}

static enum err load_path(struct loading *l, const struct ground_data_sink *sink, const char *path,
                          struct err_msg *msg)
{
    int files, more;
    enum err e = load_directory(l, sink, path, &files, msg);
    if (e != ERR_OK)
        return e;
    if (files < 0)
        return ground_data_read_file(path, l->a, sink, msg);
    struct bytes inner = arena_printf(l->a, "%s/more", path);
    return inner.data ? load_directory(l, sink, (const char *)inner.data, &more, msg) : ERR_NOMEM;
}

/* --- thinning -------------------------------------------------------------------------------------- */

static uint64_t shuffle_key(const struct ground_case *c)
{
    return hash64(c->s.response, c->s.context_key);
}

/* Of a set with too many rows those with the smallest key stay: the same ones each time, from all over the file. */
static void thin(struct ground_cases *all)
{
    for (unsigned u = 0; u < ARRAY_LEN(set_uses); u++) {
        uint32_t n = 0, kept = 0;
        if (!set_uses[u].rows_max)
            continue;
        for (uint32_t i = 0; i < all->count; i++)
            n += bytes_equal_str(all->cases[i].s.set, set_uses[u].set);
        uint64_t limit =
            n > set_uses[u].rows_max ? UINT64_MAX / n * set_uses[u].rows_max : UINT64_MAX;
        for (uint32_t i = 0; i < all->count; i++)
            if (!bytes_equal_str(all->cases[i].s.set, set_uses[u].set) ||
                (set_uses[u].tree_weight > 0 && shuffle_key(&all->cases[i]) <= limit))
                all->cases[kept++] = all->cases[i];
        all->count = kept;
    }
}

/* --- features -------------------------------------------------------------------------------------- */

static enum err count_words(const struct ground_cases *all, struct arena *scratch,
                            struct ground_idf_counter *counter)
{
    uint64_t before = 0;
    for (uint32_t i = 0; i < all->count; i++) {
        const struct ground_sample *s = &all->cases[i].s;
        struct ground_context c;
        if (s->context_key == before) /* the responses of a source follow each other */
            continue;
        before = s->context_key;
        arena_reset(scratch);
        enum err e = ground_context_make(s->documents, s->documents_count, scratch, &c);
        struct ground_words words = {
            e == ERR_OK ? ARENA_ARRAY(scratch, struct ground_word, c.words_count + 1) : NULL, 0};
        if (!words.words)
            return ERR_NOMEM;
        for (uint32_t l = 0; l < c.count; l++)
            for (uint32_t w = 0; w < c.lines[l].words.count; w++)
                words.words[words.count++] = c.lines[l].words.words[w];
        e = ground_idf_counter_add(counter, &words);
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

static enum err make_idf(struct ground_cases *all, struct arena *scratch, struct arena *a)
{
    struct ground_idf_counter *counter = ground_idf_counter_new();
    struct buf form = {0};
    enum err e = counter ? count_words(all, scratch, counter) : ERR_NOMEM;
    if (e == ERR_OK) {
        ground_idf_counter_write(counter, IDF_TEXTS_LEAST, IDF_WORDS, &form);
        all->idf_form = buf_ok(&form) ? arena_copy(a, buf_bytes(&form)) : BYTES_NONE;
        e = all->idf_form.data ? ground_idf_read(all->idf_form, &all->idf) : ERR_NOMEM;
    }
    ground_idf_counter_free(counter);
    buf_done(&form);
    return e;
}

static enum err make_features(struct ground_cases *all, struct ground_case *c,
                              const struct ground_context *context, struct arena *a)
{
    enum err e = ground_answer_make(c->s.response, a, &c->answer);
    if (e != ERR_OK)
        return e;
    struct ground_feature_input in = {&all->idf, context, &c->answer, c->s.question, 0};
    e = ground_feature_make(&in, a, &c->f);
    c->json = context->json;
    c->marked = ARENA_ARRAY(a, uint8_t, c->answer.count + 1);
    c->trees = ARENA_ARRAY(a, float, c->answer.count + 1);
    if (e != ERR_OK || !c->marked || !c->trees)
        return ERR_NOMEM;
    bool all_of_it = c->s.label == 1 && c->s.grain != GROUND_GRAIN_SPAN;
    for (uint32_t i = 0; i < c->answer.count; i++)
        c->marked[i] = all_of_it || ground_example_marked(&c->s, c->answer.ranges[i].begin,
                                                          c->answer.ranges[i].end);
    c->marks_known = !all_of_it || c->answer.count == 1;
    return ERR_OK;
}

enum err ground_case_load(const char *const *paths, uint32_t paths_count, struct arena *a,
                          void (*bad)(void *, const char *, uint64_t, const char *), void *ctx,
                          struct ground_cases *out, struct err_msg *msg)
{
    struct loading l = {a, out, 0, bad, ctx};
    struct ground_data_sink sink = {add_case, note_bad, &l};
    struct arena *scratch = arena_new(SCRATCH_MAX);
    struct ground_context context;
    enum err e = scratch ? ERR_OK : ERR_NOMEM;
    *out = (struct ground_cases){0};
    for (uint32_t i = 0; e == ERR_OK && i < paths_count; i++)
        e = load_path(&l, &sink, paths[i], msg);
    if (e == ERR_OK && out->count == 0)
        e = err_set(msg, ERR_INVALID, "there is not one judged response in what was given");
    thin(out);
    if (e == ERR_OK)
        e = make_idf(out, scratch, a);
    for (uint32_t i = 0; e == ERR_OK && i < out->count; i++) {
        struct ground_case *c = &out->cases[i];
        if (i == 0 || c->s.context_key != out->cases[i - 1].s.context_key) {
            arena_reset(scratch);
            e = ground_context_make(c->s.documents, c->s.documents_count, scratch, &context);
        }
        if (e == ERR_OK)
            e = make_features(out, c, &context, a);
    }
    arena_free(scratch);
    if (e != ERR_OK && msg && !msg->text[0])
        (void)err_set(msg, e, "%s", err_text(e));
    return e;
}

uint32_t ground_case_fold(const struct ground_case *c, uint32_t folds, uint64_t seed)
{
    return (uint32_t)(hash64(bytes_of(&c->s.context_key, 8), seed) % folds);
}
