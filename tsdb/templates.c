#include "tsdb/templates.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"

/* A variable in a template; while lines are cut, which kind: lines of different kinds at a place are not alike. */
enum mark { MARK = 1, MARK_WORD, MARK_HEX, MARK_UUID, MARK_QUOTED, MARK_END };

/* How a column is written. */
enum form { FORM_NUMBER, FORM_PADDED, FORM_STRINGS, FORM_HEX, FORM_UUID };

#define DIGITS_MAX 18u
#define HEX_MIN 8u
#define UUID_SIZE 36u
#define LOOK 512u /* lines after which most must have found company */
#define SIZE_MIN 12u /* of a line, on average: shorter ones have little to share */

/* --- cutting ------------------------------------------------------------------------------------- */

struct cut {
    struct buf key; /* the line with marks */
    struct bytes var[TEMPLATES_FIELDS_MAX];
    uint32_t count;
};

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}
static bool is_letter(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
static int hex_of(uint8_t c)
{
    return is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool add_var(struct cut *k, enum mark mark, struct bytes v)
{
    if (k->count == TEMPLATES_FIELDS_MAX)
        return false;
    k->var[k->count++] = v;
    buf_u8(&k->key, (uint8_t)mark);
    return true;
}

static bool is_uuid(struct bytes s)
{
    for (size_t i = 0; i < UUID_SIZE; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? s.data[i] != '-' : hex_of(s.data[i]) < 0)
            return false;
    }
    return true;
}

/* Letters and digits without anything between. */
static bool cut_word(struct cut *k, struct bytes w)
{
    uint32_t changes = 0, digits = 0, hex = 0;
    for (size_t i = 0; i < w.size; i++) {
        digits += is_digit(w.data[i]);
        hex += hex_of(w.data[i]) >= 0;
        changes += i > 0 && is_digit(w.data[i]) != is_digit(w.data[i - 1]);
    }
    if (digits == 0) {
        buf_bytes_append(&k->key, w);
        return true;
    }
    if (hex == w.size && digits < w.size && w.size >= HEX_MIN && w.size % 2 == 0)
        return add_var(k, MARK_HEX, w);
    if (changes > 3 || (changes == 1 && is_letter(w.data[0]) && is_digit(w.data[1])))
        return add_var(k, MARK_WORD, w);
    for (size_t i = 0, to; i < w.size; i = to) { /* 20T10, v1, exec12: by runs */
        for (to = i; to < w.size && is_digit(w.data[to]) == is_digit(w.data[i]);)
            to++;
        struct bytes run = bytes_slice(w, i, to);
        if (!is_digit(w.data[i]))
            buf_bytes_append(&k->key, run);
        else if (!add_var(k, run.size <= DIGITS_MAX ? MARK : MARK_WORD, run))
            return false;
    }
    return true;
}

static bool has_any_mark(struct bytes v)
{
    for (size_t i = 0; i < v.size; i++)
        if (v.data[i] < MARK_END)
            return true;
    return false;
}

/* Where the quotes that open at `from` close; 0: nowhere. */
static size_t closing(struct bytes s, size_t from)
{
    for (size_t i = from + 1; i < s.size; i++) {
        if (s.data[i] == '"')
            return i;
        if (s.data[i] == '\\')
            i++;
    }
    return 0;
}

/* false: the line is kept as it is. */
static bool cut_line(struct cut *k, struct bytes s)
{
    buf_clear(&k->key);
    k->count = 0;
    for (size_t i = 0; i < s.size;) {
        uint8_t c = s.data[i];
        size_t to = i + 1;
        if (c < MARK_END)
            return false;
        if (c == '"' && (to = closing(s, i))) {
            to++;
            if (to < s.size && s.data[to] == ':') { /* a key */
                struct bytes name = bytes_slice(s, i, to);
                if (has_any_mark(name))
                    return false;
                buf_bytes_append(&k->key, name);
            } else {
                buf_u8(&k->key, '"');
                if (!add_var(k, MARK_QUOTED, bytes_slice(s, i + 1, to - 1)))
                    return false;
                buf_u8(&k->key, '"');
            }
        } else if (is_digit(c) || is_letter(c)) {
            bool starts = i == 0 || s.data[i - 1] != '-';
            if (starts && s.size - i >= UUID_SIZE && is_uuid(bytes_slice(s, i, i + UUID_SIZE))) {
                to = i + UUID_SIZE;
                if (!add_var(k, MARK_UUID, bytes_slice(s, i, to)))
                    return false;
            } else {
                for (to = i; to < s.size && (is_digit(s.data[to]) || is_letter(s.data[to]));)
                    to++;
                if (!cut_word(k, bytes_slice(s, i, to)))
                    return false;
            }
        } else {
            to = i + 1;
            buf_u8(&k->key, c);
        }
        i = to;
    }
    return buf_ok(&k->key);
}

/* --- mining -------------------------------------------------------------------------------------- */

struct template
{
    struct bytes key;
    uint64_t hash;
    uint32_t lines, vars, number; /* number: of the written ones, from 1; 0: too few lines */
    uint32_t at; /* lines placed */
    uint32_t *rows, *line; /* of the written ones */
    struct bytes *var; /* vars columns of `lines` */
};

struct mine {
    struct template *list;
    uint32_t count, cap, mask, *slots, *of; /* of: template + 1 of each line, 0: as it is */
    struct arena *a;
};

static bool mine_init(struct mine *n, uint32_t m)
{
    *n = (struct mine){.cap = TEMPLATES_MAX * 4, .mask = TEMPLATES_MAX * 16 - 1, .a = arena_new(0)};
    if (!n->a)
        return false;
    n->list = ARENA_ARRAY(n->a, struct template, n->cap);
    n->slots = ARENA_ARRAY(n->a, uint32_t, (size_t)n->mask + 1);
    n->of = ARENA_ARRAY(n->a, uint32_t, m + 1);
    return n->list && n->slots && n->of;
}

/* The template of a key, made when it is new; NULL: no room for it. */
static struct template *mine_find(struct mine *n, struct bytes key, uint32_t vars)
{
    uint64_t hash = hash64(key, 11);
    uint32_t at = (uint32_t)hash & n->mask;
    while (n->slots[at]) {
        struct template *t = &n->list[n->slots[at] - 1];
        if (t->hash == hash && bytes_equal(t->key, key))
            return t;
        at = (at + 1) & n->mask;
    }
    if (n->count == n->cap)
        return NULL;
    struct template *t = &n->list[n->count];
    t->key = arena_copy(n->a, key);
    if (!t->key.data && key.size)
        return NULL;
    t->hash = hash;
    t->vars = vars;
    n->slots[at] = ++n->count;
    return t;
}

/* Which lines are alike. false: too few of them are. */
static bool mine_lines(struct mine *n, struct cut *k, const struct bytes *v, uint32_t m)
{
    uint32_t alike = 0, numbered = 0;
    for (uint32_t i = 0; i < m; i++) {
        if (i == LOOK && n->count > LOOK / 2)
            return false;
        struct template *t = cut_line(k, v[i]) ? mine_find(n, buf_bytes(&k->key), k->count) : NULL;
        if (!t)
            continue;
        t->lines++;
        n->of[i] = (uint32_t)(t - n->list) + 1;
    }
    for (uint32_t i = 0; i < n->count; i++) {
        struct template *t = &n->list[i];
        if (t->lines < TEMPLATES_ROWS_MIN || numbered == TEMPLATES_MAX)
            continue;
        alike += t->lines;
        t->number = ++numbered;
        t->rows = ARENA_ARRAY(n->a, uint32_t, t->lines);
        t->line = ARENA_ARRAY(n->a, uint32_t, t->lines);
        t->var = ARENA_ARRAY(n->a, struct bytes, (size_t)t->lines * t->vars + 1);
        if (!t->rows || !t->line || !t->var)
            return false;
    }
    return alike * 2 >= m;
}

/* The variables of every line into the columns of its template. */
static bool fill_columns(struct mine *n, struct cut *k, const struct bytes *v, uint32_t m,
                         const uint32_t *rows)
{
    for (uint32_t i = 0; i < m; i++) {
        struct template *t = n->of[i] ? &n->list[n->of[i] - 1] : NULL;
        if (!t || !t->number)
            continue;
        if (!cut_line(k, v[i]))
            return false;
        CHECK(k->count == t->vars && t->at < t->lines);
        t->line[t->at] = i;
        t->rows[t->at] = rows ? rows[i] : i;
        for (uint32_t f = 0; f < t->vars; f++)
            t->var[(size_t)f * t->lines + t->at] = k->var[f];
        t->at++;
    }
    return true;
}

/* --- writing ------------------------------------------------------------------------------------- */

static bool is_constant(const struct bytes *v, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++)
        if (!bytes_equal(v[i], v[0]))
            return false;
    return true;
}

/* What is the same in all lines is not a variable. */
static bool stays(const struct template *t, uint32_t f)
{
    const struct bytes *v = t->var + (size_t)f * t->lines;
    return is_constant(v, t->lines) && !has_any_mark(v[0]);
}

static void put_text(const struct template *t, struct buf *text)
{
    uint32_t f = 0;
    for (size_t i = 0; i < t->key.size; i++) {
        uint8_t c = t->key.data[i];
        if (c >= MARK_END)
            buf_u8(text, c);
        else if (stays(t, f++))
            buf_bytes_append(text, t->var[(size_t)(f - 1) * t->lines]);
        else
            buf_u8(text, MARK);
    }
}

static enum form form_of(const struct bytes *v, uint32_t n, enum mark mark)
{
    bool same_size = true, leads_zero = false;
    for (uint32_t i = 0; i < n; i++) {
        same_size &= v[i].size == v[0].size;
        leads_zero |= v[i].size > 1 && v[i].data[0] == '0';
    }
    if (mark == MARK_UUID)
        return FORM_UUID;
    if (mark == MARK)
        return !leads_zero ? FORM_NUMBER : same_size ? FORM_PADDED : FORM_STRINGS;
    return mark == MARK_HEX && same_size && v[0].size < 256 ? FORM_HEX : FORM_STRINGS;
}

static int64_t number_of(struct bytes s)
{
    int64_t x = 0;
    for (size_t i = 0; i < s.size; i++)
        x = x * 10 + (s.data[i] - '0');
    return x;
}

/* Half of the bytes; the dashes of a UUID are not written. Where few differ they are strings rather. */
static void put_hex(struct vector_coder *c, const struct bytes *v, uint32_t n, struct buf *out)
{
    struct buf packed = {0};
    for (uint32_t i = 0; i < n; i++)
        for (size_t k = 0; k < v[i].size; k += 2) {
            k += v[i].data[k] == '-';
            buf_u8(&packed, (uint8_t)(hex_of(v[i].data[k]) << 4 | hex_of(v[i].data[k + 1])));
        }
    vector_put_blob(c, buf_bytes(&packed), out);
    out->failed |= packed.failed;
    buf_done(&packed);
}

static bool repeats_itself(const struct bytes *v, uint32_t n)
{
    uint32_t same = 0, looked = 0;
    for (uint32_t i = 1; i < n && i < 256; i++, looked++)
        for (uint32_t k = i > 32 ? i - 32 : 0; k < i; k++)
            if (bytes_equal(v[i], v[k])) {
                same++;
                break;
            }
    return same * 4 > looked;
}

static void put_column(struct vector_coder *c, const struct bytes *v, uint32_t n, enum mark mark,
                       const uint32_t *rows, struct buf *out)
{
    enum form form = form_of(v, n, mark);
    if ((form == FORM_HEX || form == FORM_UUID) && repeats_itself(v, n))
        form = FORM_STRINGS;
    buf_u8(out, (uint8_t)form);
    if (form == FORM_STRINGS) {
        vector_put_strings(c, v, n, rows, out);
        return;
    }
    if (form == FORM_HEX || form == FORM_UUID) {
        if (form == FORM_HEX)
            buf_u8(out, (uint8_t)v[0].size);
        put_hex(c, v, n, out);
        return;
    }
    int64_t *x = arena_alloc_raw(c->a, n * sizeof(*x), sizeof(*x));
    if (!x) {
        out->failed = true;
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        x[i] = number_of(v[i]);
    if (form == FORM_PADDED)
        buf_u8(out, (uint8_t)v[0].size);
    vector_put_ints(c, x, n, rows, out);
}

static void put_template(struct vector_coder *c, const struct template *t, struct buf *out)
{
    uint32_t f = 0;
    for (size_t i = 0; i < t->key.size; i++) {
        uint8_t mark = t->key.data[i];
        if (mark >= MARK_END)
            continue;
        if (!stays(t, f))
            put_column(c, t->var + (size_t)f * t->lines, t->lines, (enum mark)mark, t->rows, out);
        f++;
    }
}

static void put_all(struct vector_coder *c, const struct mine *n, const struct bytes *v, uint32_t m,
                    const uint32_t *rows, struct buf *out)
{
    struct buf texts = {0};
    uint32_t count = 0, rest = 0;
    int64_t *of = arena_alloc_raw(c->a, (m + 1) * sizeof(*of), sizeof(*of));
    struct bytes *other = ARENA_ARRAY(n->a, struct bytes, m + 1);
    uint32_t *other_rows = ARENA_ARRAY(n->a, uint32_t, m + 1);
    if (!of || !other || !other_rows) {
        out->failed = true;
        return;
    }
    for (uint32_t i = 0; i < n->count; i++) {
        struct buf one = {0};
        if (!n->list[i].number)
            continue;
        put_text(&n->list[i], &one);
        buf_lenbytes(&texts, buf_bytes(&one));
        texts.failed |= one.failed;
        buf_done(&one);
        count++;
    }
    for (uint32_t i = 0; i < m; i++) {
        of[i] = n->of[i] ? n->list[n->of[i] - 1].number : 0;
        if (of[i])
            continue;
        other[rest] = v[i];
        other_rows[rest++] = rows ? rows[i] : i;
    }
    buf_varint(out, count);
    vector_put_blob(c, buf_bytes(&texts), out);
    vector_put_ints(c, of, m, rows, out);
    vector_put_strings(c, other, rest, other_rows, out);
    for (uint32_t i = 0; i < n->count; i++)
        if (n->list[i].number)
            put_template(c, &n->list[i], out);
    out->failed |= texts.failed;
    buf_done(&texts);
}

bool templates_put(struct vector_coder *c, const struct bytes *v, uint32_t m, const uint32_t *rows,
                   struct buf *out)
{
    size_t total = 0;
    for (uint32_t i = 0; i < m; i++)
        total += v[i].size;
    if (c->depth >= TEMPLATES_DEPTH_MAX || m < TEMPLATES_LINES_MIN || total < (size_t)m * SIZE_MIN)
        return false;
    struct cut *k = calloc(1, sizeof(*k));
    struct mine n = {0};
    bool ok = k && mine_init(&n, m) && mine_lines(&n, k, v, m) && fill_columns(&n, k, v, m, rows);
    if (ok) {
        c->depth++;
        put_all(c, &n, v, m, rows, out);
        c->depth--;
    }
    arena_free(n.a);
    if (k)
        buf_done(&k->key);
    free(k);
    return ok;
}

/* --- reading ------------------------------------------------------------------------------------- */

struct column {
    enum form form;
    uint32_t width; /* of FORM_PADDED, FORM_HEX */
    const int64_t *numbers;
    const struct bytes *strings;
    const uint8_t *packed;
};

struct reading {
    struct bytes text;
    uint32_t lines, vars, at;
    uint32_t *rows;
    struct column *columns;
};

static uint32_t digits_of(uint64_t x)
{
    uint32_t n = 1;
    while (x >= 10) {
        x /= 10;
        n++;
    }
    return n;
}

static enum err get_column(struct vector_coder *c, struct reader *r, const struct reading *t,
                           struct column *col)
{
    struct bytes packed;
    enum err e = ERR_OK;
    uint8_t form = reader_u8(r);
    if (r->failed || form > FORM_UUID)
        return ERR_CORRUPT;
    col->form = (enum form)form;
    if (form == FORM_PADDED || form == FORM_HEX)
        col->width = reader_u8(r);
    if (form == FORM_STRINGS)
        return vector_get_strings(c, r, t->lines, t->rows, (struct bytes **)&col->strings);
    if (form == FORM_HEX || form == FORM_UUID) {
        uint32_t each = form == FORM_HEX ? col->width / 2 : 16;
        e = vector_get_blob(c, r, &packed);
        if (e == ERR_OK && (col->width % 2 || packed.size != (uint64_t)each * t->lines))
            e = ERR_CORRUPT;
        col->packed = e == ERR_OK ? packed.data : NULL;
        return e;
    }
    e = vector_get_ints(c, r, t->lines, t->rows, (int64_t **)&col->numbers);
    if (form == FORM_PADDED && (col->width == 0 || col->width > DIGITS_MAX))
        e = ERR_CORRUPT;
    for (uint32_t i = 0; e == ERR_OK && i < t->lines; i++)
        if (col->numbers[i] < 0 ||
            (form == FORM_PADDED && digits_of((uint64_t)col->numbers[i]) > col->width))
            e = ERR_CORRUPT;
    return e;
}

static size_t size_at(const struct column *col, uint32_t i)
{
    switch (col->form) {
    case FORM_NUMBER: return digits_of((uint64_t)col->numbers[i]);
    case FORM_STRINGS: return col->strings[i].size;
    case FORM_UUID: return UUID_SIZE;
    default: return col->width;
    }
}

static void write_hex(const uint8_t *from, size_t n, uint8_t *to)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        to[2 * i] = (uint8_t)digits[from[i] >> 4];
        to[2 * i + 1] = (uint8_t)digits[from[i] & 15];
    }
}

static void write_at(const struct column *col, uint32_t i, uint8_t *to, size_t size)
{
    if (col->form == FORM_STRINGS) {
        if (size)
            memcpy(to, col->strings[i].data, size);
    } else if (col->form == FORM_HEX) {
        write_hex(col->packed + (size_t)i * (size / 2), size / 2, to);
    } else if (col->form == FORM_UUID) {
        static const uint8_t groups[][3] = {
            {0, 4, 0}, {4, 2, 9}, {6, 2, 14}, {8, 2, 19}, {10, 6, 24}};
        for (size_t k = 0; k < ARRAY_LEN(groups); k++)
            write_hex(col->packed + (size_t)i * 16 + groups[k][0], groups[k][1], to + groups[k][2]);
        to[8] = to[13] = to[18] = to[23] = '-';
    } else {
        uint64_t x = (uint64_t)col->numbers[i];
        for (size_t k = size; k-- > 0; x /= 10)
            to[k] = (uint8_t)('0' + x % 10);
    }
}

/* One line out of its template and the columns. */
static enum err build_line(struct vector_coder *c, struct reading *t, uint64_t *left,
                           struct bytes *out)
{
    uint32_t i = t->at++, f = 0;
    size_t size = t->text.size - t->vars;
    for (f = 0; f < t->vars; f++)
        size += size_at(&t->columns[f], i);
    if (size > *left)
        return ERR_CORRUPT;
    *left -= size;
    uint8_t *p = arena_alloc_raw(c->a, size ? size : 1, 1);
    if (!p)
        return ERR_LIMIT;
    *out = bytes_of(p, size);
    f = 0;
    for (size_t k = 0; k < t->text.size;) {
        const uint8_t *mark = memchr(t->text.data + k, MARK, t->text.size - k);
        size_t to = mark ? (size_t)(mark - t->text.data) : t->text.size;
        memcpy(p, t->text.data + k, to - k);
        p += to - k;
        k = to;
        if (!mark)
            break;
        size_t n = size_at(&t->columns[f], i);
        write_at(&t->columns[f], i, p, n);
        p += n;
        f++;
        k++;
    }
    return ERR_OK;
}

static enum err get_texts(struct vector_coder *c, struct reader *r, uint64_t count,
                          struct reading *t)
{
    struct bytes texts;
    enum err e = vector_get_blob(c, r, &texts);
    struct reader x = reader_of(texts);
    for (uint64_t i = 0; i < count && e == ERR_OK; i++) {
        t[i].text = reader_lenbytes(&x);
        for (size_t k = 0; k < t[i].text.size; k++)
            t[i].vars += t[i].text.data[k] == MARK;
        if (x.failed || t[i].vars > TEMPLATES_FIELDS_MAX)
            return ERR_CORRUPT;
        t[i].columns = ARENA_ARRAY(c->a, struct column, t[i].vars + 1);
        if (!t[i].columns)
            return ERR_LIMIT;
    }
    return e == ERR_OK && reader_left(&x) ? ERR_CORRUPT : e;
}

/* Which lines each template has. */
static enum err place_lines(struct vector_coder *c, const int64_t *of, uint32_t m,
                            const uint32_t *rows, struct reading *t, uint64_t count,
                            uint32_t *out_rest, uint32_t **out_rest_rows)
{
    uint32_t rest = 0, *rest_rows;
    for (uint32_t i = 0; i < m; i++) {
        if (of[i] < 0 || (uint64_t)of[i] > count)
            return ERR_CORRUPT;
        if (of[i])
            t[of[i] - 1].lines++;
        else
            rest++;
    }
    rest_rows = ARENA_ARRAY(c->a, uint32_t, rest + 1);
    for (uint64_t k = 0; k < count; k++)
        if (!(t[k].rows = ARENA_ARRAY(c->a, uint32_t, t[k].lines + 1)))
            return ERR_LIMIT;
    if (!rest_rows)
        return ERR_LIMIT;
    *out_rest = rest;
    rest = 0;
    for (uint32_t i = 0; i < m; i++) {
        uint32_t row = rows ? rows[i] : i;
        if (of[i])
            t[of[i] - 1].rows[t[of[i] - 1].at++] = row;
        else
            rest_rows[rest++] = row;
    }
    for (uint64_t k = 0; k < count; k++)
        t[k].at = 0;
    *out_rest_rows = rest_rows;
    return ERR_OK;
}

static enum err get_all(struct vector_coder *c, struct reader *r, uint32_t m, const uint32_t *rows,
                        struct bytes *out)
{
    uint64_t count = reader_varint(r), left = VECTOR_BYTES_MAX;
    uint32_t rest, *rest_rows;
    int64_t *of;
    struct bytes *other;
    if (r->failed || count == 0 || count > TEMPLATES_MAX)
        return ERR_CORRUPT;
    struct reading *t = ARENA_ARRAY(c->a, struct reading, count);
    enum err e = t ? get_texts(c, r, count, t) : ERR_LIMIT;
    if (e == ERR_OK)
        e = vector_get_ints(c, r, m, rows, &of);
    if (e == ERR_OK)
        e = place_lines(c, of, m, rows, t, count, &rest, &rest_rows);
    if (e == ERR_OK)
        e = vector_get_strings(c, r, rest, rest_rows, &other);
    for (uint64_t k = 0; k < count && e == ERR_OK; k++)
        for (uint32_t f = 0; f < t[k].vars && e == ERR_OK; f++)
            e = get_column(c, r, &t[k], &t[k].columns[f]);
    rest = 0;
    for (uint32_t i = 0; i < m && e == ERR_OK; i++) {
        if (!of[i]) {
            out[i] = other[rest++];
        } else if (c->wanted && !c->wanted[rows ? rows[i] : i]) {
            t[of[i] - 1].at++;
            out[i] = BYTES_NONE;
        } else {
            e = build_line(c, &t[of[i] - 1], &left, &out[i]);
        }
    }
    return e;
}

enum err templates_get(struct vector_coder *c, struct reader *r, uint32_t m, const uint32_t *rows,
                       struct bytes *out)
{
    if (c->depth >= TEMPLATES_DEPTH_MAX)
        return ERR_CORRUPT;
    c->depth++;
    enum err e = get_all(c, r, m, rows, out);
    c->depth--;
    return e;
}
