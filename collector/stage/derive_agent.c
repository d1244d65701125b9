#include "collector/stage/derive_agent.h"

#include "base/check.h"

static struct tsdb_ref ref_of(struct derive *d, const struct tsdb_batch *b,
                              const struct genai_row *r, const char *family,
                              const struct label_pair *more, size_t n)
{
    struct label_pair pairs[8] = {{"service", r->service},
                                  {"env", r->env},
                                  {"region", r->region},
                                  {"variant", r->variant},
                                  {"plane", bytes_str(genai_plane_text(r->plane))}};
    CHECK(n + 5 <= ARRAY_LEN(pairs));
    if (n)
        memcpy(pairs + 5, more, n * sizeof *more);
    return label_groups_series(d->groups, d->series, b->org, family, pairs, 5 + n);
}

static bool put(struct tsdb_batch *b, struct tsdb_ref ref, const struct genai_row *r, int64_t add)
{
    return !ref.v || tsdb_batch_add_cell(b, ref, tsdb_batch_minute(r->end_ns), add, TSDB_NO_ROW);
}

/* A name that comes from outside, as a label: itself while there are few of a day, then the overflow of all. */
static struct label_pair limited(struct derive *d, const struct tsdb_batch *b,
                                 const struct genai_row *r, enum breakdown_dim dim,
                                 struct bytes name)
{
    uint32_t day = tsdb_batch_minute(r->end_ns) / 1440;
    if (!name.size)
        name = BYTES_LIT("unknown");
    return breakdown_admits(d->breakdown, b->org, dim, day, name)
               ? (struct label_pair){breakdown_dim_text(dim), name}
               : (struct label_pair){"otel_metric_overflow", BYTES_LIT("true")};
}

bool derive_agent_tool(struct derive *d, struct tsdb_batch *b, const struct genai_row *r,
                       uint8_t outcome, int64_t duration_ns, int sign)
{
    struct label_pair more[2] = {limited(d, b, r, BREAKDOWN_TOOL, r->tool_name),
                                 {"outcome", bytes_str(genai_tool_outcome_text(outcome))}};
    if (!put(b, ref_of(d, b, r, "llm_tool_calls_total", more, 2), r, sign))
        return false;
    if (duration_ns < 0 || outcome == TSDB_TOOL_REJECTED) /* it never ran */
        return true;
    struct tsdb_ref ref = ref_of(d, b, r, "llm_tool_duration_seconds", more, 1);
    struct tsdb_hist *h = ARENA_ARRAY(b->arena, struct tsdb_hist, 1);
    if (!ref.v)
        return true;
    if (!h || tsdb_hist_of((double)duration_ns / 1e9, b->arena, h) != ERR_OK ||
        (sign < 0 && !derive_negate(h, b->arena, h)))
        return false;
    return tsdb_batch_add_hist_cell(b, ref, tsdb_batch_minute(r->end_ns), h, TSDB_NO_ROW);
}

bool derive_agent_compaction(struct derive *d, struct tsdb_batch *b, const struct genai_row *r)
{
    struct label_pair more = {"trigger", r->word};
    return put(b, ref_of(d, b, r, "llm_compactions_total", &more, 1), r, 1);
}

bool derive_agent_connection(struct derive *d, struct tsdb_batch *b, const struct genai_row *r)
{
    struct label_pair more[2] = {limited(d, b, r, BREAKDOWN_MCP_SERVER, r->tool_name),
                                 {"status", r->word}};
    if (more[0].name[0] == 'm')
        more[0].name = "server";
    return put(b, ref_of(d, b, r, "llm_mcp_connections_total", more, 2), r, 1);
}

bool derive_agent_task(struct derive *d, struct tsdb_batch *b, const struct genai_row *r)
{
    return put(b, ref_of(d, b, r, "llm_a2a_tasks_total", NULL, 0), r, 1);
}

bool derive_agent_reported(struct derive *d, struct tsdb_batch *b, const struct genai_row *r,
                           const char *type, int64_t tokens)
{
    struct label_pair pairs[2] = {{"service", r->service}, {"type", bytes_str(type)}};
    struct tsdb_ref drift =
        label_groups_series(d->groups, d->series, b->org, "llm_reported_tokens_drift", pairs, 1);
    if (!put(b, drift, r, tokens))
        return false;
    return !type || put(b,
                        label_groups_series(d->groups, d->series, b->org,
                                            "llm_reported_tokens_total", pairs, 2),
                        r, tokens);
}
