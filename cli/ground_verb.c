/* `telltale ground`: is a response supported by its context? One of them, a file of them; how good the checker is; making one. */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/config.h"
#include "base/file_in.h"
#include "cli/ground_score.h"
#include "cli/verbs.h"
#include "detectors/detectors_ground_lab.h"

#define PATHS_MAX 64u
#define TEXT_MAX (32u << 20)

struct ground_verb_options {
    const char *context, *response, *question, *model, *precision, *out, *base, *from, *epochs,
        *rate;
    uint64_t threads, seed, rank;
};

/* clang-format off */
static const struct config_option options[] = {
    {"context",   "--context",   CONFIG_STR, NULL,   offsetof(struct ground_verb_options, context),   "FILE", "What the response has to rest on: plain text, or JSON. - is standard input."},
    {"response",  "--response",  CONFIG_STR, NULL,   offsetof(struct ground_verb_options, response),  "FILE", "The response to check."},
    {"question",  "--question",  CONFIG_STR, NULL,   offsetof(struct ground_verb_options, question),  "FILE", "What was asked, where something was."},
    {"model",     "--model",     CONFIG_STR, NULL,   offsetof(struct ground_verb_options, model),     "FILE", "A checker that `ground train` wrote, in place of the built-in one. eval and train: an encoder with a token head, in the one-file form; without one, trees alone are measured or made."},
    {"precision", "--precision", CONFIG_STR, "int8", offsetof(struct ground_verb_options, precision), "P",    "Of the encoder: fp32, bf16 or int8."},
    {"out",       "--out",       CONFIG_STR, NULL,   offsetof(struct ground_verb_options, out),       "FILE", "train: the file to write."},
    {"base",      "--base",      CONFIG_STR, NULL,   offsetof(struct ground_verb_options, base),      "MODEL", "train: an encoder, directory or file, to fine-tune first. What is done so far lies in OUT.checkpoint: after an interrupt the same command goes on."},
    {"epochs",    "--epochs",    CONFIG_STR, "3",    offsetof(struct ground_verb_options, epochs),    "N",    "train: times that the data are gone through, 1.5 say."},
    {"rate",      "--rate",      CONFIG_STR, "6e-5", offsetof(struct ground_verb_options, rate),      "R",    "train: the highest learning rate of the encoder; its head learns ten times as fast."},
    {"rank",      "--rank",      CONFIG_U64, "36",   offsetof(struct ground_verb_options, rank),      "N",    "train: of the change to each matrix of the encoder, which keeps its vectors; 0: the whole encoder changes."},
    {"from",      "--from",      CONFIG_STR, NULL,   offsetof(struct ground_verb_options, from),      "MODEL","train: begin at this fine-tuned form of --base."},
    {"seed",      "--seed",      CONFIG_U64, "1",    offsetof(struct ground_verb_options, seed),      "N",    "train: another order of the data."},
    {"threads",   "--threads",   CONFIG_U64, "0",    offsetof(struct ground_verb_options, threads),   "N",    "Threads of the encoder; 0 = one per processor."},
};
/* clang-format on */
static const struct config_table table = {options, ARRAY_LEN(options)};

static int fail(const struct err_msg *msg, enum err e)
{
    fprintf(stderr, "telltale ground: %s\n", msg->text[0] ? msg->text : err_text(e));
    return 1;
}

static bool precision_of(const struct ground_verb_options *o, enum gpu_precision *out)
{
    if (gpu_precision_of(o->precision, out))
        return true;
    fprintf(stderr, "telltale ground: --precision: give fp32, bf16 or int8\n");
    return false;
}

/* --- one response ---------------------------------------------------------------------------------- */

struct paint { /* empty where output is no terminal */
    const char *bad, *doubt, *good, *dim, *off;
};

static struct paint paint_of(FILE *f)
{
    bool colour = isatty(fileno(f)) && !getenv("NO_COLOR");
    return colour ? (struct paint){"\033[31;1m", "\033[33m", "\033[32m", "\033[2m", "\033[0m"}
                  : (struct paint){"", "", "", "", ""};
}

/* Control characters of untrusted text never reach a terminal. */
static void put_text(struct bytes t, size_t max)
{
    for (size_t i = 0; i < MIN(t.size, max); i++)
        putchar(t.data[i] < ' ' || t.data[i] == 127 ? ' ' : t.data[i]);
    if (t.size > max)
        printf("…");
}

static void print_sentence(const struct ground_text *t, const struct ground_sentence *s,
                           double threshold, bool judged, const struct paint *c)
{
    struct bytes text = bytes_slice(t->response, s->begin, s->end);
    double p = (double)s->probability;
    if (s->kind != GROUND_CLAIM || !judged) {
        printf("       %s", c->dim);
        put_text(text, SIZE_MAX);
        printf("%s%s\n",
               s->kind == GROUND_META      ? "  (says nothing to check)"
               : s->kind == GROUND_REFUSAL ? "  (a refusal)"
                                           : "",
               c->off);
        return;
    }
    const char *colour = p >= threshold ? c->bad : p >= threshold / 2 ? c->doubt : c->good;
    printf("%s%4.0f %%  ", colour, p * 100);
    put_text(text, SIZE_MAX);
    printf("%s\n", c->off);
    for (uint32_t i = 0; i < MIN(s->evidence_count, p >= threshold / 2 ? 2u : 1u); i++) {
        const struct ground_evidence *e = &s->evidence[i];
        printf("        %s%3.0f %% of it: ", c->dim, (double)e->similarity * 100);
        put_text(bytes_slice(t->documents[e->document], e->begin, e->end), 160);
        printf("%s\n", c->off);
    }
    if (s->evidence_count == 0)
        printf("        %snothing like it in the context%s\n", c->dim, c->off);
}

static void print_verdict(const struct ground *g, const struct ground_text *t,
                          const struct ground_verdict *v)
{
    struct paint c = paint_of(stdout);
    if (v->status == GROUND_UNVERIFIABLE)
        printf("%sunverifiable%s: there is no context to check against\n", c.doubt, c.off);
    else if (v->status == GROUND_NOTHING_TO_JUDGE)
        printf("%snothing to judge%s: no sentence claims anything\n", c.dim, c.off);
    else
        printf("%s%s%s: %.0f %% that something in it is not supported (flagged from %.0f %% on; "
               "model %s)\n",
               v->flagged ? c.bad : c.good, v->flagged ? "flagged" : "not flagged", c.off,
               (double)v->probability * 100, ground_threshold(g) * 100, ground_version(g));
    if (v->cut)
        printf("%sonly a part was judged: the texts are longer than the limits%s\n", c.doubt,
               c.off);
    for (uint32_t i = 0; i < v->sentences_count; i++)
        print_sentence(t, &v->sentences[i], .3, v->status == GROUND_JUDGED, &c);
}

static int run_check(struct ground *g, const struct ground_verb_options *o)
{
    struct buf context = {0}, response = {0}, question = {0};
    struct arena *a = arena_new(1ull << 30);
    struct ground_verdict v;
    struct err_msg msg = {""};
    int status = 1;
    enum err read = a ? file_in_read(o->context, TEXT_MAX, &context, &msg) : ERR_NOMEM;
    if (read == ERR_OK)
        read = file_in_read(o->response, TEXT_MAX, &response, &msg);
    if (read == ERR_OK && o->question)
        read = file_in_read(o->question, TEXT_MAX, &question, &msg);
    if (read != ERR_OK) {
        status = fail(&msg, read);
    } else {
        struct bytes document = buf_bytes(&context);
        struct ground_text t = {&document, 1, buf_bytes(&question), buf_bytes(&response)};
        enum err e = ground_check(g, &t, 0, a, &v, &msg);
        if (e == ERR_OK)
            print_verdict(g, &t, &v);
        status = e == ERR_OK ? 0 : fail(&msg, e);
    }
    buf_done(&context), buf_done(&response), buf_done(&question);
    arena_free(a);
    return status;
}

static int with_ground(const struct ground_verb_options *o, const char *score)
{
    struct ground_options open = {.model = o->model, .threads = (unsigned)MIN(o->threads, 64u)};
    struct ground *g;
    struct err_msg msg = {""};
    if (!precision_of(o, &open.precision))
        return 2;
    enum err e = ground_open(&open, &g, &msg);
    if (e != ERR_OK)
        return fail(&msg, e);
    int status = score ? ground_score_file(g, score) : run_check(g, o);
    ground_close(g);
    return status;
}

/* --- verbs ----------------------------------------------------------------------------------------- */

static atomic_bool is_interrupted;

static void interrupt(int sig)
{
    atomic_store(&is_interrupted, true);
}

static bool number_of(const char *name, const char *text, double *out)
{
    if (bytes_to_f64(bytes_str(text), out) && *out > 0 && *out < 1e6)
        return true;
    fprintf(stderr, "telltale ground: %s: give a number above 0\n", name);
    return false;
}

static int run_lab(const struct ground_verb_options *o, const char *const *paths, uint32_t n,
                   bool train)
{
    struct ground_lab_options lab = {.paths = paths,
                                     .paths_count = n,
                                     .model = o->model,
                                     .out = o->out,
                                     .base = train ? o->base : NULL,
                                     .seed = o->seed,
                                     .from = o->from,
                                     .rank = (uint32_t)MIN(o->rank, 4096u),
                                     .stop = &is_interrupted,
                                     .threads = (unsigned)MIN(o->threads, 64u),
                                     .report = stdout};
    struct err_msg msg = {""};
    if (n == 0 || (train && !o->out)) {
        fprintf(stderr, "telltale ground: give the files or directories of judged data%s\n",
                train ? ", and --out FILE" : "");
        return 2;
    }
    double rate;
    if (!precision_of(o, &lab.precision) || !number_of("--epochs", o->epochs, &lab.epochs) ||
        !number_of("--rate", o->rate, &rate))
        return 2;
    lab.rate = (float)rate;
    if (lab.base) { /* hours: an interrupt keeps what was done */
        struct sigaction action = {.sa_handler = interrupt};
        (void)sigaction(SIGINT, &action, NULL); /* valid signals */
        (void)sigaction(SIGTERM, &action, NULL);
    }
    enum err e = train ? ground_lab_train(&lab, &msg) : ground_lab_eval(&lab, &msg);
    return e == ERR_OK ? 0 : fail(&msg, e);
}

static void usage(FILE *out)
{
    struct buf help = {0};
    config_help(&table, &help);
    fprintf(out,
            "usage: telltale ground --context FILE --response FILE [--question FILE]\n"
            "       telltale ground score FILE.jsonl      a line a response: probability, spans, "
            "sentences with evidence\n"
            "       telltale ground eval DIR…             how good the checker is, by "
            "cross-validation on judged data\n"
            "       telltale ground train DIR… --out FILE make a checker from judged data\n"
            "       telltale ground train DIR… --base MODEL --out FILE   the same, with an encoder "
            "fine-tuned on them: hours\n\n"
            "All of it runs inside this process; nothing is sent anywhere.\n\n" BYTES_FMT,
            BYTES_ARG(buf_bytes(&help)));
    buf_done(&help);
}

static int run(const struct ground_verb_options *o, const char *const *words, uint32_t n)
{
    const char *verb = n ? words[0] : "";
    if (strcmp(verb, "eval") == 0 || strcmp(verb, "train") == 0)
        return run_lab(o, words + 1, n - 1, verb[0] == 't');
    if (strcmp(verb, "score") == 0 && n == 2)
        return with_ground(o, words[1]);
    if (n == 0 && o->context && o->response)
        return with_ground(o, NULL);
    usage(stderr);
    return 2;
}

/* Flags and their values to one side, words to the other: every option takes a value. */
int verbs_ground(int argc, char **argv)
{
    struct ground_verb_options o = {0};
    const char *flags[32], *words[PATHS_MAX];
    int flag_count = 0, status = 2;
    uint32_t word_count = 0;
    if (argc == 0 || strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0) {
        usage(argc ? stdout : stderr);
        return argc ? 0 : 2;
    }
    for (int i = 0; i < argc; i++) {
        bool is_flag = strncmp(argv[i], "--", 2) == 0;
        if ((is_flag && flag_count > 29) || (!is_flag && word_count == PATHS_MAX)) {
            fprintf(stderr, "telltale ground: what is '%s' for?\n", argv[i]);
            return 2;
        }
        if (!is_flag) {
            words[word_count++] = argv[i];
            continue;
        }
        flags[flag_count++] = argv[i];
        if (!strchr(argv[i], '=') && i + 1 < argc)
            flags[flag_count++] = argv[++i];
    }
    struct arena *a = arena_new(0);
    struct buf errors = {0};
    if (a && config_read(&table, &o, NULL, flag_count, flags, a, &errors) == ERR_OK)
        status = run(&o, words, word_count);
    else
        fprintf(stderr, BYTES_FMT, BYTES_ARG(buf_bytes(&errors)));
    buf_done(&errors);
    arena_free(a);
    return status;
}
