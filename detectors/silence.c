/* One silence: its bytes, its state, what makes it valid and what it covers. */
#include "base/check.h"
#include "detectors/silence.h"
#include "detectors/silences.h"
#include "query/query_regex.h"
#include "tsdb/tsdb_versions.h"

#define NAME_MAX_BYTES 128u

static const char *const states[] = {"pending", "active", "expired"};

const char *detectors_silence_state_name(enum detectors_silence_state s)
{
    CHECK((size_t)s < ARRAY_LEN(states));
    return states[s];
}

enum detectors_silence_state detectors_silence_state_at(const struct detectors_silence *s,
                                                        int64_t now_ms)
{
    return now_ms >= s->ends_ms    ? DETECTORS_SILENCE_EXPIRED
           : now_ms < s->starts_ms ? DETECTORS_SILENCE_PENDING
                                   : DETECTORS_SILENCE_ACTIVE;
}

/* --- bytes --------------------------------------------------------------------------------------- */

void silence_encode(const struct detectors_silence *s, struct buf *out)
{
    buf_u8(out, FORMAT_SILENCE);
    buf_lenbytes(out, bytes_str(s->id));
    buf_u8(out, s->is_window);
    buf_zigzag(out, s->starts_ms);
    buf_zigzag(out, s->ends_ms);
    buf_zigzag(out, s->updated_ms);
    buf_lenbytes(out, s->author);
    buf_lenbytes(out, s->comment);
    buf_varint(out, s->matcher_count);
    for (uint32_t i = 0; i < s->matcher_count; i++) {
        buf_u8(out, (uint8_t)s->matchers[i].op);
        buf_lenbytes(out, s->matchers[i].name);
        buf_lenbytes(out, s->matchers[i].value);
    }
}

enum err silence_decode(struct bytes b, struct detectors_silence *out)
{
    struct reader r = reader_of(b);
    struct detectors_silence s = {0};
    enum err e = tsdb_versions_check("a silence", reader_u8(&r), FORMAT_SILENCE);
    if (e != ERR_OK)
        return e;
    struct bytes id = reader_lenbytes(&r);
    if (id.size != DETECTORS_SILENCE_ID_MAX - 1 || memchr(id.data, 0, id.size))
        return ERR_CORRUPT;
    memcpy(s.id, id.data, id.size);
    uint8_t window = reader_u8(&r);
    s.is_window = window == 1;
    s.starts_ms = reader_zigzag(&r);
    s.ends_ms = reader_zigzag(&r);
    s.updated_ms = reader_zigzag(&r);
    s.author = reader_lenbytes(&r);
    s.comment = reader_lenbytes(&r);
    uint64_t n = reader_varint(&r);
    if (r.failed || window > 1 || n == 0 || n > DETECTORS_MATCHERS_MAX)
        return ERR_CORRUPT;
    for (; s.matcher_count < n; s.matcher_count++) {
        struct detectors_matcher *m = &s.matchers[s.matcher_count];
        uint8_t op = reader_u8(&r);
        m->name = reader_lenbytes(&r);
        m->value = reader_lenbytes(&r);
        if (r.failed || op > DETECTORS_MATCH_NRE)
            return ERR_CORRUPT;
        m->op = (enum detectors_match)op;
        if (op >= DETECTORS_MATCH_RE && !query_regex_check(m->value, NULL))
            return ERR_CORRUPT;
    }
    *out = s;
    return ERR_OK;
}

/* --- what is valid ------------------------------------------------------------------------------- */

static enum err check_matcher(const struct detectors_matcher *m, struct err_msg *msg)
{
    struct err_msg why = {""};
    if (!m->name.size || m->name.size > NAME_MAX_BYTES)
        return err_set(msg, ERR_INVALID, "matchers: a name has 1 to %u bytes", NAME_MAX_BYTES);
    if (m->value.size > DETECTORS_SILENCE_TEXT_MAX || !bytes_is_utf8(m->value))
        return err_set(msg, ERR_INVALID,
                       "matchers: the value of " BYTES_FMT " must be UTF-8 of at most %u bytes",
                       BYTES_ARG(m->name), DETECTORS_SILENCE_TEXT_MAX);
    if (m->op >= DETECTORS_MATCH_RE && !query_regex_check(m->value, &why))
        return err_set(msg, ERR_INVALID, "matchers: " BYTES_FMT ": %s", BYTES_ARG(m->name),
                       why.text);
    return ERR_OK;
}

enum err silence_check(const struct detectors_silence *s, int64_t now_ms, struct err_msg *msg)
{
    bool is_narrow = false;
    int64_t most = s->is_window ? DETECTORS_WINDOW_MS_MAX : DETECTORS_SILENCE_MS_MAX;
    if (!s->author.size || s->author.size > NAME_MAX_BYTES || !bytes_is_utf8(s->author))
        return err_set(msg, ERR_INVALID, "createdBy: say who asks, in at most %u bytes",
                       NAME_MAX_BYTES);
    if (!s->comment.size || s->comment.size > DETECTORS_SILENCE_TEXT_MAX ||
        !bytes_is_utf8(s->comment))
        return err_set(msg, ERR_INVALID, "comment: say why, in at most %u bytes",
                       DETECTORS_SILENCE_TEXT_MAX);
    if (s->ends_ms <= s->starts_ms || s->ends_ms <= now_ms)
        return err_set(msg, ERR_INVALID, "endsAt: must be after startsAt, and not yet over");
    if (s->ends_ms - MAX(s->starts_ms, now_ms) > most)
        return err_set(msg, ERR_INVALID, "endsAt: %s",
                       s->is_window ? "a maintenance window lasts 30 minutes at most"
                                    : "a silence lasts 30 days at most");
    if (s->matcher_count == 0 || s->matcher_count > DETECTORS_MATCHERS_MAX)
        return err_set(msg, ERR_INVALID, "matchers: give 1 to %u", DETECTORS_MATCHERS_MAX);
    for (uint32_t i = 0; i < s->matcher_count; i++) {
        enum err e = check_matcher(&s->matchers[i], msg);
        if (e != ERR_OK)
            return e;
        is_narrow = is_narrow || !detectors_matcher_holds(&s->matchers[i], NULL, 0);
    }
    return is_narrow
               ? ERR_OK
               : err_set(msg, ERR_INVALID, "matchers: at least one must not match an empty value");
}

/* --- what it covers ------------------------------------------------------------------------------ */

bool silence_is_protected(const struct query_slo_pair *labels, size_t n)
{
    static const char *const kinds[] = {"outage", "safety", "leak", "security"};
    for (size_t i = 0; i < n; i++) {
        bool says =
            bytes_equal_str(labels[i].name, "kind") || bytes_equal_str(labels[i].name, "category");
        for (size_t k = 0; says && k < ARRAY_LEN(kinds); k++)
            if (bytes_equal_str(labels[i].value, kinds[k]))
                return true;
        if (bytes_equal_str(labels[i].name, "rule") && bytes_equal_str(labels[i].value, "no-data"))
            return true;
    }
    return false;
}

bool silence_covers(const struct detectors_silence *s, const struct query_slo_pair *labels,
                    size_t n)
{
    for (uint32_t i = 0; i < s->matcher_count; i++)
        if (!detectors_matcher_holds(&s->matchers[i], labels, n))
            return false;
    return !s->is_window || !silence_is_protected(labels, n);
}

size_t detectors_silences_of(const struct detectors_silence *list, size_t n,
                             const struct query_slo_pair *labels, size_t label_count,
                             int64_t now_ms, uint32_t *out, size_t max)
{
    size_t count = 0;
    for (size_t i = 0; i < n && count < max; i++)
        if (detectors_silence_state_at(&list[i], now_ms) == DETECTORS_SILENCE_ACTIVE &&
            silence_covers(&list[i], labels, label_count))
            out[count++] = (uint32_t)i;
    return count;
}
