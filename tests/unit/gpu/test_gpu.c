#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <math.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/json_in.h"
#include "gpu/gpu_encode.h"
#include "gpu/safetensors.h"
#include "helper_model.h"

static char model_dir[256];

/* --- tokens ------------------------------------------------------------------------------------------ */

static struct gpu_vocab *small_vocab(void)
{
    struct buf b = {0};
    struct gpu_vocab *v;
    struct err_msg msg;
    for (const char *const *w = helper_model_words; *w; w++)
        buf_printf(&b, "%s\n", *w);
    assert_int_equal(gpu_vocab_new(buf_bytes(&b), &v, &msg), ERR_OK);
    buf_done(&b);
    return v;
}

static void assert_pieces(const struct gpu_vocab *v, struct bytes text, const char *expected)
{
    struct gpu_tokens t = {0};
    struct buf got = {0};
    assert_true(gpu_tokens_add(v, text, 0, &t));
    for (uint32_t i = 0; i < t.count; i++)
        buf_printf(&got, "%s%s", i ? " " : "", helper_model_words[t.id[i]]);
    buf_u8(&got, 0);
    assert_string_equal((const char *)got.data, expected);
    gpu_tokens_done(&t);
    buf_done(&got);
}

static void words_become_the_longest_pieces_of_the_vocabulary(void **state)
{
    struct gpu_vocab *v = small_vocab();
    assert_pieces(v, BYTES_LIT("The sky, is BLUE."), "the sky , is blue .");
    assert_pieces(v, BYTES_LIT("unhappy skys"), "un ##happ ##y sky ##s");
    assert_pieces(v, BYTES_LIT("unhappier"),
                  "[UNK]"); /* a rest that is no piece takes the whole word with it */
    assert_pieces(v, BYTES_LIT("Sk\xc3\xbd"), "sky"); /* y with an acute accent */
    assert_pieces(v, BYTES_LIT("sky\xe4\xb8\xadsky"),
                  "sky [UNK] sky"); /* a CJK character is a word */
    assert_pieces(v, BYTES_LIT(" \t\n"), "");
    assert_pieces(v, BYTES_LIT("sk\x01y"), "sky"); /* control characters are not there */
    gpu_vocab_free(v);
}

static void a_special_token_in_a_text_is_ordinary_characters(void **state)
{
    struct gpu_vocab *v = small_vocab();
    assert_pieces(v, BYTES_LIT("sky[SEP]sky"), "sky [ sep ] sky");
    assert_pieces(v, BYTES_LIT("[CLS]"), "[ [UNK] ]");
    gpu_vocab_free(v);
}

static void a_word_of_more_than_a_hundred_characters_is_unknown(void **state)
{
    struct gpu_vocab *v = small_vocab();
    char word[302];
    memset(word, 's', sizeof(word));
    memcpy(word, "sky", 3);
    assert_pieces(v, bytes_of(word, 101), "[UNK]");
    struct gpu_tokens t = {0};
    assert_true(gpu_tokens_add(v, bytes_of(word, 100), 0, &t));
    assert_int_equal(t.count, 98);
    assert_int_equal(t.end[97], 100);
    gpu_tokens_done(&t);
    gpu_vocab_free(v);
}

static void tokens_know_the_bytes_they_came_from(void **state)
{
    struct gpu_vocab *v = small_vocab();
    struct gpu_tokens t = {0};
    const char *text = "  Sk\xc3\xbds, \xff unhappy";
    assert_true(gpu_tokens_add(v, bytes_str(text), 1, &t));
    const uint32_t begin[] = {2, 6, 7, 11, 13, 17}, end[] = {6, 7, 8, 13, 17, 18};
    assert_int_equal(t.count, 6);
    for (uint32_t i = 0; i < t.count; i++) {
        assert_int_equal(t.begin[i], begin[i]);
        assert_int_equal(t.end[i], end[i]);
        assert_int_equal(t.type[i], 1);
    }
    gpu_tokens_done(&t);
    gpu_vocab_free(v);
}

static void a_vocabulary_without_special_tokens_is_refused(void **state)
{
    struct gpu_vocab *v;
    struct err_msg msg;
    assert_int_equal(gpu_vocab_new(BYTES_LIT("a\nb\n"), &v, &msg), ERR_INVALID);
    assert_non_null(strstr(msg.text, "[UNK]"));
    assert_int_equal(gpu_vocab_new(BYTES_NONE, &v, &msg), ERR_INVALID);
}

/* --- files ------------------------------------------------------------------------------------------- */

static enum err open_header(const char *header, size_t data, struct err_msg *msg)
{
    struct buf b = {0};
    struct safetensors s;
    struct arena *a = arena_new(0);
    buf_u64(&b, strlen(header));
    buf_str(&b, header);
    for (size_t i = 0; i < data; i++)
        buf_u8(&b, 0);
    msg->text[0] = 0;
    enum err e = safetensors_open(buf_bytes(&b), a, &s, msg);
    arena_free(a);
    buf_done(&b);
    return e;
}

static void hostile_weight_files_are_refused_with_a_reason(void **state)
{
    static const struct {
        const char *header, *says;
    } cases[] = {
        {"[]", "object"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,9]}}", "not in"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", "do not fit"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", "not in"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,8]}}",
         "shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,8]}}",
         "do not fit"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,8]}}", "shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,2],\"data_offsets\":[0,8]}}", "dimensions"},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", "no shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", "data_offsets"},
        {"{\"a\":7}", "no shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
         "two tensors"},
    };
    struct err_msg msg;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_not_equal(open_header(cases[i].header, 8, &msg), ERR_OK);
        if (!strstr(msg.text, cases[i].says))
            fail_msg("case %zu says: %s", i, msg.text);
    }
    assert_int_equal(
        open_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, &msg),
        ERR_OK);
    struct safetensors s;
    struct arena *a = arena_new(0);
    static const uint8_t huge[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, '{', '}'};
    assert_int_not_equal(safetensors_open(bytes_of(huge, sizeof(huge)), a, &s, &msg), ERR_OK);
    assert_int_not_equal(safetensors_open(bytes_of(huge, 3), a, &s, &msg), ERR_OK);
    arena_free(a);
}

static void every_truncation_of_a_model_file_is_refused(void **state)
{
    struct buf b = {0};
    struct err_msg msg;
    helper_model_file(&b);
    for (size_t n = 0; n < b.size; n += n < 200 ? 1 : 997) {
        struct safetensors s;
        struct arena *a = arena_new(0);
        assert_int_not_equal(safetensors_open(bytes_of(b.data, n), a, &s, &msg), ERR_OK);
        arena_free(a);
    }
    buf_done(&b);
}

static void write_text(const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", model_dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    fclose(f);
}

static void what_cannot_be_run_is_named(void **state)
{
    static const struct {
        const char *config, *says;
        enum err e;
    } cases[] = {
        {"{\"model_type\":\"deberta-v2\"}", "model_type", ERR_UNIMPLEMENTED},
        {"{\"model_type\":\"bert\",\"hidden_act\":\"relu\"}", "hidden_act", ERR_UNIMPLEMENTED},
        {"{\"model_type\":\"bert\"}", "hidden_size", ERR_INVALID},
        {"{\"model_type\":\"bert\",\"hidden_size\":100000000}", "hidden_size", ERR_INVALID},
        {"{\"hidden_size\":48,\"num_hidden_layers\":2,\"num_attention_heads\":5,\"intermediate_"
         "size\":80,"
         "\"max_position_embeddings\":40,\"vocab_size\":21,\"type_vocab_size\":2}",
         "heads", ERR_UNIMPLEMENTED},
        {"{\"hidden_size\":48,\"num_hidden_layers\":3,\"num_attention_heads\":3,\"intermediate_"
         "size\":80,"
         "\"max_position_embeddings\":40,\"vocab_size\":21,\"type_vocab_size\":2}",
         "encoder.layer.2", ERR_INVALID},
        {"{\"hidden_size\":64,\"num_hidden_layers\":2,\"num_attention_heads\":4,\"intermediate_"
         "size\":80,"
         "\"max_position_embeddings\":40,\"vocab_size\":21,\"type_vocab_size\":2}",
         "shape", ERR_INVALID},
        {"not json", "configuration", ERR_INVALID},
    };
    struct gpu_model *m;
    struct err_msg msg;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        write_text("config.json", cases[i].config);
        msg.text[0] = 0;
        assert_int_equal(gpu_model_open(model_dir, GPU_F32, &m, &msg), cases[i].e);
        if (!strstr(msg.text, cases[i].says))
            fail_msg("case %zu says: %s", i, msg.text);
    }
    helper_model_write(model_dir);
    assert_int_equal(gpu_model_open("/nowhere/at/all", GPU_F32, &m, &msg), ERR_NOT_FOUND);
}

static void a_weight_that_is_not_a_number_is_refused(void **state)
{
    struct buf b = {0};
    struct gpu_model *m;
    struct err_msg msg;
    char path[512];
    helper_model_file(&b);
    const uint8_t nan[] = {0, 0, 0xc0, 0x7f};
    memcpy(b.data + b.size - 4 * MODEL_HIDDEN, nan, 4);
    snprintf(path, sizeof(path), "%s/model.safetensors", model_dir);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(b.data, 1, b.size, f), b.size);
    fclose(f);
    assert_int_equal(gpu_model_open(model_dir, GPU_F32, &m, &msg), ERR_INVALID);
    assert_non_null(strstr(msg.text, "not finite"));
    buf_done(&b);
    helper_model_write(model_dir);
}

/* --- models ------------------------------------------------------------------------------------------- */

static double cosine(const float *a, const double *b, uint32_t n)
{
    double ab = 0, aa = 0, bb = 0;
    for (uint32_t i = 0; i < n; i++)
        ab += (double)a[i] * b[i], aa += (double)a[i] * (double)a[i], bb += b[i] * b[i];
    return ab / sqrt(aa * bb);
}

/* Sequences of every length, all in one call: each must come out as if it were alone. */
static void compare_with_plain_pass(const char *path, enum gpu_precision p, double least)
{
    struct gpu_model *m;
    struct err_msg msg = {""};
    enum { COUNT = 60 };
    struct gpu_sequence s[COUNT];
    static uint32_t ids[COUNT][MODEL_POSITIONS];
    static uint8_t types[COUNT][MODEL_POSITIONS];
    static float out[COUNT][MODEL_POSITIONS * MODEL_HIDDEN], logits[MODEL_POSITIONS * MODEL_LABELS];
    static double want[MODEL_POSITIONS * MODEL_HIDDEN];
    if (gpu_model_open(path, p, &m, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    struct gpu_encoder *e = gpu_encoder_new(m, 2);
    for (uint32_t i = 0; i < COUNT; i++) {
        s[i] = (struct gpu_sequence){ids[i], types[i], i % MODEL_POSITIONS + 1, out[i]};
        for (uint32_t k = 0; k < s[i].count; k++) {
            ids[i][k] = (uint32_t)(hash64(bytes_of(&k, 4), i) % helper_model_vocab());
            types[i][k] = k > 7;
        }
    }
    assert_int_equal(gpu_encode(e, s, COUNT, GPU_HIDDEN, &msg), ERR_OK);
    for (uint32_t i = 0; i < COUNT; i++) {
        helper_model_forward(ids[i], types[i], s[i].count, want);
        for (uint32_t r = 0; r < s[i].count; r++) {
            double c = cosine(out[i] + r * MODEL_HIDDEN, want + r * MODEL_HIDDEN, MODEL_HIDDEN);
            if (!(c >= least))
                fail_msg("%s: sequence %u, row %u: cosine %.7f", gpu_precision_name(p), i, r, c);
        }
    }
    struct gpu_sequence one = {ids[37], types[37], s[37].count, logits};
    helper_model_forward(ids[37], types[37], one.count, want);
    assert_int_equal(gpu_encode(e, &one, 1, GPU_TOKEN_LOGITS, &msg), ERR_OK);
    for (uint32_t r = 0; r < one.count; r++)
        for (uint32_t l = 0; l < MODEL_LABELS; l++) {
            double sum = (double)helper_model_value("classifier.bias", 0, l);
            for (uint32_t i = 0; i < MODEL_HIDDEN; i++)
                sum += want[r * MODEL_HIDDEN + i] *
                       (double)helper_model_value("classifier.weight", l, i);
            assert_true(fabs(sum - (double)logits[r * MODEL_LABELS + l]) < 30 * (1 - least) + 1e-3);
        }
    gpu_encoder_free(e);
    gpu_model_close(m);
}

static void a_forward_pass_equals_the_plain_one_at_every_length_and_on_every_set(void **state)
{
    static const char *const names[] = {"generic", "avx2", "avx512f", "vnni", "avx512"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        setenv("TELLTALE_KERNELS", names[i], 1);
        compare_with_plain_pass(model_dir, GPU_F32, 0.999999);
        compare_with_plain_pass(model_dir, GPU_BF16, 0.999);
        compare_with_plain_pass(model_dir, GPU_INT8, 0.99);
    }
    unsetenv("TELLTALE_KERNELS");
}

static void a_converted_model_is_one_file_that_answers_alike(void **state)
{
    char file[300];
    struct err_msg msg = {""};
    for (int int8 = 0; int8 < 2; int8++) {
        snprintf(file, sizeof(file), "%s/one.%d.safetensors", model_dir, int8);
        if (gpu_model_convert(model_dir, NULL, file, int8 == 1, &msg) != ERR_OK)
            fail_msg("%s", msg.text);
        compare_with_plain_pass(file, GPU_F32, int8 ? 0.998 : 0.999999);
        assert_int_equal(gpu_model_convert(model_dir, NULL, file, false, &msg),
                         ERR_IO); /* never over a file that is there */
        assert_int_equal(unlink(file), 0);
    }
}

static void read_whole(const char *path, struct buf *out)
{
    char block[4096];
    size_t n;
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    while ((n = fread(block, 1, sizeof(block), f)) > 0)
        buf_append(out, block, n);
    fclose(f);
}

static void write_weights(struct bytes b)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/model.safetensors", model_dir);
    FILE *f = fopen(path, "wb");
    assert_true(f && fwrite(b.data, 1, b.size, f) == b.size && fclose(f) == 0);
}

static void replace_all(struct buf *b, const char *from, const char *to)
{
    assert_int_equal(strlen(from), strlen(to));
    for (size_t i = 0; i + strlen(from) <= b->size; i++)
        if (memcmp(b->data + i, from, strlen(from)) == 0)
            memcpy(b->data + i, to, strlen(to));
}

/* The oldest published files call gain and shift of a normalisation gamma and beta. */
static void names_of_old_files_are_read(void **state)
{
    struct buf b = {0};
    helper_model_file(&b);
    replace_all(&b, "LayerNorm.weight\":", "LayerNorm.gamma\" :");
    replace_all(&b, "LayerNorm.bias\":", "LayerNorm.beta\":");
    write_weights(buf_bytes(&b));
    compare_with_plain_pass(model_dir, GPU_F32, 0.999999);
    buf_done(&b);
    helper_model_write(model_dir);
}

#define CONFIG(ACT, TYPES)                                                               \
    "{\"model_type\":\"bert\",\"hidden_act\":\"" ACT                                     \
    "\",\"hidden_size\":48,\"num_hidden_layers\":2,"                                     \
    "\"num_attention_heads\":3,\"intermediate_size\":80,\"max_position_embeddings\":40," \
    "\"vocab_size\":21" TYPES "}"

static void first_vector(float *out)
{
    struct gpu_model *m;
    struct err_msg msg = {""};
    uint32_t ids[] = {2, 4, 5, 6, 7, 3};
    struct gpu_sequence s = {ids, NULL, 6, out};
    if (gpu_model_open(model_dir, GPU_F32, &m, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    struct gpu_encoder *e = gpu_encoder_new(m, 1);
    assert_int_equal(gpu_encode(e, &s, 1, GPU_VECTOR, &msg), ERR_OK);
    gpu_encoder_free(e);
    gpu_model_close(m);
}

static double likeness(const float *a, const float *b)
{
    double sum = 0;
    for (uint32_t i = 0; i < MODEL_HIDDEN; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

static void both_forms_of_gelu_and_models_without_segments_are_run(void **state)
{
    float exact[MODEL_HIDDEN], with_tanh[MODEL_HIDDEN], plain[MODEL_HIDDEN];
    write_text("config.json", CONFIG("gelu", ",\"type_vocab_size\":2"));
    first_vector(exact);
    write_text("config.json", CONFIG("gelu_new", ",\"type_vocab_size\":2"));
    first_vector(with_tanh);
    assert_true(likeness(exact, with_tanh) > 0.9999);
    assert_memory_not_equal(exact, with_tanh, sizeof(exact));
    write_text("config.json", CONFIG("gelu", ",\"type_vocab_size\":0"));
    first_vector(plain); /* without what the first segment adds */
    assert_true(likeness(exact, plain) < 0.9999);
    write_text("config.json", CONFIG("gelu", ""));
    first_vector(with_tanh);
    assert_memory_equal(plain, with_tanh, sizeof(plain));
    helper_model_write(model_dir);
}

static void a_tokenizer_that_keeps_case_is_refused(void **state)
{
    struct gpu_model *m;
    struct err_msg msg = {""};
    char path[512];
    write_text("tokenizer_config.json", "{\"do_lower_case\":false}");
    assert_int_equal(gpu_model_open(model_dir, GPU_F32, &m, &msg), ERR_UNIMPLEMENTED);
    assert_non_null(strstr(msg.text, "do_lower_case"));
    snprintf(path, sizeof(path), "%s/tokenizer_config.json", model_dir);
    assert_int_equal(unlink(path), 0);
}

static void weights_alone_are_completed_from_a_base_directory(void **state)
{
    char weights[300], file[300];
    struct buf b = {0};
    struct err_msg msg = {""};
    struct gpu_model *m;
    helper_model_file(&b);
    snprintf(weights, sizeof(weights), "%s/weights", model_dir);
    snprintf(file, sizeof(file), "%s/one", model_dir);
    FILE *f = fopen(weights, "wb");
    assert_true(f && fwrite(b.data, 1, b.size, f) == b.size && fclose(f) == 0);
    assert_int_equal(gpu_model_open(weights, GPU_F32, &m, &msg), ERR_INVALID);
    assert_non_null(strstr(msg.text, "--base"));
    assert_int_equal(gpu_model_convert(weights, NULL, file, false, &msg), ERR_INVALID);
    assert_int_equal(gpu_model_convert(model_dir, model_dir, file, false, &msg), ERR_INVALID);
    assert_int_equal(gpu_model_convert(weights, model_dir, file, false, &msg), ERR_OK);
    compare_with_plain_pass(file, GPU_F32, 0.999999);
    assert_int_equal(unlink(file) | unlink(weights), 0);
    buf_done(&b);
}

static void assert_extra(struct bytes file, const char *name, struct bytes want)
{
    struct arena *a = arena_new(0);
    struct bytes got;
    struct err_msg msg;
    assert_int_equal(gpu_model_read_extra(file, name, a, &got, &msg), ERR_OK);
    assert_true(bytes_equal(got, want));
    arena_free(a);
}

/* An extra goes through conversion, replacement and opening from memory; the model answers as before. */
static void a_model_carries_extras_that_others_put_into_it(void **state)
{
    char one[300], more[300];
    struct buf b = {0};
    struct err_msg msg = {""};
    struct gpu_model *m;
    struct gpu_extra first[] = {{"trees", BYTES_LIT("abc")}, {"other", BYTES_LIT("12345")}},
                     second[] = {{"trees", BYTES_LIT("longer than before")}, {"none", BYTES_NONE}};
    snprintf(one, sizeof(one), "%s/one", model_dir);
    snprintf(more, sizeof(more), "%s/more", model_dir);
    assert_int_equal(gpu_model_convert(model_dir, NULL, one, true, &msg), ERR_OK);
    read_whole(one, &b);
    assert_extra(buf_bytes(&b), "trees", BYTES_NONE);
    assert_int_equal(gpu_model_write_extras(buf_bytes(&b), first, 2, more, &msg), ERR_OK);
    buf_clear(&b);
    read_whole(more, &b);
    assert_int_equal(gpu_model_write_extras(buf_bytes(&b), second, 2, more, &msg), ERR_OK);
    assert_int_equal(unlink(one), 0);
    assert_int_equal(gpu_model_convert(more, NULL, one, false, &msg), ERR_OK);
    buf_clear(&b);
    read_whole(one, &b);
    assert_extra(buf_bytes(&b), "trees", second[0].data);
    assert_extra(buf_bytes(&b), "other", first[1].data);
    assert_int_equal(gpu_model_open_bytes(buf_bytes(&b), "here", GPU_F32, &m, &msg), ERR_OK);
    assert_true(bytes_equal(gpu_model_extra(m, "trees"), second[0].data));
    assert_true(bytes_equal(gpu_model_extra(m, "other"), first[1].data));
    assert_int_equal(gpu_model_extra(m, "none").size, 0);
    assert_int_equal(gpu_model_extra(m, "vocab.txt").size, 0);
    gpu_model_close(m);
    compare_with_plain_pass(one, GPU_F32, 0.998);
    for (size_t n = 0; n < b.size; n += 1 + b.size / 50)
        assert_int_equal(gpu_model_open_bytes(bytes_of(b.data, n), "cut", GPU_F32, &m, &msg),
                         ERR_INVALID);
    assert_int_equal(unlink(one) | unlink(more), 0);
    buf_done(&b);
}

static void extras_need_no_encoder_beside_them(void **state)
{
    char file[300];
    struct buf b = {0};
    struct err_msg msg = {""};
    struct gpu_model *m;
    struct gpu_extra x = {"trees", BYTES_LIT("abc")};
    snprintf(file, sizeof(file), "%s/trees", model_dir);
    assert_int_equal(gpu_model_write_extras(BYTES_NONE, &x, 1, file, &msg), ERR_OK);
    read_whole(file, &b);
    assert_extra(buf_bytes(&b), "trees", x.data);
    assert_int_equal(gpu_model_open(file, GPU_F32, &m, &msg), ERR_INVALID);
    assert_int_equal(gpu_model_write_extras(BYTES_LIT("no file"), &x, 1, file, &msg), ERR_INVALID);
    assert_int_equal(unlink(file), 0);
    buf_done(&b);
}

static void what_the_model_lacks_is_refused_before_anything_runs(void **state)
{
    struct gpu_model *m;
    struct err_msg msg;
    float out[MODEL_HIDDEN];
    uint32_t ids[MODEL_POSITIONS + 1] = {0};
    const uint8_t types[] = {9};
    assert_int_equal(gpu_model_open(model_dir, GPU_F32, &m, &msg), ERR_OK);
    struct gpu_encoder *e = gpu_encoder_new(m, 1);
    struct gpu_sequence s = {ids, NULL, MODEL_POSITIONS + 1, out};
    assert_int_equal(gpu_encode(e, &s, 1, GPU_VECTOR, &msg), ERR_INVALID);
    s.count = 0;
    assert_int_equal(gpu_encode(e, &s, 1, GPU_VECTOR, &msg), ERR_INVALID);
    s.count = 1;
    s.types = types;
    assert_int_equal(gpu_encode(e, &s, 1, GPU_VECTOR, &msg), ERR_INVALID);
    ids[0] = 1000;
    s.types = NULL;
    assert_int_equal(gpu_encode(e, &s, 1, GPU_VECTOR, &msg), ERR_INVALID);
    ids[0] = 1;
    assert_int_equal(gpu_encode(e, &s, 1, GPU_VECTOR, &msg), ERR_OK);
    gpu_encoder_free(e);
    gpu_model_close(m);
}

static void long_texts_are_cut_with_a_separator_at_the_end(void **state)
{
    struct gpu_model *m;
    struct err_msg msg;
    struct gpu_tokens t = {0};
    struct bytes second = BYTES_LIT("the sky");
    char text[1000];
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = i % 2 ? ' ' : '.';
    assert_int_equal(gpu_model_open(model_dir, GPU_F32, &m, &msg), ERR_OK);
    assert_true(gpu_encode_text(m, bytes_of(text, sizeof(text)), NULL, 0, &t));
    assert_int_equal(t.count, MODEL_POSITIONS);
    assert_int_equal(t.id[t.count - 1], gpu_vocab_sep(gpu_model_vocab(m)));
    t.count = 0;
    assert_true(gpu_encode_text(m, BYTES_LIT("blue"), &second, 0, &t));
    assert_int_equal(t.count, 6);
    assert_int_equal(t.type[2], 0);
    assert_int_equal(t.type[3], 1);
    gpu_tokens_done(&t);
    gpu_model_close(m);
}

/* --- beside the reference, where its answers are at hand ------------------------------------------------- */

static FILE *open_golden(const char *name, char *dir, size_t size)
{
    char path[512];
    const char *shared = getenv("TELLTALE_SHARED");
    snprintf(dir, size, "%s/models/all-MiniLM-L6-v2", shared ? shared : "../shared");
    snprintf(path, sizeof(path), "%s/golden/%s", dir, name);
    return fopen(path, "r");
}

static void ids_are_those_of_the_reference_tokenizer(void **state)
{
    char dir[256], *line = NULL;
    size_t cap = 0;
    uint32_t rows = 0;
    struct gpu_vocab *v;
    struct err_msg msg;
    struct gpu_tokens t = {0};
    FILE *f = open_golden("tokens.jsonl", dir, sizeof(dir));
    if (!f)
        skip();
    assert_int_equal(gpu_model_read_vocab(dir, &v, &msg), ERR_OK);
    struct arena *a = arena_new(0);
    for (ssize_t n; (n = getline(&line, &cap, f)) > 0; rows++) {
        struct json_node *root;
        arena_reset(a);
        assert_int_equal(json_in_tree(bytes_of(line, (size_t)n), 8, a, &root, &msg), ERR_OK);
        t.count = 0;
        assert_true(gpu_tokens_special(gpu_vocab_cls(v), 0, &t) &&
                    gpu_tokens_add(v, json_get_str(root, "text"), 0, &t) &&
                    gpu_tokens_special(gpu_vocab_sep(v), 0, &t));
        uint32_t i = 0;
        for (const struct json_node *id = json_get(root, "ids")->child; id; id = id->next, i++) {
            uint64_t want;
            assert_true(bytes_to_u64(id->text, &want));
            if (i >= t.count || t.id[i] != want)
                fail_msg("row %u: token %u differs", rows, i);
        }
        assert_int_equal(i, t.count);
    }
    assert_int_equal(rows, 2052);
    fclose(f);
    free(line);
    arena_free(a);
    gpu_tokens_done(&t);
    gpu_vocab_free(v);
}

static void compare_vectors(const char *dir, enum gpu_precision p, double least, uint32_t rows_max)
{
    char unused[256], *line = NULL;
    size_t cap = 0;
    struct gpu_model *m;
    struct err_msg msg;
    struct arena *a = arena_new(0);
    FILE *texts = open_golden("embed.jsonl", unused, sizeof(unused)),
         *vectors = open_golden("embed.f32", unused, sizeof(unused));
    assert_true(texts && vectors);
    assert_int_equal(gpu_model_open(dir, p, &m, &msg), ERR_OK);
    struct gpu_encoder *e = gpu_encoder_new(m, 2);
    for (uint32_t row = 0; row < rows_max; row++) {
        struct json_node *root;
        struct gpu_tokens t = {0};
        float out[384], raw[384];
        double want[384];
        ssize_t n = getline(&line, &cap, texts);
        if (n <= 0)
            break;
        arena_reset(a);
        assert_int_equal(json_in_tree(bytes_of(line, (size_t)n), 8, a, &root, &msg), ERR_OK);
        assert_true(gpu_encode_text(m, json_get_str(root, "text"), NULL, 0, &t));
        struct gpu_sequence s = {t.id, t.type, t.count, out};
        assert_int_equal(gpu_encode(e, &s, 1, GPU_VECTOR, &msg), ERR_OK);
        assert_int_equal(fread(raw, sizeof(float), 384, vectors), 384);
        for (int i = 0; i < 384; i++)
            want[i] = (double)raw[i];
        double c = cosine(out, want, 384);
        if (!(c >= least))
            fail_msg("%s: row %u: cosine %.6f", gpu_precision_name(p), row, c);
        gpu_tokens_done(&t);
    }
    fclose(texts), fclose(vectors);
    free(line);
    arena_free(a);
    gpu_encoder_free(e);
    gpu_model_close(m);
}

static void vectors_are_those_of_the_reference(void **state)
{
    char dir[256];
    FILE *f = open_golden("embed.jsonl", dir, sizeof(dir));
    if (!f)
        skip();
    fclose(f);
    compare_vectors(dir, GPU_F32, 0.9999, 40);
    compare_vectors(dir, GPU_BF16, 0.999, 80);
    compare_vectors(dir, GPU_INT8, 0.995, 248);
}

static int make_model(void **state)
{
    snprintf(model_dir, sizeof(model_dir), "/tmp/telltale-model-%d", (int)getpid());
    helper_model_write(model_dir);
    return 0;
}

static int remove_model(void **state)
{
    static const char *const names[] = {"config.json", "vocab.txt", "model.safetensors"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char path[512];
        snprintf(path, sizeof(path), "%s/%s", model_dir, names[i]);
        (void)unlink(path);
    }
    return rmdir(model_dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_become_the_longest_pieces_of_the_vocabulary),
        cmocka_unit_test(a_special_token_in_a_text_is_ordinary_characters),
        cmocka_unit_test(a_word_of_more_than_a_hundred_characters_is_unknown),
        cmocka_unit_test(tokens_know_the_bytes_they_came_from),
        cmocka_unit_test(a_vocabulary_without_special_tokens_is_refused),
        cmocka_unit_test(hostile_weight_files_are_refused_with_a_reason),
        cmocka_unit_test(every_truncation_of_a_model_file_is_refused),
        cmocka_unit_test(what_cannot_be_run_is_named),
        cmocka_unit_test(a_weight_that_is_not_a_number_is_refused),
        cmocka_unit_test(a_forward_pass_equals_the_plain_one_at_every_length_and_on_every_set),
        cmocka_unit_test(a_converted_model_is_one_file_that_answers_alike),
        cmocka_unit_test(names_of_old_files_are_read),
        cmocka_unit_test(both_forms_of_gelu_and_models_without_segments_are_run),
        cmocka_unit_test(a_tokenizer_that_keeps_case_is_refused),
        cmocka_unit_test(weights_alone_are_completed_from_a_base_directory),
        cmocka_unit_test(a_model_carries_extras_that_others_put_into_it),
        cmocka_unit_test(extras_need_no_encoder_beside_them),
        cmocka_unit_test(what_the_model_lacks_is_refused_before_anything_runs),
        cmocka_unit_test(long_texts_are_cut_with_a_separator_at_the_end),
        cmocka_unit_test(ids_are_those_of_the_reference_tokenizer),
        cmocka_unit_test(vectors_are_those_of_the_reference),
    };
    return cmocka_run_group_tests(tests, make_model, remove_model);
}
