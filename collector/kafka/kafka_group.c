/* Which partitions are read here, from where on, and what the broker is told of it. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc_wait.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/stats.h"
#include "collector/kafka/kafka_core.h"

#define TELL_ATTEMPTS 5u
#define TELL_AGAIN_MS 100

STATS_GAUGE(assigned, "telltale_kafka_partitions", "", "Partitions that this process reads.")
STATS_GAUGE(lag, "telltale_kafka_lag_messages", "",
            "Messages of the partitions read here that are not stored yet.")
STATS_COUNTER(unfollowed, "telltale_kafka_errors_total", "reason=\"assignment\"",
              "Errors that the Kafka client reported.")

/* --- partitions ---------------------------------------------------------------------------------- */

struct kafka_partition *kafka_partition_of(struct kafka *k, const char *topic, int32_t number)
{
    struct kafka_partition *p = k->partitions;
    size_t i = 0;
    while (p && (p->number != number || strcmp(p->topic->name, topic) != 0))
        p = p->next;
    if (p)
        return p;
    while (i < k->topic_count && strcmp(k->topics[i].name, topic) != 0)
        i++;
    if (i == k->topic_count)
        return NULL;
    p = alloc_wait_calloc(1, sizeof(*p)); /* it cannot be refused: it is being assigned */
    *p = (struct kafka_partition){.topic = &k->topics[i],
                                  .number = number,
                                  .k = k,
                                  .next = k->partitions,
                                  .from = KAFKA_NOWHERE,
                                  .first = KAFKA_NOWHERE,
                                  .told = KAFKA_NOWHERE,
                                  .stored = KAFKA_NOWHERE,
                                  .refused = KAFKA_NOWHERE};
    k->partitions = p;
    return p;
}

static int64_t stored_of(struct kafka_partition *p)
{
    pthread_mutex_lock(&p->k->lock);
    int64_t n = p->stored;
    pthread_mutex_unlock(&p->k->lock);
    return n;
}

static int64_t place_and_mark(const struct kafka_partition *p, uint64_t *mark)
{
    struct tsdb_position at;
    bool known =
        tsdb_position_of(p->k->o.db, bytes_str(p->topic->name), (uint32_t)p->number, &at) == ERR_OK;
#ifdef TELLTALE_FAULT_KAFKA_FORGETS /* seeded defect: places live apart from the rows */
    known = false;
#endif
    *mark = known ? at.mark : 0;
    return known ? at.next : KAFKA_NOWHERE;
}

/* The store's own word; KAFKA_NOWHERE: it has nothing of the partition. */
int64_t kafka_place_of(const struct kafka_partition *p)
{
    uint64_t mark;
    return place_and_mark(p, &mark);
}

/* --- what the broker is told --------------------------------------------------------------------- */

/* A place of p for the broker, with our line. */
static void add_place(rd_kafka_topic_partition_list_t *list, struct kafka_partition *p,
                      int64_t offset, bool has_left)
{
    struct buf line = {0};
    rd_kafka_topic_partition_t *tp =
        rd_kafka_topic_partition_list_add(list, p->topic->name, p->number);
    p->line.generation = p->k->generation;
    p->line.has_left = has_left;
    kafka_overlap_put(&p->line, &line);
    tp->offset = offset;
    if (buf_ok(&line) && (tp->metadata = malloc(line.size))) { /* the list frees it */
        memcpy(tp->metadata, line.data, line.size);
        tp->metadata_size = line.size;
    }
    buf_done(&line);
}

/* Those of list (NULL: all) whose place the broker does not know yet. */
static rd_kafka_topic_partition_list_t *untold(struct kafka *k,
                                               const rd_kafka_topic_partition_list_t *only)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
    struct tsdb_status status;
    tsdb_status_get(k->o.db, &status);
    k->generation = status.generation;
    for (struct kafka_partition *p = k->partitions; p; p = p->next) {
        int64_t stored = stored_of(p);
        if (stored == KAFKA_NOWHERE && only) /* claimed, and nothing has come */
            stored = p->told;
        if (p->is_assigned && stored >= 0 &&
            (!only ? stored != p->told
                   : rd_kafka_topic_partition_list_find(only, p->topic->name, p->number) &&
                         (stored != p->told || !p->has_told_left)))
            add_place(list, p, stored, only != NULL);
    }
    return list;
}

void kafka_on_told(rd_kafka_t *rk, rd_kafka_resp_err_t err, rd_kafka_topic_partition_list_t *list,
                   void *ctx)
{
    struct kafka *k = ctx;
    (void)rk;
    for (int i = 0; list && i < list->cnt; i++) {
        rd_kafka_topic_partition_t *tp = &list->elems[i];
        struct kafka_partition *p = kafka_partition_of(k, tp->topic, tp->partition);
        if (p && !err && !tp->err) {
            p->told = tp->offset;
            k->heard_ns = clock_mono_ns();
        }
    }
}

/* Once a second; what fails is told the next time. */
void kafka_tell(struct kafka *k)
{
    rd_kafka_topic_partition_list_t *list = untold(k, NULL);
    int64_t behind = 0;
    if (list->cnt)
        (void)rd_kafka_commit(k->rk, list, 1); /* kafka_on_told hears of it */
    else
        k->heard_ns = clock_mono_ns();
    rd_kafka_topic_partition_list_destroy(list);
    for (struct kafka_partition *p = k->partitions; p; p = p->next) {
        int64_t stored = stored_of(p), low, high;
        if (p->is_assigned && stored != KAFKA_NOWHERE &&
            rd_kafka_get_watermark_offsets(k->rk, p->topic->name, p->number, &low, &high) == 0)
            behind += MAX(high - stored, 0);
    }
    stats_set(&lag, behind);
    k->told_ns = clock_mono_ns();
}

/* Now; what has arrived is noted. */
static void tell_now(struct kafka *k, rd_kafka_topic_partition_list_t *list, bool is_last)
{
    rd_kafka_resp_err_t e = rd_kafka_commit(k->rk, list, 0);
    kafka_on_told(k->rk, e, list, k);
    if (e)
        log_debug("kafka", "the broker could not be told: %s", rd_kafka_err2name(e));
    for (int i = 0; i < list->cnt; i++) {
        rd_kafka_topic_partition_t *tp = &list->elems[i];
        struct kafka_partition *p = kafka_partition_of(k, tp->topic, tp->partition);
        if (p && tp->err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
            p->told = tp->offset; /* it is gone: nobody reads on there */
        else if (!p || tp->err || e)
            continue;
        p->has_told_left = is_last;
        p->is_claimed = !is_last;
    }
}

/* Where the taker would begin if this node died now. */
static int64_t claim_of(struct kafka *k, const struct kafka_partition *p)
{
    int64_t low, high;
    if (p->first != KAFKA_NOWHERE)
        return p->first;
    if (rd_kafka_query_watermark_offsets(k->rk, p->topic->name, p->number, &low, &high,
                                         KAFKA_ASK_MS))
        return KAFKA_NOWHERE;
    return k->o.from_end ? high : low;
}

/* Whoever takes a partition over that nobody has given up must find whose it was: before the first message of it is stored here. */
void kafka_claim(struct kafka *k)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
    for (struct kafka_partition *p = k->partitions; p; p = p->next) {
        int64_t at = p->is_assigned && !p->is_claimed ? claim_of(k, p) : KAFKA_NOWHERE;
        if (at != KAFKA_NOWHERE)
            add_place(list, p, at, false);
    }
    if (list->cnt)
        tell_now(k, list, false);
    rd_kafka_topic_partition_list_destroy(list);
    k->must_claim = false;
    for (struct kafka_partition *p = k->partitions; p; p = p->next)
        k->must_claim = k->must_claim || (p->is_assigned && !p->is_claimed);
}

/* What the taker of p begins with, although it is stored here, or may come to be. */
static void record_repeats(struct kafka *k, struct kafka_partition *p)
{
    pthread_mutex_lock(&k->lock);
    int64_t to = p->in_flight ? p->from : p->stored;
    pthread_mutex_unlock(&k->lock);
    int64_t from = p->told >= 0 ? p->told : MAX(p->first, 0);
    if (from >= to)
        return;
    log_warn("kafka",
             "%s[%d] goes to another member, and the broker could not be told where this one "
             "stands: messages %" PRIi64 " to %" PRIi64 " may be on both nodes",
             p->topic->name, (int)p->number, from, to - 1);
    (void)kafka_overlap_record(k->o.db, p->topic->name, (uint32_t)p->number, from, to, "handover",
                               "");
}

/* At a hand-over: whoever reads on begins where the broker says. What it could not be told is stored there once more; that is recorded. */
static void tell_last(struct kafka *k, const rd_kafka_topic_partition_list_t *only)
{
    rd_kafka_topic_partition_list_t *list = untold(k, only);
    for (unsigned i = 0; i < TELL_ATTEMPTS && list->cnt; i++) {
        tell_now(k, list, true);
        rd_kafka_topic_partition_list_destroy(list);
        list = untold(k, only);
        if (list->cnt)
            clock_sleep_ms(TELL_AGAIN_MS);
    }
    rd_kafka_topic_partition_list_destroy(list);
    for (int i = 0; i < only->cnt && !k->fixed; i++) {
        struct kafka_partition *p =
            kafka_partition_of(k, only->elems[i].topic, only->elems[i].partition);
        if (p && p->is_assigned)
            record_repeats(k, p);
    }
}

/* --- assignment ---------------------------------------------------------------------------------- */

int64_t kafka_offset_of(const struct kafka_partition *p)
{
    return p->from != KAFKA_NOWHERE ? p->from
           : p->k->o.from_end       ? RD_KAFKA_OFFSET_END
                                    : RD_KAFKA_OFFSET_BEGINNING;
}

static void place_one(struct kafka *k, rd_kafka_topic_partition_t *tp,
                      const rd_kafka_topic_partition_t *known)
{
    struct kafka_partition *p = kafka_partition_of(k, tp->topic, tp->partition);
    if (!p)
        return; /* a topic that was not asked for */
    uint64_t mark;
    int64_t own = place_and_mark(p, &mark), others = known ? known->offset : KAFKA_NOWHERE;
    p->is_assigned = true;
    p->is_reset = others > own && others >= 0;
    p->from = p->is_reset ? others : own;
    p->mark = p->is_reset ? 0 : mark;
#ifdef TELLTALE_FAULT_KAFKA_SKIPS /* seeded defect: reading goes on a message too far */
    if (p->from > 0) {
        p->from++;
        p->is_reset = true;
        p->mark = 0;
    }
#endif
    p->told = others;
    p->first = p->from;
    p->is_claimed = k->fixed != NULL;
    p->has_told_left = p->is_anew = false;
    tp->offset = p->mark ? p->from - 1 : kafka_offset_of(p); /* what it had last is looked at */
    pthread_mutex_lock(&k->lock);
    p->stored = p->from;
    p->has_failed = false;
    pthread_mutex_unlock(&k->lock);
    kafka_take_line(k, p, known);
    log_info("kafka", "%s[%d] is read here from %lld on%s", tp->topic, (int)tp->partition,
             (long long)p->from, p->is_reset ? ", where another member got to" : "");
    stats_add(&assigned, 1);
}

/* Where each is to be read from: the store's place, or the group's where another member has gone on. While the group does not say, none of them
 * is this node's: it would tell the group a place that others have long passed. */
void kafka_place_all(struct kafka *k, rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_topic_partition_list_t *group = k->fixed ? NULL : kafka_group_places(k, list);
    if (!group && !k->fixed)
        return;
    for (int i = 0; i < list->cnt; i++)
        place_one(k, &list->elems[i], group ? &group->elems[i] : NULL);
    k->must_claim = k->must_claim || group != NULL;
    if (group)
        rd_kafka_topic_partition_list_destroy(group);
}

/* Another may read on as soon as this returns: nothing of these is under way any more, and the broker knows how far it went. */
void kafka_leave_all(struct kafka *k, const rd_kafka_topic_partition_list_t *list)
{
    for (int i = 0; i < list->cnt; i++) {
        struct kafka_partition *p =
            kafka_partition_of(k, list->elems[i].topic, list->elems[i].partition);
        if (p)
            kafka_drop_open(p);
        if (p && !kafka_land(k, p))
            log_warn("kafka", "%s[%d] goes to another member with messages under way here",
                     p->topic->name, (int)p->number);
    }
    tell_last(k, list);
    for (int i = 0; i < list->cnt; i++) {
        struct kafka_partition *p =
            kafka_partition_of(k, list->elems[i].topic, list->elems[i].partition);
        if (p && p->is_assigned) {
            p->is_assigned = false;
            kafka_unhold(p);
            stats_add(&assigned, -1);
        }
    }
    /* The client keeps a pause beyond the assignment: what came back later would never be read. */
    rd_kafka_topic_partition_list_t *resumed = rd_kafka_topic_partition_list_copy(list);
    (void)rd_kafka_resume_partitions(k->rk, resumed);
    rd_kafka_topic_partition_list_destroy(resumed);
}

void kafka_on_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t err,
                        rd_kafka_topic_partition_list_t *list, void *ctx)
{
    struct kafka *k = ctx;
    bool in_steps = strcmp(rd_kafka_rebalance_protocol(rk), "COOPERATIVE") == 0;
    rd_kafka_error_t *e = NULL;
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (err == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        k->was_assigned = true;
        kafka_place_all(k, list);
        if (in_steps)
            e = rd_kafka_incremental_assign(rk, list);
        else
            code = rd_kafka_assign(rk, list);
    } else {
        kafka_leave_all(k, list);
        if (in_steps)
            e = rd_kafka_incremental_unassign(rk, list);
        else
            code = rd_kafka_assign(rk, NULL);
    }
    if (e || code) {
        log_error("kafka", "the group's assignment cannot be followed: %s",
                  e ? rd_kafka_error_string(e) : rd_kafka_err2str(code));
        stats_add(&unfollowed, 1);
    }
    if (e)
        rd_kafka_error_destroy(e);
}
