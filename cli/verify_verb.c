/* The verb `telltale verify DIR`: 0 nothing is wrong, 1 something is, 2 it could not look. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "cli/verbs.h"
#include "tsdb/tsdb_verify.h"

struct output {
    bool json, is_terminal;
    uint64_t told;
};

/* What is read from a damaged disk may hold anything. */
static void print_json_text(const char *s)
{
    putchar('"');
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c < 0x20 || c > 0x7e)
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    putchar('"');
}

static void clear_line(const struct output *o)
{
    if (o->is_terminal)
        fprintf(stderr, "\r\033[K");
}

static void problem(void *ctx, const char *where, const char *what)
{
    struct output *o = ctx;
    clear_line(o);
    if (!o->json) {
        printf("%s: ", where);
        for (; *what; what++)
            putchar((unsigned char)*what < 0x20 || *what == 0x7f ? '?' : *what);
        putchar('\n');
        return;
    }
    printf("%s\n    {\"where\": ", o->told++ ? "," : "");
    print_json_text(where);
    printf(", \"what\": ");
    print_json_text(what);
    putchar('}');
}

static void quarantined(void *ctx, const char *what)
{
    struct output *o = ctx;
    clear_line(o);
    if (!o->json)
        printf("in quarantine: %s\n", what);
}

static void progress(void *ctx, const char *where)
{
    const struct output *o = ctx;
    if (o->is_terminal)
        fprintf(stderr, "\r\033[K%s", where);
    fflush(stdout); /* before a process is forked, or it would write this too */
}

static int usage(void)
{
    fprintf(stderr, "usage: telltale verify DIR [--json]\n"
                    "  Reads every environment of a data directory that no server uses and prints "
                    "a line for each thing\n"
                    "  that is wrong. Changes nothing. Exit: 0 nothing is wrong, 1 something is, 2 "
                    "it could not look.\n");
    return 2;
}

static void print_summary(const struct output *o, const struct tsdb_verify_report *r,
                          double seconds)
{
    double mb = (double)r->bytes / 1e6, rate = seconds > 0 ? mb / seconds : 0;
    if (o->json)
        printf(
            "%s],\n  \"environments\": %llu, \"blocks\": %llu, \"rows\": %llu, \"commits\": %llu, "
            "\"orphans\": %llu, \"quarantined\": %llu,\n  \"bytes\": %llu, \"seconds\": %.3f, "
            "\"mb_per_second\": %.1f, "
            "\"problem_count\": %llu\n}\n",
            o->told ? "\n  " : "", (unsigned long long)r->environments,
            (unsigned long long)r->blocks, (unsigned long long)r->rows,
            (unsigned long long)r->commits, (unsigned long long)r->orphans,
            (unsigned long long)r->quarantined, (unsigned long long)r->bytes, seconds, rate,
            (unsigned long long)r->problems);
    else
        printf(
            "%llu problems; %llu environments, %llu blocks, %llu rows, %llu commits, %llu blocks "
            "of unfinished flushes; %.1f MB in %.2f s, %.0f MB/s\n",
            (unsigned long long)r->problems, (unsigned long long)r->environments,
            (unsigned long long)r->blocks, (unsigned long long)r->rows,
            (unsigned long long)r->commits, (unsigned long long)r->orphans, mb, seconds, rate);
}

int verbs_verify(int argc, char **argv)
{
    struct output o = {.is_terminal = isatty(2) == 1};
    struct tsdb_verify_sink sink = {&o, problem, quarantined, progress};
    struct tsdb_verify_report report;
    struct err_msg msg = {""};
    const char *dir = NULL;
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            o.json = true;
        else if (argv[i][0] == '-' || dir)
            return usage();
        else
            dir = argv[i];
    }
    if (!dir)
        return usage();
    int64_t begin = clock_mono_ns();
    if (o.json)
        printf("{\n  \"problems\": [");
    enum err e = tsdb_verify_run(dir, &sink, &report, &msg);
    clear_line(&o);
    if (e != ERR_OK) {
        if (o.json) {
            printf("],\n  \"error\": ");
            print_json_text(msg.text);
            printf("\n}\n");
        }
        fprintf(stderr, "telltale verify: %s: %s\n", err_text(e), msg.text);
        return 2;
    }
    print_summary(&o, &report, (double)(clock_mono_ns() - begin) / 1e9);
    return report.problems ? 1 : 0;
}
