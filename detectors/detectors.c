#include "detectors/detectors.h"
#include "base/check.h"
#include <stdlib.h>

const char *detectors_state_name(enum detectors_state s)
{
    static const char *const names[] = {"ok",      "pending",      "firing",  "resolved",
                                        "no-data", "insufficient", "starting"};
    CHECK((size_t)s < ARRAY_LEN(names));
    return names[s];
}

const char *detectors_delivery_name(enum detectors_delivery s)
{
    static const char *const names[] = {"waiting", "delivered", "dead"};
    CHECK((size_t)s < ARRAY_LEN(names));
    return names[s];
}

/* The rest of this file is on its way: until then an empty evaluator that answers truthfully that it knows nothing. */
struct detectors {
    struct query_slo_set set;
};

enum err detectors_new(const struct detectors_options *o, struct detectors **out,
                       struct buf *errors)
{
    struct detectors *d = calloc(1, sizeof(*d));
    if (!d)
        return ERR_NOMEM;
    *out = d;
    return ERR_OK;
}
enum err detectors_start(struct detectors *d, struct err_msg *msg)
{
    return ERR_OK;
}
void detectors_stop(struct detectors *d)
{
}
void detectors_free(struct detectors *d)
{
    free(d);
}
enum err detectors_evaluate(struct detectors *d, int64_t now_ms)
{
    return ERR_UNIMPLEMENTED;
}
size_t detectors_thresholds(const struct detectors *d, const struct detectors_threshold **out)
{
    *out = NULL;
    return 0;
}
const struct query_slo_set *detectors_slo_set(const struct detectors *d)
{
    return &d->set;
}
enum err detectors_receivers_load(const char *path, struct arena *a,
                                  struct detectors_receiver **out, size_t *out_count,
                                  struct buf *errors)
{
    return ERR_UNIMPLEMENTED;
}
enum err detectors_slos(struct detectors *d, struct arena *a, struct detectors_slo_row **out,
                        size_t *out_count)
{
    *out = NULL;
    *out_count = 0;
    return ERR_OK;
}
enum err detectors_slo(struct detectors *d, struct bytes id, struct arena *a,
                       struct detectors_slo_row *out)
{
    return ERR_NOT_FOUND;
}
enum err detectors_headline_get(struct detectors *d, struct arena *a,
                                struct detectors_headline *out)
{
    *out = (struct detectors_headline){.sentence = BYTES_LIT("No SLO is loaded.")};
    return ERR_OK;
}
enum err detectors_slo_series(struct detectors *d, struct bytes id, int64_t from_ms, int64_t to_ms,
                              uint32_t step_minutes, struct arena *a, struct detectors_series *out)
{
    return ERR_NOT_FOUND;
}
enum err detectors_alerts(struct detectors *d, struct arena *a, struct detectors_alert **out,
                          size_t *out_count)
{
    *out = NULL;
    *out_count = 0;
    return ERR_OK;
}
enum err detectors_rules(struct detectors *d, struct arena *a, struct detectors_prom_group **out,
                         size_t *out_count)
{
    *out = NULL;
    *out_count = 0;
    return ERR_OK;
}
enum err detectors_outbox(struct detectors *d, struct arena *a, struct detectors_outbox_row **out,
                          size_t *out_count)
{
    *out = NULL;
    *out_count = 0;
    return ERR_OK;
}
enum err detectors_outbox_retry(struct detectors *d, uint64_t id)
{
    return ERR_NOT_FOUND;
}
