/* What was read of a row -> the canonical columns of the batch. */
#include "collector/genai/genai.h"

bool genai_store(struct tsdb_batch *b, uint32_t row, const struct genai_row *r)
{
    struct tsdb_spans *s = &b->spans;
#define PUT(column, is_set, v)                                                \
    do {                                                                      \
        if (is_set) {                                                         \
            if (!s->column && !tsdb_batch_span_column(b, TSDB_SPAN_##column)) \
                return false;                                                 \
            s->column[row] = (v);                                             \
        }                                                                     \
    } while (0)
#define PUT_U(column) PUT(column, r->column != 0, r->column)
#define PUT_S(column) PUT(column, r->column.size != 0, r->column)
#define PUT_I(column) PUT(column, r->column >= 0, r->column)
    PUT_U(row_class);
    PUT_U(plane);
    PUT_U(outcome);
    PUT_U(fault);
    PUT_U(dialect);
    PUT(norm_rule, r->rule != 0, r->rule);
    PUT(row_flags, r->flags != 0, r->flags);
    PUT_U(http_status);
    PUT_U(price_id);
    PUT_S(provider);
    PUT_S(operation);
    PUT_S(model);
    PUT_S(request_model);
    PUT_S(response_model);
    PUT_S(response_id);
    PUT_S(finish_reason);
    PUT_S(error_type);
    PUT_S(endpoint);
    PUT_S(env);
    PUT_S(region);
    PUT_S(variant);
    PUT_S(tenant);
    PUT_S(conversation_id);
    PUT_S(user_id);
    PUT_S(prompt_name);
    PUT_S(prompt_version);
    PUT_S(agent_name);
    PUT_S(tool_name);
    PUT_S(team);
    PUT_S(api_key);
    PUT_S(tool_call_id);
    PUT_U(tool_outcome);
    PUT_U(lane);
    PUT_I(input_tokens);
    PUT_I(output_tokens);
    PUT_I(cache_read_tokens);
    PUT_I(cache_write_tokens);
    PUT_I(reasoning_tokens);
    PUT_I(raw_input_tokens);
    PUT_I(max_tokens);
    PUT_I(ttft_ns);
    PUT_I(ttft_any_ns);
    PUT(cost_nanousd, r->cost_total >= 0, r->cost_total);
    PUT(reported_cost_nanousd, r->reported_cost >= 0, r->reported_cost);
#undef PUT
#undef PUT_U
#undef PUT_S
#undef PUT_I
    return true;
}

bool genai_store_log(struct tsdb_batch *b, uint32_t row, const struct genai_row *r)
{
    struct tsdb_logs *l = &b->logs;
#define PUT(column, is_set, v)                                              \
    do {                                                                    \
        if (is_set) {                                                       \
            if (!l->column && !tsdb_batch_log_column(b, TSDB_LOG_##column)) \
                return false;                                               \
            l->column[row] = (v);                                           \
        }                                                                   \
    } while (0)
    bool is_compaction = r->event == TSDB_EVENT_COMPACTION;
    int64_t input = is_compaction ? r->tokens_before : r->input_tokens;
    int64_t output = is_compaction ? r->tokens_after : r->output_tokens;
    l->time_ns[row] = r->end_ns;
    PUT(event, r->event != 0, r->event);
    PUT(outcome, r->outcome != 0, r->outcome);
    PUT(fault, r->fault != 0, r->fault);
    PUT(dialect, r->dialect != 0, r->dialect);
    PUT(row_flags, r->flags != 0, r->flags);
    PUT(tool_outcome, r->tool_outcome != 0, r->tool_outcome);
    PUT(lane, r->lane != 0, r->lane);
    PUT(price_id, r->price_id != 0, r->price_id);
    PUT(provider, r->provider.size != 0, r->provider);
    PUT(model, r->model.size != 0, r->model);
    PUT(response_id, r->response_id.size != 0, r->response_id);
    PUT(conversation_id, r->conversation_id.size != 0, r->conversation_id);
    PUT(turn, r->turn.size != 0, r->turn);
    PUT(agent_name, r->agent_name.size != 0, r->agent_name);
    PUT(tool_name, r->tool_name.size != 0, r->tool_name);
    PUT(tool_call_id, r->tool_call_id.size != 0, r->tool_call_id);
    PUT(word, r->word.size != 0, r->word);
    PUT(duration_ns, r->duration_ns >= 0, r->duration_ns);
    PUT(input_tokens, input >= 0, input);
    PUT(output_tokens, output >= 0, output);
    PUT(cache_read_tokens, r->cache_read_tokens >= 0, r->cache_read_tokens);
    PUT(cache_write_tokens, r->cache_write_tokens >= 0, r->cache_write_tokens);
    PUT(reasoning_tokens, r->reasoning_tokens >= 0, r->reasoning_tokens);
    PUT(cost_nanousd, r->cost_total >= 0, r->cost_total);
    PUT(reported_cost_nanousd, r->reported_cost >= 0, r->reported_cost);
#undef PUT
    return true;
}
