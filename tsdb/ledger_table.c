#include "tsdb/ledger_table.h"

#include <stdlib.h>

#include "base/check.h"

#define ENTRIES_FIRST 1024u
#define PURGED_SHARE 10u

_Static_assert(sizeof(struct ledger_entry) == 80, "a million values in 80 MB, and their index");

const struct hash128 ledger_table_other = {UINT64_MAX, UINT64_MAX};

void ledger_table_done(struct ledger_table *t)
{
    uint32_t entries_max = t->entries_max;
    free(t->entries);
    free(t->dims);
    free(t->slots);
    free(t->texts);
    *t = (struct ledger_table){.entries_max = entries_max};
}

uint64_t ledger_table_bytes(const struct ledger_table *t)
{
    return (uint64_t)t->cap * (sizeof(struct ledger_entry) + 1) +
           (t->slots ? ((uint64_t)t->slot_mask + 1) * sizeof(uint32_t) : 0) + t->texts_cap;
}

struct hash128 ledger_table_hash(uint32_t org, enum tsdb_book_dim dim, struct bytes value)
{
    return hash128(value, (uint64_t)org << 8 | dim);
}

static uint32_t place_of(const struct ledger_table *t, struct hash128 value, uint32_t slot)
{
    return (uint32_t)((value.lo + slot * UINT64_C(0x9e3779b97f4a7c15)) >> 17) & t->slot_mask;
}

/* The place of the entry, or the free one where it would be. */
static uint32_t find(const struct ledger_table *t, uint32_t org, uint8_t dim, uint32_t slot,
                     struct hash128 value)
{
    uint32_t at = place_of(t, value, slot);
    for (uint32_t i; (i = t->slots[at]); at = (at + 1) & t->slot_mask) {
        const struct ledger_entry *e = &t->entries[i - 1];
        if (e->slot == slot && hash128_equal(e->value, value) && e->org == org &&
            t->dims[i - 1] == dim)
            break;
    }
    return at;
}

static bool grow(struct ledger_table *t)
{
    uint32_t cap = MIN(t->cap ? t->cap * 2 : ENTRIES_FIRST, t->entries_max), places = 1;
    while (places < cap * 2)
        places *= 2;
    struct ledger_entry *entries = realloc(t->entries, cap * sizeof(*entries));
    if (!entries)
        return false;
    t->entries = entries;
    uint8_t *dims = realloc(t->dims, cap);
    if (!dims)
        return false;
    t->dims = dims;
    uint32_t *slots = calloc(places, sizeof(*slots));
    if (!slots)
        return false;
    free(t->slots);
    t->slots = slots;
    t->slot_mask = places - 1;
    t->cap = cap;
    for (uint32_t i = 0; i < t->count; i++) {
        const struct ledger_entry *e = &entries[i];
        slots[find(t, e->org, dims[i], e->slot, e->value)] = i + 1;
    }
    return true;
}

static bool put_text(struct ledger_table *t, struct bytes value, uint64_t *out)
{
    if (t->texts_size + value.size + 1 > t->texts_cap) {
        uint64_t cap = MAX(t->texts_cap * 2, UINT64_C(16384));
        uint8_t *texts = realloc(t->texts, cap);
        if (!texts)
            return false;
        t->texts = texts;
        t->texts_cap = cap;
    }
    *out = t->texts_size;
    t->texts[t->texts_size] = (uint8_t)value.size;
    if (value.size)
        memcpy(t->texts + t->texts_size + 1, value.data, value.size);
    t->texts_size += value.size + 1;
    return true;
}

/* --- past the limit ------------------------------------------------------------------------------- */

static int by_amount(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* What the dearest of the cheapest tenth costs. */
static bool tenth(const struct ledger_table *t, int64_t *out)
{
    int64_t *amounts = malloc(t->count * sizeof(*amounts));
    if (!amounts)
        return false;
    for (uint32_t i = 0; i < t->count; i++)
        amounts[i] = t->entries[i].sums.nanousd;
    qsort(amounts, t->count, sizeof(*amounts), by_amount);
    *out = amounts[t->count / PURGED_SHARE];
    free(amounts);
    return true;
}

/* The table again without its cheapest values. Texts of those who stay move together. */
static bool purge(struct ledger_table *t)
{
    int64_t limit;
    struct ledger_table fresh = {.entries_max = t->entries_max};
    if (!tenth(t, &limit))
        return false;
    uint32_t left = t->count / PURGED_SHARE + 1;
    bool ok = true;
    fresh.error_nanousd = MAX(t->error_nanousd, limit);
    while (ok && fresh.cap < t->cap)
        ok = grow(&fresh);
    for (uint32_t i = 0; i < t->count && ok; i++) {
        const struct ledger_entry *e = &t->entries[i];
        bool leaves = left > 0 && e->sums.nanousd <= limit && !ledger_table_is_other(&e->value) &&
                      t->texts[e->text] > 0;
        struct hash128 value = leaves ? ledger_table_other : e->value;
        uint32_t at = find(&fresh, e->org, t->dims[i], e->slot, value);
        left -= leaves;
        if (!fresh.slots[at]) {
            struct ledger_entry *n = &fresh.entries[fresh.count];
            *n = (struct ledger_entry){.value = value, .org = e->org, .slot = e->slot};
            ok = put_text(&fresh, leaves ? BYTES_NONE : ledger_table_text(t, e), &n->text);
            fresh.dims[fresh.count++] = t->dims[i];
            fresh.slots[at] = fresh.count;
        }
        tsdb_ledger_add(&fresh.entries[fresh.slots[at] - 1].sums, &e->sums);
    }
    if (!ok || fresh.count == t->count) { /* nothing but others and unattributed */
        ledger_table_done(&fresh);
        return false;
    }
    ledger_table_done(t);
    *t = fresh;
    return true;
}

/* --- adding ---------------------------------------------------------------------------------------- */

static uint32_t entry_new(struct ledger_table *t, uint32_t org, uint8_t dim, uint32_t slot,
                          struct hash128 value, struct bytes text)
{
    if (t->count == t->cap && !(t->cap < t->entries_max ? grow(t) : purge(t)))
        return 0;
    struct ledger_entry *e = &t->entries[t->count];
    *e = (struct ledger_entry){.value = value, .org = org, .slot = slot};
    if (!put_text(t, text, &e->text))
        return 0;
    t->dims[t->count++] = dim;
    t->slots[find(t, org, dim, slot, value)] = t->count;
    return t->count;
}

static bool memo_is(const struct ledger_memo *m, uint32_t org, uint32_t slot, struct bytes text)
{
    return m->entry && m->slot == slot && m->org == org && m->text[0] == text.size &&
           (!text.size || memcmp(m->text + 1, text.data, text.size) == 0);
}

static bool add_dim(struct ledger_table *t, uint32_t org, uint8_t dim, uint32_t slot,
                    struct bytes text, const struct tsdb_book_sums *sums)
{
    struct ledger_memo *m = &t->memo[dim];
    text.size = MIN(text.size, TSDB_LEDGER_VALUE_MAX);
    if (!memo_is(m, org, slot, text)) {
        struct hash128 value = ledger_table_hash(org, dim, text);
        uint32_t entry = t->slots ? t->slots[find(t, org, dim, slot, value)] : 0;
        if (!entry && !(entry = entry_new(t, org, dim, slot, value, text)))
            return false;
        m = &t->memo[dim]; /* a purge has forgotten all */
        m->org = org;
        m->slot = slot;
        m->entry = entry;
        m->text[0] = (uint8_t)text.size;
        if (text.size)
            memcpy(m->text + 1, text.data, text.size);
    }
    tsdb_ledger_add(&t->entries[m->entry - 1].sums, sums);
    return true;
}

bool ledger_table_add(struct ledger_table *t, uint32_t org, const struct tsdb_book *book)
{
    bool ok = true;
    for (unsigned d = 0; d < TSDB_BOOK_DIM_COUNT; d++)
        ok &= add_dim(t, org, (uint8_t)d, book->minute / TSDB_LEDGER_SLOT_MIN, book->value[d],
                      &book->sums);
    return ok;
}
