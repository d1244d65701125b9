/* What decoders and the stage refused, row by row, as counters. */
#include "base/stats.h"
#include "collector/stage/stage.h"

#define REJECTED "telltale_ingest_rejected_rows_total"
#define REJECTED_HELP "Rows refused one by one while their request was accepted."
#define X(name, text) STATS_COUNTER(rejected_##name, REJECTED, "reason=\"" text "\"", REJECTED_HELP)
TSDB_REJECT_TABLE(X)
#undef X

void stage_count_rejected(const struct tsdb_batch *b)
{
#define X(name, text)                    \
    if (b->rejected[TSDB_REJECT_##name]) \
        stats_add(&rejected_##name, (int64_t)b->rejected[TSDB_REJECT_##name]);
    TSDB_REJECT_TABLE(X)
#undef X
}
