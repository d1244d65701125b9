/* Which partitions are read here, from where on, and what the broker is told of it. */
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
        if (p->is_assigned && stored != KAFKA_NOWHERE &&
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
        if (p && !err && !tp->err)
            p->told = tp->offset;
    }
}

/* Once a second; what fails is told the next time. */
void kafka_tell(struct kafka *k)
{
    rd_kafka_topic_partition_list_t *list = untold(k, NULL);
    int64_t behind = 0;
    if (list->cnt)
        (void)rd_kafka_commit(k->rk, list, 1); /* kafka_on_told hears of it */
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
    for (int i = 0; i < list->cnt && is_last && !e; i++) {
        rd_kafka_topic_partition_t *tp = &list->elems[i];
        struct kafka_partition *p = kafka_partition_of(k, tp->topic, tp->partition);
        if (p && !tp->err)
            p->has_told_left = true;
    }
}

/* Whoever takes a partition over that nobody has given up must find whose it was, even if it was for a moment. */
void kafka_claim(struct kafka *k)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
    k->must_claim = false;
    for (struct kafka_partition *p = k->partitions; p; p = p->next)
        if (p->is_assigned && p->from != KAFKA_NOWHERE)
            add_place(list, p, p->from, false);
    if (list->cnt)
        tell_now(k, list, false);
    rd_kafka_topic_partition_list_destroy(list);
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
    for (int i = 0; i < list->cnt && !k->fixed; i++) {
        rd_kafka_topic_partition_t *tp = &list->elems[i];
        struct kafka_partition *p = kafka_partition_of(k, tp->topic, tp->partition);
        int64_t from = p ? MAX(MAX(p->told, p->first), 0) : 0;
        if (!p || from >= tp->offset)
            continue;
        log_warn("kafka",
                 "%s[%d] goes to another member, and the broker could not be told where this one "
                 "stands: messages %lld to %lld may be on both nodes",
                 tp->topic, (int)tp->partition, (long long)from, (long long)tp->offset - 1);
        (void)kafka_overlap_record(k->o.db, tp->topic, (uint32_t)tp->partition, from, tp->offset,
                                   "handover", "");
    }
    rd_kafka_topic_partition_list_destroy(list);
}

/* --- assignment ---------------------------------------------------------------------------------- */

int64_t kafka_offset_of(const struct kafka_partition *p)
{
    return p->from != KAFKA_NOWHERE ? p->from
           : p->k->o.from_end       ? RD_KAFKA_OFFSET_END
                                    : RD_KAFKA_OFFSET_BEGINNING;
}

/* What the group knows of the partitions of list: a copy of it; NULL: partitions are fixed, and there is no group. */
static rd_kafka_topic_partition_list_t *group_of(struct kafka *k,
                                                 const rd_kafka_topic_partition_list_t *list)
{
    if (k->fixed)
        return NULL;
    rd_kafka_topic_partition_list_t *group = rd_kafka_topic_partition_list_copy(list);
    rd_kafka_resp_err_t e = rd_kafka_committed(k->rk, group, KAFKA_ASK_MS);
    if (e != RD_KAFKA_RESP_ERR_NO_ERROR)
        log_warn("kafka", "the group's offsets are not known, own ones count: %s",
                 rd_kafka_err2str(e));
    return group;
}

static struct kafka_overlap_line line_of(const rd_kafka_topic_partition_t *tp)
{
    struct kafka_overlap_line l;
    kafka_overlap_read(bytes_of(tp->metadata, tp->metadata ? tp->metadata_size : 0), &l);
    return l;
}

/* This node was taken over while it had more than the broker knew: what it finds of itself in the line. */
static void look_back(struct kafka *k, struct kafka_partition *p,
                      const struct kafka_overlap_line *l)
{
    int64_t own = kafka_place_of(p);
    for (unsigned i = 0; i < l->open_count; i++) {
        int64_t from = MAX(l->open[i].at, 0);
        if (strcmp(l->open[i].node, k->node) == 0 && own > from &&
            kafka_overlap_record(k->o.db, p->topic->name, (uint32_t)p->number, from, own, "crash",
                                 l->node))
            log_warn("kafka",
                     "%s[%d]: another member went on from %lld after this one had died, which had "
                     "stored up to %lld: these messages are on both nodes",
                     p->topic->name, (int)p->number, (long long)from, (long long)own - 1);
    }
}

/* The line that goes with p's places from now on; known: what the broker had. */
static void take_line(struct kafka *k, struct kafka_partition *p,
                      const rd_kafka_topic_partition_t *known)
{
    struct kafka_overlap_line before = {.from = KAFKA_NOWHERE};
    if (known)
        before = line_of(known);
    look_back(k, p, &before);
    p->line = (struct kafka_overlap_line){.from = p->from};
    memcpy(p->line.node, k->node, sizeof(k->node));
    p->has_told_left = false;
    for (unsigned i = 0; i < before.open_count; i++)
        if (strcmp(before.open[i].node, k->node) != 0)
            kafka_overlap_add_open(&p->line, before.open[i].node, before.open[i].at);
    if (before.node[0] && strcmp(before.node, k->node) != 0 && !before.has_left) {
        kafka_overlap_add_open(&p->line, before.node, known->offset);
        if (kafka_overlap_record(k->o.db, p->topic->name, (uint32_t)p->number,
                                 MAX(known->offset, 0), KAFKA_NOWHERE, "takeover", before.node))
            log_warn("kafka",
                     "%s[%d] was taken over from node %s, which has not let go of it: what it "
                     "stored after %lld, if anything, is on both nodes",
                     p->topic->name, (int)p->number, before.node, (long long)known->offset);
    }
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
    p->told = others;
    p->first = p->from;
    tp->offset = p->mark ? p->from - 1 : kafka_offset_of(p); /* what it had last is looked at */
    pthread_mutex_lock(&k->lock);
    p->stored = p->from;
    p->has_failed = false;
    pthread_mutex_unlock(&k->lock);
    take_line(k, p, known);
    log_info("kafka", "%s[%d] is read here from %lld on%s", tp->topic, (int)tp->partition,
             (long long)p->from, p->is_reset ? ", where another member got to" : "");
    stats_add(&assigned, 1);
}

/* Where each is to be read from: the store's place, or the group's where another member has gone on. */
void kafka_place_all(struct kafka *k, rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_topic_partition_list_t *group = group_of(k, list);
    for (int i = 0; i < list->cnt; i++)
        place_one(k, &list->elems[i], group ? &group->elems[i] : NULL);
    k->must_claim = group != NULL;
    if (group)
        rd_kafka_topic_partition_list_destroy(group);
}

/* Once, when the group is there: what this node left on two nodes when it died, in partitions that are another's now, too. */
static void look_back_at_all(struct kafka *k)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
    k->has_looked_back = true;
    for (size_t i = 0; i < k->topic_count; i++) {
        const struct rd_kafka_metadata *md = NULL;
        rd_kafka_topic_t *topic = rd_kafka_topic_new(k->rk, k->topics[i].name, NULL);
        if (topic && rd_kafka_metadata(k->rk, 0, topic, &md, KAFKA_ASK_MS) == 0) {
            for (int t = 0; t < md->topic_cnt; t++)
                for (int n = 0; n < md->topics[t].partition_cnt; n++)
                    rd_kafka_topic_partition_list_add(list, k->topics[i].name,
                                                      md->topics[t].partitions[n].id);
            rd_kafka_metadata_destroy(md);
        }
        if (topic)
            rd_kafka_topic_destroy(topic);
    }
    rd_kafka_topic_partition_list_t *group = list->cnt ? group_of(k, list) : NULL;
    for (int i = 0; group && i < group->cnt; i++) {
        rd_kafka_topic_partition_t *tp = &group->elems[i];
        struct kafka_partition *p = kafka_partition_of(k, tp->topic, tp->partition);
        struct kafka_overlap_line l = line_of(tp);
        if (p)
            look_back(k, p, &l);
    }
    if (group)
        rd_kafka_topic_partition_list_destroy(group);
    rd_kafka_topic_partition_list_destroy(list);
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
}

void kafka_on_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t err,
                        rd_kafka_topic_partition_list_t *list, void *ctx)
{
    struct kafka *k = ctx;
    bool in_steps = strcmp(rd_kafka_rebalance_protocol(rk), "COOPERATIVE") == 0;
    rd_kafka_error_t *e = NULL;
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (err == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        if (!k->has_looked_back)
            look_back_at_all(k);
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
