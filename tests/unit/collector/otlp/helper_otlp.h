/* Random OTLP messages built and read through protobuf-c's descriptors, their JSON form, and a comparison of batches. For tests. */
#ifndef TESTS_UNIT_COLLECTOR_OTLP_HELPER_OTLP_H
#define TESTS_UNIT_COLLECTOR_OTLP_HELPER_OTLP_H

#include <protobuf-c/protobuf-c.h>

#include "base/arena.h"
#include "base/buf.h"
#include "collector/otlp/otlp.h"

#define HELPER_OTLP_NOW_NS INT64_C(1764000000000000000)

/* A message of a few resources, scopes and rows; the same seed gives the same. Ids and times are mostly good, histograms consistent. */
ProtobufCMessage *helper_otlp_random(enum tsdb_signal signal, uint64_t seed, struct arena *a);
/* malloc'ed, for otlp_decode. */
uint8_t *helper_otlp_pack(const ProtobufCMessage *m, size_t *out_size);
void helper_otlp_json(const ProtobufCMessage *m, struct buf *out);
struct otlp_decode_options helper_otlp_options(enum tsdb_signal signal, enum otlp_encoding encoding,
                                               struct tsdb_registry *series);
/* Decodes with a floor of 30 days and HELPER_OTLP_NOW_NS. */
enum err helper_otlp_decode(enum tsdb_signal signal, enum otlp_encoding encoding,
                            struct tsdb_registry *series, uint8_t *take_body, size_t size,
                            struct tsdb_batch **out, struct err_msg *msg);
/* NULL when equal (but for request_key), else the first difference. */
const char *helper_otlp_difference(const struct tsdb_batch *x, const struct tsdb_batch *y);

#endif
