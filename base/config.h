/* One table describes every option: command line flag, YAML key, type, default, help; docs are generated from it.
 *
 * Owner: caller.  Thread: start-up only.
 * Failure: config_read collects one line per error: file, line, key, and what would be valid.
 * Values of the file may say ${env:NAME} and ${file:PATH} (the file's text without its last newline): secrets stay out of the file.
 */
#ifndef BASE_CONFIG_H
#define BASE_CONFIG_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/yaml_in.h"

enum config_type {
    CONFIG_STR,
    CONFIG_BOOL,
    CONFIG_U64,
    CONFIG_SIZE,
    CONFIG_DURATION_MS,
    CONFIG_ADDR,
    CONFIG_LIST,
    CONFIG_NODE /* a part of the file with a shape of its own, left to the caller: const struct yaml_node *, NULL when absent */
};

struct config_option {
    const char *key; /* YAML, dotted: "listen.otlp_grpc" */
    const char *flag; /* "--listen-otlp-grpc", or NULL: YAML only */
    enum config_type type;
    const char *def; /* default as text; NULL = unset */
    size_t
        offset; /* of the field in the caller's struct: const char*, bool, uint64_t, uint64_t bytes, int64_t ms, const char*, struct config_list */
    const char *arg; /* "A:P" in help */
    const char *help; /* one sentence */
};

struct config_list {
    const char *const *items;
    size_t count;
};

struct config_table {
    const struct config_option *options;
    size_t count;
};

/* Sets every field to its default, then the file (path may be NULL), then argv (flags only; `--flag value` and `--flag=value`).
 * Strings live in the arena. Errors are appended to errors, one line each; returns ERR_INVALID if there were any. */
enum err config_read(const struct config_table *t, void *out_struct, const char *path, int argc,
                     const char *const *argv, struct arena *a, struct buf *errors) MUST_CHECK;
void config_help(const struct config_table *t, struct buf *out); /* the flags' part of --help */
void config_markdown(const struct config_table *t, struct buf *out); /* docs/configuration.md */

#endif
