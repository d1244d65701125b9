/* Attributes, events, links and histograms from any bytes. */
#include "base/arena.h"
#include "tsdb/tsdb_attrs.h"
#include "tsdb/tsdb_hist.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk_hist(struct bytes in)
{
    struct arena *a = arena_new(8u << 20);
    struct reader r = reader_of(in);
    struct tsdb_hist h, sum;
    struct buf again = {0};
    if (a && tsdb_hist_decode(&r, a, &h) == ERR_OK) {
        tsdb_hist_encode(&h, &again);
        if (tsdb_hist_check(&h, NULL) == ERR_OK)
            (void)!tsdb_hist_add(&h, &h, 1, a, &sum);
    }
    buf_done(&again);
    arena_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf text = {0};
    struct bytes key;
    struct tsdb_value v;
    struct tsdb_event ev;
    struct tsdb_link link;
    if (!size)
        return 0;
    struct bytes in = bytes_of(data + 1, size - 1);
    struct tsdb_attrs_iter it = tsdb_attrs_begin(in);
    switch (data[0] % 4) {
    case 0:
        if (tsdb_attrs_check(in) == ERR_OK)
            while (tsdb_attrs_next(&it, &key, &v))
                tsdb_attrs_json(&text, v);
        break;
    case 1:
        while (tsdb_attrs_next_event(&it, &ev))
            (void)tsdb_attrs_find(ev.attrs, BYTES_LIT("k"), &v);
        break;
    case 2:
        while (tsdb_attrs_next_link(&it, &link))
            (void)tsdb_attrs_find(link.attrs, BYTES_LIT("k"), &v);
        break;
    default: walk_hist(in);
    }
    buf_done(&text);
    return 0;
}
