#include "base/config.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"

#define FILE_BYTES_MAX (1u << 20)
#define LIST_MAX 256u

struct load {
    const struct config_table *table;
    uint8_t *out;
    struct arena *arena;
    struct buf *errors;
    const char *file;
    size_t error_count;
};

/* Where a value came from, for its error line: "telltale.yaml:12: listen.http" or "--listen-http". */
struct origin {
    const char *name;
    unsigned line; /* 0: the command line */
};

__attribute__((format(printf, 3, 4))) static void complain(struct load *l, struct origin from,
                                                           const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (from.line)
        buf_printf(l->errors, "%s:%u: %s: %s\n", l->file, from.line, from.name, text);
    else
        buf_printf(l->errors, "%s: %s\n", from.name, text);
    l->error_count++;
}

/* --- values ------------------------------------------------------------------------------------- */

static bool parse_size(const char *text, uint64_t *out)
{
    static const struct {
        const char *unit;
        uint64_t bytes;
    } units[] = {{"", 1},           {"B", 1},          {"KiB", 1u << 10},
                 {"MiB", 1u << 20}, {"GiB", 1u << 30}, {"TiB", 1ull << 40},
                 {"KB", 1000},      {"MB", 1000000},   {"GB", 1000000000},
                 {"k", 1u << 10},   {"K", 1u << 10},   {"M", 1u << 20},
                 {"G", 1u << 30}};
    size_t n = strspn(text, "0123456789");
    uint64_t v;
    if (!bytes_to_u64(bytes_of(text, n), &v))
        return false;
    while (text[n] == ' ')
        n++;
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (strcmp(text + n, units[i].unit) == 0)
            return !__builtin_mul_overflow(v, units[i].bytes, out);
    return false;
}

static bool is_address(const char *text)
{
    const char *colon = strrchr(text, ':');
    uint64_t port;
    if (!colon || colon == text || !bytes_to_u64(bytes_str(colon + 1), &port) || port > 65535)
        return false;
    bool bracketed = text[0] == '[' && colon[-1] == ']';
    return bracketed || !memchr(text, ':', (size_t)(colon - text)); /* IPv6 stands in brackets */
}

static const char *keep(struct load *l, const char *text)
{
    return (const char *)arena_printf(l->arena, "%s", text).data;
}

static bool list_append(struct load *l, struct config_list *list, const char *text)
{
    const char **items = (const char **)(uintptr_t)list->items;
    if (list->count == LIST_MAX)
        return false;
    items = arena_grow(l->arena, items, sizeof(*items), list->count, list->count + 1);
    if (!items || !(items[list->count] = keep(l, text)))
        return false;
    list->items = items;
    list->count++;
    return true;
}

/* Writes the option's field; a sentence of what would be valid on failure. */
static const char *value_set(struct load *l, const struct config_option *o, const char *text)
{
    void *field = l->out + o->offset;
    switch (o->type) {
    case CONFIG_ADDR:
        if (!is_address(text))
            return "an address like 127.0.0.1:4317, 0.0.0.0:4317 or [::1]:4317";
        /* fall through */
    case CONFIG_STR: *(const char **)field = keep(l, text); return NULL;
    case CONFIG_BOOL:
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
            return "true or false";
        *(bool *)field = text[0] == 't';
        return NULL;
    case CONFIG_U64:
        return bytes_to_u64(bytes_str(text), field) ? NULL : "a whole number, 0 or more";
    case CONFIG_SIZE:
        return parse_size(text, field) ? NULL : "a size like 512MiB, 4GiB or a number of bytes";
    case CONFIG_DURATION_MS:
        return clock_parse_duration_ms(text, field) ? NULL
                                                    : "a duration like 30d, 12h, 1h30m or 500ms";
    case CONFIG_LIST: return list_append(l, field, text) ? NULL : "at most 256 values";
    case CONFIG_NODE: return "a map or list in the file";
    }
    CHECK_UNREACHABLE();
}

/* --- names and hints ----------------------------------------------------------------------------- */

static size_t edit_distance(const char *a, const char *b)
{
    size_t row[128], n = strlen(b);
    if (n >= ARRAY_LEN(row))
        return SIZE_MAX;
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < n; j++) {
            size_t up = row[j + 1], cost = diagonal + (a[i] != b[j]);
            diagonal = up;
            row[j + 1] = MIN(MIN(up, row[j]) + 1, cost);
        }
    }
    return row[n];
}

/* ", did you mean X?" or "" */
static struct bytes hint(struct load *l, const char *name, bool is_flag)
{
    const char *best = NULL;
    size_t best_distance = strlen(name) / 3 + 2;
    for (size_t i = 0; i < l->table->count; i++) {
        const char *candidate = is_flag ? l->table->options[i].flag : l->table->options[i].key;
        size_t d = candidate ? edit_distance(name, candidate) : SIZE_MAX;
        if (d < best_distance) {
            best = candidate;
            best_distance = d;
        }
    }
    return best ? arena_printf(l->arena, "; did you mean %s?", best)
                : arena_printf(l->arena, "%s", "");
}

static const struct config_option *find_key(const struct config_table *t, const char *key)
{
    for (size_t i = 0; i < t->count; i++)
        if (strcmp(t->options[i].key, key) == 0)
            return &t->options[i];
    return NULL;
}

static bool is_section(const struct config_table *t, const char *key)
{
    size_t n = strlen(key);
    for (size_t i = 0; i < t->count; i++)
        if (strncmp(t->options[i].key, key, n) == 0 && t->options[i].key[n] == '.')
            return true;
    return false;
}

/* --- the file ------------------------------------------------------------------------------------ */

static enum err file_read(const char *path, struct arena *a, struct bytes *out)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return ERR_IO;
    char *text = arena_alloc_raw(a, FILE_BYTES_MAX + 1, 1);
    size_t n = text ? fread(text, 1, FILE_BYTES_MAX + 1, f) : 0;
    bool bad = ferror(f) != 0;
    fclose(f);
    if (!text || bad || n > FILE_BYTES_MAX)
        return text && !bad ? ERR_TOO_LARGE : ERR_IO;
    *out = bytes_of(text, n);
    return ERR_OK;
}

/* One ${kind:name} at `at`; appends its text. */
static bool expand_one(struct load *l, struct origin from, struct bytes inner, struct buf *out)
{
    struct bytes name;
    if (bytes_has_prefix(inner, BYTES_LIT("env:"))) {
        name = arena_printf(l->arena, BYTES_FMT, BYTES_ARG(bytes_slice(inner, 4, inner.size)));
        const char *value = getenv((const char *)name.data);
        if (!value) {
            complain(l, from, "the environment has no variable %s", (const char *)name.data);
            return false;
        }
        buf_str(out, value);
        return true;
    }
    if (bytes_has_prefix(inner, BYTES_LIT("file:"))) {
        struct bytes text;
        name = arena_printf(l->arena, BYTES_FMT, BYTES_ARG(bytes_slice(inner, 5, inner.size)));
        if (file_read((const char *)name.data, l->arena, &text) != ERR_OK) {
            complain(l, from, "cannot read the file %s", (const char *)name.data);
            return false;
        }
        if (bytes_has_suffix(text, BYTES_LIT("\n")))
            text.size--;
        buf_bytes_append(out, text);
        return true;
    }
    complain(l, from, "${" BYTES_FMT "} is not understood; ${env:NAME} and ${file:PATH} are",
             BYTES_ARG(inner));
    return false;
}

static const char *expand(struct load *l, struct origin from, struct bytes text)
{
    struct buf out;
    const char *result = NULL;
    buf_init(&out, FILE_BYTES_MAX);
    for (;;) {
        size_t at = bytes_find(text, BYTES_LIT("${"));
        buf_bytes_append(&out, bytes_slice(text, 0, at));
        if (at == text.size)
            break;
        text = bytes_slice(text, at + 2, text.size);
        size_t end = bytes_find(text, BYTES_LIT("}"));
        if (end == text.size) {
            complain(l, from, "a ${ without its }");
            goto done;
        }
        if (!expand_one(l, from, bytes_slice(text, 0, end), &out))
            goto done;
        text = bytes_slice(text, end + 1, text.size);
    }
    buf_u8(&out, 0);
    if (buf_ok(&out))
        result = keep(l, (const char *)out.data);
done:
    buf_done(&out);
    return result;
}

static void scalar_set(struct load *l, const struct config_option *o, const struct yaml_node *n)
{
    struct origin from = {o->key, n->line};
    const char *text = expand(l, from, n->text);
    const char *valid = text ? value_set(l, o, text) : NULL;
    if (valid)
        complain(l, from, "'%.200s' is not valid; give %s", text, valid);
}

static void option_set(struct load *l, const struct config_option *o, const struct yaml_node *n)
{
    struct origin from = {o->key, n->line};
    if (o->type == CONFIG_NODE) {
        *(const struct yaml_node **)(void *)(l->out + o->offset) = n;
    } else if (o->type == CONFIG_LIST) {
        *(struct config_list *)(void *)(l->out + o->offset) = (struct config_list){0};
        if (n->type == YAML_SCALAR)
            scalar_set(l, o, n);
        else if (n->type != YAML_LIST)
            complain(l, from, "give a list of values");
        else
            for (const struct yaml_node *i = n->child; i; i = i->next)
                if (i->type == YAML_SCALAR)
                    scalar_set(l, o, i);
                else
                    complain(l, (struct origin){o->key, i->line}, "give a plain value");
    } else if (n->type != YAML_SCALAR) {
        complain(l, from, "give one plain value");
    } else {
        scalar_set(l, o, n);
    }
}

static void section_read(struct load *l, const struct yaml_node *map, const char *prefix)
{
    for (const struct yaml_node *n = map->child; n; n = n->next) {
        struct bytes key =
            arena_printf(l->arena, "%s%s" BYTES_FMT, prefix, *prefix ? "." : "", BYTES_ARG(n->key));
        const char *name = (const char *)key.data;
        if (!name)
            return;
        const struct config_option *o = find_key(l->table, name);
        if (o)
            option_set(l, o, n);
        else if (n->type == YAML_MAP && is_section(l->table, name))
            section_read(l, n, name);
        else if (n->type != YAML_NULL || !is_section(l->table, name)) /* an empty section is fine */
            complain(l, (struct origin){name, n->key_line}, "unknown key%s",
                     (const char *)hint(l, name, false).data);
    }
}

static void file_load(struct load *l, const char *path)
{
    struct bytes text;
    struct yaml_node *doc = NULL;
    struct err_msg msg = {""};
    enum err e = file_read(path, l->arena, &text);
    l->file = path;
    if (e != ERR_OK) {
        buf_printf(l->errors, "%s: %s\n", path,
                   e == ERR_TOO_LARGE ? "larger than 1 MiB" : "cannot be read");
        l->error_count++;
        return;
    }
    if (yaml_in_parse(text, l->arena, &doc, &msg) != ERR_OK) {
        buf_printf(l->errors, "%s: %s\n", path, msg.text);
        l->error_count++;
    } else if (doc && doc->type == YAML_MAP) {
        section_read(l, doc, "");
    } else if (doc && doc->type != YAML_NULL) {
        buf_printf(l->errors, "%s:%u: give keys and values, like \"data: ./telltale-data\"\n", path,
                   doc->line);
        l->error_count++;
    }
}

/* --- the command line ---------------------------------------------------------------------------- */

static const struct config_option *find_flag(const struct config_table *t, const char *arg,
                                             size_t n)
{
    for (size_t i = 0; i < t->count; i++)
        if (t->options[i].flag && strlen(t->options[i].flag) == n &&
            strncmp(t->options[i].flag, arg, n) == 0)
            return &t->options[i];
    return NULL;
}

/* One argument; returns how many words of argv it took. */
static int flag_read(struct load *l, int left, const char *const *argv, bool *seen_list)
{
    const char *arg = argv[0];
    size_t n = strcspn(arg, "=");
    const struct config_option *o = strncmp(arg, "--", 2) == 0 ? find_flag(l->table, arg, n) : NULL;
    if (!o) {
        buf_printf(l->errors, "%s: unknown option%s\n", arg, (const char *)hint(l, arg, true).data);
        l->error_count++;
        return 1;
    }
    struct origin from = {o->flag, 0};
    const char *value = arg[n] ? arg + n + 1 : NULL;
    int used = 1;
    if (!value && o->type == CONFIG_BOOL) {
        value = "true";
    } else if (!value && left > 1) {
        value = argv[1];
        used = 2;
    }
    if (!value) {
        complain(l, from, "needs a value%s%s", o->arg ? ": " : "", o->arg ? o->arg : "");
        return used;
    }
    size_t index = (size_t)(o - l->table->options);
    if (o->type == CONFIG_LIST &&
        !seen_list[index]) { /* the command line replaces the file's list, then adds */
        *(struct config_list *)(void *)(l->out + o->offset) = (struct config_list){0};
        seen_list[index] = true;
    }
    const char *valid = value_set(l, o, value);
    if (valid)
        complain(l, from, "'%.200s' is not valid; give %s", value, valid);
    return used;
}

enum err config_read(const struct config_table *t, void *out_struct, const char *path, int argc,
                     const char *const *argv, struct arena *a, struct buf *errors)
{
    struct load l = {.table = t, .out = out_struct, .arena = a, .errors = errors};
    bool *seen_list = ARENA_ARRAY(a, bool, t->count + 1);
    if (!seen_list)
        return ERR_NOMEM;
    for (size_t i = 0; i < t->count; i++) {
        const struct config_option *o = &t->options[i];
        const char *valid = o->def ? value_set(&l, o, o->def) : NULL;
        CHECK(!valid); /* a default that is no valid value is our bug */
    }
    if (path)
        file_load(&l, path);
    for (int i = 0; i < argc;)
        i += flag_read(&l, argc - i, argv + i, seen_list);
    return l.error_count ? ERR_INVALID : ERR_OK;
}

/* --- what people read ---------------------------------------------------------------------------- */

void config_help(const struct config_table *t, struct buf *out)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct config_option *o = &t->options[i];
        char left[80];
        if (!o->flag)
            continue;
        snprintf(left, sizeof(left), "%s%s%s", o->flag, o->arg ? " " : "", o->arg ? o->arg : "");
        buf_printf(out, "  %-32s %s", left, o->help);
        if (o->def && *o->def && o->type != CONFIG_BOOL)
            buf_printf(out, " [%s]", o->def);
        buf_u8(out, '\n');
    }
}

void config_markdown(const struct config_table *t, struct buf *out)
{
    static const char *const types[] = {"text",     "true/false", "number", "size",
                                        "duration", "address",    "list",   "see text"};
    buf_str(out, "| key | option | type | default | what it does |\n|---|---|---|---|---|\n");
    for (size_t i = 0; i < t->count; i++) {
        const struct config_option *o = &t->options[i];
        buf_printf(out, "| `%s` | %s%s%s | %s | %s%s%s | %s |\n", o->key, o->flag ? "`" : "",
                   o->flag ? o->flag : "", o->flag ? "`" : "", types[o->type],
                   o->def && *o->def ? "`" : "", o->def ? o->def : "", o->def && *o->def ? "`" : "",
                   o->help);
    }
}
