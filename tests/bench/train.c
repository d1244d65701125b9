/* Training tokens a second: steps of the optimiser over batches of sequences of one length (or of mixed lengths), made of seeded numbers.
 * By hand, as PyTorch's figure is taken:
 *     build/faults/tests/bench_train --model DIR --length 480 --tokens 6000 --steps 4 [--threads 2] [--precision bf16|fp32] [--dropout .1]
 * Prints parameters, tokens/s by wall and by CPU time, FLOP per CPU second beside those of one product alone in the same run, and the last loss.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/hash.h"
#include "gpu/helper_model.h"
#include "gpu/train_core.h"

struct options {
    const char *model;
    uint32_t length, tokens, steps;
    bool mixed;
    struct gpu_train_options train;
};

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void parse(int argc, char **argv, struct options *o)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        if (strcmp(name, "--model") == 0)
            o->model = value;
        else if (strcmp(name, "--length") == 0)
            o->length = (uint32_t)atoi(value);
        else if (strcmp(name, "--tokens") == 0)
            o->tokens = (uint32_t)atoi(value);
        else if (strcmp(name, "--steps") == 0)
            o->steps = (uint32_t)atoi(value);
        else if (strcmp(name, "--threads") == 0)
            o->train.threads = (uint32_t)atoi(value);
        else if (strcmp(name, "--mixed") == 0)
            o->mixed = atoi(value) != 0;
        else if (strcmp(name, "--dropout") == 0)
            o->train.dropout = (float)atof(value);
        else if (strcmp(name, "--precision") == 0)
            CHECK(gpu_precision_of(value, &o->train.precision));
        else
            CHECK_UNREACHABLE();
    }
}

static uint32_t number(uint64_t a, uint64_t b, uint32_t below)
{
    return (uint32_t)(hash64(bytes_of(&a, sizeof(a)), b) % below);
}

/* The last third of each sequence is judged, as a response behind its context is. */
static uint32_t make_batch(const struct options *o, const struct gpu_trainer *t, uint64_t seed,
                           uint32_t *ids, int8_t *labels, struct gpu_train_example *x,
                           uint32_t examples_max)
{
    uint32_t n = 0, at = 0, vocabulary = t->net.vocabulary;
    while (n < examples_max) {
        uint32_t length =
            MIN(o->mixed ? 20 + number(seed, n, o->length) : o->length, t->net.positions);
        if (at + length > o->tokens)
            break;
        for (uint32_t k = 0; k < length; k++) {
            ids[at + k] = number(seed * 65536 + n, k, vocabulary);
            labels[at + k] = (int8_t)(k < length * 2 / 3 ? -1 : (int)(ids[at + k] % 2));
        }
        x[n++] = (struct gpu_train_example){
            .ids = ids + at, .count = length, .labels = labels + at, .part = 1, .weight = 1};
        at += length;
    }
    return n;
}

/* What the product alone does at this moment, in FLOP per CPU second: other work on the machine slows both down. */
static double product_rate(const struct train_net *n)
{
    enum { ROWS = 960, TIMES = 4 };
    const struct train_set *s = n->set;
    const struct train_matrix *m = &n->layer[0].in;
    size_t cells = train_cells(s, m->k);
    train_cell *a = train_memory(ROWS * cells * 4);
    float *c = train_memory((size_t)ROWS * m->n * 4);
    CHECK(a && c);
    struct train_product p = {.a = a,
                              .a_ld = cells,
                              .b = m->forward,
                              .b_panel = cells * s->panel,
                              .c = c,
                              .ldc = m->n,
                              .m = ROWS,
                              .n = m->n,
                              .cells = (uint32_t)cells};
    double from = seconds(CLOCK_THREAD_CPUTIME_ID);
    for (int i = 0; i < TIMES; i++)
        s->product(&p);
    double took = seconds(CLOCK_THREAD_CPUTIME_ID) - from;
    free(a), free(c);
    return 2.0 * TIMES * ROWS * m->n * m->k / took;
}

/* Only what is run counts: of the last layer, behind its keys and values, the judged third. */
static void report(const struct options *o, const struct gpu_trainer *t, uint64_t tokens,
                   double wall, double cpu, double alone, const struct gpu_train_loss *l)
{
    const struct train_net *n = &t->net;
    double width = n->hidden, layers = n->layers, tail = width * (width + 2.0 * n->inner);
    double products = 6 * (layers * (3 * width * width + tail) - tail * 2 / 3),
           attention = 14 * width * o->length * (layers - 2. / 3);
    printf("%s kernels, %s, %u threads, length %u, %u tokens a batch, dropout %g\n", n->set->name,
           gpu_precision_name(o->train.precision), t->threads, o->length, o->tokens,
           (double)o->train.dropout);
    printf("%llu tokens in %.2f s: %.0f tokens/s; %.2f CPU seconds: %.0f tokens per CPU second; "
           "%.0f GFLOP per CPU second, where a product alone does %.0f; loss %.4f\n",
           (unsigned long long)tokens, wall, (double)tokens / wall, cpu, (double)tokens / cpu,
           (products + attention) * (double)tokens / cpu * 1e-9, alone * 1e-9, l->token);
}

static int run(const struct options *o)
{
    struct gpu_trainer *t;
    struct err_msg msg = {""};
    struct gpu_train_loss l = {0};
    if (gpu_trainer_open(o->model, &o->train, &t, &msg) != ERR_OK) {
        fprintf(stderr, "%s\n", msg.text);
        return 1;
    }
    uint32_t examples_max = o->tokens / MIN(o->length, 16u) + 1;
    uint32_t *ids = calloc(o->tokens, sizeof(*ids));
    int8_t *labels = calloc(o->tokens, sizeof(*labels));
    struct gpu_train_example *x = calloc(examples_max, sizeof(*x));
    CHECK(ids && labels && x);
    uint64_t tokens = 0;
    double wall = 0, cpu = 0, alone = 0;
    enum err e = ERR_OK;
    for (uint32_t i = 0; i <= o->steps && e == ERR_OK; i++) { /* the first one warms up */
        uint32_t n = make_batch(o, t, i, ids, labels, x, examples_max);
        double w = seconds(CLOCK_MONOTONIC), c = seconds(CLOCK_PROCESS_CPUTIME_ID);
        e = gpu_trainer_step(t, x, n, &l, &msg);
        if (i == 0)
            continue;
        wall += seconds(CLOCK_MONOTONIC) - w;
        cpu += seconds(CLOCK_PROCESS_CPUTIME_ID) - c;
        alone += product_rate(&t->net) / o->steps;
        tokens += l.tokens;
    }
    if (e != ERR_OK)
        fprintf(stderr, "%s\n", msg.text);
    else
        report(o, t, tokens, wall, cpu, alone, &l);
    free(ids), free(labels), free(x);
    gpu_trainer_close(t);
    return e != ERR_OK;
}

int main(int argc, char **argv)
{
    struct options o = {
        .length = 37, .tokens = 300, .steps = 2, .train = gpu_train_options_default()};
    char dir[64] = "";
    parse(argc, argv, &o);
    if (!o.model) {
        snprintf(dir, sizeof(dir), "/tmp/telltale-bench-train-%d", (int)getpid());
        helper_model_write(dir);
        o.model = dir;
    }
    int rc = run(&o);
    static const char *const names[] = {"config.json", "vocab.txt", "model.safetensors"};
    for (size_t i = 0; dir[0] && i < ARRAY_LEN(names); i++) {
        char path[128];
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        (void)unlink(path);
    }
    if (dir[0])
        (void)rmdir(dir);
    return rc;
}
