/* Pieces of answers that more than one endpoint writes.
 *
 * Owner: none.  Thread: the call's.  Failure: the reads' errors; JSON errors stay in the call's buffer.
 */
#ifndef WEB_WEB_JSON_H
#define WEB_WEB_JSON_H

#include "detectors/detectors_silences.h"
#include "query/query_trace.h"
#include "web/web_call.h"

void web_json_str(struct json_out *j, const char *key, struct bytes value);
void web_json_i64(struct json_out *j, const char *key, int64_t value);
void web_json_f64(struct json_out *j, const char *key, double value); /* NaN and infinities: null */
void web_json_text(struct json_out *j, const char *key, const char *value);
void web_json_bool(struct json_out *j, const char *key, bool value);
/* Numbers that are unknown when negative. */
void web_json_known(struct json_out *j, const char *key, int64_t value);
void web_json_hex(struct json_out *j, const char *key, const uint8_t *bytes, size_t size);

void web_admin_accounts(struct web_call *c); /* an array */
enum err web_admin_freshness(struct web_call *c, struct tsdb_view *v) MUST_CHECK; /* an array */
/* The member "warnings", an array of sentences, when what the view has looked at is damaged in part; else nothing. */
void web_quarantine_warnings(struct web_call *c, const struct tsdb_view *v);
/* For the end of "not found": empty, or that it may lie in what is damaged. */
const char *web_quarantine_doubt(const struct tsdb_view *v);
/* What is damaged of the cells, samples and journals of the call's org, which counts that are kept outside of views are made from. */
struct web_damage {
    struct tsdb_quarantined *rows;
    size_t count;
    bool is_more; /* the list is full */
};
enum err web_quarantine_counts(struct web_call *c, struct web_damage *out) MUST_CHECK;
/* The member "warnings" for counts between two moments. */
void web_quarantine_warnings_between(struct web_call *c, const struct web_damage *d, bool samples,
                                     int64_t from_ms, int64_t to_ms);
/* The members silenced_by and muted_by: of an alert, the silences and the maintenance windows that cover it now, with who asked for them. */
struct web_silences {
    struct detectors_silence *list;
    size_t count;
    int64_t now_ms;
};
enum err web_silences_read(struct web_call *c, struct web_silences *out) MUST_CHECK;
void web_silences_of(struct json_out *j, const struct web_silences *s,
                     const struct detectors_alert *a);
/* The member acknowledged: who, or null. */
void web_ack_of(struct web_call *c, const struct detectors_alert *a);
enum err web_slo_table(struct web_call *c) MUST_CHECK; /* an array of objectives */
enum err web_slo_alerts(struct web_call *c) MUST_CHECK; /* an array of alerts */
/* What the loaded objective would have told people; an object. */
enum err web_backtest_one(struct web_call *c, struct bytes id) MUST_CHECK;
/* 1 to 32 hex digits: clients of Jaeger and Tempo leave out leading zeros. */
enum err web_traces_id(struct web_call *c, struct bytes hex, struct tsdb_id16 *out) MUST_CHECK;
/* A parameter such as 1.2s; absent: *out_ns stays. */
enum err web_traces_duration(struct web_call *c, const char *name, int64_t *out_ns) MUST_CHECK;
/* The member "genai" of a row that a dialect was recognised for; attributes as pairs. */
void web_traces_genai(struct json_out *j, const struct tsdb_spans *t, uint32_t row);
void web_traces_attrs(struct json_out *j, const char *key, struct bytes attrs);
void web_traces_summary(struct json_out *j, const struct query_trace_summary *s); /* an object */
/* Runs the search and writes an array of summaries. */
enum err web_traces_list(struct web_call *c, struct tsdb_view *v,
                         const struct query_trace_search *s) MUST_CHECK;

#endif
