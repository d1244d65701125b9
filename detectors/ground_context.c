/* Documents to lines, and an index of words over the lines. */
#include "detectors/ground_context.h"

#include <stdlib.h>

#include "base/check.h"
#include "detectors/ground_json.h"
#include "detectors/ground_leaf.h"
#include "detectors/ground_split.h"

struct slot {
    uint32_t hash, first, count; /* lines[first..first + count) have it; hash 0 is free */
};
struct ground_context_index {
    struct slot *slots;
    uint32_t mask;
    uint32_t *lines;
    uint32_t
        *runs; /* hashes of two and three words in a row, and of words' first letters; 0 is free */
    uint32_t runs_mask;
};

/* --- lines ----------------------------------------------------------------------------------------- */

struct building {
    struct ground_context *c;
    struct arena *a;
    uint32_t cap;
};

static enum err add_line(struct building *b, struct ground_line line)
{
    struct ground_context *c = b->c;
    if (c->count == GROUND_CONTEXT_LINES_MAX) {
        c->cut = true;
        return ERR_OK;
    }
    if (c->count == b->cap) {
        uint32_t more = b->cap ? b->cap * 2 : 64;
        c->lines = arena_grow(b->a, c->lines, sizeof(*c->lines), b->cap, more);
        b->cap = more;
        if (!c->lines)
            return ERR_NOMEM;
    }
    enum err e = ground_word_split(line.text, b->a, &line.words);
    c->words_count += e == ERR_OK ? line.words.count : 0;
    c->lines[c->count++] = line;
    return e;
}

static enum err add_prose(struct building *b, uint32_t document, struct bytes text, size_t shift)
{
    struct ground_split_range *r;
    uint32_t n;
    enum err e = ground_split_text(text, GROUND_CONTEXT_LINES_MAX, b->a, &r, &n, &b->c->cut);
    for (uint32_t i = 0; e == ERR_OK && i < n; i++)
        e = add_line(b, (struct ground_line){.document = document,
                                             .begin = (uint32_t)shift + r[i].begin,
                                             .end = (uint32_t)shift + r[i].end,
                                             .text = bytes_slice(text, r[i].begin, r[i].end)});
    return e;
}

/* A leaf is a line; a long text in a leaf is several, each under its key. */
static enum err add_leaf(struct building *b, uint32_t document, const struct ground_json_leaf *leaf)
{
    struct ground_split_range *r, whole = {0, (uint32_t)leaf->value.size};
    uint32_t n = 0;
    enum err e = ERR_OK;
    bool is_long = leaf->type == GROUND_JSON_STRING && leaf->value.size > 200;
    if (is_long)
        e = ground_split_text(leaf->value, GROUND_CONTEXT_LINES_MAX, b->a, &r, &n, &b->c->cut);
    if (n == 0)
        r = &whole, n = 1;
    for (uint32_t i = 0; e == ERR_OK && i < n; i++) {
        struct ground_line line = {.document = document, .begin = leaf->begin, .end = leaf->end};
        if (leaf->plain && n > 1)
            line.begin = leaf->begin + r[i].begin, line.end = leaf->begin + r[i].end;
        e = ground_leaf_line(leaf, bytes_slice(leaf->value, r[i].begin, r[i].end), n > 1, b->a,
                             &line);
        if (e == ERR_OK)
            e = add_line(b, line);
    }
    return e;
}

static enum err add_document(struct building *b, uint32_t document, struct bytes text,
                             uint32_t *leaf_lines)
{
    struct ground_json_leaf *leaves;
    uint32_t n, before = b->c->count;
    enum err e = ground_json_leaves(text, GROUND_CONTEXT_LINES_MAX, b->a, &leaves, &n, &b->c->cut);
    if (e == ERR_OK && n == 0)
        return add_prose(b, document, text, 0);
    for (uint32_t i = 0; e == ERR_OK && i < n; i++)
        e = add_leaf(b, document, &leaves[i]);
    *leaf_lines += b->c->count - before;
    return e;
}

/* --- index ----------------------------------------------------------------------------------------- */

static uint32_t table_size(size_t entries)
{
    uint32_t size = 64;
    while (size < entries * 2 && size < 1u << 30)
        size *= 2;
    return size;
}

static struct slot *slot_of(const struct ground_context_index *x, uint32_t hash)
{
    uint32_t i = hash & x->mask;
    while (x->slots[i].hash && x->slots[i].hash != hash)
        i = (i + 1) & x->mask;
    return &x->slots[i];
}

static uint32_t run_hash(uint32_t a, uint32_t b, uint32_t c)
{
    uint64_t h = ((uint64_t)a * 0x9e3779b97f4a7c15u) ^ b;
    h = (h * 0xff51afd7ed558ccdu) ^ c;
    h = (h ^ h >> 29) * 0xc4ceb9fe1a85ec53u;
    return (uint32_t)(h >> 32) | 1u;
}

static uint32_t *run_slot(const struct ground_context_index *x, uint32_t h)
{
    uint32_t i = (h >> 1) & x->runs_mask;
    while (x->runs[i] && x->runs[i] != h)
        i = (i + 1) & x->runs_mask;
    return &x->runs[i];
}

/* Each word's lines side by side: counted, placed, filled. */
static enum err index_words(const struct ground_context *c, struct ground_context_index *x,
                            struct arena *a)
{
    uint32_t *last = ARENA_ARRAY(a, uint32_t, (size_t)x->mask + 1), total = 0;
    if (!last)
        return ERR_NOMEM;
    for (uint32_t l = 0; l < c->count; l++)
        for (uint32_t i = 0; i < c->lines[l].words.count; i++) {
            struct slot *s = slot_of(x, c->lines[l].words.words[i].hash);
            s->hash = c->lines[l].words.words[i].hash;
            s->count += last[s - x->slots] != l + 1;
            last[s - x->slots] = l + 1;
        }
    for (uint32_t i = 0; i <= x->mask; i++) {
        x->slots[i].first = total;
        total += x->slots[i].count;
        x->slots[i].count = 0;
        last[i] = 0;
    }
    x->lines = ARENA_ARRAY(a, uint32_t, (size_t)total + 1);
    if (!x->lines)
        return ERR_NOMEM;
    for (uint32_t l = 0; l < c->count; l++)
        for (uint32_t i = 0; i < c->lines[l].words.count; i++) {
            struct slot *s = slot_of(x, c->lines[l].words.words[i].hash);
            if (last[s - x->slots] != l + 1)
                x->lines[s->first + s->count++] = l;
            last[s - x->slots] = l + 1;
        }
    return ERR_OK;
}

/* 0: too short to have one. */
static uint32_t prefix_hash(struct bytes word)
{
    uint64_t low = 0;
    if (word.size < GROUND_CONTEXT_PREFIX)
        return 0;
    for (unsigned i = 0; i < GROUND_CONTEXT_PREFIX; i++) {
        uint8_t c = word.data[i];
        low = low << 8 | (c >= 'A' && c <= 'Z' ? c | 32u : c);
    }
    return run_hash((uint32_t)low, (uint32_t)(low >> 32), 1);
}

static void index_runs(const struct ground_context *c, struct ground_context_index *x)
{
    for (uint32_t l = 0; l < c->count; l++) {
        const struct ground_word *w = c->lines[l].words.words;
        for (uint32_t i = 0; i < c->lines[l].words.count; i++) {
            uint32_t begin = prefix_hash(bytes_slice(c->lines[l].text, w[i].begin, w[i].end));
            if (begin)
                *run_slot(x, begin) = begin;
            if (i + 1 == c->lines[l].words.count)
                break;
            uint32_t two = run_hash(w[i].hash, w[i + 1].hash, 0);
            *run_slot(x, two) = two;
            if (i + 2 < c->lines[l].words.count) {
                uint32_t three = run_hash(w[i].hash, w[i + 1].hash, w[i + 2].hash);
                *run_slot(x, three) = three;
            }
        }
    }
}

static enum err make_index(struct ground_context *c, struct arena *a)
{
    struct ground_context_index *x = ARENA_ARRAY(a, struct ground_context_index, 1);
    if (!x)
        return ERR_NOMEM;
    uint32_t words = table_size(c->words_count), runs = table_size((size_t)c->words_count * 3);
    x->mask = words - 1, x->runs_mask = runs - 1;
    x->slots = ARENA_ARRAY(a, struct slot, words);
    x->runs = ARENA_ARRAY(a, uint32_t, runs);
    c->index = x;
    if (!x->slots || !x->runs)
        return ERR_NOMEM;
    index_runs(c, x);
    return index_words(c, x, a);
}

enum err ground_context_make(const struct bytes *documents, uint32_t count, struct arena *a,
                             struct ground_context *out)
{
    struct ground_context c = {0};
    struct building b = {&c, a, 0};
    size_t left = GROUND_CONTEXT_BYTES_MAX;
    uint32_t leaf_lines = 0;
    enum err e = ERR_OK;
    c.cut = count > GROUND_DOCUMENTS_MAX;
    for (uint32_t i = 0; e == ERR_OK && i < MIN(count, GROUND_DOCUMENTS_MAX); i++) {
        size_t size = MIN(documents[i].size, left);
        c.cut |= size < documents[i].size;
        left -= size;
        e = add_document(&b, i, bytes_slice(documents[i], 0, size), &leaf_lines);
    }
    c.json = leaf_lines * 2 > c.count;
    if (e == ERR_OK)
        e = make_index(&c, a);
    if (e == ERR_OK)
        *out = c;
    return e;
}

/* --- asking ---------------------------------------------------------------------------------------- */

const uint32_t *ground_context_lines_of(const struct ground_context *c, uint32_t hash,
                                        uint32_t *count)
{
    const struct slot *s = slot_of(c->index, hash);
    *count = s->count;
    return c->index->lines + s->first;
}

bool ground_context_has(const struct ground_context *c, uint32_t hash)
{
    return slot_of(c->index, hash)->count > 0;
}

bool ground_context_has_pair(const struct ground_context *c, uint32_t first, uint32_t second)
{
    return *run_slot(c->index, run_hash(first, second, 0)) != 0;
}

bool ground_context_has_prefix(const struct ground_context *c, struct bytes word)
{
    uint32_t h = prefix_hash(word);
    return h && *run_slot(c->index, h) != 0;
}

bool ground_context_has_three(const struct ground_context *c, uint32_t first, uint32_t second,
                              uint32_t third)
{
    return *run_slot(c->index, run_hash(first, second, third)) != 0;
}

float ground_context_recall(const struct ground_context *c, const struct ground_idf *idf,
                            const struct ground_word *words, uint32_t count, float *score)
{
    float whole = 0;
    for (int round = 0; round < 2; round++)
        for (uint32_t i = 0; i < count; i++) {
            bool again = !ground_word_is_content(&words[i]);
            for (uint32_t k = 0; k < i && !again; k++)
                again = words[k].hash == words[i].hash;
            if (again)
                continue;
            float value = ground_idf_of(idf, words[i].hash);
            if (round == 0) {
                whole += value;
                continue;
            }
            uint32_t n;
            const uint32_t *lines = ground_context_lines_of(c, words[i].hash, &n);
            for (uint32_t k = 0; n <= GROUND_CONTEXT_LINES_A_WORD_MAX && k < n; k++)
                score[lines[k]] += value / whole;
        }
    return whole;
}
