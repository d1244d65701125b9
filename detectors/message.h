/* What a receiver of each kind is sent: a note about one alert, in the words and limits of the service.
 *
 *   alert --webhook_note_of--> note --message_write--> body (outbox) --message_seal--> bytes on the wire
 *
 * Owner: caller.  Thread: any.
 * Failure: the buffer's. What is longer than the service takes is cut between characters.
 * Limits: those of the services, MESSAGE_*.
 * Invariants: 1. A body that waits in the outbox holds no secret: the routing key of PagerDuty is put in when it is sent. 2. A body is a pure
 *             function of the receiver's name and kind and the note.
 */
#ifndef DETECTORS_MESSAGE_H
#define DETECTORS_MESSAGE_H

#include "detectors/webhook.h"

#define MESSAGE_SLACK_HEADER_MAX 150u /* of plain text in a header block */
#define MESSAGE_SLACK_TEXT_MAX 3000u /* of a section */
#define MESSAGE_SLACK_FIELDS_MAX 10u
#define MESSAGE_SLACK_FIELD_MAX 2000u
#define MESSAGE_TEAMS_MAX 28000u /* bytes of a card that Workflows takes */
#define MESSAGE_PAGERDUTY_SUMMARY_MAX 1024u
#define MESSAGE_PAGERDUTY_MAX ((size_t)512 << 10)
#define MESSAGE_FACTS_MAX 24u
#define MESSAGE_LINKS_MAX 8u

void message_write(const struct detectors_receiver *r, const struct webhook_note *n,
                   const char *external_url, struct buf *out);
/* The body as it is sent: what is secret is added. out gets a copy. */
void message_seal(const struct detectors_receiver *r, struct bytes body, struct buf *out);
/* Where it is posted: of Alertmanager the base URL and its path. */
enum err message_url(const struct detectors_receiver *r, char *out, size_t size) MUST_CHECK;

/* --- for the kinds ------------------------------------------------------------------------------- */

struct bytes message_label(const struct webhook_note *n, const char *name); /* empty when absent */
bool message_has_label(const struct webhook_note *n, struct bytes name);
struct bytes message_annotation(const struct webhook_note *n, const char *name);
/* What a person reads first: the summary, else the alert's name. */
struct bytes message_summary(const struct webhook_note *n);
const char *message_state(const struct webhook_note *n); /* "FIRING", "RESOLVED", "TEST" */
bool message_is_page(const struct webhook_note *n);
/* At most max bytes, and no part of a character at the end. */
struct bytes message_fit(struct bytes text, size_t max);
/* Names and values worth a line: the service, then annotations that are no texts and no links, then the other labels. */
size_t message_facts(const struct webhook_note *n, struct query_slo_pair *out, size_t max);
/* Annotations that are URLs, the page of the alert among them. */
size_t message_links(const struct webhook_note *n, struct query_slo_pair *out, size_t max);

void message_slack(const struct webhook_note *n, struct buf *out);
void message_teams(const struct webhook_note *n, struct buf *out);
void message_pagerduty(const struct webhook_note *n, const char *external_url, struct buf *out);
void message_alertmanager(const struct webhook_note *n, struct buf *out);
void message_mail(const struct detectors_receiver *r, const struct webhook_note *n,
                  struct buf *out);

#endif
