#include "gpu/gpu_tokens.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"
#include "gpu/fold.h"

#define NONE UINT32_MAX
#define WORD_BYTES_MAX (GPU_WORD_CHARS_MAX * 4u)

struct slot {
    uint32_t hash, id;
};

struct gpu_vocab {
    struct buf text; /* a copy of vocab.txt; tokens point into it */
    struct bytes *token; /* without "##" */
    struct slot *slots; /* open addressing; id NONE = free */
    uint32_t count, mask, unk, cls, sep;
    uint32_t piece_max; /* bytes of the longest token */
    struct fold ascii[128];
    uint8_t lower[256]; /* of an ASCII character of a word; 0: it is none */
    uint32_t alone[128]; /* the token of an ASCII character that stands alone */
};

/* A word as it is gathered: folded bytes, and where in the text each character begins and ends. */
struct word {
    uint8_t bytes[WORD_BYTES_MAX + 8];
    uint32_t hash[GPU_WORD_CHARS_MAX + 1]; /* unused when the whole word is a token */
    uint16_t at[GPU_WORD_CHARS_MAX + 2]; /* byte where character i begins */
    uint32_t begin[GPU_WORD_CHARS_MAX + 1], end[GPU_WORD_CHARS_MAX + 1];
    uint32_t chars, text_begin, text_end;
    bool too_long;
};

/* FNV-1a, byte by byte: the hash of a prefix is a step on the way to the hash of the word. Pieces that continue start elsewhere. */
#define HASH_FIRST 0x811c9dc5u
#define HASH_REST 0x2f3a7c11u
static inline uint32_t hash_byte(uint32_t h, uint8_t b)
{
    return (h ^ b) * 0x01000193u;
}
static inline uint32_t hash_mix(uint32_t h)
{
    h ^= h >> 15;
    h *= 0x2c1b3c6du;
    return h ^ h >> 13;
}

static uint32_t find(const struct gpu_vocab *v, uint32_t h, const uint8_t *p, size_t n)
{
    uint32_t mixed = hash_mix(h);
    for (uint32_t at = mixed & v->mask; v->slots[at].id != NONE; at = (at + 1) & v->mask) {
        const struct slot *s = &v->slots[at];
        if (s->hash == mixed && v->token[s->id].size == n &&
            memcmp(v->token[s->id].data, p, n) == 0)
            return s->id;
    }
    return NONE;
}

/* --- the vocabulary -------------------------------------------------------------------------------- */

static bool insert(struct gpu_vocab *v, uint32_t id, bool continues)
{
    struct bytes t = v->token[id];
    uint32_t h = continues ? HASH_REST : HASH_FIRST;
    for (size_t i = 0; i < t.size; i++)
        h = hash_byte(h, t.data[i]);
    if (find(v, h, t.data, t.size) != NONE)
        return false; /* the first of two equal lines counts */
    uint32_t mixed = hash_mix(h), at = mixed & v->mask;
    while (v->slots[at].id != NONE)
        at = (at + 1) & v->mask;
    v->slots[at] = (struct slot){mixed, id};
    return true;
}

static enum err split_lines(struct gpu_vocab *v, struct err_msg *msg)
{
    struct bytes all = buf_bytes(&v->text);
    for (size_t at = 0; at < all.size; v->count++) {
        struct bytes rest = bytes_slice(all, at, all.size);
        size_t n = bytes_find(rest, BYTES_LIT("\n"));
        if (v->count == GPU_VOCAB_MAX)
            return err_set(msg, ERR_TOO_LARGE, "a vocabulary of more than %u tokens",
                           GPU_VOCAB_MAX);
        v->token[v->count] = bytes_slice(rest, 0, n);
        if (n && rest.data[n - 1] == '\r')
            v->token[v->count].size--;
        at += n + 1;
    }
    return ERR_OK;
}

static uint32_t special(const struct gpu_vocab *v, const char *name)
{
    for (uint32_t i = 0; i < v->count; i++)
        if (bytes_equal_str(v->token[i], name))
            return i;
    return NONE;
}

static enum err build(struct gpu_vocab *v, struct err_msg *msg)
{
    uint32_t cap = 64;
    while (cap < v->count * 4)
        cap *= 2;
    v->slots = malloc(cap * sizeof(*v->slots));
    if (!v->slots)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < cap; i++)
        v->slots[i] = (struct slot){0, NONE};
    v->mask = cap - 1;
    v->unk = special(v, "[UNK]");
    v->cls = special(v, "[CLS]");
    v->sep = special(v, "[SEP]");
    if (v->unk == NONE || v->cls == NONE || v->sep == NONE)
        return err_set(msg, ERR_INVALID,
                       "the vocabulary of %u tokens has no %s: not a BERT vocabulary", v->count,
                       v->unk == NONE   ? "[UNK]"
                       : v->cls == NONE ? "[CLS]"
                                        : "[SEP]");
    for (uint32_t i = 0; i < v->count; i++) {
        bool continues = bytes_has_prefix(v->token[i], BYTES_LIT("##")) && v->token[i].size > 2;
        if (continues)
            v->token[i] = bytes_slice(v->token[i], 2, v->token[i].size);
        if (v->token[i].size) {
            (void)insert(v, i, continues);
            v->piece_max = MAX(v->piece_max, (uint32_t)v->token[i].size);
        }
    }
    for (uint32_t c = 0; c < 128; c++) {
        uint8_t byte = (uint8_t)c;
        fold_of(c, &v->ascii[c]);
        if (v->ascii[c].kind == FOLD_WORD && v->ascii[c].size == 1)
            v->lower[c] = (uint8_t)v->ascii[c].utf8[0];
        v->alone[c] = find(v, hash_byte(HASH_FIRST, byte), &byte, 1);
        if (v->alone[c] == NONE)
            v->alone[c] = v->unk;
    }
    return ERR_OK;
}

enum err gpu_vocab_new(struct bytes vocab_txt, struct gpu_vocab **out, struct err_msg *msg)
{
    struct gpu_vocab *v = calloc(1, sizeof(*v));
    if (!v)
        return ERR_NOMEM;
    size_t lines = 1;
    for (size_t i = 0; i < vocab_txt.size; i++)
        lines += vocab_txt.data[i] == '\n';
    buf_init(&v->text, 0);
    buf_bytes_append(&v->text, vocab_txt);
    v->token = malloc(MIN(lines, (size_t)GPU_VOCAB_MAX) * sizeof(*v->token));
    enum err e = buf_ok(&v->text) && v->token ? split_lines(v, msg) : ERR_NOMEM;
    if (e == ERR_OK)
        e = build(v, msg);
    if (e != ERR_OK) {
        gpu_vocab_free(v);
        return e;
    }
    *out = v;
    return ERR_OK;
}

void gpu_vocab_free(struct gpu_vocab *v)
{
    if (!v)
        return;
    buf_done(&v->text);
    free(v->token);
    free(v->slots);
    free(v);
}

uint32_t gpu_vocab_size(const struct gpu_vocab *v)
{
    return v->count;
}

uint32_t gpu_vocab_cls(const struct gpu_vocab *v)
{
    return v->cls;
}

uint32_t gpu_vocab_sep(const struct gpu_vocab *v)
{
    return v->sep;
}

/* --- tokens ---------------------------------------------------------------------------------------- */

void gpu_tokens_done(struct gpu_tokens *t)
{
    free(t->id);
    free(t->begin);
    free(t->end);
    free(t->type);
    *t = (struct gpu_tokens){0};
}

static bool grow_one(void *column, size_t size, uint32_t cap)
{
    void *old, *fresh;
    memcpy(&old, column, sizeof(old));
    if (!(fresh = realloc(old, size * cap)))
        return false;
    memcpy(column, &fresh, sizeof(fresh));
    return true;
}

static bool grow(struct gpu_tokens *t)
{
    uint32_t cap = t->cap ? t->cap * 2 : 256;
    if (t->cap > UINT32_MAX / 4 || !grow_one(&t->id, 4, cap) || !grow_one(&t->begin, 4, cap) ||
        !grow_one(&t->end, 4, cap) || !grow_one(&t->type, 1, cap))
        return false;
    t->cap = cap;
    return true;
}

static inline bool push(struct gpu_tokens *t, uint32_t id, uint32_t begin, uint32_t end,
                        uint8_t type)
{
    if (t->count == t->cap && !grow(t))
        return false;
    t->id[t->count] = id;
    t->begin[t->count] = begin;
    t->end[t->count] = end;
    t->type[t->count++] = type;
    return true;
}

bool gpu_tokens_special(uint32_t id, uint8_t type, struct gpu_tokens *t)
{
    uint32_t at = t->count ? t->end[t->count - 1] : 0;
    return push(t, id, at, at, type);
}

/* The longest token first, then the longest that continues it, …; a rest that is none makes the whole word [UNK]. */
static bool put_pieces(const struct gpu_vocab *v, struct word *w, uint8_t type,
                       struct gpu_tokens *t)
{
    uint32_t first = t->count;
    for (uint32_t from = 0; from < w->chars;) {
        uint32_t h = from ? HASH_REST : HASH_FIRST, to = from, id = NONE;
        const uint8_t *p = w->bytes + w->at[from];
        while (to < w->chars && (uint32_t)(w->at[to + 1] - w->at[from]) <= v->piece_max) {
            for (uint32_t b = w->at[to]; b < w->at[to + 1]; b++)
                h = hash_byte(h, w->bytes[b]);
            w->hash[++to] = h;
        }
        for (; to > from && id == NONE; to -= id == NONE)
            id = find(v, w->hash[to], p, (size_t)(w->at[to] - w->at[from]));
        if (id == NONE) {
            t->count = first;
            return push(t, v->unk, w->text_begin, w->text_end, type);
        }
        if (!push(t, id, w->begin[from], w->end[to - 1], type))
            return false;
        from = to;
    }
    return true;
}

static bool put_word(const struct gpu_vocab *v, struct word *w, uint8_t type, struct gpu_tokens *t)
{
    bool ok = true;
    if (w->too_long) {
        ok = push(t, v->unk, w->text_begin, w->text_end, type);
    } else if (w->chars) {
        ok = put_pieces(v, w, type, t);
    }
    w->chars = 0;
    w->too_long = false;
    w->at[0] = 0;
    return ok;
}

static inline void add_char(struct word *w, const char *utf8, uint32_t size, uint32_t begin,
                            uint32_t end)
{
    if (w->chars == 0 && !w->too_long)
        w->text_begin = begin;
    w->text_end = end;
    if (w->chars == GPU_WORD_CHARS_MAX || w->too_long) {
        w->too_long = true;
        return;
    }
    memcpy(w->bytes + w->at[w->chars], utf8, size);
    w->begin[w->chars] = begin;
    w->end[w->chars] = end;
    w->at[w->chars + 1] = (uint16_t)(w->at[w->chars] + size);
    w->chars++;
}

/* The folded code points of one code point of the text. */
static bool add_fold(const struct gpu_vocab *v, const struct fold *f, uint32_t begin, uint32_t end,
                     struct word *w, uint8_t type, struct gpu_tokens *t)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < f->count; i++) {
        size_t n;
        (void)fold_decode((const uint8_t *)f->utf8 + at, (const uint8_t *)f->utf8 + f->size, &n);
        bool alone = f->alone >> i & 1;
        if (alone && !put_word(v, w, type, t))
            return false;
        add_char(w, f->utf8 + at, (uint32_t)n, begin, end);
        if (alone && !put_word(v, w, type, t))
            return false;
        at += (uint32_t)n;
    }
    return true;
}

/* Most words are a run of ASCII letters and digits and stand in the vocabulary as they are: their bytes, and the hash on the way. 0: not such a run
 * (what ends it folds into the word, or it is too long). */
static size_t plain_word(const struct gpu_vocab *v, struct bytes text, size_t at, uint8_t *out,
                         uint32_t *out_hash)
{
    size_t n = 0, most = MIN(text.size - at, GPU_WORD_CHARS_MAX + 1);
    const uint8_t *p = text.data + at;
    uint32_t h = HASH_FIRST;
    for (; n < most && v->lower[p[n]]; n++) {
        out[n] = v->lower[p[n]];
        h = hash_byte(h, out[n]);
    }
    *out_hash = h;
    if (n > GPU_WORD_CHARS_MAX ||
        (at + n < text.size && (p[n] >= 128 || v->ascii[p[n]].kind == FOLD_DROP)))
        return 0;
    return n;
}

/* A plain word of n bytes, which are in w already. */
static bool put_plain(const struct gpu_vocab *v, struct word *w, size_t n, uint32_t h, size_t at,
                      uint8_t type, struct gpu_tokens *t)
{
    uint32_t begin = (uint32_t)at, id = find(v, h, w->bytes, n);
    if (id != NONE)
        return push(t, id, begin, begin + (uint32_t)n, type);
    for (uint32_t i = 0; i < n; i++) {
        w->at[i + 1] = (uint16_t)(i + 1);
        w->begin[i] = begin + i;
        w->end[i] = begin + i + 1;
    }
    w->chars = (uint32_t)n;
    w->text_begin = begin;
    w->text_end = begin + (uint32_t)n;
    return put_word(v, w, type, t);
}

bool gpu_tokens_add(const struct gpu_vocab *v, struct bytes text, uint8_t type,
                    struct gpu_tokens *t)
{
    struct word w;
    bool ok = text.size < UINT32_MAX;
    w.chars = 0;
    w.too_long = false;
    w.at[0] = 0;
    for (size_t at = 0, n; ok && at < text.size; at += n) {
        uint8_t c = text.data[at];
        bool is_first = w.chars == 0 && !w.too_long;
        uint32_t h;
        if (is_first && v->lower[c] && (n = plain_word(v, text, at, w.bytes, &h)) > 0) {
            ok = put_plain(v, &w, n, h, at, type, t);
            continue;
        }
        struct fold wide;
        const struct fold *f = &wide;
        n = 1;
        if (c < 128)
            f = &v->ascii[c];
        else
            fold_of(fold_decode(text.data + at, text.data + text.size, &n), &wide);
        uint32_t begin = (uint32_t)at, end = (uint32_t)(at + n);
        if (is_first && c < 128 && f->kind == FOLD_ALONE)
            ok = push(t, v->alone[c], begin, end, type);
        else if (f->kind == FOLD_WORD && f->count == 1)
            add_char(&w, f->utf8, f->size, begin, end);
        else if (f->kind == FOLD_BLANK)
            ok = put_word(v, &w, type, t);
        else if (f->kind != FOLD_DROP)
            ok = add_fold(v, f, begin, end, &w, type, t);
    }
    return ok && put_word(v, &w, type, t);
}
