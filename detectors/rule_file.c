#include "detectors/rule_file.h"

#include "base/file_in.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/yaml_in.h"

#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define PAIRS_MAX 64u

struct reading {
    const char *path;
    const struct rule_file_options *o;
    struct rule_set *set;
    const struct rule_group_def *group;
    unsigned rule; /* within the group, from 1; 0: none */
    struct bytes rule_name;
    bool failed;
    enum err err; /* of memory */
};

/* --- mistakes ------------------------------------------------------------------------------------ */

static void mistake(struct reading *r, unsigned line, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void mistake(struct reading *r, unsigned line, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    buf_printf(r->o->errors, "%s:%u: ", r->path, line);
    if (r->group && r->group->name.size)
        buf_printf(r->o->errors, "group \"" BYTES_FMT "\", ", BYTES_ARG(r->group->name));
    if (r->rule)
        buf_printf(r->o->errors, "rule %u", r->rule);
    if (r->rule && r->rule_name.size)
        buf_printf(r->o->errors, " \"" BYTES_FMT "\"", BYTES_ARG(r->rule_name));
    if (r->rule)
        buf_str(r->o->errors, ", ");
    buf_printf(r->o->errors, "%s\n", text);
    r->failed = true;
}

static void *make(struct reading *r, size_t size)
{
    void *m = arena_alloc(r->o->arena, size);
    if (!m)
        r->err = ERR_LIMIT;
    return m;
}

/* --- values -------------------------------------------------------------------------------------- */

static struct bytes text_of(struct reading *r, const struct yaml_node *n)
{
    if (n->type == YAML_SCALAR)
        return n->text;
    mistake(r, n->line, BYTES_FMT ": must be a text", BYTES_ARG(n->key));
    return BYTES_NONE;
}

static int64_t duration_of(struct reading *r, const struct yaml_node *n)
{
    int64_t ms = 0;
    if (n->type != YAML_SCALAR || !clock_parse_duration_ms((const char *)n->text.data, &ms) ||
        ms < 0)
        mistake(r, n->line, BYTES_FMT ": must be a duration such as 30s, 5m or 1h30m",
                BYTES_ARG(n->key));
    return ms;
}

static bool is_label_name(struct bytes b)
{
    return b.size && b.size <= TSDB_LABEL_NAME_MAX && bytes_is_utf8(b) &&
           !memchr(b.data, 0, b.size) && !bytes_equal_str(b, "__name__");
}

static int by_name(const void *a, const void *b)
{
    const struct rule_pair *x = a, *y = b;
    return bytes_compare(x->name, y->name);
}

/* A map of texts; what is there already (a group's labels) is kept unless it is given again. */
static void read_pairs(struct reading *r, const struct yaml_node *n, struct rule_pair **io,
                       uint32_t *io_count)
{
    struct rule_pair *list = make(r, PAIRS_MAX * sizeof(*list));
    uint32_t count = *io_count;
    if (!list)
        return;
    if (count)
        memcpy(list, *io, count * sizeof(*list));
    if (n->type != YAML_MAP && n->type != YAML_NULL)
        mistake(r, n->line, BYTES_FMT ": must be a map of texts", BYTES_ARG(n->key));
    for (const struct yaml_node *c = n->type == YAML_MAP ? n->child : NULL; c; c = c->next) {
        uint32_t at = 0;
        while (at < count && !bytes_equal(list[at].name, c->key))
            at++;
        if (!is_label_name(c->key))
            mistake(r, c->key_line, BYTES_FMT ": \"" BYTES_FMT "\" is no valid name",
                    BYTES_ARG(n->key), BYTES_ARG(c->key));
        else if (c->type != YAML_SCALAR && c->type != YAML_NULL)
            mistake(r, c->line, BYTES_FMT ": " BYTES_FMT ": must be a text", BYTES_ARG(n->key),
                    BYTES_ARG(c->key));
        else if (at == PAIRS_MAX)
            mistake(r, c->line, BYTES_FMT ": at most %u", BYTES_ARG(n->key), PAIRS_MAX);
        else
            list[at] = (struct rule_pair){.name = c->key, .value = c->text};
        count += at == count && at < PAIRS_MAX;
    }
    qsort(list, count, sizeof(*list), by_name);
    *io = list;
    *io_count = count;
}

/* --- a rule -------------------------------------------------------------------------------------- */

static void read_templates(struct reading *r, const struct yaml_node *n, struct rule_pair *list,
                           uint32_t count, const char *what)
{
    const struct yaml_node *map = yaml_get(n, what);
    for (uint32_t i = 0; i < count; i++) {
        struct err_msg msg = {""};
        struct rule_template *t = NULL;
        enum err e = rule_template_parse(list[i].value, r->o->arena, &t, &msg);
        const struct yaml_node *at = map ? map->child : NULL;
        while (at && !bytes_equal(at->key, list[i].name))
            at = at->next;
        if (e != ERR_OK)
            mistake(r, at ? at->line : n->line, "%s: " BYTES_FMT ": template: %s", what,
                    BYTES_ARG(list[i].name), msg.text);
        list[i].text = t;
    }
}

static bool is_metric_name(struct bytes b)
{
    return b.size && b.size <= TSDB_LABEL_NAME_MAX && bytes_is_utf8(b) &&
           !memchr(b.data, '{', b.size) && !memchr(b.data, '}', b.size) &&
           !memchr(b.data, 0, b.size);
}

static void read_expr(struct reading *r, const struct yaml_node *n, struct rule_def *d)
{
    enum query_type type;
    struct err_msg msg = {""};
    struct bytes text = bytes_trim(text_of(r, n));
    if (!text.size) {
        mistake(r, n->line, "field 'expr' must be set in rule");
        return;
    }
    enum err e = query_check(text, r->o->arena, &type, &msg);
    if (e == ERR_OK)
        e = query_print(text, r->o->arena, &d->expr, &msg);
    if (e != ERR_OK)
        mistake(r, n->line, "could not parse expression: %s", msg.text);
    else if (type != QUERY_VECTOR && type != QUERY_SCALAR)
        mistake(r, n->line, "expr: gives a %s; a rule needs a vector or a scalar",
                query_type_name(type));
}

static void read_rule_key(struct reading *r, const struct yaml_node *n, struct rule_def *d)
{
    const char *key = (const char *)n->key.data;
    if (strcmp(key, "record") == 0 || strcmp(key, "alert") == 0)
        text_of(r, n);
    else if (strcmp(key, "expr") == 0)
        read_expr(r, n, d);
    else if (strcmp(key, "for") == 0)
        d->for_ms = duration_of(r, n);
    else if (strcmp(key, "keep_firing_for") == 0)
        d->keep_firing_ms = duration_of(r, n);
    else if (strcmp(key, "labels") == 0)
        read_pairs(r, n, &d->labels, &d->label_count);
    else if (strcmp(key, "annotations") == 0)
        read_pairs(r, n, &d->annotations, &d->annotation_count);
    else
        mistake(r, n->key_line,
                "%s: unknown; known are record, alert, expr, for, keep_firing_for, labels and "
                "annotations",
                key);
}

static void check_rule(struct reading *r, const struct yaml_node *n, struct rule_def *d)
{
    static const char *const alert_only[] = {"for", "keep_firing_for", "annotations"};
    const struct yaml_node *record = yaml_get(n, "record"), *alert = yaml_get(n, "alert");
    bool has_record = record && record->text.size, has_alert = alert && alert->text.size;
    if (has_record && has_alert)
        mistake(r, n->line, "only one of 'record' and 'alert' must be set");
    else if (!has_record && !has_alert)
        mistake(r, n->line, "one of 'record' or 'alert' must be set");
    if (!yaml_get(n, "expr"))
        mistake(r, n->line, "field 'expr' must be set in rule");
    for (size_t i = 0; has_record && i < ARRAY_LEN(alert_only); i++)
        if (yaml_get(n, alert_only[i]))
            mistake(r, yaml_get(n, alert_only[i])->key_line, "invalid field '%s' in recording rule",
                    alert_only[i]);
    if (has_record && !is_metric_name(record->text))
        mistake(r, record->line, "invalid recording rule name: " BYTES_FMT,
                BYTES_ARG(record->text));
    d->is_alert = has_alert;
    d->name = has_alert ? alert->text : has_record ? record->text : BYTES_NONE;
    if (!d->is_alert)
        return;
    read_templates(r, n, d->labels, d->label_count, "labels");
    read_templates(r, n, d->annotations, d->annotation_count, "annotations");
}

static void read_rule(struct reading *r, const struct yaml_node *n, struct rule_def *d)
{
    d->line = n->line;
    r->rule_name = BYTES_NONE;
    if (n->type != YAML_MAP) {
        mistake(r, n->line, "must be a map with record or alert, and expr");
        return;
    }
    r->rule_name =
        yaml_get_str(n, "alert").size ? yaml_get_str(n, "alert") : yaml_get_str(n, "record");
    for (const struct yaml_node *c = n->child; c; c = c->next)
        read_rule_key(r, c, d);
    check_rule(r, n, d);
}

/* --- what a rule reads --------------------------------------------------------------------------- */

static bool writes_name(const struct rule_def *d, struct bytes name)
{
    if (!d->is_alert)
        return bytes_equal(d->name, name);
    return bytes_equal_str(name, "ALERTS") || bytes_equal_str(name, "ALERTS_FOR_STATE");
}

/* Does this selector select what one of the rules before writes? Without a plain name: it may. */
static bool selects_earlier(const struct query_selector *s, const struct rule_def *rules,
                            uint32_t before)
{
    size_t n;
    const struct tsdb_matcher *m = query_selector_matchers(s, &n);
    for (size_t i = 0; i < n; i++) {
        if (m[i].op != TSDB_MATCH_EQ || !bytes_equal_str(m[i].name, "__name__"))
            continue;
        bool writes = false;
        for (uint32_t k = 0; k < before && !writes; k++)
            writes = writes_name(&rules[k], m[i].value);
        return writes;
    }
    return true;
}

static bool has_query(const struct rule_pair *list, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (list[i].text && bytes_find(list[i].value, BYTES_LIT("query")) < list[i].value.size)
            return true;
    return false;
}

static void find_reads(struct reading *r, struct rule_def *rules, uint32_t i)
{
    struct query_selector **list;
    struct err_msg msg;
    size_t n = 0;
    if (query_selectors_of(rules[i].expr, r->o->arena, &list, &n, &msg) != ERR_OK) {
        rules[i].reads_own = true;
        return;
    }
    rules[i].reads_own = has_query(rules[i].labels, rules[i].label_count) ||
                         has_query(rules[i].annotations, rules[i].annotation_count);
    for (size_t k = 0; k < n; k++) {
        rules[i].reads_own = rules[i].reads_own || selects_earlier(list[k], rules, i);
        query_selector_free(list[k]);
    }
}

static void find_identity(const struct rule_group_def *g, uint32_t i)
{
    struct buf b;
    struct rule_def *d = &g->rules[i];
    buf_init(&b, 0);
    buf_lenbytes(&b, bytes_str(g->file));
    buf_lenbytes(&b, g->name);
    buf_u8(&b, d->is_alert);
    buf_lenbytes(&b, d->name);
    for (uint32_t k = 0; k < d->label_count; k++) {
        buf_lenbytes(&b, d->labels[k].name);
        buf_lenbytes(&b, d->labels[k].value);
    }
    d->identity = hash64(buf_bytes(&b), 0);
    for (uint32_t k = 0; k < i; k++)
        if (g->rules[k].identity == d->identity) { /* the same again */
            d->identity = hash64(buf_bytes(&b), d->identity + i);
            break;
        }
    buf_done(&b);
}

/* --- a group ------------------------------------------------------------------------------------- */

static void read_limit(struct reading *r, const struct yaml_node *n, struct rule_group_def *g)
{
    uint64_t v = 0;
    if (n->type != YAML_SCALAR || !bytes_to_u64(n->text, &v) || v > UINT32_MAX)
        mistake(r, n->line, "limit: must be a number of series or alerts; 0: no limit");
    g->limit = (uint32_t)v;
}

static void read_rules(struct reading *r, const struct yaml_node *n, struct rule_group_def *g,
                       struct rule_pair *labels, uint32_t label_count)
{
    uint32_t count = 0;
    if (n->type == YAML_NULL)
        return;
    if (n->type != YAML_LIST) {
        mistake(r, n->line, "rules: must be a list");
        return;
    }
    for (const struct yaml_node *c = n->child; c; c = c->next)
        count++;
    if (r->set->rule_count + count > RULE_FILE_RULES_MAX) {
        mistake(r, n->line, "rules: at most %u in all", RULE_FILE_RULES_MAX);
        return;
    }
    g->rules = make(r, (count + 1) * sizeof(*g->rules));
    for (const struct yaml_node *c = g->rules ? n->child : NULL; c; c = c->next) {
        struct rule_def *d = &g->rules[g->rule_count++];
        d->labels = labels;
        d->label_count = label_count;
        r->rule = g->rule_count;
        read_rule(r, c, d);
    }
    r->rule = 0;
    r->set->rule_count += g->rule_count;
    for (uint32_t i = 0; !r->failed && i < g->rule_count; i++) {
        find_reads(r, g->rules, i);
        find_identity(g, i);
    }
}

static void read_group(struct reading *r, const struct yaml_node *n, struct rule_group_def *g)
{
    struct rule_pair *labels = NULL;
    uint32_t label_count = 0;
    *g = (struct rule_group_def){.file = r->path,
                                 .line = n->line,
                                 .interval_ms =
                                     r->o->interval_ms ? r->o->interval_ms : RULE_FILE_INTERVAL_MS};
    if (n->type != YAML_MAP) {
        mistake(r, n->line, "groups: must be a list of maps with name and rules");
        return;
    }
    g->name = yaml_get_str(n, "name");
    r->group = g;
    if (!g->name.size)
        mistake(r, n->line, "name: Groupname must not be empty");
    if (yaml_get(n, "labels"))
        read_pairs(r, yaml_get(n, "labels"), &labels, &label_count);
    for (const struct yaml_node *c = n->child; c; c = c->next) {
        const char *key = (const char *)c->key.data;
        if (strcmp(key, "interval") == 0) {
            g->interval_ms = duration_of(r, c);
            if (g->interval_ms == 0) /* as if it were not there */
                g->interval_ms = r->o->interval_ms ? r->o->interval_ms : RULE_FILE_INTERVAL_MS;
        } else if (strcmp(key, "limit") == 0) {
            read_limit(r, c, g);
        } else if (strcmp(key, "query_offset") == 0) {
            g->query_offset_ms = duration_of(r, c);
        } else if (strcmp(key, "rules") == 0) {
            read_rules(r, c, g, labels, label_count);
        } else if (strcmp(key, "name") != 0 && strcmp(key, "labels") != 0) {
            mistake(r, c->key_line,
                    "%s: unknown; known are name, interval, limit, query_offset, labels and rules",
                    key);
        }
    }
    r->group = NULL;
}

static struct rule_group_def *add_group(struct reading *r, unsigned line)
{
    struct rule_set *s = r->set;
    if (s->group_count == RULE_FILE_GROUPS_MAX) {
        mistake(r, line, "groups: at most %u in all", RULE_FILE_GROUPS_MAX);
        return NULL;
    }
    if (s->group_count == s->group_cap) {
        uint32_t cap = s->group_cap ? s->group_cap * 2 : 16;
        struct rule_group_def *list =
            arena_grow(r->o->arena, s->groups, sizeof(*list), s->group_cap, cap);
        if (!list) {
            r->err = ERR_LIMIT;
            return NULL;
        }
        s->groups = list;
        s->group_cap = cap;
    }
    return &s->groups[s->group_count++];
}

enum err rule_file_read(struct bytes text, const char *path, const struct rule_file_options *o,
                        struct rule_set *io)
{
    struct reading r = {.path = path, .o = o, .set = io};
    struct yaml_node *doc = NULL;
    struct err_msg msg = {""};
    uint32_t first = io->group_count;
    enum err e = yaml_in_parse(text, o->arena, &doc, &msg);
    if (e != ERR_OK) {
        buf_printf(o->errors, "%s: %s\n", path, msg.text);
        return ERR_INVALID;
    }
    if (doc && doc->type != YAML_MAP && doc->type != YAML_NULL)
        mistake(&r, doc->line, "must be a map with groups");
    if (doc && doc->next)
        mistake(&r, doc->next->line, "a second document; a rule file has one");
    const struct yaml_node *list = NULL;
    for (const struct yaml_node *c = doc && doc->type == YAML_MAP ? doc->child : NULL; c;
         c = c->next)
        if (bytes_equal_str(c->key, "groups"))
            list = c;
        else
            mistake(&r, c->key_line, BYTES_FMT ": unknown; known is groups", BYTES_ARG(c->key));
    if (list && list->type != YAML_LIST && list->type != YAML_NULL)
        mistake(&r, list->line, "groups: must be a list");
    for (const struct yaml_node *c = list && list->type == YAML_LIST ? list->child : NULL; c;
         c = c->next) {
        struct rule_group_def *g = add_group(&r, c->line);
        if (!g)
            break;
        read_group(&r, c, g);
        for (uint32_t i = first; i + 1 < io->group_count; i++)
            if (g->name.size && bytes_equal(io->groups[i].name, g->name))
                mistake(&r, c->line, "groupname: \"" BYTES_FMT "\" is repeated in the same file",
                        BYTES_ARG(g->name));
    }

    if (r.err != ERR_OK)
        buf_printf(o->errors, "%s: the rules need too much memory\n", path);
    return r.err != ERR_OK ? r.err : r.failed ? ERR_INVALID : ERR_OK;
}

/* --- files --------------------------------------------------------------------------------------- */

enum err rule_file_bytes(const char *path, struct arena *a, struct bytes *out, struct err_msg *msg)
{
    struct buf text;
    enum err e = file_in_read(path, RULE_FILE_BYTES_MAX, &text, msg);
    if (e != ERR_OK)
        return ERR_INVALID;
    *out = arena_copy(a, buf_bytes(&text));
    if (text.size && !out->data)
        e = err_set(msg, ERR_LIMIT, "%s needs too much memory", path);
    buf_done(&text);
    return e;
}

struct names {
    char **list;
    size_t count, cap;
    bool failed;
};

static void names_add(struct names *n, const char *path)
{
    if (n->count == n->cap) {
        size_t cap = n->cap ? n->cap * 2 : 16;
        char **list = realloc(n->list, cap * sizeof(*list));
        if (!list) {
            n->failed = true;
            return;
        }
        n->list = list;
        n->cap = cap;
    }
    n->list[n->count] = strdup(path);
    n->failed = n->failed || !n->list[n->count];
    n->count += n->list[n->count] != NULL;
}

static int is_rule_file(const struct dirent *e)
{
    struct bytes name = bytes_str(e->d_name);
    return name.data[0] != '.' && (bytes_has_suffix(name, BYTES_LIT(".yaml")) ||
                                   bytes_has_suffix(name, BYTES_LIT(".yml")));
}

static void add_path(struct names *n, const char *path)
{
    struct stat st;
    struct dirent **entries;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) {
        names_add(n, path);
        return;
    }
    int count = scandir(path, &entries, is_rule_file, alphasort);
    for (int i = 0; i < count; i++) {
        char full[4096];
        if ((size_t)snprintf(full, sizeof(full), "%s/%s", path, entries[i]->d_name) < sizeof(full))
            names_add(n, full);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
}

static void add_pattern(struct names *n, const char *path)
{
    glob_t found;
    if (!strpbrk(path, "*?[")) {
        add_path(n, path);
        return;
    }
    if (glob(path, 0, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++)
            add_path(n, found.gl_pathv[i]);
        globfree(&found);
    }
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static enum err load_one(const char *path, const struct rule_file_options *o, struct rule_set *out)
{
    struct bytes text, kept = arena_printf(o->arena, "%s", path);
    struct err_msg msg = {""};
    enum err e = kept.data ? rule_file_bytes(path, o->arena, &text, &msg) : ERR_NOMEM;
    if (e != ERR_OK) {
        buf_printf(o->errors, "%s\n", msg.text[0] ? msg.text : err_text(e));
        return e;
    }
    return rule_file_read(text, (const char *)kept.data, o, out);
}

enum err rule_file_load(const char *const *paths, size_t count, const struct rule_file_options *o,
                        struct rule_set *out)
{
    struct names n = {NULL, 0, 0, false};
    enum err e = ERR_OK;
    *out = (struct rule_set){.group_count = 0};
    for (size_t i = 0; i < count; i++)
        add_pattern(&n, paths[i]);
    if (n.count)
        qsort(n.list, n.count, sizeof(*n.list), by_text);
    for (size_t i = 0; i < n.count; i++) {
        if (i && strcmp(n.list[i], n.list[i - 1]) == 0)
            continue;
        enum err one = load_one(n.list[i], o, out);
        e = e == ERR_OK ? one : e;
    }
    for (size_t i = 0; i < n.count; i++)
        free(n.list[i]);
    free(n.list);
    return n.failed ? ERR_NOMEM : e;
}
