#include "helper_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/check.h"
#include "base/hash.h"

const char *const helper_model_words[] = {
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "sky", "is",  "blue", "##s", "un",  "##happ",
    "##y",   ",",     ".",     "[",     "]",   "se",  "##p", "sep",  "42",  "##0", NULL};

unsigned helper_model_vocab(void)
{
    unsigned n = 0;
    while (helper_model_words[n])
        n++;
    return n;
}

float helper_model_value(const char *name, unsigned row, unsigned column)
{
    uint64_t h = hash64(bytes_str(name), ((uint64_t)row << 20) + column + 1);
    float v = (float)((double)(h >> 11) / (double)(1ull << 53) - 0.5) * 0.6f;
    return strstr(name, "LayerNorm.weight") ? 1 + v : v;
}

/* --- the file ---------------------------------------------------------------------------------------- */

struct maker {
    struct buf header, data;
};

static void add(struct maker *m, const char *name, unsigned rows, unsigned columns)
{
    size_t from = m->data.size;
    for (unsigned r = 0; r < (rows ? rows : 1); r++)
        for (unsigned c = 0; c < columns; c++) {
            float v = helper_model_value(name, r, c);
            buf_append(&m->data, &v, 4);
        }
    buf_printf(&m->header, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[", m->header.size > 1 ? "," : "",
               name);
    if (rows)
        buf_printf(&m->header, "%u,", rows);
    buf_printf(&m->header, "%u],\"data_offsets\":[%zu,%zu]}", columns, from, m->data.size);
}

static void add_linear(struct maker *m, const char *prefix, const char *name, unsigned out,
                       unsigned in)
{
    char full[128];
    snprintf(full, sizeof(full), "%s%s.weight", prefix, name);
    add(m, full, out, in);
    snprintf(full, sizeof(full), "%s%s.bias", prefix, name);
    add(m, full, 0, out);
}

static void add_norm(struct maker *m, const char *prefix, const char *name)
{
    char full[128];
    snprintf(full, sizeof(full), "%s%s.LayerNorm.weight", prefix, name);
    add(m, full, 0, MODEL_HIDDEN);
    snprintf(full, sizeof(full), "%s%s.LayerNorm.bias", prefix, name);
    add(m, full, 0, MODEL_HIDDEN);
}

void helper_model_file(struct buf *out)
{
    struct maker m = {{0}, {0}};
    uint8_t size[8];
    buf_str(&m.header, "{");
    add(&m, "bert.embeddings.word_embeddings.weight", helper_model_vocab(), MODEL_HIDDEN);
    add(&m, "bert.embeddings.position_embeddings.weight", MODEL_POSITIONS, MODEL_HIDDEN);
    add(&m, "bert.embeddings.token_type_embeddings.weight", MODEL_TYPES, MODEL_HIDDEN);
    add_norm(&m, "bert.", "embeddings");
    for (unsigned i = 0; i < MODEL_LAYERS; i++) {
        char prefix[64];
        snprintf(prefix, sizeof(prefix), "bert.encoder.layer.%u.", i);
        add_linear(&m, prefix, "attention.self.query", MODEL_HIDDEN, MODEL_HIDDEN);
        add_linear(&m, prefix, "attention.self.key", MODEL_HIDDEN, MODEL_HIDDEN);
        add_linear(&m, prefix, "attention.self.value", MODEL_HIDDEN, MODEL_HIDDEN);
        add_linear(&m, prefix, "attention.output.dense", MODEL_HIDDEN, MODEL_HIDDEN);
        add_norm(&m, prefix, "attention.output");
        add_linear(&m, prefix, "intermediate.dense", MODEL_INNER, MODEL_HIDDEN);
        add_linear(&m, prefix, "output.dense", MODEL_HIDDEN, MODEL_INNER);
        add_norm(&m, prefix, "output");
    }
    add_linear(&m, "", "classifier", MODEL_LABELS, MODEL_HIDDEN);
    buf_str(&m.header, "}");
    bytes_put_u64le(size, m.header.size);
    buf_append(out, size, 8);
    buf_bytes_append(out, buf_bytes(&m.header));
    buf_bytes_append(out, buf_bytes(&m.data));
    buf_done(&m.header);
    buf_done(&m.data);
}

static void write_file(const char *dir, const char *name, struct bytes b)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(b.data, 1, b.size, f) == b.size && fclose(f) == 0);
}

void helper_model_write(const char *dir)
{
    struct buf b = {0};
    (void)mkdir(dir, 0700);
    helper_model_file(&b);
    write_file(dir, "model.safetensors", buf_bytes(&b));
    buf_clear(&b);
    for (const char *const *w = helper_model_words; *w; w++)
        buf_printf(&b, "%s\n", *w);
    write_file(dir, "vocab.txt", buf_bytes(&b));
    buf_clear(&b);
    buf_printf(&b,
               "{\"model_type\":\"bert\",\"architectures\":[\"BertForTokenClassification\"],"
               "\"hidden_act\":\"gelu\","
               "\"hidden_size\":%u,\"num_hidden_layers\":%u,\"num_attention_heads\":%u,"
               "\"intermediate_size\":%u,"
               "\"max_position_embeddings\":%u,\"vocab_size\":%u,\"type_vocab_size\":%u,\"layer_"
               "norm_eps\":1e-12}",
               MODEL_HIDDEN, MODEL_LAYERS, MODEL_HEADS, MODEL_INNER, MODEL_POSITIONS,
               helper_model_vocab(), MODEL_TYPES);
    write_file(dir, "config.json", buf_bytes(&b));
    buf_done(&b);
}

/* --- the plain pass ------------------------------------------------------------------------------------ */

/* The tensor's values, worked out once: [rows][columns] of the name, for the life of the program. */
static double *tensor(const char *prefix, const char *name, unsigned rows, unsigned columns)
{
    static struct {
        char name[160];
        double *values;
    } known[128];
    char full[160];
    unsigned i = 0;
    snprintf(full, sizeof(full), "%s%s", prefix, name);
    for (; known[i].values; i++)
        if (strcmp(known[i].name, full) == 0)
            return known[i].values;
    CHECK(i + 1 < ARRAY_LEN(known));
    memcpy(known[i].name, full, sizeof(full));
    known[i].values = malloc(sizeof(double) * rows * columns);
    CHECK(known[i].values);
    for (unsigned r = 0; r < rows; r++)
        for (unsigned c = 0; c < columns; c++)
            known[i].values[r * columns + c] = (double)helper_model_value(full, r, c);
    return known[i].values;
}

double *helper_model_tensor(const char *name, unsigned rows, unsigned columns)
{
    return tensor("", name, rows, columns);
}

static void linear(const char *prefix, const char *name, const double *x, unsigned in, double *y,
                   unsigned out)
{
    char weight[128], bias[128];
    snprintf(weight, sizeof(weight), "%s.weight", name);
    snprintf(bias, sizeof(bias), "%s.bias", name);
    const double *w = tensor(prefix, weight, out, in), *b = tensor(prefix, bias, 1, out);
    for (unsigned o = 0; o < out; o++) {
        y[o] = b[o];
        for (unsigned i = 0; i < in; i++)
            y[o] += x[i] * w[o * in + i];
    }
}

static void norm(const char *prefix, const char *name, double *x)
{
    char weight[128], bias[128];
    double mean = 0, square = 0;
    snprintf(weight, sizeof(weight), "%s.LayerNorm.weight", name);
    snprintf(bias, sizeof(bias), "%s.LayerNorm.bias", name);
    for (unsigned i = 0; i < MODEL_HIDDEN; i++)
        mean += x[i] / MODEL_HIDDEN;
    for (unsigned i = 0; i < MODEL_HIDDEN; i++)
        square += (x[i] - mean) * (x[i] - mean) / MODEL_HIDDEN;
    const double *gain = tensor(prefix, weight, 1, MODEL_HIDDEN),
                 *shift = tensor(prefix, bias, 1, MODEL_HIDDEN);
    for (unsigned i = 0; i < MODEL_HIDDEN; i++)
        x[i] = (x[i] - mean) / sqrt(square + 1e-12) * gain[i] + shift[i];
}

static void attend(unsigned count, const double *q, const double *k, const double *v, double *out)
{
    unsigned size = MODEL_HIDDEN / MODEL_HEADS;
    for (unsigned h = 0; h < MODEL_HEADS; h++)
        for (unsigned i = 0; i < count; i++) {
            double p[MODEL_POSITIONS], total = 0;
            for (unsigned j = 0; j < count; j++) {
                p[j] = 0;
                for (unsigned d = h * size; d < (h + 1) * size; d++)
                    p[j] += q[i * MODEL_HIDDEN + d] * k[j * MODEL_HIDDEN + d];
                p[j] = exp(p[j] / sqrt(size));
                total += p[j];
            }
            for (unsigned d = h * size; d < (h + 1) * size; d++) {
                double sum = 0;
                for (unsigned j = 0; j < count; j++)
                    sum += p[j] / total * v[j * MODEL_HIDDEN + d];
                out[i * MODEL_HIDDEN + d] = sum;
            }
        }
}

static void layer(unsigned n, unsigned count, double *x)
{
    static double q[MODEL_POSITIONS * MODEL_HIDDEN], k[MODEL_POSITIONS * MODEL_HIDDEN],
        v[MODEL_POSITIONS * MODEL_HIDDEN], mixed[MODEL_POSITIONS * MODEL_HIDDEN];
    double inner[MODEL_INNER], out[MODEL_HIDDEN];
    char prefix[64];
    snprintf(prefix, sizeof(prefix), "bert.encoder.layer.%u.", n);
    for (unsigned i = 0; i < count; i++) {
        linear(prefix, "attention.self.query", x + i * MODEL_HIDDEN, MODEL_HIDDEN,
               q + i * MODEL_HIDDEN, MODEL_HIDDEN);
        linear(prefix, "attention.self.key", x + i * MODEL_HIDDEN, MODEL_HIDDEN,
               k + i * MODEL_HIDDEN, MODEL_HIDDEN);
        linear(prefix, "attention.self.value", x + i * MODEL_HIDDEN, MODEL_HIDDEN,
               v + i * MODEL_HIDDEN, MODEL_HIDDEN);
    }
    attend(count, q, k, v, mixed);
    for (unsigned i = 0; i < count; i++) {
        double *row = x + i * MODEL_HIDDEN;
        linear(prefix, "attention.output.dense", mixed + i * MODEL_HIDDEN, MODEL_HIDDEN, out,
               MODEL_HIDDEN);
        for (unsigned c = 0; c < MODEL_HIDDEN; c++)
            row[c] += out[c];
        norm(prefix, "attention.output", row);
        linear(prefix, "intermediate.dense", row, MODEL_HIDDEN, inner, MODEL_INNER);
        for (unsigned c = 0; c < MODEL_INNER; c++)
            inner[c] = 0.5 * inner[c] * (1 + erf(inner[c] / sqrt(2)));
        linear(prefix, "output.dense", inner, MODEL_INNER, out, MODEL_HIDDEN);
        for (unsigned c = 0; c < MODEL_HIDDEN; c++)
            row[c] += out[c];
        norm(prefix, "output", row);
    }
}

void helper_model_forward(const unsigned *ids, const unsigned char *types, unsigned count,
                          double *hidden)
{
    const double *word = tensor("bert.", "embeddings.word_embeddings.weight", helper_model_vocab(),
                                MODEL_HIDDEN),
                 *place = tensor("bert.", "embeddings.position_embeddings.weight", MODEL_POSITIONS,
                                 MODEL_HIDDEN),
                 *type = tensor("bert.", "embeddings.token_type_embeddings.weight", MODEL_TYPES,
                                MODEL_HIDDEN);
    for (unsigned i = 0; i < count; i++) {
        for (unsigned c = 0; c < MODEL_HIDDEN; c++)
            hidden[i * MODEL_HIDDEN + c] = word[ids[i] * MODEL_HIDDEN + c] +
                                           place[i * MODEL_HIDDEN + c] +
                                           type[types[i] * MODEL_HIDDEN + c];
        norm("bert.", "embeddings", hidden + i * MODEL_HIDDEN);
    }
    for (unsigned n = 0; n < MODEL_LAYERS; n++)
        layer(n, count, hidden);
}
