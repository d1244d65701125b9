#include "collector/kafka/kafka.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/stats.h"
#include "collector/kafka/kafka_core.h"

#define POLL_MS 100
#define HOLD_MS 20 /* between attempts to hand over what the store cannot take yet */
#define TELL_ATTEMPTS 5u
#define TELL_AGAIN_MS 100
#define TELL_NS INT64_C(1000000000)
#define ASK_MS 10000 /* a broker, for offsets */
#define LAND_NS INT64_C(30000000000) /* at a hand-over, for what is under way */
#define NOWHERE (-1)

#define MESSAGES "telltale_kafka_messages_total"
#define MESSAGES_HELP "Kafka messages by what became of them."
STATS_COUNTER(messages_stored, MESSAGES, "result=\"stored\"", MESSAGES_HELP)
STATS_COUNTER(messages_repeated, MESSAGES, "result=\"repeated\"", MESSAGES_HELP)
STATS_COUNTER(messages_poison, MESSAGES, "result=\"quarantined\"", MESSAGES_HELP)
STATS_COUNTER(messages_again, MESSAGES, "result=\"again\"", MESSAGES_HELP)
STATS_COUNTER(lost, "telltale_kafka_lost_messages_total", "",
              "Offsets that Kafka had removed before they were read.")
STATS_COUNTER(resets, "telltale_kafka_resets_total", "",
              "Partitions read from their beginning again: they end before what was read of them.")
STATS_COUNTER(seeks, "telltale_kafka_seeks_total", "",
              "Times a partition was read again from the store's place, after a failed commit.")
STATS_COUNTER(holds, "telltale_kafka_pauses_total", "",
              "Times all partitions were paused since the store could take no more.")
STATS_COUNTER(shared, "telltale_kafka_handover_repeats_total", "",
              "Messages of partitions that went to another member which may be stored there, too.")
STATS_GAUGE(assigned, "telltale_kafka_partitions", "", "Partitions that this process reads.")
STATS_GAUGE(lag, "telltale_kafka_lag_messages", "",
            "Messages of the partitions read here that are not stored yet.")
STATS_COUNTER(errors, "telltale_kafka_errors_total", "", "Errors that the Kafka client reported.")

/* --- partitions ---------------------------------------------------------------------------------- */

static struct kafka_partition *partition_of(struct kafka *k, const char *topic, int32_t number)
{
    struct kafka_partition *p = k->partitions;
    while (p && (p->number != number || strcmp(p->topic->name, topic) != 0))
        p = p->next;
    if (p)
        return p;
    for (size_t i = 0; i < k->topic_count; i++)
        if (strcmp(k->topics[i].name, topic) == 0 && (p = calloc(1, sizeof(*p)))) {
            *p = (struct kafka_partition){.topic = &k->topics[i],
                                          .number = number,
                                          .k = k,
                                          .next = k->partitions,
                                          .from = NOWHERE,
                                          .told = NOWHERE,
                                          .stored = NOWHERE};
            k->partitions = p;
            return p;
        }
    return NULL;
}

static int64_t stored_of(struct kafka_partition *p)
{
    pthread_mutex_lock(&p->k->lock);
    int64_t n = p->stored;
    pthread_mutex_unlock(&p->k->lock);
    return n;
}

/* The store's own word; NOWHERE: it has nothing of the partition. */
static int64_t place_of(const struct kafka_partition *p)
{
#ifdef TELLTALE_FAULT_KAFKA_FORGETS /* seeded defect: places live apart from the rows */
    return NOWHERE;
#endif
    struct tsdb_position at;
    return tsdb_position_of(p->k->o.db, bytes_str(p->topic->name), (uint32_t)p->number, &at) ==
                   ERR_OK
               ? at.next
               : NOWHERE;
}

/* --- what lands ---------------------------------------------------------------------------------- */

struct handed {
    struct kafka_partition *p;
    int64_t next;
    size_t bytes;
    bool is_poison;
};

static void on_stored(void *ctx, enum err e, const struct tsdb_result *r)
{
    struct handed *h = ctx;
    struct kafka_partition *p = h->p;
    struct kafka *k = p->k;
    stats_add(e != ERR_OK           ? &messages_again
              : r->repeated_request ? &messages_repeated
              : h->is_poison        ? &messages_poison
                                    : &messages_stored,
              1);
    pthread_mutex_lock(&k->lock);
    if (e == ERR_OK)
        p->stored = MAX(p->stored, h->next);
    else
        p->has_failed = true;
    p->in_flight--;
    k->in_flight--;
    k->in_flight_bytes -= h->bytes;
    pthread_cond_signal(&k->landed);
    pthread_mutex_unlock(&k->lock);
    free(h);
}

static void wait_landed(struct kafka *k, int64_t until_ns)
{
    struct timespec ts = {until_ns / 1000000000, until_ns % 1000000000};
    pthread_cond_timedwait(&k->landed, &k->lock, &ts);
}

/* Until nothing of p (NULL: of any) is under way, or it is too late. */
static bool land(struct kafka *k, const struct kafka_partition *p)
{
    int64_t until = clock_mono_ns() + LAND_NS;
    pthread_mutex_lock(&k->lock);
    while ((p ? p->in_flight : k->in_flight) && clock_mono_ns() < until)
        wait_landed(k, until);
    bool done = (p ? p->in_flight : k->in_flight) == 0;
    pthread_mutex_unlock(&k->lock);
    return done;
}

static void wait_for_room(struct kafka *k)
{
    pthread_mutex_lock(&k->lock);
    while (k->in_flight >= KAFKA_IN_FLIGHT_MAX || k->in_flight_bytes >= KAFKA_IN_FLIGHT_BYTES)
        wait_landed(k, clock_mono_ns() + INT64_C(1000000000));
    pthread_mutex_unlock(&k->lock);
}

/* --- what the broker is told --------------------------------------------------------------------- */

/* Those of list (NULL: all) whose place the broker does not know yet. */
static rd_kafka_topic_partition_list_t *untold(struct kafka *k,
                                               const rd_kafka_topic_partition_list_t *only)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
    for (struct kafka_partition *p = k->partitions; p; p = p->next) {
        int64_t stored = stored_of(p);
        if (p->is_assigned && stored != NOWHERE && stored != p->told &&
            (!only || rd_kafka_topic_partition_list_find(only, p->topic->name, p->number)))
            rd_kafka_topic_partition_list_add(list, p->topic->name, p->number)->offset = stored;
    }
    return list;
}

static void on_told(rd_kafka_t *rk, rd_kafka_resp_err_t err, rd_kafka_topic_partition_list_t *list,
                    void *ctx)
{
    struct kafka *k = ctx;
    (void)rk;
    for (int i = 0; list && i < list->cnt; i++) {
        rd_kafka_topic_partition_t *tp = &list->elems[i];
        struct kafka_partition *p = partition_of(k, tp->topic, tp->partition);
        if (p && !err && !tp->err)
            p->told = tp->offset;
    }
}

/* Once a second; what fails is told the next time. */
static void tell(struct kafka *k)
{
    rd_kafka_topic_partition_list_t *list = untold(k, NULL);
    int64_t behind = 0;
    if (list->cnt)
        (void)rd_kafka_commit(k->rk, list, 1); /* on_told hears of it */
    rd_kafka_topic_partition_list_destroy(list);
    for (struct kafka_partition *p = k->partitions; p; p = p->next) {
        int64_t stored = stored_of(p), low, high;
        if (p->is_assigned && stored != NOWHERE &&
            rd_kafka_get_watermark_offsets(k->rk, p->topic->name, p->number, &low, &high) == 0)
            behind += MAX(high - stored, 0);
    }
    stats_set(&lag, behind);
    k->told_ns = clock_mono_ns();
}

/* At a hand-over: whoever reads on begins where the broker says. What it could not be told is stored there once more; that is recorded. */
static void tell_last(struct kafka *k, const rd_kafka_topic_partition_list_t *only)
{
    rd_kafka_topic_partition_list_t *list = untold(k, only);
    for (unsigned i = 0; i < TELL_ATTEMPTS && list->cnt; i++) {
        rd_kafka_resp_err_t e = rd_kafka_commit(k->rk, list, 0);
        on_told(k->rk, e, list, k);
        rd_kafka_topic_partition_list_destroy(list);
        list = untold(k, only);
        if (list->cnt)
            clock_sleep_ms(TELL_AGAIN_MS);
    }
    for (int i = 0; i < list->cnt; i++) {
        rd_kafka_topic_partition_t *tp = &list->elems[i];
        struct kafka_partition *p = partition_of(k, tp->topic, tp->partition);
        if (!p)
            continue;
        stats_add(&shared, tp->offset - MAX(p->told, p->first));
        log_warn("kafka",
                 "%s[%d] goes to another member, and the broker could not be told where this one "
                 "stands: messages %lld to %lld may be on both nodes",
                 tp->topic, (int)tp->partition, (long long)MAX(p->told, p->first),
                 (long long)tp->offset - 1);
    }
    rd_kafka_topic_partition_list_destroy(list);
}

/* --- assignment ---------------------------------------------------------------------------------- */

/* Where each is to be read from: the store's place, or the group's where another member has gone on. */
static void place_all(struct kafka *k, rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_topic_partition_list_t *group =
        k->fixed ? NULL : rd_kafka_topic_partition_list_copy(list);
    if (group) {
        rd_kafka_resp_err_t e = rd_kafka_committed(k->rk, group, ASK_MS);
        if (e != RD_KAFKA_RESP_ERR_NO_ERROR)
            log_warn("kafka", "the group's offsets are not known, own ones count: %s",
                     rd_kafka_err2str(e));
    }
    for (int i = 0; i < list->cnt; i++) {
        rd_kafka_topic_partition_t *tp = &list->elems[i];
        struct kafka_partition *p = partition_of(k, tp->topic, tp->partition);
        if (!p)
            continue; /* no memory: from where the client would begin; the claims see to the rest */
        int64_t own = place_of(p), others = group ? group->elems[i].offset : NOWHERE;
        p->is_assigned = true;
        p->is_reset = others > own && others >= 0;
        p->from = p->is_reset ? others : own;
        p->told = others;
        p->first = MAX(p->from, 0);
        tp->offset = p->from != NOWHERE ? p->from
                     : k->o.from_end    ? RD_KAFKA_OFFSET_END
                                        : RD_KAFKA_OFFSET_BEGINNING;
        pthread_mutex_lock(&k->lock);
        p->stored = p->from;
        p->has_failed = false;
        pthread_mutex_unlock(&k->lock);
        log_info("kafka", "%s[%d] is read here from %lld on%s", tp->topic, (int)tp->partition,
                 (long long)p->from, p->is_reset ? ", where another member got to" : "");
        stats_add(&assigned, 1);
    }
    if (group)
        rd_kafka_topic_partition_list_destroy(group);
}

/* Another may read on as soon as this returns: nothing of these is under way any more, and the broker knows how far it went. */
static void leave_all(struct kafka *k, const rd_kafka_topic_partition_list_t *list, bool is_lost)
{
    for (int i = 0; i < list->cnt; i++) {
        struct kafka_partition *p = partition_of(k, list->elems[i].topic, list->elems[i].partition);
        if (p && !land(k, p))
            log_warn("kafka", "%s[%d] goes to another member with messages under way here",
                     p->topic->name, (int)p->number);
    }
    if (!k->fixed || !is_lost)
        tell_last(k, list);
    for (int i = 0; i < list->cnt; i++) {
        struct kafka_partition *p = partition_of(k, list->elems[i].topic, list->elems[i].partition);
        if (p && p->is_assigned) {
            p->is_assigned = false;
            stats_add(&assigned, -1);
        }
    }
}

static void on_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t err,
                         rd_kafka_topic_partition_list_t *list, void *ctx)
{
    struct kafka *k = ctx;
    bool in_steps = strcmp(rd_kafka_rebalance_protocol(rk), "COOPERATIVE") == 0;
    rd_kafka_error_t *e = NULL;
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (err == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        place_all(k, list);
        if (in_steps)
            e = rd_kafka_incremental_assign(rk, list);
        else
            code = rd_kafka_assign(rk, list);
        k->is_paused = false; /* what comes anew is not */
    } else {
        leave_all(k, list, rd_kafka_assignment_lost(rk));
        if (in_steps)
            e = rd_kafka_incremental_unassign(rk, list);
        else
            code = rd_kafka_assign(rk, NULL);
    }
    if (e || code) {
        log_error("kafka", "the group's assignment cannot be followed: %s",
                  e ? rd_kafka_error_string(e) : rd_kafka_err2str(code));
        stats_add(&errors, 1);
    }
    if (e)
        rd_kafka_error_destroy(e);
}

/* --- reading again ------------------------------------------------------------------------------- */

static void seek(struct kafka *k, struct kafka_partition *p, int64_t offset)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, p->topic->name, p->number)->offset = offset;
    rd_kafka_error_t *e = rd_kafka_seek_partitions(k->rk, list, ASK_MS);
    rd_kafka_resp_err_t one = list->elems[0].err;
    if (e || one) {
        log_warn("kafka", "%s[%d] cannot go to %lld: %s; it is tried again", p->topic->name,
                 (int)p->number, (long long)offset,
                 e ? rd_kafka_error_string(e) : rd_kafka_err2str(one));
        pthread_mutex_lock(&k->lock);
        p->has_failed = true;
        pthread_mutex_unlock(&k->lock);
    }
    if (e)
        rd_kafka_error_destroy(e);
    rd_kafka_topic_partition_list_destroy(list);
}

/* A commit failed: what followed was refused, too. From the store's place again, when all of it has come back. */
static void seek_failed(struct kafka *k)
{
    for (struct kafka_partition *p = k->partitions; p; p = p->next) {
        pthread_mutex_lock(&k->lock);
        bool is_due = p->is_assigned && p->has_failed && p->in_flight == 0;
        if (is_due)
            p->has_failed = false;
        pthread_mutex_unlock(&k->lock);
        if (!is_due)
            continue;
        p->from = place_of(p);
        stats_add(&seeks, 1);
        seek(k, p,
             p->from != NOWHERE ? p->from
             : k->o.from_end    ? RD_KAFKA_OFFSET_END
                                : RD_KAFKA_OFFSET_BEGINNING);
    }
}

/* The broker does not have the place that was asked for. */
static void on_no_place(struct kafka *k, const char *topic, int32_t number)
{
    struct kafka_partition *p = partition_of(k, topic, number);
    int64_t low = 0, high = 0;
    if (!p || !p->is_assigned)
        return;
    if (!land(k, p) ||
        rd_kafka_query_watermark_offsets(k->rk, topic, number, &low, &high, ASK_MS)) {
        pthread_mutex_lock(&k->lock);
        p->has_failed = true; /* asked again from there */
        pthread_mutex_unlock(&k->lock);
        return;
    }
    int64_t own = place_of(p);
    if (own != NOWHERE && own < low) {
        stats_add(&lost, low - own);
        log_error("kafka",
                  "%s[%d]: Kafka has removed the messages %lld to %lld before they were read; its "
                  "retention is shorter than what this node was behind",
                  topic, (int)number, (long long)own, (long long)low - 1);
    } else if (own > high) {
        stats_add(&resets, 1);
        log_error("kafka",
                  "%s[%d] ends at %lld, and %lld were read of it: it was made anew, or Kafka has "
                  "lost its end; it is read from the beginning",
                  topic, (int)number, (long long)high, (long long)own);
    }
    p->from = low;
    p->is_reset = true;
    seek(k, p, low);
}

/* --- messages ------------------------------------------------------------------------------------ */

static void poll_events(struct kafka *k, int ms);

static void pause_all(struct kafka *k, bool pause)
{
    rd_kafka_topic_partition_list_t *list = NULL;
    if (rd_kafka_assignment(k->rk, &list) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    (void)(pause ? rd_kafka_pause_partitions(k->rk, list)
                 : rd_kafka_resume_partitions(k->rk, list));
    rd_kafka_topic_partition_list_destroy(list);
    k->is_paused = pause;
}

/* To the store, now or when it can; in between partitions are paused, and the group hears from us. */
static void hand_over(struct kafka *k, struct handed *h, struct tsdb_batch *b)
{
    struct kafka_partition *p = h->p;
    pthread_mutex_lock(&k->lock);
    p->in_flight++;
    k->in_flight++;
    k->in_flight_bytes += h->bytes;
    pthread_mutex_unlock(&k->lock);
    while (p->is_assigned && !atomic_load(&k->is_stopping)) {
        if (tsdb_append(k->o.db, &b, on_stored, h) == ERR_OK) {
            if (k->is_paused)
                pause_all(k, false);
            return;
        }
        if (!k->is_paused) {
            stats_add(&holds, 1);
            pause_all(k, true);
        }
        poll_events(k, HOLD_MS);
    }
    tsdb_batch_free(b);
    struct tsdb_result none = {0};
    on_stored(h, ERR_CANCELLED, &none);
}

static bool is_skipped(struct kafka *k, const struct kafka_partition *p)
{
    pthread_mutex_lock(&k->lock);
    bool skipped = p->has_failed;
    pthread_mutex_unlock(&k->lock);
    return skipped || !p->is_assigned;
}

static int64_t time_of(const rd_kafka_message_t *m)
{
    rd_kafka_timestamp_type_t type;
    int64_t ms = rd_kafka_message_timestamp(m, &type);
    return type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE ? 0 : ms;
}

/* ERR_NOMEM: nothing has happened. */
static enum err take(struct kafka *k, struct kafka_partition *p, const rd_kafka_message_t *m)
{
    struct kafka_message message = {.topic = p->topic->name,
                                    .partition = (uint32_t)p->number,
                                    .org = p->topic->org,
                                    .offset = m->offset,
                                    .time_ms = time_of(m),
                                    .signal = p->topic->signal,
                                    .value = bytes_of(m->payload, m->len)};
    struct handed *h = calloc(1, sizeof(*h));
    struct tsdb_batch *b = NULL;
    enum err e =
        h ? kafka_message_batch(&message, k->o.db, k->o.stage, &k->poison, &b, &h->is_poison)
          : ERR_NOMEM;
    struct bytes topic = e == ERR_OK ? arena_copy(b->arena, bytes_str(p->topic->name)) : BYTES_NONE;
    if (!topic.data) {
        tsdb_batch_free(b);
        free(h);
        return ERR_NOMEM;
    }
    h->p = p;
    h->next = m->offset + 1;
    h->bytes = m->len;
    b->claim = (struct tsdb_claim){
        .topic = topic,
        .partition = (uint32_t)p->number,
        .epoch = -1,
        .from = p->from == NOWHERE ? m->offset : MIN(p->from, m->offset),
        .next = h->next,
        .is_reset = p->is_reset,
    };
#ifdef TELLTALE_FAULT_KAFKA_FORGETS
    b->claim.is_reset = true;
#endif
    p->is_reset = false;
    p->from = h->next;
    hand_over(k, h, b);
    return ERR_OK;
}

static void on_message(struct kafka *k, const rd_kafka_message_t *m)
{
    struct kafka_partition *p = partition_of(k, rd_kafka_topic_name(m->rkt), m->partition);
    if (!p || is_skipped(k, p))
        return; /* it comes again */
    wait_for_room(k);
    if (take(k, p, m) != ERR_OK) {
        pthread_mutex_lock(&k->lock);
        p->has_failed = true;
        pthread_mutex_unlock(&k->lock);
        clock_sleep_ms(HOLD_MS);
    }
}

static void on_error(struct kafka *k, const rd_kafka_message_t *m)
{
    switch (m->err) {
    case RD_KAFKA_RESP_ERR__PARTITION_EOF: return;
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
        on_no_place(k, rd_kafka_topic_name(m->rkt), m->partition);
        return;
    default: stats_add(&errors, 1); log_warn("kafka", "%s", rd_kafka_message_errstr(m));
    }
}

/* Partitions are paused: what comes all the same is asked for again later. */
static void poll_events(struct kafka *k, int ms)
{
    rd_kafka_message_t *m = rd_kafka_consumer_poll(k->rk, ms);
    if (!m)
        return;
    struct kafka_partition *p =
        m->err || !m->rkt ? NULL : partition_of(k, rd_kafka_topic_name(m->rkt), m->partition);
    if (m->err)
        on_error(k, m);
    if (p) {
        pthread_mutex_lock(&k->lock);
        p->has_failed = true;
        pthread_mutex_unlock(&k->lock);
    }
    rd_kafka_message_destroy(m);
}

static void *reader_main(void *arg)
{
    struct kafka *k = arg;
    while (!atomic_load(&k->is_stopping)) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(k->rk, POLL_MS);
        if (m && m->err)
            on_error(k, m);
        else if (m)
            on_message(k, m);
        if (m)
            rd_kafka_message_destroy(m);
        seek_failed(k);
        if (clock_mono_ns() - k->told_ns >= TELL_NS)
            tell(k);
    }
    return NULL;
}

/* --- life ---------------------------------------------------------------------------------------- */

static void on_log(const rd_kafka_t *rk, int level, const char *what, const char *text)
{
    (void)rk;
    if (level <= 3)
        log_error("kafka", "%s: %s", what, text);
    else if (level <= 4)
        log_warn("kafka", "%s: %s", what, text);
    else
        log_debug("kafka", "%s: %s", what, text);
}

static enum err subscribe(struct kafka *k, struct err_msg *msg)
{
    rd_kafka_resp_err_t code;
    if (k->fixed) {
        place_all(k, k->fixed);
        code = rd_kafka_assign(k->rk, k->fixed);
    } else {
        rd_kafka_topic_partition_list_t *list =
            rd_kafka_topic_partition_list_new((int)k->topic_count);
        for (size_t i = 0; i < k->topic_count; i++)
            rd_kafka_topic_partition_list_add(list, k->topics[i].name, RD_KAFKA_PARTITION_UA);
        code = rd_kafka_subscribe(k->rk, list);
        rd_kafka_topic_partition_list_destroy(list);
    }
    return code ? err_set(msg, ERR_INVALID, "kafka: %s", rd_kafka_err2str(code)) : ERR_OK;
}

static enum err connect_reader(struct kafka *k, struct err_msg *msg)
{
    rd_kafka_conf_t *conf = NULL;
    char why[256];
    enum err e = kafka_options_conf(&k->o, &conf, msg);
    if (e != ERR_OK)
        return e;
    rd_kafka_conf_set_opaque(conf, k);
    rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
    rd_kafka_conf_set_offset_commit_cb(conf, on_told);
    rd_kafka_conf_set_log_cb(conf, on_log);
    k->rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof(why));
    if (!k->rk) {
        rd_kafka_conf_destroy(conf);
        return err_set(msg, ERR_INVALID, "kafka: %s", why);
    }
    rd_kafka_poll_set_consumer(k->rk);
    e = subscribe(k, msg);
    if (e == ERR_OK && pthread_create(&k->thread, NULL, reader_main, k) != 0)
        e = err_set(msg, ERR_NOMEM, "kafka: no thread can be made");
    k->has_thread = e == ERR_OK;
    return e;
}

enum err kafka_check(const struct kafka_options *o, struct err_msg *msg)
{
    rd_kafka_conf_t *conf = NULL;
    struct kafka *k = calloc(1, sizeof(*k));
    if (!k)
        return ERR_NOMEM;
    k->o = *o;
    enum err e = kafka_options_topics(k, msg);
    if (e == ERR_OK)
        e = kafka_options_conf(o, &conf, msg);
    if (conf)
        rd_kafka_conf_destroy(conf);
    if (k->fixed)
        rd_kafka_topic_partition_list_destroy(k->fixed);
    free(k);
    return e;
}

enum err kafka_new(const struct kafka_options *o, struct kafka **out, struct err_msg *msg)
{
    struct kafka *k = calloc(1, sizeof(*k));
    pthread_condattr_t monotonic;
    CHECK(o->db && o->brokers);
    if (!k)
        return ERR_NOMEM;
    k->o = *o;
    pthread_mutex_init(&k->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&k->landed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    enum err e = kafka_options_topics(k, msg);
    if (e == ERR_OK)
        e = connect_reader(k, msg);
    if (e != ERR_OK) {
        kafka_free(k);
        return e;
    }
    *out = k;
    return ERR_OK;
}

void kafka_free(struct kafka *k)
{
    if (!k)
        return;
    atomic_store(&k->is_stopping, true);
    if (k->has_thread)
        pthread_join(k->thread, NULL);
    while (!land(k, NULL)) /* the store answers everything it has taken */
        log_warn("kafka", "waiting for the store to take what was read");
    if (k->rk) {
        if (k->fixed)
            leave_all(k, k->fixed, false);
        rd_kafka_consumer_close(k->rk); /* hands the partitions over: on_rebalance */
        rd_kafka_destroy(k->rk);
    }
    for (struct kafka_partition *p = k->partitions, *next; p; p = next) {
        next = p->next;
        free(p);
    }
    if (k->fixed)
        rd_kafka_topic_partition_list_destroy(k->fixed);
    pthread_mutex_destroy(&k->lock);
    pthread_cond_destroy(&k->landed);
    free(k);
}
