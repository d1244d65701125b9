#include "query/query_regex.h"

#include "query/regex_re2.h"

bool query_regex_check(struct bytes pattern, struct err_msg *msg)
{
    return regex_re2_check(pattern, msg);
}

bool query_regex_matches(struct bytes pattern, struct bytes value)
{
    return regex_re2_matches_once(pattern, value);
}
