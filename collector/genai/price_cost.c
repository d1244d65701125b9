#include "collector/genai/price_cost.h"

static int64_t at_least_0(int64_t v)
{
    return v > 0 ? v : 0;
}

static int64_t at_most(int64_t v, int64_t max)
{
    return v < max ? v : max;
}

/* pico-USD (over 2 for half the price) -> nano-USD, half up. */
static int64_t nano_of(__int128 pico, bool half)
{
    __int128 unit = half ? 2000 : 1000;
    return (int64_t)((pico + unit / 2) / unit);
}

static void cost_of_input(const struct price_row *p, bool half, struct genai_row *r)
{
    int64_t read = at_least_0(r->cache_read_tokens), write = at_least_0(r->cache_write_tokens);
    int64_t fresh = at_least_0(at_least_0(r->input_tokens) - read - write);
    int64_t audio = at_least_0(r->audio_input_tokens), image = at_least_0(r->image_input_tokens);
    int64_t audio_read = at_most(at_most(at_least_0(r->audio_cache_read_tokens), audio), read);
    int64_t image_read =
        at_most(at_most(at_least_0(r->image_cache_read_tokens), image), read - audio_read);
    int64_t audio_fresh = at_most(audio - audio_read, fresh);
    int64_t image_fresh = at_most(image - image_read, fresh - audio_fresh);
    int64_t write_1h = at_most(at_least_0(r->cache_write_1h_tokens), write);
    const int64_t *rate = p->rate;
    r->cost[GENAI_COST_INPUT] =
        nano_of((__int128)(fresh - audio_fresh - image_fresh) * rate[PRICE_RATE_INPUT] +
                    (__int128)audio_fresh * rate[PRICE_RATE_AUDIO_INPUT] +
                    (__int128)image_fresh * rate[PRICE_RATE_IMAGE_INPUT],
                half);
    r->cost[GENAI_COST_CACHE_READ] =
        nano_of((__int128)(read - audio_read - image_read) * rate[PRICE_RATE_CACHE_READ] +
                    (__int128)audio_read * rate[PRICE_RATE_AUDIO_CACHE_READ] +
                    (__int128)image_read * rate[PRICE_RATE_IMAGE_CACHE_READ],
                half);
    r->cost[GENAI_COST_CACHE_WRITE] =
        nano_of((__int128)(write - write_1h) * rate[PRICE_RATE_CACHE_WRITE] +
                    (__int128)write_1h * rate[PRICE_RATE_CACHE_WRITE_1H],
                half);
}

static void cost_of_output(const struct price_row *p, bool half, struct genai_row *r)
{
    int64_t output = at_least_0(r->output_tokens);
    int64_t audio = at_most(at_least_0(r->audio_output_tokens), output);
    int64_t image = at_most(at_least_0(r->image_output_tokens), output - audio);
    int64_t thought = at_most(at_least_0(r->reasoning_tokens), output - audio - image);
    const int64_t *rate = p->rate;
    r->cost[GENAI_COST_OUTPUT] =
        nano_of((__int128)(output - audio - image - thought) * rate[PRICE_RATE_OUTPUT] +
                    (__int128)thought * rate[PRICE_RATE_REASONING] +
                    (__int128)audio * rate[PRICE_RATE_AUDIO_OUTPUT] +
                    (__int128)image * rate[PRICE_RATE_IMAGE_OUTPUT],
                half);
}

static void cost_of_gpu(const struct price_row *p, struct genai_row *r)
{
    __int128 hour_ns = (__int128)3600 * 1000000000 * (p->concurrency ? p->concurrency : 1);
    __int128 v = (__int128)r->duration_ns * p->unit[PRICE_UNIT_GPU_HOUR] * (p->gpus ? p->gpus : 1);
    v = (v + hour_ns / 2) / hour_ns;
    r->cost[GENAI_COST_UNITS] =
        v > INT64_C(1000000000000000) ? INT64_C(1000000000000000) : (int64_t)v;
}

void price_cost_of(const struct price_row *p, bool half, struct genai_row *r)
{
    memset(r->cost, 0, sizeof r->cost);
    r->price_id = p->id;
    if (p->unit[PRICE_UNIT_GPU_HOUR] >= 0) {
        cost_of_gpu(p, r);
    } else {
        cost_of_input(p, half, r);
        cost_of_output(p, half, r);
        __int128 units = (__int128)at_least_0(p->unit[PRICE_UNIT_REQUEST]) +
                         (__int128)at_least_0(p->unit[PRICE_UNIT_IMAGE]) * at_least_0(r->images);
        r->cost[GENAI_COST_UNITS] = nano_of(units * 1000, half);
    }
    r->cost_total = 0;
    for (int i = 0; i < GENAI_COST_COUNT; i++)
        r->cost_total += r->cost[i];
    if (r->flags & TSDB_ROW_ESTIMATED) { /* a guess never mixes with what was billed */
        memset(r->cost, 0, sizeof r->cost);
        r->cost[GENAI_COST_ESTIMATED] = r->cost_total;
    }
}

enum price_found price_cost_apply(const struct price_table *t, struct price_memo *memo,
                                  uint32_t org, struct genai_row *r)
{
    const struct price_row *p;
    uint8_t tier = r->service_tier;
    if (r->plane == TSDB_PLANE_BATCH && tier == PRICE_TIER_DEFAULT)
        tier = PRICE_TIER_BATCH;
    struct price_question q = {
        .provider = r->provider,
        .model = r->response_model.size ? r->response_model : r->request_model,
        .family = r->model,
        .org = org,
        .service = r->service,
        .tenant = r->tenant,
        .at_ns = r->end_ns,
        .input_tokens = at_least_0(r->input_tokens),
        .tier = tier,
    };
    memset(r->cost, 0, sizeof r->cost);
    r->cost_total = -1;
    r->price_id = 0;
    enum price_found f =
        tier == PRICE_TIER_COUNT ? PRICE_NO_TIER : price_table_find(t, memo, &q, &p);
    if (f > PRICE_FOUND_HALF)
        return f;
    if (p->unit[PRICE_UNIT_GPU_HOUR] >= 0 && r->duration_ns < 0)
        return PRICE_NO_DATE; /* its share of the time is not known */
    price_cost_of(p, f == PRICE_FOUND_HALF, r);
    return f;
}
