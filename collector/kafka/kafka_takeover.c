/* Whose the partitions were before, and what a node that died leaves behind on two nodes. */
#include <inttypes.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "collector/kafka/kafka_core.h"

#define ASK_AGAIN_MS 100
#define LOOK_MS 2000

/* --- what the group knows ------------------------------------------------------------------------ */

static bool has_answered(const rd_kafka_topic_partition_list_t *list)
{
    for (int i = 0; i < list->cnt; i++)
        if (list->elems[i].err)
            return false;
    return true;
}

/* NULL: it does not say so now. */
static rd_kafka_topic_partition_list_t *ask(struct kafka *k,
                                            const rd_kafka_topic_partition_list_t *list, int ms)
{
    rd_kafka_topic_partition_list_t *group = rd_kafka_topic_partition_list_copy(list);
    if (rd_kafka_committed(k->rk, group, ms) == RD_KAFKA_RESP_ERR_NO_ERROR && has_answered(group))
        return group;
    rd_kafka_topic_partition_list_destroy(group);
    return NULL;
}

rd_kafka_topic_partition_list_t *kafka_group_places(struct kafka *k,
                                                    const rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_topic_partition_list_t *group = NULL;
    while (!group && !atomic_load(&k->is_stopping)) {
        group = ask(k, list, KAFKA_ASK_MS);
        if (!group)
            clock_sleep_ms(ASK_AGAIN_MS);
    }
    return group;
}

static struct kafka_overlap_line line_of(const rd_kafka_topic_partition_t *tp)
{
    struct kafka_overlap_line l;
    kafka_overlap_read(bytes_of(tp->metadata, tp->metadata ? tp->metadata_size : 0), &l);
    return l;
}

/* --- looking back -------------------------------------------------------------------------------- */

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
                     "%s[%d]: another member went on from %" PRIi64
                     " after this one had died, which had stored up to %" PRIi64
                     ": these messages are on both nodes",
                     p->topic->name, (int)p->number, from, own - 1);
    }
}

void kafka_take_line(struct kafka *k, struct kafka_partition *p,
                     const rd_kafka_topic_partition_t *known)
{
    struct kafka_overlap_line before = {.from = KAFKA_NOWHERE};
    if (known)
        before = line_of(known);
    look_back(k, p, &before);
    p->is_unsettled = false; /* it is read on from what is stored here */
    p->line = (struct kafka_overlap_line){.from = p->from};
    memcpy(p->line.node, k->node, sizeof(k->node));
    for (unsigned i = 0; i < before.open_count; i++)
        if (strcmp(before.open[i].node, k->node) != 0)
            kafka_overlap_add_open(&p->line, before.open[i].node, before.open[i].at);
    if (before.node[0] && strcmp(before.node, k->node) != 0 && !before.has_left) {
        kafka_overlap_add_open(&p->line, before.node, known->offset);
        if (kafka_overlap_record(k->o.db, p->topic->name, (uint32_t)p->number,
                                 MAX(known->offset, 0), KAFKA_NOWHERE, "takeover", before.node))
            log_warn("kafka",
                     "%s[%d] was taken over from node %s, which has not let go of it: what it "
                     "stored after %" PRIi64 ", if anything, is on both nodes",
                     p->topic->name, (int)p->number, before.node, known->offset);
    }
}

/* What this node has something of. false: the brokers do not say which partitions there are. */
static bool find_unsettled(struct kafka *k, const struct kafka_topic *t)
{
    const struct rd_kafka_metadata *md = NULL;
    rd_kafka_topic_t *topic = rd_kafka_topic_new(k->rk, t->name, NULL);
    bool ok = topic && rd_kafka_metadata(k->rk, 0, topic, &md, KAFKA_ASK_MS) == 0;
    for (int i = 0; ok && i < md->topic_cnt; i++)
        for (int n = 0; n < md->topics[i].partition_cnt; n++) {
            struct kafka_partition *p =
                kafka_partition_of(k, t->name, md->topics[i].partitions[n].id);
            p->is_unsettled = !p->is_assigned && kafka_place_of(p) != KAFKA_NOWHERE;
        }
    if (ok)
        rd_kafka_metadata_destroy(md);
    if (topic)
        rd_kafka_topic_destroy(topic);
    return ok;
}

/* Another has it, and has been looked at; or this node had let go of it. Else it is this one's that died, and may yet be taken over. */
static void settle(struct kafka *k, struct kafka_partition *p, const struct kafka_overlap_line *l)
{
    look_back(k, p, l);
    p->is_unsettled = strcmp(l->node, k->node) == 0 && !l->has_left;
}

void kafka_look_back(struct kafka *k)
{
    if (k->fixed || !k->was_assigned)
        return;
    for (; k->looked_at < k->topic_count; k->looked_at++)
        if (!find_unsettled(k, &k->topics[k->looked_at]))
            return;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16), *group = NULL;
    for (struct kafka_partition *p = k->partitions; p; p = p->next)
        if (p->is_unsettled)
            rd_kafka_topic_partition_list_add(list, p->topic->name, p->number);
    if (list->cnt)
        group = ask(k, list, LOOK_MS);
    for (int i = 0; group && i < group->cnt; i++) {
        rd_kafka_topic_partition_t *tp = &group->elems[i];
        struct kafka_partition *p = kafka_partition_of(k, tp->topic, tp->partition);
        struct kafka_overlap_line l = line_of(tp);
        if (p)
            settle(k, p, &l);
    }
    if (group)
        rd_kafka_topic_partition_list_destroy(group);
    rd_kafka_topic_partition_list_destroy(list);
}
