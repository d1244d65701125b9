/* The inside of the reader, for the files that make it up: kafka.c (the thread), kafka_seek.c (going elsewhere), kafka_group.c
 * (assignment, what the broker is told), kafka_headers.c, kafka_options.c (text to settings).
 *
 * Owner: kafka.c.  Thread: fields say who.
 */
#ifndef COLLECTOR_KAFKA_KAFKA_CORE_H
#define COLLECTOR_KAFKA_KAFKA_CORE_H

#include <pthread.h>
#include <stdatomic.h>

#include <librdkafka/rdkafka.h>

#include "collector/kafka/kafka.h"
#include "collector/kafka/kafka_message.h"
#include "collector/kafka/kafka_overlap.h"

#define KAFKA_TOPICS_MAX 64u
#define KAFKA_TOPIC_NAME_MAX 249u /* the broker's limit */
#define KAFKA_STATIC_MAX 4096u
#define KAFKA_ASK_MS 10000 /* a broker, for offsets */
#define KAFKA_LAND_NS INT64_C(30000000000) /* at a hand-over, for what is under way */
#define KAFKA_NOWHERE (-1)

struct kafka_topic {
    char name[KAFKA_TOPIC_NAME_MAX + 1];
    enum tsdb_signal signal;
    uint32_t org;
};

struct kafka_partition {
    /* immutable after init */
    const struct kafka_topic *topic;
    int32_t number;
    struct kafka *k;
    struct kafka_partition *next;
    /* owned by the reader */
    int64_t
        from; /* after the last message that was handed over; -1: nothing yet, the first may be any */
    bool is_assigned, is_reset; /* is_reset: the next claim is taken wherever the store stands */
    struct kafka_open {
        struct tsdb_batch *b; /* NULL: none */
        struct tsdb_claim claim; /* topic not set */
        size_t bytes;
        uint32_t messages;
        int64_t opened_ns;
    } open; /* token events that are still being gathered: `from` is before them */
    bool is_held; /* Kafka has lost something of it, and it is not to be read past that */
    uint64_t mark; /* what the message before `from` must say; 0: it is not looked at (any more) */
    bool is_anew; /* since it was assigned it was begun at what is left of it */
    int64_t first; /* where it was begun at this assignment, or after a reset */
    int64_t told; /* what the broker knows */
    struct kafka_overlap_line line; /* what goes with it */
    bool is_claimed; /* the broker knows that it is here; before that no message of it is taken */
    bool has_told_left; /* that it is given up here */
    bool
        is_unsettled; /* not read here; when this node died it was, and who takes it over is not known yet */
    /* guarded by k->lock */
    unsigned in_flight;
    bool has_failed; /* a commit did: back to the store's place when nothing is in flight */
    int64_t stored; /* the store's place, as the commits have said; -1: not yet */
    int64_t refused; /* the offset of a message that is too large for the store */
};

/* Token events wait for others of their partition, not longer than they have to. */
#define KAFKA_GATHER_EVENTS 16384u
#define KAFKA_GATHER_BYTES ((size_t)1 << 20)
#define KAFKA_GATHER_NS INT64_C(5000000)

struct kafka {
    /* immutable after init */
    struct kafka_options o;
    struct kafka_topic topics[KAFKA_TOPICS_MAX];
    size_t topic_count;
    rd_kafka_topic_partition_list_t *fixed; /* NULL: as the group says */
    rd_kafka_t *rk;
    pthread_t thread;
    bool has_thread;
    /* owned by the reader */
    struct kafka_partition *partitions; /* all that were ever assigned */
    struct kafka_partition *last; /* whose message came last */
    unsigned open_count; /* partitions that gather */
    struct kafka_poison poison;
    int64_t told_ns,
        heard_ns; /* the broker was told, and has answered, or there was nothing to tell */
    bool was_assigned; /* the group has given partitions, or none, at least once */
    size_t looked_at; /* topics, for what this node left on two nodes */
    uint64_t generation; /* of the journal, lately */
    bool must_claim; /* some of the partitions are not claimed */
    char node[KAFKA_NODE_SIZE + 1];
    /* guarded by lock */
    pthread_mutex_t lock;
    pthread_cond_t landed;
    unsigned in_flight;
    size_t in_flight_bytes;
    /* atomic */
    _Atomic bool is_stopping;
};

/* NULL: its topic was not asked for. */
struct kafka_partition *kafka_partition_of(struct kafka *k, const char *topic, int32_t number);
/* The store's own word; KAFKA_NOWHERE: it has nothing of the partition. */
int64_t kafka_place_of(const struct kafka_partition *p);
int64_t kafka_offset_of(const struct kafka_partition *p); /* p->from, as the client takes it */
/* Until nothing of p (NULL: of any) is under way. false: not in KAFKA_LAND_NS. */
bool kafka_land(struct kafka *k, const struct kafka_partition *p);
/* What is gathered is dropped: it comes again. */
void kafka_drop_open(struct kafka_partition *p);
/* It is read again from the store's place, once nothing of it is under way. */
void kafka_again(struct kafka_partition *p);
/* A commit failed: what followed was refused, too. From the store's place again, when all of it has come back. */
void kafka_seek_failed(struct kafka *k);
void kafka_unhold(struct kafka_partition *p); /* it goes to another member */
/* The broker does not have the place that was asked for. */
void kafka_on_no_place(struct kafka *k, const char *topic, int32_t number);
uint64_t kafka_mark_of(const rd_kafka_message_t *m); /* what it says, as a hash; not 0 */
/* The message before the store's place comes first: it must be the one that was read there. true: m has been dealt with. */
bool kafka_looks_back(struct kafka *k, struct kafka_partition *p, const rd_kafka_message_t *m);
/* From where each of list is read; fills in its offsets. */
void kafka_place_all(struct kafka *k, rd_kafka_topic_partition_list_t *list);
/* Another may read them as soon as this returns. */
void kafka_leave_all(struct kafka *k, const rd_kafka_topic_partition_list_t *list);
void kafka_tell(struct kafka *k); /* the broker, where the store stands */
void kafka_claim(struct kafka *k); /* the broker is told whose the partitions are */
/* What the group knows of the partitions of list, however long that takes: a copy of it. (A member that is silent for five minutes is put out
 * of the group, as it should be.) NULL: the end came first. */
rd_kafka_topic_partition_list_t *kafka_group_places(struct kafka *k,
                                                    const rd_kafka_topic_partition_list_t *list);
/* The line that goes with p's places from now on; known: what the group had, NULL: there is none. */
void kafka_take_line(struct kafka *k, struct kafka_partition *p,
                     const rd_kafka_topic_partition_t *known);
/* Once a second: what this node left on two nodes when it died, in partitions that are another's now. */
void kafka_look_back(struct kafka *k);
/* The client's callbacks, on the reader's thread. */
void kafka_on_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t err,
                        rd_kafka_topic_partition_list_t *list, void *k);
void kafka_on_told(rd_kafka_t *rk, rd_kafka_resp_err_t err, rd_kafka_topic_partition_list_t *list,
                   void *k);

/* Headers that were asked for, as attributes of a resource (fields 1). */
void kafka_headers_put(const struct kafka_options *o, const rd_kafka_message_t *m, struct buf *out);

/* Fills topics and fixed from the options. ERR_INVALID names the text that is wrong. */
enum err kafka_options_topics(struct kafka *k, struct err_msg *msg) MUST_CHECK;
/* The client's settings; out is the caller's. */
enum err kafka_options_conf(const struct kafka_options *o, rd_kafka_conf_t **out,
                            struct err_msg *msg) MUST_CHECK;

#endif
