#include "collector/stage/stage_redact.h"

#include "base/check.h"

struct counting {
    struct derive *d;
    struct tsdb_batch *b;
    uint32_t minute, row;
    struct label_pair service;
};

static bool put(const struct counting *c, const char *family, const struct redact_finding *f,
                bool has_action)
{
    struct label_pair pairs[3] = {
        c->service,
        {"class", bytes_str(f->name)},
        {"action", bytes_str(redact_action_name((enum redact_action)f->action))}};
    struct tsdb_ref ref = label_groups_series(c->d->groups, c->d->series, c->b->org, family, pairs,
                                              has_action ? 3 : 2);
    return !ref.v || tsdb_batch_add_cell(c->b, ref, c->minute, f->count, c->row);
}

static bool count(struct derive *d, struct tsdb_batch *b, int64_t end_ns, uint32_t row,
                  struct bytes service, const struct redact_found *f)
{
    struct counting c = {d, b, tsdb_batch_minute(end_ns), row, {"service", service}};
    if (!breakdown_admits(d->breakdown, b->org, BREAKDOWN_REDACTED_SERVICE, c.minute / 1440,
                          service))
        c.service = (struct label_pair){"otel_metric_overflow", BYTES_LIT("true")};
    for (uint32_t i = 0; i < f->count; i++)
        if (!put(&c, STAGE_REDACT_TOTAL, &f->finding[i], true) ||
            (f->finding[i].in_output && !put(&c, STAGE_REDACT_OUTPUT, &f->finding[i], false)))
            return false;
    return true;
}

bool stage_redact_span(struct derive *d, struct tsdb_batch *b, uint32_t row,
                       const struct redact_found *f)
{
    return count(d, b, b->spans.end_ns[row], row, b->spans.service[row], f);
}

bool stage_redact_log(struct derive *d, struct tsdb_batch *b, uint32_t row,
                      const struct redact_found *f)
{
    return count(d, b, b->logs.time_ns[row], TSDB_NO_ROW, b->logs.service[row], f);
}
