/* `telltale model`: look into an encoder, run it over lines of JSON, time it, put it into one file. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/json_in.h"
#include "base/json_out.h"
#include "cli/verbs.h"
#include "gpu/gpu_encode.h"

#define BATCH 256u

struct model_options {
    const char *model, *precision, *out, *base;
    uint64_t threads, seconds, length, branch;
};

/* clang-format off */
static const struct config_option options[] = {
    {"model",     "--model",     CONFIG_STR, NULL,   offsetof(struct model_options, model),     "DIR|FILE", "A model: a directory as published, or one file that `telltale model convert` wrote."},
    {"precision", "--precision", CONFIG_STR, "fp32", offsetof(struct model_options, precision), "P",        "fp32, bf16 or int8; where the processor lacks the instructions, more than was asked for."},
    {"out",       "--out",       CONFIG_STR, NULL,   offsetof(struct model_options, out),       "FILE",     "convert: the file to write; it must not be there yet."},
    {"base",      "--base",      CONFIG_STR, NULL,   offsetof(struct model_options, base),      "DIR",      "convert: where configuration and vocabulary are when --model is a file of weights alone."},
    {"branch",    "--branch",    CONFIG_U64, "0",    offsetof(struct model_options, branch),    "RANK",     "convert: --model is --base fine-tuned with a token head; keep the base for vectors, and the difference, of this rank, for the head."},
    {"threads",   "--threads",   CONFIG_U64, "0",    offsetof(struct model_options, threads),   "N",        "Threads; 0 = one per processor."},
    {"seconds",   "--seconds",   CONFIG_U64, "3",    offsetof(struct model_options, seconds),   "S",        "bench: how long."},
    {"length",    "--length",    CONFIG_U64, "216",  offsetof(struct model_options, length),    "TOKENS",   "bench: tokens a sequence, where no file of texts is given."},
};
/* clang-format on */
static const struct config_table table = {options, ARRAY_LEN(options)};

static int fail(const struct err_msg *msg, enum err e)
{
    fprintf(stderr, "telltale model: %s\n", msg->text[0] ? msg->text : err_text(e));
    return 1;
}

/* --- lines ------------------------------------------------------------------------------------------ */

struct lines {
    FILE *in;
    const char *name;
    char *line;
    size_t cap;
    uint64_t number;
};

/* The next line as a tree in the arena; false at the end. *out NULL and a message when it is no object with text. */
static bool next_line(struct lines *l, struct arena *a, const struct json_node **out,
                      struct err_msg *msg)
{
    struct json_node *root;
    *out = NULL;
    ssize_t n = getline(&l->line, &l->cap, l->in);
    if (n < 0)
        return false;
    l->number++;
    struct bytes text = bytes_trim(bytes_of(l->line, (size_t)n));
    if (text.size == 0)
        return next_line(l, a, out, msg);
    struct bytes own = arena_copy(a, text);
    struct err_msg why = {""};
    enum err e = own.data ? json_in_tree(own, 8, a, &root, &why) : ERR_NOMEM;
    if (e == ERR_OK && (json_get(root, "text") || (json_get(root, "a") && json_get(root, "b"))))
        *out = root;
    else
        err_set(msg, ERR_INVALID, "%s, line %llu: %s", l->name, (unsigned long long)l->number,
                e == ERR_OK ? "give {\"text\": …} or {\"a\": …, \"b\": …}" : why.text);
    return true;
}

static bool is_pair(const struct json_node *n)
{
    return json_get(n, "text") == NULL;
}

static struct bytes first_text(const struct json_node *n)
{
    return json_get_str(n, is_pair(n) ? "a" : "text");
}

static int open_lines(struct lines *l, int argc, char **argv)
{
    *l = (struct lines){.in = stdin, .name = argc > 0 ? argv[0] : "standard input"};
    if (argc > 0 && strcmp(argv[0], "-") != 0)
        l->in = fopen(argv[0], "r");
    if (!l->in)
        fprintf(stderr, "telltale model: %s cannot be read\n", l->name);
    return l->in ? 0 : 2;
}

static void close_lines(struct lines *l)
{
    if (l->in && l->in != stdin)
        (void)fclose(l->in);
    free(l->line);
}

/* --- tokens ------------------------------------------------------------------------------------------ */

static bool line_tokens(const struct gpu_vocab *v, const struct json_node *n, struct gpu_tokens *t)
{
    t->count = 0;
    bool ok = gpu_tokens_special(gpu_vocab_cls(v), 0, t) &&
              gpu_tokens_add(v, first_text(n), 0, t) && gpu_tokens_special(gpu_vocab_sep(v), 0, t);
    if (ok && is_pair(n))
        ok = gpu_tokens_add(v, json_get_str(n, "b"), 1, t) &&
             gpu_tokens_special(gpu_vocab_sep(v), 1, t);
    return ok;
}

static void print_tokens(const struct gpu_tokens *t, bool with_types, struct buf *out)
{
    buf_str(out, "{\"ids\":[");
    for (uint32_t i = 0; i < t->count; i++)
        buf_printf(out, "%s%u", i ? "," : "", t->id[i]);
    buf_str(out, "]");
    if (with_types) {
        buf_str(out, ",\"type_ids\":[");
        for (uint32_t i = 0; i < t->count; i++)
            buf_printf(out, "%s%u", i ? "," : "", t->type[i]);
        buf_str(out, "]");
    }
    buf_str(out, "}\n");
}

static int run_tokens(const struct model_options *o, int argc, char **argv)
{
    struct gpu_vocab *v;
    struct err_msg msg = {""};
    struct lines l;
    const struct json_node *n;
    enum err e = gpu_model_read_vocab(o->model, &v, &msg);
    if (e != ERR_OK)
        return fail(&msg, e);
    int status = open_lines(&l, argc, argv);
    struct arena *a = arena_new(0);
    struct gpu_tokens t = {0};
    struct buf out = {0};
    while (status == 0 && a && next_line(&l, a, &n, &msg)) {
        buf_clear(&out);
        if (!n)
            status = fail(&msg, ERR_INVALID);
        else if (line_tokens(v, n, &t))
            print_tokens(&t, is_pair(n), &out);
        (void)fwrite(out.data, 1, out.size, stdout);
        arena_reset(a);
    }
    gpu_tokens_done(&t);
    buf_done(&out);
    arena_free(a);
    close_lines(&l);
    gpu_vocab_free(v);
    return status;
}

/* --- vectors ----------------------------------------------------------------------------------------- */

struct batch {
    struct gpu_tokens tokens;
    uint32_t first[BATCH + 1], count;
    struct gpu_sequence sequences[BATCH];
    float *vectors;
};

static enum err run_batch(struct gpu_encoder *e, struct batch *b, uint32_t width, struct buf *out,
                          struct err_msg *msg)
{
    for (uint32_t i = 0; i < b->count; i++)
        b->sequences[i] =
            (struct gpu_sequence){b->tokens.id + b->first[i], b->tokens.type + b->first[i],
                                  b->first[i + 1] - b->first[i], b->vectors + (size_t)i * width};
    enum err err = gpu_encode(e, b->sequences, b->count, GPU_VECTOR, msg);
    for (uint32_t i = 0; i < b->count && err == ERR_OK; i++) {
        buf_str(out, "{\"vector\":[");
        for (uint32_t k = 0; k < width; k++)
            buf_printf(out, "%s%.9g", k ? "," : "", (double)b->sequences[i].out[k]);
        buf_str(out, "]}\n");
    }
    if (err == ERR_OK && fwrite(out->data, 1, out->size, stdout) != out->size)
        err = err_set(msg, ERR_IO, "the output cannot be written");
    buf_clear(out);
    b->count = 0;
    b->tokens.count = 0;
    return err;
}

static int embed_lines(const struct gpu_model *m, struct gpu_encoder *encoder, struct lines *l)
{
    struct gpu_model_info info;
    struct err_msg msg = {""};
    const struct json_node *n;
    struct buf out = {0};
    struct arena *a = arena_new(0);
    struct batch *b = calloc(1, sizeof(*b));
    enum err e = ERR_OK;
    gpu_model_info(m, &info);
    if (b)
        b->vectors = malloc((size_t)BATCH * info.hidden * sizeof(float));
    if (!a || !b || !b->vectors)
        e = ERR_NOMEM;
    while (e == ERR_OK && next_line(l, a, &n, &msg)) {
        struct bytes second = n ? json_get_str(n, "b") : BYTES_NONE;
        if (!n)
            e = ERR_INVALID;
        else if (!gpu_encode_text(m, first_text(n), is_pair(n) ? &second : NULL, 0, &b->tokens))
            e = ERR_NOMEM;
        if (e == ERR_OK) {
            b->first[++b->count] = b->tokens.count;
            if (b->count == BATCH)
                e = run_batch(encoder, b, info.hidden, &out, &msg);
        }
        arena_reset(a);
    }
    if (e == ERR_OK && b->count)
        e = run_batch(encoder, b, info.hidden, &out, &msg);
    if (b) {
        gpu_tokens_done(&b->tokens);
        free(b->vectors);
    }
    free(b);
    buf_done(&out);
    arena_free(a);
    return e == ERR_OK ? 0 : fail(&msg, e);
}

static int run_embed(const struct gpu_model *m, struct gpu_encoder *e,
                     const struct model_options *o, int argc, char **argv)
{
    struct lines l;
    int status = open_lines(&l, argc, argv);
    if (status == 0)
        status = embed_lines(m, e, &l);
    close_lines(&l);
    return status;
}

/* --- info, bench, convert ------------------------------------------------------------------------------ */

static int run_info(const struct gpu_model *m, struct gpu_encoder *e, const struct model_options *o,
                    int argc, char **argv)
{
    static const char *const heads[] = {"none: sentence vectors", "token labels",
                                        "labels of the whole sequence"};
    struct gpu_model_info i;
    gpu_model_info(m, &i);
    printf("encoder      BERT, %u layers, width %u, %u heads, inner %u\n", i.layers, i.hidden,
           i.heads, i.inner);
    printf("vocabulary   %u tokens (%u rows)\n", gpu_vocab_size(gpu_model_vocab(m)), i.vocabulary);
    printf("positions    %u\n", i.positions);
    printf("parameters   %.1f million\n", (double)i.parameters / 1e6);
    printf("pooling      %s, length 1\n",
           i.pooling == GPU_POOL_CLS ? "[CLS]" : "mean over all tokens");
    printf("head         %s", heads[i.head]);
    if (i.labels)
        printf(" (%u)", i.labels);
    printf(i.has_branch ? ", with weights of its own beside the encoder's\n" : "\n");
    printf("runs as      %s on the %s kernels\n", gpu_precision_name(i.precision), i.kernels);
    return 0;
}

static double cpu_seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

#define BENCH_TEXTS 4096u

struct bench {
    struct gpu_tokens tokens;
    uint32_t first[BENCH_TEXTS + 1], count;
};

/* Bytes of text made into tokens a CPU second, one thread. */
static enum err time_tokens(const struct gpu_model *m, struct bytes text)
{
    struct gpu_tokens t = {0};
    double begin = cpu_seconds(), cpu = 0, bytes = 0;
    bool ok = true;
    while (ok && text.size && cpu < 0.2) {
        t.count = 0;
        ok = gpu_tokens_add(gpu_model_vocab(m), text, 0, &t);
        bytes += (double)text.size;
        cpu = cpu_seconds() - begin;
    }
    if (ok && cpu > 0)
        printf("tokenizer: %.0f MB a CPU second\n", bytes / 1e6 / cpu);
    gpu_tokens_done(&t);
    return ok ? ERR_OK : ERR_NOMEM;
}

/* The texts of a file as sequences; tells how fast they become tokens. */
static enum err read_texts(const struct gpu_model *m, struct lines *l, struct bench *b,
                           struct err_msg *msg)
{
    struct arena *a = arena_new(0);
    const struct json_node *node;
    struct buf all = {0};
    enum err e = a ? ERR_OK : ERR_NOMEM;
    while (e == ERR_OK && b->count < BENCH_TEXTS && next_line(l, a, &node, msg)) {
        if (!node)
            e = ERR_INVALID;
        else if (!gpu_encode_text(m, first_text(node), NULL, 0, &b->tokens))
            e = ERR_NOMEM;
        else
            buf_bytes_append(&all, first_text(node));
        buf_u8(&all, '\n');
        b->first[++b->count] = b->tokens.count;
        arena_reset(a);
    }
    arena_free(a);
    if (e == ERR_OK)
        e = buf_ok(&all) ? time_tokens(m, buf_bytes(&all)) : ERR_NOMEM;
    buf_done(&all);
    return e;
}

static enum err time_passes(const struct gpu_model_info *info, struct gpu_encoder *e,
                            const struct bench *b, uint64_t seconds_max, struct err_msg *msg)
{
    uint32_t n = b->count, at = 0;
    const uint32_t *first = b->first;
    struct gpu_sequence *s = calloc(n + 1, sizeof(*s));
    float *out = calloc((size_t)n * info->hidden + 1, sizeof(*out));
    enum err err = s && out ? ERR_OK : ERR_NOMEM;
    for (uint32_t i = 0; i < n && err == ERR_OK; i++)
        s[i] = (struct gpu_sequence){b->tokens.id + first[i], NULL, first[i + 1] - first[i],
                                     out + (size_t)i * info->hidden};
    int64_t begin = clock_mono_ns(), now = begin;
    double cpu = cpu_seconds(), sum = 0;
    uint64_t tokens = 0;
    while (err == ERR_OK && n && (uint64_t)(now - begin) < seconds_max * 1000000000u) {
        uint32_t some = MIN(n - at, 64u);
        err = gpu_encode(e, s + at, some, GPU_VECTOR, msg);
        tokens += first[at + some] - first[at];
        at = (at + some) % n;
        now = clock_mono_ns();
    }
    double seconds = (double)(now - begin) / 1e9;
    cpu = cpu_seconds() - cpu;
    for (size_t i = 0; err == ERR_OK && i < (size_t)n * info->hidden; i++)
        sum += (double)out[i];
    if (err == ERR_OK)
        printf("%s, %s kernels: %.0f tokens/s, %.0f a CPU second (%u sequences, mean %.0f tokens, "
               "%.1f s, checksum %.6f)\n",
               gpu_precision_name(info->precision), info->kernels, (double)tokens / seconds,
               (double)tokens / cpu, n, n ? (double)b->tokens.count / n : 0, seconds, sum);
    free(s), free(out);
    return err;
}

/* Texts of a file, or made-up tokens; whole passes over them until the time is over. */
static int run_bench(const struct gpu_model *m, struct gpu_encoder *e,
                     const struct model_options *o, int argc, char **argv)
{
    struct gpu_model_info info;
    struct err_msg msg = {""};
    struct lines l = {0};
    struct bench *b = calloc(1, sizeof(*b));
    gpu_model_info(m, &info);
    if (argc > 0 && open_lines(&l, argc, argv) != 0) {
        free(b);
        return 2;
    }
    enum err err = !b ? ERR_NOMEM : l.in ? read_texts(m, &l, b, &msg) : ERR_OK;
    for (uint32_t k = 0; b && !l.in && b->count < 256; b->first[++b->count] = b->tokens.count)
        for (uint64_t i = 0; i < o->length && err == ERR_OK; i++, k++)
            err =
                gpu_tokens_special(k * 7919 % info.vocabulary, 0, &b->tokens) ? ERR_OK : ERR_NOMEM;
    if (err == ERR_OK)
        err = time_passes(&info, e, b, o->seconds, &msg);
    if (b)
        gpu_tokens_done(&b->tokens);
    free(b);
    close_lines(&l);
    return err == ERR_OK ? 0 : fail(&msg, err);
}

static int with_model(const struct model_options *o, int argc, char **argv,
                      int (*run)(const struct gpu_model *, struct gpu_encoder *,
                                 const struct model_options *, int, char **))
{
    struct gpu_model *m;
    enum gpu_precision p;
    struct err_msg msg = {""};
    if (!gpu_precision_of(o->precision, &p)) {
        fprintf(stderr, "telltale model: --precision: give fp32, bf16 or int8\n");
        return 2;
    }
    enum err e = gpu_model_open(o->model, p, &m, &msg);
    if (e != ERR_OK)
        return fail(&msg, e);
    struct gpu_encoder *encoder = gpu_encoder_new(m, (unsigned)MIN(o->threads, 64u));
    int status = encoder ? run(m, encoder, o, argc, argv) : fail(&msg, ERR_NOMEM);
    gpu_encoder_free(encoder);
    gpu_model_close(m);
    return status;
}

static int run_convert(const struct model_options *o)
{
    enum gpu_precision p;
    struct err_msg msg = {""};
    if (!o->out || !gpu_precision_of(o->precision, &p) || p == GPU_BF16) {
        fprintf(
            stderr,
            "telltale model convert: give --out FILE, and --precision fp32 (as it is) or int8\n");
        return 2;
    }
    if (o->branch && !o->base) {
        fprintf(stderr, "telltale model convert: --branch needs --base, the model before it was "
                        "fine-tuned\n");
        return 2;
    }
    enum err e = o->branch ? gpu_model_branch(o->base, o->model, (uint32_t)MIN(o->branch, 4096u),
                                              o->out, &msg)
                           : gpu_model_convert(o->model, o->base, o->out, p == GPU_INT8, &msg);
    return e == ERR_OK ? 0 : fail(&msg, e);
}

static void usage(FILE *out)
{
    struct buf help = {0};
    config_help(&table, &help);
    fprintf(out,
            "usage: telltale model VERB --model DIR|FILE [OPTION…] [IN.jsonl]\n\n"
            "  info      what the model is and how it runs here\n"
            "  tokens    a line {\"text\"} or {\"a\", \"b\"} in, a line {\"ids\"} out\n"
            "  embed     a line {\"text\"} in, a line {\"vector\"} out: pooled, of length 1\n"
            "  bench     tokens per second, over the texts of IN.jsonl or made-up ones\n"
            "  convert   the one-file form (--out FILE; --precision int8 for small matrices; "
            "--base DIR\n"
            "            when the file has weights alone)\n\n" BYTES_FMT,
            BYTES_ARG(buf_bytes(&help)));
    buf_done(&help);
}

static int run_verb(const char *verb, const struct model_options *o, int argc, char **argv)
{
    if (strcmp(verb, "info") == 0)
        return with_model(o, argc, argv, run_info);
    if (strcmp(verb, "tokens") == 0)
        return run_tokens(o, argc, argv);
    if (strcmp(verb, "embed") == 0)
        return with_model(o, argc, argv, run_embed);
    if (strcmp(verb, "bench") == 0)
        return with_model(o, argc, argv, run_bench);
    if (strcmp(verb, "convert") == 0)
        return run_convert(o);
    fprintf(stderr, "telltale model: there is no verb '%s'\n\n", verb);
    usage(stderr);
    return 2;
}

/* Flags and their values to one side, files to the other: every option takes a value. */
int verbs_model(int argc, char **argv)
{
    struct model_options o = {0};
    const char *flags[32];
    char *files[2] = {NULL, NULL};
    int flag_count = 0, file_count = 0, status = 2;
    if (argc == 0 || strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0) {
        usage(argc ? stdout : stderr);
        return argc ? 0 : 2;
    }
    for (int i = 1; i < argc; i++) {
        bool is_flag = strncmp(argv[i], "--", 2) == 0;
        if ((is_flag && flag_count > 29) || (!is_flag && file_count == 1)) {
            fprintf(stderr, "telltale model: what is '%s' for?\n", argv[i]);
            return 2;
        }
        if (!is_flag) {
            files[file_count++] = argv[i];
            continue;
        }
        flags[flag_count++] = argv[i];
        if (!strchr(argv[i], '=') && i + 1 < argc)
            flags[flag_count++] = argv[++i];
    }
    struct arena *a = arena_new(0);
    struct buf errors = {0};
    if (a && config_read(&table, &o, NULL, flag_count, flags, a, &errors) == ERR_OK && o.model)
        status = run_verb(argv[0], &o, file_count, files);
    else
        fprintf(stderr, BYTES_FMT "%s", BYTES_ARG(buf_bytes(&errors)),
                errors.size ? "" : "telltale model: give --model DIR or --model FILE\n");
    buf_done(&errors);
    arena_free(a);
    return status;
}
