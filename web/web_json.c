#include "web/web_json.h"

void web_json_str(struct json_out *j, const char *key, struct bytes value)
{
    json_out_key(j, key);
    json_out_bytes(j, value);
}

void web_json_i64(struct json_out *j, const char *key, int64_t value)
{
    json_out_key(j, key);
    json_out_i64(j, value);
}

void web_json_f64(struct json_out *j, const char *key, double value)
{
    json_out_key(j, key);
    json_out_f64(j, value);
}

void web_json_text(struct json_out *j, const char *key, const char *value)
{
    json_out_key(j, key);
    json_out_str(j, value);
}

void web_json_bool(struct json_out *j, const char *key, bool value)
{
    json_out_key(j, key);
    json_out_bool(j, value);
}

void web_json_known(struct json_out *j, const char *key, int64_t value)
{
    json_out_key(j, key);
    if (value < 0)
        json_out_null(j);
    else
        json_out_i64(j, value);
}

void web_json_hex(struct json_out *j, const char *key, const uint8_t *bytes, size_t size)
{
    char text[2 * 32 + 1];
    bytes_to_hex(bytes_of(bytes, size > 32 ? 32 : size), text);
    web_json_text(j, key, text);
}
