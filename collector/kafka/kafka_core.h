/* The inside of the reader, for the files that make it up: kafka.c (the thread), kafka_options.c (text to settings).
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

#define KAFKA_TOPICS_MAX 64u
#define KAFKA_TOPIC_NAME_MAX 249u /* the broker's limit */
#define KAFKA_STATIC_MAX 4096u

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
    int64_t first; /* where it was begun at this assignment */
    int64_t told; /* what the broker knows */
    /* guarded by k->lock */
    unsigned in_flight;
    bool has_failed; /* a commit did: back to the store's place when nothing is in flight */
    int64_t stored; /* the store's place, as the commits have said; -1: not yet */
};

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
    struct kafka_poison poison;
    bool is_paused;
    int64_t told_ns;
    /* guarded by lock */
    pthread_mutex_t lock;
    pthread_cond_t landed;
    unsigned in_flight;
    size_t in_flight_bytes;
    /* atomic */
    _Atomic bool is_stopping;
};

/* Fills topics and fixed from the options. ERR_INVALID names the text that is wrong. */
enum err kafka_options_topics(struct kafka *k, struct err_msg *msg) MUST_CHECK;
/* The client's settings; out is the caller's. */
enum err kafka_options_conf(const struct kafka_options *o, rd_kafka_conf_t **out,
                            struct err_msg *msg) MUST_CHECK;

#endif
