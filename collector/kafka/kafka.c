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
#define TELL_NS INT64_C(500000000)
/* In a group what is taken since the broker last heard of it may be on two nodes: so long, and no longer, is taken without an answer. */
#define UNTOLD_NS INT64_C(1000000000)
#define LEAVE_NS INT64_C(5000000000)
#define DESTROY_S 10

#define MESSAGES "telltale_kafka_messages_total"
#define MESSAGES_HELP "Kafka messages by what became of them."
STATS_COUNTER(messages_stored, MESSAGES, "result=\"stored\"", MESSAGES_HELP)
STATS_COUNTER(messages_repeated, MESSAGES, "result=\"repeated\"", MESSAGES_HELP)
STATS_COUNTER(messages_poison, MESSAGES, "result=\"quarantined\"", MESSAGES_HELP)
STATS_COUNTER(messages_again, MESSAGES, "result=\"again\"", MESSAGES_HELP)
STATS_COUNTER(holds, "telltale_kafka_pauses_total", "",
              "Times all partitions were paused since the store could take no more.")
STATS_COUNTER(errors, "telltale_kafka_errors_total", "reason=\"client\"",
              "Errors that the Kafka client reported.")

/* --- what lands ---------------------------------------------------------------------------------- */

struct handed {
    struct kafka_partition *p;
    int64_t next;
    size_t bytes;
    uint32_t messages;
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
              h->messages);
    pthread_mutex_lock(&k->lock);
    if (e == ERR_OK)
        p->stored = MAX(p->stored, h->next);
    else
        p->has_failed = true;
    if (e == ERR_TOO_LARGE) /* it would be so the next time */
        p->refused = h->next - 1;
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
bool kafka_land(struct kafka *k, const struct kafka_partition *p)
{
    int64_t until = clock_mono_ns() + KAFKA_LAND_NS;
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

/* --- messages ------------------------------------------------------------------------------------ */

static void poll_events(struct kafka *k, int ms);

static void pause_all(struct kafka *k, bool pause)
{
    rd_kafka_topic_partition_list_t *list = NULL;
    if (rd_kafka_assignment(k->rk, &list) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    for (struct kafka_partition *p = k->partitions; p; p = p->next)
        if (p->is_held)
            (void)rd_kafka_topic_partition_list_del(list, p->topic->name, p->number);
    (void)(pause ? rd_kafka_pause_partitions(k->rk, list)
                 : rd_kafka_resume_partitions(k->rk, list));
    rd_kafka_topic_partition_list_destroy(list);
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
    bool is_taken = false, is_paused = false;
    while (p->is_assigned && !atomic_load(&k->is_stopping) &&
           !(is_taken = tsdb_append(k->o.db, &b, on_stored, h) == ERR_OK)) {
        if (!is_paused) {
            stats_add(&holds, 1);
            pause_all(k, true);
        }
        is_paused = true;
        poll_events(k, HOLD_MS);
    }
    if (is_paused)
        pause_all(k, false); /* those that came meanwhile are not paused: nothing happens to them */
    if (is_taken)
        return;
    tsdb_batch_free(b);
    struct tsdb_result none = {0};
    on_stored(h, ERR_CANCELLED, &none);
}

static bool is_skipped(struct kafka *k, const struct kafka_partition *p)
{
    pthread_mutex_lock(&k->lock);
    bool skipped = p->has_failed;
    pthread_mutex_unlock(&k->lock);
    return skipped || !p->is_assigned || p->is_held;
}

static bool is_refused(struct kafka_partition *p, int64_t offset)
{
    pthread_mutex_lock(&p->k->lock);
    bool is = p->refused == offset;
    pthread_mutex_unlock(&p->k->lock);
    return is;
}

/* --- messages of token events: gathered ---------------------------------------------------------- */

void kafka_drop_open(struct kafka_partition *p)
{
    if (!p->open.b)
        return;
    p->from = p->open.claim.from;
    p->is_reset = p->open.claim.is_reset;
    tsdb_batch_free(p->open.b);
    p->open.b = NULL;
    p->k->open_count--;
}

/* To the store with what was gathered. */
static void close_open(struct kafka *k, struct kafka_partition *p)
{
    struct kafka_open open = p->open;
    struct handed *h = open.b ? calloc(1, sizeof(*h)) : NULL;
    struct bytes topic = h ? arena_copy(open.b->arena, bytes_str(p->topic->name)) : BYTES_NONE;
    if (!open.b)
        return;
    if (!topic.data || kafka_message_tokens_end(k->o.stage, open.b) != ERR_OK) {
        free(h);
        kafka_drop_open(p);
        kafka_again(p);
        return;
    }
    *h = (struct handed){
        .p = p, .next = open.claim.next, .bytes = open.bytes, .messages = open.messages};
    open.b->claim = open.claim;
    open.b->claim.topic = topic;
    p->open.b = NULL;
    k->open_count--;
    wait_for_room(k);
    hand_over(k, h, open.b);
}

/* Those that have waited long enough; all: those that wait. */
static void close_due(struct kafka *k, bool all)
{
    int64_t now_ns = clock_mono_ns();
    for (struct kafka_partition *p = k->partitions; p && k->open_count; p = p->next)
        if (p->open.b && (all || now_ns - p->open.opened_ns >= KAFKA_GATHER_NS))
            close_open(k, p);
}

static bool open_one(struct kafka *k, struct kafka_partition *p, const struct kafka_message *m)
{
    p->open = (struct kafka_open){
        .b = kafka_message_tokens_begin(m),
        .claim = {.partition = (uint32_t)p->number,
                  .epoch = -1,
                  .from = p->from == KAFKA_NOWHERE ? m->offset : MIN(p->from, m->offset),
                  .is_reset = p->is_reset},
        .opened_ns = clock_mono_ns()};
    k->open_count += p->open.b != NULL;
    return p->open.b;
}

/* ERR_NOMEM: nothing has happened. Another error: the message is none; what came before it is on its way. */
static enum err gather(struct kafka *k, struct kafka_partition *p, const struct kafka_message *m,
                       uint64_t mark)
{
    if (!p->open.b && !open_one(k, p, m))
        return ERR_NOMEM;
    enum err e = kafka_message_tokens_add(m, k->o.db, p->open.b);
    if (e != ERR_OK) {
        if (!p->open.messages)
            kafka_drop_open(p);
        else
            close_open(k, p);
        return e;
    }
    p->open.claim.next = p->from = m->offset + 1;
    p->open.claim.mark = mark;
    p->is_reset = false;
#ifdef TELLTALE_FAULT_KAFKA_FORGETS
    p->open.claim.is_reset = true;
#endif
    p->open.messages++;
    p->open.bytes += m->value.size;
    if (p->open.b->tokens.count >= KAFKA_GATHER_EVENTS || p->open.bytes >= KAFKA_GATHER_BYTES)
        close_open(k, p);
    return ERR_OK;
}

/* ERR_NOMEM: nothing has happened. */
static enum err take(struct kafka *k, struct kafka_partition *p, const rd_kafka_message_t *m)
{
    struct kafka_message message = {.topic = p->topic->name,
                                    .partition = (uint32_t)p->number,
                                    .org = p->topic->org,
                                    .offset = m->offset,
                                    .signal = p->topic->signal,
                                    .is_refused = is_refused(p, m->offset),
                                    .translation = k->o.translation,
                                    .value = bytes_of(m->payload, m->len)};
    if (message.signal == TSDB_TOKENS) {
        enum err e = gather(k, p, &message, kafka_mark_of(m));
        if (e == ERR_OK || e == ERR_NOMEM || is_skipped(k, p))
            return e == ERR_NOMEM ? e : ERR_OK;
    }
    struct handed *h = calloc(1, sizeof(*h));
    struct tsdb_batch *b = NULL;
    struct buf extra = {0};
    kafka_headers_put(&k->o, m, &extra);
    message.extra = buf_bytes(&extra);
    enum err e =
        h ? kafka_message_batch(&message, k->o.db, k->o.stage, &k->poison, &b, &h->is_poison)
          : ERR_NOMEM;
    buf_done(&extra);
    struct bytes topic = e == ERR_OK ? arena_copy(b->arena, bytes_str(p->topic->name)) : BYTES_NONE;
    if (!topic.data) {
        tsdb_batch_free(b);
        free(h);
        return ERR_NOMEM;
    }
    h->p = p;
    h->next = m->offset + 1;
    h->bytes = m->len;
    h->messages = 1;
    b->claim = (struct tsdb_claim){
        .topic = topic,
        .partition = (uint32_t)p->number,
        .epoch = -1,
        .from = p->from == KAFKA_NOWHERE ? m->offset : MIN(p->from, m->offset),
        .next = h->next,
        .mark = kafka_mark_of(m),
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

/* Until the broker has heard where this node stands, in between the group hears from us. false: p goes, or the end has come. */
static bool wait_told(struct kafka *k, const struct kafka_partition *p)
{
    bool is_paused = false;
    while (!k->fixed && p->is_assigned && !atomic_load(&k->is_stopping) &&
           clock_mono_ns() - k->heard_ns > UNTOLD_NS) {
        if (!is_paused) {
            stats_add(&holds, 1);
            pause_all(k, true);
        }
        is_paused = true;
        poll_events(k, HOLD_MS);
        if (clock_mono_ns() - k->told_ns >= TELL_NS)
            kafka_tell(k);
    }
    if (is_paused)
        pause_all(k, false);
    return !is_skipped(k, p) && !atomic_load(&k->is_stopping);
}

static void on_message(struct kafka *k, const rd_kafka_message_t *m)
{
    const char *topic = rd_kafka_topic_name(m->rkt);
    struct kafka_partition *p = k->last;
    if (!p || p->number != m->partition || strcmp(p->topic->name, topic) != 0)
        p = k->last = kafka_partition_of(k, topic, m->partition);
    if (!p || is_skipped(k, p) || kafka_looks_back(k, p, m))
        return; /* it comes again */
    if (!p->is_claimed)
        kafka_claim(k);
    wait_for_room(k);
    if (p->is_claimed && !wait_told(k, p))
        return;
    if (!p->is_claimed || take(k, p, m) != ERR_OK) {
        kafka_again(p);
        clock_sleep_ms(HOLD_MS);
    }
}

static void on_error(struct kafka *k, const rd_kafka_message_t *m)
{
    switch (m->err) {
    case RD_KAFKA_RESP_ERR__PARTITION_EOF: return;
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
        kafka_on_no_place(k, rd_kafka_topic_name(m->rkt), m->partition);
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
        m->err || !m->rkt ? NULL : kafka_partition_of(k, rd_kafka_topic_name(m->rkt), m->partition);
    if (m->err)
        on_error(k, m);
    if (p)
        kafka_again(p);
    rd_kafka_message_destroy(m);
}

static void *reader_main(void *arg)
{
    struct kafka *k = arg;
    while (!atomic_load(&k->is_stopping)) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(k->rk, k->open_count ? 0 : POLL_MS);
        if (k->open_count)
            close_due(k, !m);
        if (m && m->err)
            on_error(k, m);
        else if (m)
            on_message(k, m);
        if (m)
            rd_kafka_message_destroy(m);
        kafka_seek_failed(k);
        if (k->must_claim)
            kafka_claim(k);
        if (clock_mono_ns() - k->told_ns >= TELL_NS) {
            kafka_look_back(k);
            kafka_tell(k);
        }
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
        kafka_place_all(k, k->fixed);
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
    rd_kafka_conf_set_rebalance_cb(conf, kafka_on_rebalance);
    rd_kafka_conf_set_offset_commit_cb(conf, kafka_on_told);
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
    if (e == ERR_OK && (e = kafka_overlap_node(o->db, k->node)) != ERR_OK)
        e = err_set(msg, e, "kafka: this node's name cannot be read or kept");
    if (e == ERR_OK)
        e = connect_reader(k, msg);
    if (e != ERR_OK) {
        kafka_free(k);
        return e;
    }
    *out = k;
    return ERR_OK;
}

/* Has it joined the group, without having been told its partitions yet? */
static bool is_joining(struct kafka *k)
{
    char *member = k->fixed || k->was_assigned ? NULL : rd_kafka_memberid(k->rk);
    bool is = member && member[0];
    if (member)
        rd_kafka_mem_free(k->rk, member);
    return is;
}

static void *destroy_main(void *rk)
{
    rd_kafka_destroy(rk);
    return NULL;
}

/* The client may wait for a thread of its own for ever where a topic was removed while it was read (seen with librdkafka 2.0.2): a process that
 * is told to end does not wait with it. false: it still does, and what it may call stays. */
static bool destroy(rd_kafka_t *rk)
{
    pthread_t t;
    struct timespec until;
    if (pthread_create(&t, NULL, destroy_main, rk) != 0) {
        rd_kafka_destroy(rk);
        return true;
    }
    clock_gettime(CLOCK_REALTIME, &until); /* as pthread_timedjoin_np counts */
    until.tv_sec += DESTROY_S;
    if (pthread_timedjoin_np(t, NULL, &until) == 0)
        return true;
    log_warn("kafka", "the client does not end within %d s; it is left as it is", DESTROY_S);
    pthread_detach(t);
    return false;
}

/* The client aborts when it is destroyed between joining a group and the first assignment (librdkafka before 2.3, issue 4312): that is waited
 * for, and if it does not come the client stays as it is until the process ends. false: it does, and keeps k. */
static bool leave(struct kafka *k)
{
    int64_t until = clock_mono_ns() + LEAVE_NS;
    if (k->fixed)
        kafka_leave_all(k, k->fixed);
    while (is_joining(k) && clock_mono_ns() < until)
        poll_events(k, POLL_MS);
    bool may_abort = is_joining(k);
    rd_kafka_consumer_close(k->rk); /* hands the partitions over: kafka_on_rebalance */
    return (!may_abort || k->was_assigned) && destroy(k->rk);
}

void kafka_free(struct kafka *k)
{
    if (!k)
        return;
    atomic_store(&k->is_stopping, true);
    if (k->has_thread)
        pthread_join(k->thread, NULL);
    while (!kafka_land(k, NULL)) /* the store answers everything it has taken */
        log_warn("kafka", "waiting for the store to take what was read");
    if (k->rk && !leave(k))
        return;
    for (struct kafka_partition *p = k->partitions, *next; p; p = next) {
        next = p->next;
        kafka_drop_open(p);
        free(p);
    }
    if (k->fixed)
        rd_kafka_topic_partition_list_destroy(k->fixed);
    pthread_mutex_destroy(&k->lock);
    pthread_cond_destroy(&k->landed);
    free(k);
}
