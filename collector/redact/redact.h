/* Sensitive data in rows: found and masked before anything is stored.
 *
 *   raw columns of a row --one pass for anchors (vectorscan), one for digits--> nothing: done
 *                                         |
 *                                         '--> value by value: recognisers, checksums, context --> policy --> copies with placeholders
 *
 * A placeholder keeps identity: <EMAIL_482139071>, its number an HMAC of the kind, the trace and the value. So one value has one placeholder in
 * all rows of its trace, in context and answer alike, whatever the order and the node on which they come, and another in every other trace.
 * Owner: the program: redact; each caller of the stage its redact_scan.  Thread: redact is immutable once rows come; a scan has one thread.
 * Failure: redact_new: ERR_INVALID, one line per mistake, that names the file's line and the pattern.  redact_span, redact_log: false when the
 *          batch's arena is full: the request is refused whole, never stored unmasked.
 * Limits: REDACT_PATTERNS_MAX own patterns of REDACT_PATTERN_BYTES_MAX bytes, REDACT_PATTERN_SECONDS and REDACT_DATABASE_MAX bytes to compile;
 *         REDACT_SERVICES_MAX services with actions of their own; REDACT_MATCHES_MAX findings in one text, past it the whole text goes.
 * Invariants: 1. Masking twice is masking once. 2. What is found is a function of the row and the rules. 3. A masked text of JSON is JSON.
 */
#ifndef COLLECTOR_REDACT_REDACT_H
#define COLLECTOR_REDACT_REDACT_H

#include "base/buf.h"
#include "base/yaml_in.h"
#include "tsdb/tsdb_batch.h"

#define REDACT_PATTERNS_MAX 64u
#define REDACT_PATTERN_BYTES_MAX 512u
#define REDACT_PATTERN_SECONDS 2u
#define REDACT_DATABASE_MAX (4u << 20) /* all own patterns, compiled */
#define REDACT_SERVICES_MAX 64u
#define REDACT_MATCHES_MAX 4096u
#define REDACT_KEY_BYTES 32u
#define REDACT_NAME_MAX 32u

enum redact_action { REDACT_KEEP, REDACT_MASK, REDACT_HASH, REDACT_DROP, REDACT_ACTION_COUNT };

struct redact;

struct redact_options {
    bool is_off;
    /* Parts of the configuration file (docs/redaction.md); NULL: the defaults. */
    const struct yaml_node *actions, *content, *services, *patterns, *alerts;
    const char *file; /* for messages */
};

enum err redact_new(const struct redact_options *o, struct redact **out,
                    struct buf *errors) MUST_CHECK;
void redact_free(struct redact *r); /* NULL is fine */
/* Without a key placeholders are made with one of zeros: for tests. Before the first row. */
void redact_set_key(struct redact *r, const uint8_t key[REDACT_KEY_BYTES]);
/* The key of a data directory, DIR/keys/redaction: made when it is not there. */
enum err redact_load_key(struct redact *r, const char *dir, struct err_msg *msg) MUST_CHECK;
/* A key of the configuration: 64 hex digits. */
enum err redact_parse_key(struct redact *r, const char *hex, struct err_msg *msg) MUST_CHECK;

/* Kinds of sensitive data, own patterns included: "email", "openai_key", ... */
uint32_t redact_type_count(const struct redact *r);
const char *redact_type_name(const struct redact *r, uint32_t type);
const char *redact_action_name(enum redact_action a);
/* Does one in an answer of a model raise the alert? */
bool redact_type_alerts(const struct redact *r, uint32_t type);

struct redact_scan;
struct redact_scan *redact_scan_new(const struct redact *r); /* NULL = no memory */
void redact_scan_free(struct redact_scan *s); /* NULL is fine */

/* What one row had. As sent: what the columns were; they point into the batch. */
#define REDACT_FINDINGS_MAX 32u
struct redact_finding {
    const char *name; /* of its kind; the rules' */
    uint8_t type, action;
    bool in_output; /* in what a model answered */
    uint32_t count;
};
struct redact_found {
    struct bytes attrs, events, body; /* as sent */
    uint32_t count; /* of findings */
    struct redact_finding finding[REDACT_FINDINGS_MAX];
};

/* Before the first row of another batch. */
void redact_batch(struct redact_scan *s, const struct tsdb_batch *b);
bool redact_span(struct redact_scan *s, struct tsdb_batch *b, uint32_t row,
                 struct redact_found *out) MUST_CHECK;
bool redact_log(struct redact_scan *s, struct tsdb_batch *b, uint32_t row,
                struct redact_found *out) MUST_CHECK;
/* One text, as a value of the attribute key in content of no trace; appends. For tools and tests. */
bool redact_text(struct redact_scan *s, struct bytes key, struct bytes text, struct buf *out,
                 struct redact_found *found) MUST_CHECK;
/* Bytes of no known shape (a message that cannot be decoded): what would be masked becomes as many asterisks. */
void redact_blank(struct redact_scan *s, uint8_t *data, size_t size);

#endif
