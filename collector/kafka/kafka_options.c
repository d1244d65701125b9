#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>
#include <unistd.h>

#include "base/check.h"
#include "collector/kafka/kafka_core.h"

#define LINE_MAX_BYTES 4096
#define PASSWORD_SIZE 1026 /* with the line's end */

/* --- topics -------------------------------------------------------------------------------------- */

static bool signal_of(const char *text, size_t n, enum tsdb_signal *out)
{
    for (unsigned i = 0; i < TSDB_SIGNAL_COUNT; i++) {
        const char *name = kafka_message_signal((enum tsdb_signal)i);
        if (name && bytes_equal_str(bytes_of(text, n), name)) {
            *out = (enum tsdb_signal)i;
            return true;
        }
    }
    return false;
}

/* TOPIC=SIGNAL or TOPIC=SIGNAL@ORG */
static enum err add_topic(struct kafka *k, const char *text, struct err_msg *msg)
{
    const char *equals = strchr(text, '='), *at = equals ? strchr(equals, '@') : NULL;
    struct kafka_topic *t = &k->topics[k->topic_count];
    uint64_t org = TSDB_ORG_DEFAULT;
    if (k->topic_count == KAFKA_TOPICS_MAX)
        return err_set(msg, ERR_INVALID, "kafka.topics: at most %u topics", KAFKA_TOPICS_MAX);
    if (!equals || equals == text || (size_t)(equals - text) > KAFKA_TOPIC_NAME_MAX ||
        !signal_of(equals + 1, at ? (size_t)(at - equals - 1) : strlen(equals + 1), &t->signal) ||
        (at && (!bytes_to_u64(bytes_str(at + 1), &org) || org == 0 || org > UINT32_MAX)))
        return err_set(msg, ERR_INVALID,
                       "kafka.topics: \"%.200s\" is not TOPIC=SIGNAL or TOPIC=SIGNAL@ORG, with "
                       "SIGNAL one of spans, metrics, logs and tokens",
                       text);
    memcpy(t->name, text, (size_t)(equals - text));
    t->name[equals - text] = 0;
    t->org = (uint32_t)org;
    for (size_t i = 0; i < k->topic_count; i++)
        if (strcmp(k->topics[i].name, t->name) == 0)
            return err_set(msg, ERR_INVALID, "kafka.topics: %s stands there twice", t->name);
    k->topic_count++;
    return ERR_OK;
}

static const struct kafka_topic *topic_named(const struct kafka *k, struct bytes name)
{
    for (size_t i = 0; i < k->topic_count; i++)
        if (bytes_equal_str(name, k->topics[i].name))
            return &k->topics[i];
    return NULL;
}

/* TOPIC:N or TOPIC:N-M */
static enum err add_partitions(struct kafka *k, const char *text, struct err_msg *msg)
{
    const char *colon = strrchr(text, ':'), *dash = colon ? strchr(colon, '-') : NULL;
    uint64_t first = 0, last = 0;
    bool ok = colon && bytes_to_u64(dash ? bytes_of(colon + 1, (size_t)(dash - colon - 1))
                                         : bytes_str(colon + 1),
                                    &first);
    last = first;
    ok = ok && (!dash || bytes_to_u64(bytes_str(dash + 1), &last));
    const struct kafka_topic *t =
        ok ? topic_named(k, bytes_of(text, (size_t)(colon - text))) : NULL;
    if (!ok || last < first || last >= KAFKA_STATIC_MAX)
        return err_set(msg, ERR_INVALID,
                       "kafka.partitions: \"%.200s\" is not TOPIC:N or TOPIC:N-M, with numbers "
                       "below %u",
                       text, KAFKA_STATIC_MAX);
    if (!t)
        return err_set(msg, ERR_INVALID,
                       "kafka.partitions: the topic of \"%.200s\" is not one of kafka.topics",
                       text);
    for (uint64_t i = first; i <= last; i++)
        if (!rd_kafka_topic_partition_list_find(k->fixed, t->name, (int32_t)i))
            rd_kafka_topic_partition_list_add(k->fixed, t->name, (int32_t)i);
    return ERR_OK;
}

enum err kafka_options_topics(struct kafka *k, struct err_msg *msg)
{
    static const char *const usual[] = {"otlp_spans=spans", "otlp_metrics=metrics",
                                        "otlp_logs=logs", "llm.token.events=tokens"};
    const struct kafka_options *o = &k->o;
    const char *const *topics = o->topic_count ? o->topics : usual;
    size_t n = o->topic_count ? o->topic_count : ARRAY_LEN(usual);
    enum err e = ERR_OK;
    for (size_t i = 0; i < n && e == ERR_OK; i++)
        e = add_topic(k, topics[i], msg);
    if (e == ERR_OK && o->partition_count &&
        !(k->fixed = rd_kafka_topic_partition_list_new((int)o->partition_count)))
        e = ERR_NOMEM;
    for (size_t i = 0; i < o->partition_count && e == ERR_OK; i++)
        e = add_partitions(k, o->partitions[i], msg);
    return e;
}

/* --- the client's settings ----------------------------------------------------------------------- */

static enum err set(rd_kafka_conf_t *c, const char *name, const char *value, struct err_msg *msg)
{
    char why[256];
    if (rd_kafka_conf_set(c, name, value, why, sizeof(why)) == RD_KAFKA_CONF_OK)
        return ERR_OK;
    return err_set(msg, ERR_INVALID, "%s", why);
}

/* What the reader relies on is not to be had otherwise. */
static bool is_ours(const char *name)
{
    static const char *const ours[] = {"enable.auto.commit", "enable.auto.offset.store",
                                       "auto.offset.reset", "isolation.level"};
    for (size_t i = 0; i < ARRAY_LEN(ours); i++)
        if (strcmp(name, ours[i]) == 0)
            return true;
    return false;
}

static char *trim(char *s)
{
    size_t n = strlen(s);
    while (n && strchr(" \t\r\n", s[n - 1]))
        s[--n] = 0;
    return s + strspn(s, " \t");
}

static enum err read_line(rd_kafka_conf_t *c, const char *path, unsigned number, char *line,
                          struct err_msg *msg)
{
    struct err_msg why = {""};
    char *name = trim(line), *equals = strchr(name, '=');
    if (name[0] == 0 || name[0] == '#')
        return ERR_OK;
    if (!equals)
        return err_set(msg, ERR_INVALID, "%s:%u: NAME=VALUE is wanted", path, number);
    *equals = 0;
    name = trim(name);
    if (is_ours(name))
        return err_set(msg, ERR_INVALID,
                       "%s:%u: %s is set by Telltale: messages are stored once because of it", path,
                       number, name);
    enum err e = set(c, name, trim(equals + 1), &why);
    return e == ERR_OK ? e : err_set(msg, e, "%s:%u: %s", path, number, why.text);
}

static enum err read_file(rd_kafka_conf_t *c, const char *path, struct err_msg *msg)
{
    char line[LINE_MAX_BYTES];
    enum err e = ERR_OK;
    FILE *f = fopen(path, "re");
    if (!f)
        return err_set(msg, ERR_INVALID, "kafka.config: %s: %s", path, strerror(errno));
    for (unsigned n = 1; e == ERR_OK && fgets(line, sizeof(line), f); n++)
        e = read_line(c, path, n, line, msg);
    (void)fclose(f);
    return e;
}

static enum err read_password(const char *path, char *out, size_t size, struct err_msg *msg)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return err_set(msg, ERR_INVALID, "kafka.sasl.password_file: %s: %s", path, strerror(errno));
    bool ok = fgets(out, (int)size, f) != NULL;
    size_t n = ok ? strcspn(out, "\r\n") : 0;
    ok = n > 0 && n < size - 1;
    (void)fclose(f);
    if (!ok)
        return err_set(msg, ERR_INVALID,
                       "kafka.sasl.password_file: the first line of %s is empty, or longer than "
                       "%zu bytes",
                       path, size - 2);
    out[n] = 0;
    return ERR_OK;
}

static enum err set_sasl(const struct kafka_options *o, rd_kafka_conf_t *c, struct err_msg *msg)
{
    static const char *const mechanisms[] = {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"};
    char password[PASSWORD_SIZE];
    bool is_known = false;
    if (!o->sasl_mechanism || !o->sasl_user || !o->sasl_password_file)
        return err_set(msg, ERR_INVALID,
                       "kafka.sasl: give mechanism, user and password_file together");
    for (size_t i = 0; i < ARRAY_LEN(mechanisms); i++)
        is_known = is_known || strcmp(o->sasl_mechanism, mechanisms[i]) == 0;
    if (!is_known)
        return err_set(msg, ERR_INVALID,
                       "kafka.sasl.mechanism: '%.40s' is not valid; give PLAIN, SCRAM-SHA-256 or "
                       "SCRAM-SHA-512",
                       o->sasl_mechanism);
    enum err e = read_password(o->sasl_password_file, password, sizeof(password), msg);
    if (e == ERR_OK)
        e = set(c, "sasl.mechanism", o->sasl_mechanism, msg);
    if (e == ERR_OK)
        e = set(c, "sasl.username", o->sasl_user, msg);
    if (e == ERR_OK)
        e = set(c, "sasl.password", password, msg);
    sodium_memzero(password, sizeof(password));
    return e;
}

static enum err set_access(const struct kafka_options *o, rd_kafka_conf_t *c, struct err_msg *msg)
{
    bool has_tls = o->tls || o->tls_ca;
    bool has_sasl = o->sasl_mechanism || o->sasl_user || o->sasl_password_file;
    enum err e = has_sasl ? set_sasl(o, c, msg) : ERR_OK;
    if (e == ERR_OK && o->tls_ca) {
        if (access(o->tls_ca, R_OK) != 0)
            return err_set(msg, ERR_INVALID, "kafka.tls.ca: %s: %s", o->tls_ca, strerror(errno));
        e = set(c, "ssl.ca.location", o->tls_ca, msg);
    }
    if (e == ERR_OK && (has_tls || has_sasl))
        e = set(c, "security.protocol",
                !has_sasl ? "ssl"
                : has_tls ? "sasl_ssl"
                          : "sasl_plaintext",
                msg);
    return e;
}

enum err kafka_options_conf(const struct kafka_options *o, rd_kafka_conf_t **out,
                            struct err_msg *msg)
{
    static const char *const fixed[][2] = {
        {"enable.auto.commit", "false"},
        {"enable.auto.offset.store", "false"},
        {"auto.offset.reset", "error"}, /* the store's place is gone: that is for us to say */
        {"isolation.level", "read_committed"},
        {"check.crcs", "true"},
        {"client.id", "telltale"},
        {"partition.assignment.strategy", "cooperative-sticky"},
        {"session.timeout.ms",
         "10000"}, /* so long its partitions wait for a member that has died */
        {"topic.metadata.refresh.interval.ms", "10000"}, /* topics that are made later are found */
        {"queued.max.messages.kbytes", "65536"},
        {"fetch.message.max.bytes", "1048576"},
    };
    rd_kafka_conf_t *c = rd_kafka_conf_new();
    enum err e = ERR_OK;
    for (size_t i = 0; i < ARRAY_LEN(fixed) && e == ERR_OK; i++)
        e = set(c, fixed[i][0], fixed[i][1], msg);
    if (e == ERR_OK)
        e = set_access(o, c, msg);
    if (e == ERR_OK && o->config_file)
        e = read_file(c, o->config_file, msg);
    if (e == ERR_OK)
        e = set(c, "bootstrap.servers", o->brokers, msg);
    if (e == ERR_OK)
        e = set(c, "group.id", o->group ? o->group : "telltale", msg);
    if (e != ERR_OK) {
        rd_kafka_conf_destroy(c);
        return e;
    }
    *out = c;
    return ERR_OK;
}
