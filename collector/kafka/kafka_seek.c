/* Where reading goes on when it cannot simply go on: after a commit that failed, and when Kafka has not kept what it had. */
#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/stats.h"
#include "collector/kafka/kafka_core.h"
#include "collector/kafka/kafka_loss.h"

STATS_COUNTER(lost, "telltale_kafka_lost_messages_total", "",
              "Offsets that Kafka had removed before they were read.")
STATS_COUNTER(resets, "telltale_kafka_resets_total", "",
              "Partitions read from their beginning again: they end before what was read of them.")
STATS_COUNTER(seeks, "telltale_kafka_seeks_total", "",
              "Times a partition was read again from the store's place, after a failed commit.")
STATS_GAUGE(held, "telltale_kafka_held_partitions", "",
            "Partitions that are not read on since Kafka has lost messages of them.")

/* It is read again from the store's place, once nothing of it is under way. */
void kafka_again(struct kafka_partition *p)
{
    pthread_mutex_lock(&p->k->lock);
    p->has_failed = true;
    pthread_mutex_unlock(&p->k->lock);
}

/* The client has stopped fetching it, as it does where the broker does not have the place, and seeks no more: it is given the partition anew. */
static rd_kafka_error_t *assign_anew(struct kafka *k, const struct kafka_partition *p,
                                     int64_t offset)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, p->topic->name, p->number)->offset = offset;
    rd_kafka_error_t *e = rd_kafka_incremental_unassign(k->rk, list);
    if (!e)
        e = rd_kafka_incremental_assign(k->rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    return e;
}

static void seek(struct kafka *k, struct kafka_partition *p)
{
    int64_t offset = kafka_offset_of(p);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, p->topic->name, p->number)->offset = offset;
    rd_kafka_error_t *e = rd_kafka_seek_partitions(k->rk, list, KAFKA_ASK_MS);
    rd_kafka_resp_err_t one = list->elems[0].err;
    if (!e && one == RD_KAFKA_RESP_ERR__STATE) {
        e = assign_anew(k, p, offset);
        one = RD_KAFKA_RESP_ERR_NO_ERROR;
    }
    if (e || one) {
        log_warn("kafka", "%s[%d] cannot go to %lld: %s; it is tried again", p->topic->name,
                 (int)p->number, (long long)offset,
                 e ? rd_kafka_error_string(e) : rd_kafka_err2str(one));
        kafka_again(p);
    }
    if (e)
        rd_kafka_error_destroy(e);
    rd_kafka_topic_partition_list_destroy(list);
}

/* A commit failed: what followed was refused, too. From the store's place again, when all of it has come back. */
void kafka_seek_failed(struct kafka *k)
{
    for (struct kafka_partition *p = k->partitions; p; p = p->next) {
        pthread_mutex_lock(&k->lock);
        bool is_due = p->is_assigned && p->has_failed && p->in_flight == 0;
        bool is_first = p->is_anew && p->stored == p->first; /* the store's place is of before */
        if (is_due)
            p->has_failed = false;
        pthread_mutex_unlock(&k->lock);
        if (!is_due)
            continue;
        kafka_drop_open(p);
        int64_t own = is_first ? KAFKA_NOWHERE : kafka_place_of(p);
        p->mark = 0;
        p->is_reset = own < p->first; /* what lies between is another member's, or gone */
        p->from = MAX(own, p->first);
        stats_add(&seeks, 1);
        seek(k, p);
    }
}

/* Kafka has lost something of it, and the operator wants to see to it first. */
static bool stays_held(struct kafka *k, struct kafka_partition *p)
{
    if (!k->o.stop_on_loss)
        return false;
    if (!p->is_held)
        log_error("kafka",
                  "%s[%d] is not read on, as kafka.on_loss says; it goes on from what is left when "
                  "the program is started with kafka.on_loss: continue",
                  p->topic->name, (int)p->number);
    stats_add(&held, !p->is_held);
    p->is_held = true;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, p->topic->name, p->number);
    (void)rd_kafka_pause_partitions(k->rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    return true;
}

/* It is not read here any more: who takes it over finds the same, and decides for himself. */
void kafka_unhold(struct kafka_partition *p)
{
    stats_add(&held, p->is_held ? -1 : 0);
    p->is_held = false;
}

/* From what is left of it. */
static void begin_at(struct kafka *k, struct kafka_partition *p, int64_t low)
{
    kafka_drop_open(p);
    p->from = p->first = low;
    p->is_reset = p->is_anew = true;
    pthread_mutex_lock(&k->lock);
    p->stored = low;
    pthread_mutex_unlock(&k->lock);
    seek(k, p);
}

/* The broker does not have the place that was asked for. */
void kafka_on_no_place(struct kafka *k, const char *topic, int32_t number)
{
    struct kafka_partition *p = kafka_partition_of(k, topic, number);
    int64_t low = 0, high = 0;
    if (!p || !p->is_assigned)
        return;
    if (!kafka_land(k, p) ||
        rd_kafka_query_watermark_offsets(k->rk, topic, number, &low, &high, KAFKA_ASK_MS)) {
        kafka_again(p);
        return;
    }
    int64_t own = kafka_place_of(p);
    p->mark = 0;
    if (own != KAFKA_NOWHERE && own < low) {
        stats_add(&lost, low - own);
        kafka_loss_record(k->o.db, topic, (uint32_t)number, own, low, false);
        log_error("kafka",
                  "%s[%d]: Kafka has removed the messages %lld to %lld before they were read; its "
                  "retention is shorter than what this node was behind",
                  topic, (int)number, (long long)own, (long long)low - 1);
    } else if (own > high) {
        stats_add(&resets, 1);
        kafka_loss_record(k->o.db, topic, (uint32_t)number, own, high, true);
        log_error("kafka",
                  "%s[%d] ends at %lld, and %lld were read of it: it was made anew, or Kafka has "
                  "lost its end; it is read from the beginning",
                  topic, (int)number, (long long)high, (long long)own);
    }
    if ((own == KAFKA_NOWHERE || (own >= low && own <= high)) || !stays_held(k, p))
        begin_at(k, p, low);
}

uint64_t kafka_mark_of(const rd_kafka_message_t *m)
{
    uint64_t h = hash64(bytes_of(m->payload, m->len), m->len);
    return h ? h : 1;
}

/* The message before the store's place comes first: it must be the one that was read there. true: m has been dealt with. */
bool kafka_looks_back(struct kafka *k, struct kafka_partition *p, const rd_kafka_message_t *m)
{
    int64_t low, high;
    if (!p->mark)
        return false;
    if (m->offset >=
        p->from) { /* it is not there any more: compacted away, or a transaction's end */
        p->mark = 0;
        return false;
    }
    if (m->offset == p->from - 1 && kafka_mark_of(m) == p->mark) {
        p->mark = 0;
        return true;
    }
    if (rd_kafka_query_watermark_offsets(k->rk, p->topic->name, p->number, &low, &high,
                                         KAFKA_ASK_MS)) {
        kafka_again(p);
        return true;
    }
    p->mark = 0;
    stats_add(&resets, 1);
    kafka_loss_record(k->o.db, p->topic->name, (uint32_t)p->number, p->from, m->offset, true);
    log_error("kafka",
              "%s[%d] has another message at %lld than the one that was read there: it was made "
              "anew, or Kafka has lost its end; it is read from the beginning",
              p->topic->name, (int)p->number, (long long)m->offset);
    if (!stays_held(k, p))
        begin_at(k, p, low);
    return true;
}
