/* Fine-tuning from judged data, on an encoder so small that it takes seconds: it learns what can be learned, keeps its hands off what is held out,
 * and a run that was stopped goes on as if it had not been. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/hash.h"
#include "detectors/ground_encode.h"
#include "detectors/ground_tune.h"
#include "gpu/gpu_model.h"

#define HIDDEN 32u
#define LAYERS 1u
#define INNER 64u
#define POSITIONS 512u

static const char *const words[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]",  ".",    "the",  "cat",
                                    "dog",   "bird",  "sat",   "on",     "mat",  "roof", "wall",
                                    "slept", "ate",   "moon",  "dragon", "lava", NULL};

/* --- a tiny encoder ------------------------------------------------------------------------------- */

static void tensor(struct buf *header, struct buf *data, const char *name, unsigned rows,
                   unsigned columns)
{
    size_t from = data->size;
    for (unsigned i = 0; i < (rows ? rows : 1) * columns; i++) {
        uint64_t h = hash64(bytes_str(name), i + 1);
        float v = (float)((double)(h >> 11) * 0x1p-53 - 0.5) * 0.2f;
        if (strstr(name, "LayerNorm.weight"))
            v += 1;
        buf_append(data, &v, 4);
    }
    buf_printf(header, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[", header->size > 1 ? "," : "",
               name);
    if (rows)
        buf_printf(header, "%u,", rows);
    buf_printf(header, "%u],\"data_offsets\":[%zu,%zu]}", columns, from, data->size);
}

static void write_file(const char *dir, const char *name, struct bytes b)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(b.data, 1, b.size, f), b.size);
    assert_int_equal(fclose(f), 0);
}

static void write_encoder(const char *dir)
{
    static const struct {
        const char *name;
        unsigned rows, columns;
    } linear[] = {
        {"attention.self.query", HIDDEN, HIDDEN}, {"attention.self.key", HIDDEN, HIDDEN},
        {"attention.self.value", HIDDEN, HIDDEN}, {"attention.output.dense", HIDDEN, HIDDEN},
        {"intermediate.dense", INNER, HIDDEN},    {"output.dense", HIDDEN, INNER}};
    struct buf header = {0}, data = {0}, vocab = {0}, config = {0}, all = {0};
    unsigned n = 0;
    char name[128];
    for (; words[n]; n++)
        buf_printf(&vocab, "%s\n", words[n]);
    buf_str(&header, "{");
    tensor(&header, &data, "embeddings.word_embeddings.weight", n, HIDDEN);
    tensor(&header, &data, "embeddings.position_embeddings.weight", POSITIONS, HIDDEN);
    tensor(&header, &data, "embeddings.token_type_embeddings.weight", 2, HIDDEN);
    tensor(&header, &data, "embeddings.LayerNorm.weight", 0, HIDDEN);
    tensor(&header, &data, "embeddings.LayerNorm.bias", 0, HIDDEN);
    for (unsigned l = 0; l < LAYERS; l++) {
        for (size_t i = 0; i < ARRAY_LEN(linear); i++) {
            snprintf(name, sizeof name, "encoder.layer.%u.%s.weight", l, linear[i].name);
            tensor(&header, &data, name, linear[i].rows, linear[i].columns);
            snprintf(name, sizeof name, "encoder.layer.%u.%s.bias", l, linear[i].name);
            tensor(&header, &data, name, 0, linear[i].rows);
        }
        for (int i = 0; i < 2; i++) {
            const char *at = i ? "output" : "attention.output";
            snprintf(name, sizeof name, "encoder.layer.%u.%s.LayerNorm.weight", l, at);
            tensor(&header, &data, name, 0, HIDDEN);
            snprintf(name, sizeof name, "encoder.layer.%u.%s.LayerNorm.bias", l, at);
            tensor(&header, &data, name, 0, HIDDEN);
        }
    }
    buf_str(&header, "}");
    buf_u64(&all, header.size);
    buf_bytes_append(&all, buf_bytes(&header));
    buf_bytes_append(&all, buf_bytes(&data));
    buf_printf(&config,
               "{\"model_type\":\"bert\",\"hidden_size\":%u,\"num_hidden_layers\":%u,"
               "\"num_attention_heads\":1,\"intermediate_size\":%u,\"vocab_size\":%u,"
               "\"max_position_embeddings\":%u,\"type_vocab_size\":2,\"layer_norm_eps\":1e-12,"
               "\"hidden_act\":\"gelu\"}",
               HIDDEN, LAYERS, INNER, n, POSITIONS);
    write_file(dir, "vocab.txt", buf_bytes(&vocab));
    write_file(dir, "config.json", buf_bytes(&config));
    write_file(dir, "model.safetensors", buf_bytes(&all));
    buf_done(&header), buf_done(&data), buf_done(&vocab), buf_done(&config), buf_done(&all);
}

/* --- judged data: dragons and lava are never supported -------------------------------------------- */

static void write_data(const char *dir, unsigned sources)
{
    static const char *const who[] = {"cat", "dog", "bird"},
                             *const what[] = {"sat", "slept", "ate"},
                             *const where[] = {"mat", "roof", "wall", "moon"},
                             *const wrong[] = {"dragon", "lava"};
    struct buf out = {0};
    for (unsigned i = 0; i < sources; i++) {
        uint64_t h = hash64(bytes_of(&i, sizeof i), 5);
        const char *a = who[h % 3], *b = what[h / 3 % 3], *c = where[h / 9 % 4],
                   *w = wrong[h / 36 % 2];
        char good[64], bad[64];
        snprintf(good, sizeof good, "the %s %s on the %s", a, b, c);
        snprintf(bad, sizeof bad, "the %s %s on the %s", a, b, w);
        buf_printf(&out,
                   "{\"source_id\":%u,\"source\":\"%s. the moon ate %u\",\"responses\":["
                   "{\"response\":\"%s\",\"labels\":[]},"
                   "{\"response\":\"%s\",\"labels\":[{\"start\":%zu,\"end\":%zu}]}]}\n",
                   i, good, i, good, bad, strlen(bad) - strlen(w), strlen(bad));
    }
    write_file(dir, "ragtruth_qa.jsonl", buf_bytes(&out));
    buf_done(&out);
}

struct lab {
    char dir[64], model[96], data[96], out[96], checkpoint[96];
    struct arena *a;
    struct ground_cases all;
};

static int start(void **state)
{
    struct lab *l = calloc(1, sizeof *l);
    struct err_msg msg = {""};
    snprintf(l->dir, sizeof l->dir, "/tmp/telltale-tune-XXXXXX");
    assert_non_null(mkdtemp(l->dir));
    snprintf(l->model, sizeof l->model, "%s/model", l->dir);
    snprintf(l->data, sizeof l->data, "%s/data", l->dir);
    snprintf(l->out, sizeof l->out, "%s/out", l->dir);
    snprintf(l->checkpoint, sizeof l->checkpoint, "%s/checkpoint", l->dir);
    assert_int_equal(mkdir(l->model, 0700), 0);
    assert_int_equal(mkdir(l->data, 0700), 0);
    write_encoder(l->model);
    write_data(l->data, 60);
    l->a = arena_new(0);
    const char *paths[] = {l->data};
    if (ground_case_load(paths, 1, l->a, NULL, NULL, &l->all, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    *state = l;
    return 0;
}

static int end(void **state)
{
    struct lab *l = *state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", l->dir);
    assert_int_equal(system(command), 0);
    arena_free(l->a);
    free(l);
    return 0;
}

static struct ground_tune_options options_of(const struct lab *l)
{
    return (struct ground_tune_options){.base = l->model,
                                        .out = l->out,
                                        .epochs = 12,
                                        .batch_tokens = 200,
                                        .rate = 3e-3f,
                                        .rank = 6,
                                        .threads = 1,
                                        .seed = 1};
}

static struct bytes read_whole(const char *path, struct arena *a)
{
    FILE *f = fopen(path, "rb");
    uint8_t *p = arena_alloc(a, 1 << 20);
    assert_non_null(f);
    size_t n = fread(p, 1, 1 << 20, f);
    (void)fclose(f);
    return bytes_of(p, n);
}

/* The area under the curve of the last look, of all that is held out. */
static double last_area(const char *report)
{
    const char *at = NULL, *next = report;
    double v = -1;
    while ((next = strstr(next, "AUROC all "))) {
        at = next;
        next++;
    }
    assert_non_null(at);
    assert_int_equal(sscanf(at, "AUROC all %lf", &v), 1);
    return v;
}

static void it_learns_and_lists_what_it_has_not_seen(void **state)
{
    struct lab *l = *state;
    struct ground_tune_options o = options_of(l);
    struct err_msg msg = {""};
    struct bytes held = BYTES_NONE;
    char *text = NULL;
    size_t size = 0;
    o.report = open_memstream(&text, &size);
    if (ground_tune_run(&l->all, &o, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    (void)fclose(o.report);
    if (last_area(text) < .95)
        fail_msg("it did not learn: %s", text);
    free(text);
    assert_int_equal(
        gpu_model_read_extra(read_whole(l->out, l->a), GROUND_ENCODE_HELD_OUT, l->a, &held, &msg),
        ERR_OK);
    uint32_t n = (uint32_t)(held.size / 8), seen = 0;
    assert_true(n > 4 && n < 24); /* about a fifth of 60 */
    for (uint32_t i = 0; i < l->all.count; i++) {
        bool listed = false;
        for (uint32_t k = 0; k < n; k++)
            listed |= bytes_u64le(held.data + 8 * (size_t)k) == l->all.cases[i].s.group;
        assert_int_equal(listed, ground_tune_is_held_out(&l->all.cases[i]));
        seen += listed;
    }
    assert_int_equal(seen, 2 * n); /* both responses of a source */
    struct gpu_model *m = NULL;
    struct gpu_model_info info;
    assert_int_equal(gpu_model_open(l->out, GPU_F32, &m, &msg), ERR_OK);
    gpu_model_info(m, &info);
    assert_int_equal(info.head, GPU_HEAD_TOKEN);
    assert_true(info.has_branch);
    assert_true(gpu_model_extra(m, GROUND_ENCODE_MARKS).size > 0);
    gpu_model_close(m);
}

static void a_run_that_was_stopped_goes_on_as_if_it_had_not_been(void **state)
{
    struct lab *l = *state;
    struct ground_tune_options o = options_of(l);
    struct err_msg msg = {""};
    o.epochs = 2, o.rank = 0;
    assert_int_equal(ground_tune_run(&l->all, &o, &msg), ERR_OK);
    struct bytes whole = read_whole(l->out, l->a);
    assert_int_equal(unlink(l->out), 0);
    o.checkpoint = l->checkpoint;
    unsigned stops = 0;
    enum err e;
    for (o.steps_max = 7; (e = ground_tune_run(&l->all, &o, &msg)) == ERR_CANCELLED; stops++)
        assert_int_not_equal(access(l->out, F_OK), 0);
    assert_int_equal(e, ERR_OK);
    assert_true(stops >= 2);
    assert_true(bytes_equal(whole, read_whole(l->out, l->a)));
}

static void what_cannot_be_tuned_is_refused(void **state)
{
    struct lab *l = *state;
    struct ground_tune_options o = options_of(l);
    struct err_msg msg = {""};
    o.base = l->data; /* no model */
    assert_int_not_equal(ground_tune_run(&l->all, &o, &msg), ERR_OK);
    assert_true(msg.text[0] != 0);
    o = options_of(l);
    l->all.count = 0;
    assert_int_equal(ground_tune_run(&l->all, &o, &msg), ERR_INVALID);
    assert_non_null(strstr(msg.text, "no case"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_learns_and_lists_what_it_has_not_seen, start, end),
        cmocka_unit_test_setup_teardown(a_run_that_was_stopped_goes_on_as_if_it_had_not_been, start,
                                        end),
        cmocka_unit_test_setup_teardown(what_cannot_be_tuned_is_refused, start, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
