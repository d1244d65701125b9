#include "cli/serve_conditions.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/stats.h"
#include "collector/genai/genai_invoice.h"
#include "collector/kafka/kafka_loss.h"
#include "collector/kafka/kafka_overlap.h"

#define LOST "telltale_kafka_lost_messages_total"
#define RESETS "telltale_kafka_resets_total"
#define HELD "telltale_kafka_held_partitions"
#define OVERLAPS "telltale_kafka_overlaps_total"
#define LOST_RESOLVE_MINUTES 5u /* a restart takes less until what was held is held again */

static enum err one_finding(struct arena *a, struct detectors_finding f,
                            struct detectors_finding **out, size_t *out_count)
{
    struct detectors_finding *list = ARENA_ARRAY(a, struct detectors_finding, 1);
    if (!list || !f.summary.data || !f.sentence.data)
        return ERR_NOMEM;
    list[0] = f;
    *out = list;
    *out_count = 1;
    return ERR_OK;
}

static enum err look_kafka_lost(void *ctx, int64_t now_ms, struct arena *a,
                                struct detectors_finding **out, size_t *out_count)
{
    const struct serve_conditions *s = ctx;
    struct kafka_losses l;
    int64_t held = stats_sum(HELD);
    enum err e = kafka_loss_since(s->db, now_ms - SERVE_CONDITIONS_RECENT_MS, a, &l);
    *out_count = 0;
    if (e != ERR_OK || (!held && !l.partitions))
        return e;
    struct detectors_finding f = {.severity = held ? QUERY_SLO_PAGE : QUERY_SLO_TICKET};
    if (held)
        f.summary = arena_printf(a,
                                 "Kafka has lost messages: %" PRIi64
                                 " partitions are held and not read on (" HELD ")",
                                 held);
    else
        f.summary = arena_printf(a,
                                 "Kafka has lost messages of %" PRIu32 " partitions: %" PRIu64
                                 " removed before they were read (" LOST "), %" PRIu64
                                 " times read from the beginning again (" RESETS ")",
                                 l.partitions, l.messages, l.resets);
    char where[320] = "";
    if (l.partitions)
        snprintf(where, sizeof(where), "The newest: %s. ", l.place);
    f.sentence = arena_printf(
        a,
        "%sIn the last hour: " LOST " %" PRIu64 ", " RESETS " %" PRIu64 "; now: " HELD " %" PRIi64
        ". %s docs/kafka.md says what each means.",
        where, l.messages, l.resets, held,
        held ? "They go on from what is left when Telltale is started with kafka.on_loss: continue."
             : "Make the topic's retention longer than Telltale may be behind.");
    return one_finding(a, f, out, out_count);
}

/* The table has up to 10,000 rows and changes in this process only: it is read when its counter moved, and while something in it is recent. */
static enum err look_kafka_overlap(void *ctx, int64_t now_ms, struct arena *a,
                                   struct detectors_finding **out, size_t *out_count)
{
    struct serve_conditions *s = ctx;
    struct kafka_overlaps o;
    int64_t counter = stats_sum(OVERLAPS), after_ms = now_ms - SERVE_CONDITIONS_RECENT_MS;
    *out_count = 0;
    if (counter == s->overlaps_seen && s->overlap_newest_ms <= after_ms)
        return ERR_OK;
    enum err e = kafka_overlap_since(s->db, after_ms, a, &o);
    if (e != ERR_OK)
        return e;
    s->overlaps_seen = counter;
    s->overlap_newest_ms = o.newest_ms;
    if (!o.ranges)
        return ERR_OK;
    struct detectors_finding f = {
        .severity = QUERY_SLO_TICKET,
        .summary = arena_printf(a,
                                "%" PRIu32 " ranges of Kafka's messages may be stored on two nodes "
                                "(" OVERLAPS ", last hour)",
                                o.ranges),
        .sentence = arena_printf(a,
                                 "The newest: %s. Sums over both nodes may count them twice; GET "
                                 "/api/telltale/v1/quarantine/messages lists all, docs/kafka.md "
                                 "says how they come about.",
                                 o.newest)};
    return one_finding(a, f, out, out_count);
}

static enum err look_invoice_residue(void *ctx, int64_t now_ms, struct arena *a,
                                     struct detectors_finding **out, size_t *out_count)
{
    const struct serve_conditions *s = ctx;
    struct genai_invoice_residue *all;
    size_t n = 0, found = 0;
    (void)now_ms; /* a report is the newest until there is a newer one */
    *out_count = 0;
    enum err e = genai_invoice_residues(s->db, s->org, a, &all, &n);
    if (e != ERR_OK)
        return e;
    struct detectors_finding *list = ARENA_ARRAY(a, struct detectors_finding, n + 1);
    if (!list)
        return ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        char at[CLOCK_RFC3339_MAX];
        if (all[i].ratio <= GENAI_INVOICE_ALERT_RATIO)
            continue;
        struct detectors_finding *f = &list[found++];
        struct bytes who = all[i].provider;
        clock_rfc3339(all[i].at_ms, at);
        f->subject = who;
        f->severity = QUERY_SLO_TICKET;
        f->summary = arena_printf(a,
                                  "The invoice of %.*s differs from what was counted by %.2f %% "
                                  "(llm_invoice_residue_ratio, more than %.1f %%)",
                                  (int)MIN(who.size, (size_t)100), (const char *)who.data,
                                  all[i].ratio * 100, GENAI_INVOICE_ALERT_RATIO * 100);
        f->sentence = arena_printf(
            a,
            "Reconciled at %s; GET /api/telltale/v1/reconcile/%" PRIi64
            " itemises the difference. It is over when a newer reconciliation is within the bound "
            "(docs/prices.md).",
            at, all[i].at_ms);
        if (!f->summary.data || !f->sentence.data)
            return ERR_NOMEM;
    }
    *out = list;
    *out_count = found;
    return ERR_OK;
}

void serve_conditions_init(struct serve_conditions *s, struct tsdb *db, uint32_t org,
                           struct serve_grounding *grounding, struct serve_redact *redact)
{
    *s = (struct serve_conditions){.db = db, .org = org, .overlaps_seen = -1};
    s->list[0] = (struct detectors_condition){.name = "kafka_lost",
                                              .resolve_minutes = LOST_RESOLVE_MINUTES,
                                              .look = look_kafka_lost,
                                              .ctx = s};
    s->list[1] =
        (struct detectors_condition){.name = "kafka_overlap", .look = look_kafka_overlap, .ctx = s};
    s->list[2] = (struct detectors_condition){
        .name = "invoice_residue", .look = look_invoice_residue, .ctx = s};
    s->list[3] = serve_redact_condition(redact);
    serve_grounding_conditions(grounding, s->list + 4);
}
