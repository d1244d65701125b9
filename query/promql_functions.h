/* The table of PromQL's functions: name, result, arguments. One row a function; eval_call.c and eval_range.c have the meaning.
 *
 * Thread: any.  Failure: none.
 * Columns: id, name, result, arguments, variadic (see promql_ast.h), argument types (S scalar, V vector, M matrix, T string, N none).
 */
#ifndef QUERY_PROMQL_FUNCTIONS_H
#define QUERY_PROMQL_FUNCTIONS_H

#include "query/promql_ast.h"

#define PROMQL_FUNCTION_TABLE(X)                                                         \
    X(ABS, "abs", V, 1, 0, V, N, N, N)                                                   \
    X(ABSENT, "absent", V, 1, 0, V, N, N, N)                                             \
    X(ABSENT_OVER_TIME, "absent_over_time", V, 1, 0, M, N, N, N)                         \
    X(ACOS, "acos", V, 1, 0, V, N, N, N)                                                 \
    X(ACOSH, "acosh", V, 1, 0, V, N, N, N)                                               \
    X(ASIN, "asin", V, 1, 0, V, N, N, N)                                                 \
    X(ASINH, "asinh", V, 1, 0, V, N, N, N)                                               \
    X(ATAN, "atan", V, 1, 0, V, N, N, N)                                                 \
    X(ATANH, "atanh", V, 1, 0, V, N, N, N)                                               \
    X(AVG_OVER_TIME, "avg_over_time", V, 1, 0, M, N, N, N)                               \
    X(CEIL, "ceil", V, 1, 0, V, N, N, N)                                                 \
    X(CHANGES, "changes", V, 1, 0, M, N, N, N)                                           \
    X(CLAMP, "clamp", V, 3, 0, V, S, S, N)                                               \
    X(CLAMP_MAX, "clamp_max", V, 2, 0, V, S, N, N)                                       \
    X(CLAMP_MIN, "clamp_min", V, 2, 0, V, S, N, N)                                       \
    X(COS, "cos", V, 1, 0, V, N, N, N)                                                   \
    X(COSH, "cosh", V, 1, 0, V, N, N, N)                                                 \
    X(COUNT_OVER_TIME, "count_over_time", V, 1, 0, M, N, N, N)                           \
    X(DAY_OF_MONTH, "day_of_month", V, 1, 1, V, N, N, N)                                 \
    X(DAY_OF_WEEK, "day_of_week", V, 1, 1, V, N, N, N)                                   \
    X(DAY_OF_YEAR, "day_of_year", V, 1, 1, V, N, N, N)                                   \
    X(DAYS_IN_MONTH, "days_in_month", V, 1, 1, V, N, N, N)                               \
    X(DEG, "deg", V, 1, 0, V, N, N, N)                                                   \
    X(DELTA, "delta", V, 1, 0, M, N, N, N)                                               \
    X(DERIV, "deriv", V, 1, 0, M, N, N, N)                                               \
    X(DOUBLE_EXPONENTIAL_SMOOTHING, "double_exponential_smoothing", V, 3, 0, M, S, S, N) \
    X(END, "end", S, 0, 0, N, N, N, N)                                                   \
    X(EXP, "exp", V, 1, 0, V, N, N, N)                                                   \
    X(FIRST_OVER_TIME, "first_over_time", V, 1, 0, M, N, N, N)                           \
    X(FLOOR, "floor", V, 1, 0, V, N, N, N)                                               \
    X(HISTOGRAM_AVG, "histogram_avg", V, 1, 0, V, N, N, N)                               \
    X(HISTOGRAM_COUNT, "histogram_count", V, 1, 0, V, N, N, N)                           \
    X(HISTOGRAM_FRACTION, "histogram_fraction", V, 3, 0, S, S, V, N)                     \
    X(HISTOGRAM_QUANTILE, "histogram_quantile", V, 2, 0, S, V, N, N)                     \
    X(HISTOGRAM_QUANTILES, "histogram_quantiles", V, 4, -1, V, T, S, S)                  \
    X(HISTOGRAM_STDDEV, "histogram_stddev", V, 1, 0, V, N, N, N)                         \
    X(HISTOGRAM_STDVAR, "histogram_stdvar", V, 1, 0, V, N, N, N)                         \
    X(HISTOGRAM_SUM, "histogram_sum", V, 1, 0, V, N, N, N)                               \
    X(HOLT_WINTERS, "holt_winters", V, 3, 0, M, S, S, N)                                 \
    X(HOUR, "hour", V, 1, 1, V, N, N, N)                                                 \
    X(IDELTA, "idelta", V, 1, 0, M, N, N, N)                                             \
    X(INCREASE, "increase", V, 1, 0, M, N, N, N)                                         \
    X(INFO, "info", V, 2, 1, V, V, N, N)                                                 \
    X(IRATE, "irate", V, 1, 0, M, N, N, N)                                               \
    X(LABEL_JOIN, "label_join", V, 4, -2, V, T, T, T)                                    \
    X(LABEL_REPLACE, "label_replace", V, 5, 0, V, T, T, T)                               \
    X(LAST_OVER_TIME, "last_over_time", V, 1, 0, M, N, N, N)                             \
    X(LN, "ln", V, 1, 0, V, N, N, N)                                                     \
    X(LOG10, "log10", V, 1, 0, V, N, N, N)                                               \
    X(LOG2, "log2", V, 1, 0, V, N, N, N)                                                 \
    X(MAD_OVER_TIME, "mad_over_time", V, 1, 0, M, N, N, N)                               \
    X(MAX_OF, "max_of", S, 2, 0, S, S, N, N)                                             \
    X(MAX_OVER_TIME, "max_over_time", V, 1, 0, M, N, N, N)                               \
    X(MIN_OF, "min_of", S, 2, 0, S, S, N, N)                                             \
    X(MIN_OVER_TIME, "min_over_time", V, 1, 0, M, N, N, N)                               \
    X(MINUTE, "minute", V, 1, 1, V, N, N, N)                                             \
    X(MONTH, "month", V, 1, 1, V, N, N, N)                                               \
    X(PI, "pi", S, 0, 0, N, N, N, N)                                                     \
    X(PREDICT_LINEAR, "predict_linear", V, 2, 0, M, S, N, N)                             \
    X(PRESENT_OVER_TIME, "present_over_time", V, 1, 0, M, N, N, N)                       \
    X(QUANTILE_OVER_TIME, "quantile_over_time", V, 2, 0, S, M, N, N)                     \
    X(RAD, "rad", V, 1, 0, V, N, N, N)                                                   \
    X(RANGE, "range", S, 0, 0, N, N, N, N)                                               \
    X(RATE, "rate", V, 1, 0, M, N, N, N)                                                 \
    X(RESETS, "resets", V, 1, 0, M, N, N, N)                                             \
    X(ROUND, "round", V, 2, 1, V, S, N, N)                                               \
    X(SCALAR, "scalar", S, 1, 0, V, N, N, N)                                             \
    X(SGN, "sgn", V, 1, 0, V, N, N, N)                                                   \
    X(SIN, "sin", V, 1, 0, V, N, N, N)                                                   \
    X(SINH, "sinh", V, 1, 0, V, N, N, N)                                                 \
    X(SORT, "sort", V, 1, 0, V, N, N, N)                                                 \
    X(SORT_BY_LABEL, "sort_by_label", V, 2, -1, V, T, N, N)                              \
    X(SORT_BY_LABEL_DESC, "sort_by_label_desc", V, 2, -1, V, T, N, N)                    \
    X(SORT_DESC, "sort_desc", V, 1, 0, V, N, N, N)                                       \
    X(SQRT, "sqrt", V, 1, 0, V, N, N, N)                                                 \
    X(START, "start", S, 0, 0, N, N, N, N)                                               \
    X(START_TIMESTAMP, "start_timestamp", V, 1, 0, V, N, N, N)                           \
    X(STDDEV_OVER_TIME, "stddev_over_time", V, 1, 0, M, N, N, N)                         \
    X(STDVAR_OVER_TIME, "stdvar_over_time", V, 1, 0, M, N, N, N)                         \
    X(STEP, "step", S, 0, 0, N, N, N, N)                                                 \
    X(SUM_OVER_TIME, "sum_over_time", V, 1, 0, M, N, N, N)                               \
    X(TAN, "tan", V, 1, 0, V, N, N, N)                                                   \
    X(TANH, "tanh", V, 1, 0, V, N, N, N)                                                 \
    X(TIME, "time", S, 0, 0, N, N, N, N)                                                 \
    X(TIMESTAMP, "timestamp", V, 1, 0, V, N, N, N)                                       \
    X(TS_OF_FIRST_OVER_TIME, "ts_of_first_over_time", V, 1, 0, M, N, N, N)               \
    X(TS_OF_LAST_OVER_TIME, "ts_of_last_over_time", V, 1, 0, M, N, N, N)                 \
    X(TS_OF_MAX_OVER_TIME, "ts_of_max_over_time", V, 1, 0, M, N, N, N)                   \
    X(TS_OF_MIN_OVER_TIME, "ts_of_min_over_time", V, 1, 0, M, N, N, N)                   \
    X(VECTOR, "vector", V, 1, 0, S, N, N, N)                                             \
    X(YEAR, "year", V, 1, 1, V, N, N, N)

enum function_id {
#define X(id, name, result, count, variadic, a, b, c, d) FUNCTION_##id,
    PROMQL_FUNCTION_TABLE(X)
#undef X
        FUNCTION_COUNT
};

#endif
