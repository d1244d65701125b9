/* Telltale's program: finds the verb and hands over. Each verb lives in a file of its own. */
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "cli/demo.h"
#include "cli/key.h"
#include "cli/slo_check.h"
#include "cli/verbs.h"

struct verb {
    const char *name, *what;
    int (*run)(int argc, char **argv); /* argv starts after the verb */
};

static int verb_version(int argc, char **argv)
{
    printf("telltale %s\n", TELLTALE_VERSION);
    return 0;
}

static int verb_slo(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } parts[] = {{"check", slo_check_main},
                 {"explain", verbs_slo_explain},
                 {"backtest", verbs_slo_backtest},
                 {"import", verbs_slo_import}};
    for (size_t i = 0; i < ARRAY_LEN(parts) && argc > 0; i++)
        if (strcmp(argv[0], parts[i].name) == 0)
            return parts[i].run(argc - 1, argv + 1);
    fprintf(stderr, "usage: telltale slo check [FILE|DIRECTORY]…\n"
                    "       telltale slo explain [OPTION…] ID|FILE\n"
                    "       telltale slo backtest [OPTION…] [FILE|DIRECTORY]…\n"
                    "       telltale slo import FILE…\n");
    return 2;
}

static int verb_help(int argc, char **argv);

static const struct verb verbs[] = {
    {"serve", "collect, keep, answer, alert: the server", verbs_serve},
    {"check-config", "read the options and files of `serve` and say what is wrong with them",
     verbs_check_config},
    {"demo", "send the traffic of a synthetic LLM fleet to a server, with incidents on demand",
     demo_main},
    {"key", "create, list and revoke keys", key_main},
    {"slo",
     "`slo check FILE…`: what an objective means before it is loaded; `slo explain`: where its "
     "numbers come from; `slo backtest`: which alerts it would have fired",
     verb_slo},
    {"rules", "`rules check FILE…`, `rules test FILE…`: rule files and their unit tests",
     verbs_rules},
    {"receivers", "`receivers test NAME`: send a test notification from a running server",
     verbs_receivers},
    {"model", "look into a text encoder, run it over lines of JSON, time it, convert it",
     verbs_model},
    {"ground", "check a response against its context, offline; measure and train the checker",
     verbs_ground},
    {"query", "ask a running server a PromQL question", verbs_query},
    {"costs", "what calls cost, by team, user, model, …, from a running server", verbs_costs},
    {"erase", "remove the rows of a user, of traces or with an attribute from a running server",
     verbs_erase},
    {"import", "`import prices FILE`: a price document from a list of LiteLLM's", verbs_import},
    {"reconcile", "compare a provider's invoice with what a running server counted",
     verbs_reconcile},
    {"verify", "read every byte of a data directory and name what is wrong with it", verbs_verify},
    {"backup", "a consistent copy of a store, also while it takes rows", verbs_backup},
    {"restore", "make a data directory of a backup, verified first", verbs_restore},
    {"config-reference", "print every option as a Markdown table", verbs_config_reference},
    {"version", "print the version", verb_version},
    {"help", "this list; `telltale VERB --help` says more", verb_help},
};

static int verb_help(int argc, char **argv)
{
    printf("telltale: collects what LLM services emit, keeps it, and tells people when something "
           "is wrong.\n\n"
           "usage: telltale VERB [OPTION…]\n\n");
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        printf("  %-18s %s\n", verbs[i].name, verbs[i].what);
    printf("\nTo start: `telltale serve`, then open http://127.0.0.1:4320/ and point a service's "
           "OTLP exporter at\n"
           "http://127.0.0.1:4318 (HTTP) or http://127.0.0.1:4317 (gRPC). `telltale demo` sends "
           "synthetic traffic.\n");
    return 0;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "help";
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    if (strcmp(name, "--version") == 0)
        name = "version";
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (strcmp(name, verbs[i].name) == 0)
            return verbs[i].run(argc > 1 ? argc - 2 : 0, argv + 2);
    fprintf(stderr, "telltale: there is no verb '%s'; `telltale help` lists them\n", name);
    return 2;
}
