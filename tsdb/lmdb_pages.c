#include "tsdb/lmdb_pages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"

/* The format, as LMDB 0.9 writes it on 64-bit little-endian machines. */
#define PAGE_HEADER 16u /* pgno u64, pad u16, flags u16, lower u16, upper u16 (or u32 pages) */
#define NODE_HEADER 8u /* lo u16, hi u16, flags u16, key size u16 */
#define DB_SIZE 48u /* pad u32, flags u16, depth u16, branch, leaf, overflow, entries, root u64 */
#define META_MAGIC 0xBEEFC0DEu
#define META_VERSION 1u
#define META_SIZE 136u
#define PAGE_NONE UINT64_MAX
#define FREE_FLAGS 8u /* MDB_INTEGERKEY */
#define KEY_MAX 511u
#define DEPTH_MAX 32u
#define SPARE_PAGES \
    4096u /* a file may end before its last page, when that was free again at once */
enum { IS_BRANCH = 1, IS_LEAF = 2, IS_OVERFLOW = 4, IS_META = 8 };
enum { NODE_BIG = 1, NODE_SUB = 2 };

struct file {
    const char *dir;
    const uint8_t *map;
    uint64_t size, pages;
    uint32_t page_size;
};

struct db {
    uint16_t flags, depth;
    uint64_t branch, leaf, overflow, entries, root;
};

struct walk {
    struct file f;
    struct err_msg *msg;
    uint64_t last; /* highest page of the state */
    uint8_t *used; /* a bit a page */
    struct db count; /* of the tree being walked */
    bool is_free, is_main, heads;
    struct bytes key, floor; /* the last key seen; what the next one may not lie below */
    struct db subs[8];
    unsigned sub_count;
};

static uint16_t u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static enum err bad(const struct walk *w, uint64_t page, const char *what)
{
    return err_set(w->msg, ERR_CORRUPT, "%s/data.mdb: page %llu: %s", w->f.dir,
                   (unsigned long long)page, what);
}

static enum err file_open(const char *dir, struct file *out, struct err_msg *msg)
{
    char path[4096];
    struct stat st;
    *out = (struct file){.dir = dir, .page_size = (uint32_t)sysconf(_SC_PAGESIZE)};
    if ((size_t)snprintf(path, sizeof(path), "%s/data.mdb", dir) >= sizeof(path))
        return err_set(msg, ERR_INVALID, "the path %.64s... is too long", dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(msg, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", path,
                       strerror(errno));
    if (fstat(fd, &st) != 0 || st.st_size < 0) {
        enum err e = err_set(msg, ERR_IO, "%s: %s", path, strerror(errno));
        close(fd);
        return e;
    }
    out->size = (uint64_t)st.st_size;
    out->pages = out->size / out->page_size;
    void *map = out->pages < 2 ? NULL : mmap(NULL, (size_t)out->size, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (!map)
        return err_set(msg, ERR_CORRUPT, "%s is shorter than two pages", path);
    if (map == MAP_FAILED)
        return err_set(msg, ERR_NOMEM, "%s cannot be mapped: %s", path, strerror(errno));
    (void)madvise(map, (size_t)out->size, MADV_RANDOM);
    out->map = map;
    return ERR_OK;
}

static void file_close(struct file *f)
{
    if (f->map)
        munmap((void *)(uintptr_t)f->map, (size_t)f->size);
    f->map = NULL;
}

static const uint8_t *page_at(const struct file *f, uint64_t n)
{
    return f->map + n * f->page_size;
}

static uint64_t overflow_pages(const struct file *f, uint64_t size)
{
    return (PAGE_HEADER + size + f->page_size - 1) / f->page_size;
}

/* What LMDB still lets stand in a page of leaves; more has pages of its own. */
static uint32_t node_max(const struct file *f)
{
    return (((f->page_size - PAGE_HEADER) / 2) & ~1u) - 2;
}

struct node {
    const uint8_t *at;
    uint16_t flags;
    struct bytes key;
    const uint8_t *data;
    uint32_t data_size; /* of the value, wherever it lies */
    uint32_t size; /* in the page */
};

/* The node lies wholly in its page. */
static bool node_read(const struct file *f, const uint8_t *page, unsigned i, bool is_branch,
                      struct node *out)
{
    uint32_t at = u16(page + PAGE_HEADER + 2 * i);
    if (at < u16(page + 14) || at + NODE_HEADER > f->page_size)
        return false;
    const uint8_t *n = page + at;
    *out = (struct node){.at = n, .flags = u16(n + 4)};
    uint32_t key_size = u16(n + 6), left = f->page_size - at - NODE_HEADER;
    if (key_size > left)
        return false;
    left -= key_size;
    out->key = bytes_of(n + NODE_HEADER, key_size);
    out->data = n + NODE_HEADER + key_size;
    uint32_t data = 0;
    if (!is_branch) {
        out->data_size = u16(n) | (uint32_t)u16(n + 2) << 16;
        data = out->flags & NODE_BIG ? 8 : out->data_size;
    }
    if (data > left)
        return false;
    out->size = (NODE_HEADER + key_size + data + 1) & ~1u;
    return true;
}

/* The number of nodes, or -1 when the header of a branch or leaf page cannot be. */
static int nodes_of(const struct file *f, const uint8_t *page)
{
    uint32_t lower = u16(page + 12), upper = u16(page + 14);
    if (lower < PAGE_HEADER || lower > upper || upper > f->page_size || (lower & 1))
        return -1;
    return (int)((lower - PAGE_HEADER) / 2);
}

/* --- checking ------------------------------------------------------------------------------------ */

static bool take(struct walk *w, uint64_t page, uint64_t count)
{
    if (page < 2 || count > w->f.pages || page > w->last || page + count - 1 > w->last ||
        page + count > w->f.pages)
        return false;
    for (uint64_t i = page; i < page + count; i++) {
        if (w->used[i / 8] >> i % 8 & 1)
            return false;
        w->used[i / 8] |= (uint8_t)(1u << i % 8);
    }
    return true;
}

static int compare(const struct walk *w, struct bytes a, struct bytes b)
{
    if (w->is_free) {
        uint64_t x = bytes_u64le(a.data), y = bytes_u64le(b.data);
        return (x > y) - (x < y);
    }
    int c = memcmp(a.data, b.data, MIN(a.size, b.size));
    return c ? c : (a.size > b.size) - (a.size < b.size);
}

static struct db db_read(const uint8_t *p)
{
    return (struct db){u16(p + 4),          u16(p + 6),          bytes_u64le(p + 8),
                       bytes_u64le(p + 16), bytes_u64le(p + 24), bytes_u64le(p + 32),
                       bytes_u64le(p + 40)};
}

/* Pages that may be written over: a count, then that many numbers, falling. */
static enum err check_free(struct walk *w, uint64_t page, const uint8_t *list, uint32_t size)
{
    if (size < 8 || bytes_u64le(list) != size / 8 - 1)
        return bad(w, page, "a list of free pages of a wrong size");
    for (uint32_t at = 8; at + 8 <= size; at += 8) {
        uint64_t n = bytes_u64le(list + at);
        if (n < 2 || n > w->last || (at > 8 && n >= bytes_u64le(list + at - 8)) ||
            (w->used[n / 8] >> n % 8 & 1))
            return bad(w, page, "a page that is in use among the free ones");
        w->used[n / 8] |= (uint8_t)(1u << n % 8);
    }
    return ERR_OK;
}

static enum err check_value(struct walk *w, uint64_t page, const struct node *n)
{
    const uint8_t *value = n->data;
    if (n->flags == NODE_SUB && w->is_main && n->data_size == DB_SIZE) {
        if (w->sub_count == ARRAY_LEN(w->subs))
            return bad(w, page, "more databases than there can be");
        w->subs[w->sub_count++] = db_read(n->data);
        return ERR_OK;
    }
    if (n->flags & (uint16_t)~NODE_BIG)
        return bad(w, page, "a node of an unknown kind");
    if (n->flags & NODE_BIG) {
        uint64_t first = bytes_u64le(n->data), count = overflow_pages(&w->f, n->data_size);
        if (NODE_HEADER + n->key.size + n->data_size <= node_max(&w->f))
            return bad(w, page, "a small value on a page of its own");
        w->count.overflow += count;
        if (!take(w, first, count))
            return bad(w, page, "a value on pages that are not there, or used twice");
        const uint8_t *head = page_at(&w->f, first);
        if (w->heads && (bytes_u64le(head) != first || u16(head + 10) != IS_OVERFLOW ||
                         bytes_u32le(head + 12) != count))
            return bad(w, first, "its header is wrong");
        value = head + PAGE_HEADER;
    }
    return w->is_free ? check_free(w, page, value, n->data_size) : ERR_OK;
}

static enum err check_leaf(struct walk *w, uint64_t page, unsigned nodes)
{
    const uint8_t *p = page_at(&w->f, page);
    uint32_t used = 0;
    w->count.leaf++;
    for (unsigned i = 0; i < nodes; i++) {
        struct node n;
        if (!node_read(&w->f, p, i, false, &n))
            return bad(w, page, "a node that leaves its page");
        used += n.size;
        if (n.key.size == 0 || n.key.size > KEY_MAX || (w->is_free && n.key.size != 8))
            return bad(w, page, "a key of a wrong size");
        if ((w->key.data && compare(w, w->key, n.key) >= 0) ||
            (w->floor.data && compare(w, w->floor, n.key) > 0))
            return bad(w, page, "keys that do not rise");
        w->key = n.key;
        w->floor = BYTES_NONE;
        w->count.entries++;
        enum err e = check_value(w, page, &n);
        if (e != ERR_OK)
            return e;
    }
    return used == w->f.page_size - u16(p + 14)
               ? ERR_OK
               : bad(w, page, "nodes that do not fill their place");
}

static enum err check_page(struct walk *w, uint64_t page, unsigned depth);

static enum err check_branch(struct walk *w, uint64_t page, unsigned nodes, unsigned depth)
{
    const uint8_t *p = page_at(&w->f, page);
    uint32_t used = 0;
    w->count.branch++;
    for (unsigned i = 0; i < nodes; i++) {
        struct node n;
        if (!node_read(&w->f, p, i, true, &n))
            return bad(w, page, "a node that leaves its page");
        used += n.size;
        if (i > 0) { /* the first stands for everything below */
            if (n.key.size == 0 || n.key.size > KEY_MAX || (w->is_free && n.key.size != 8) ||
                !w->key.data || compare(w, w->key, n.key) >= 0)
                return bad(w, page, "keys that do not rise");
            w->floor = n.key;
        }
        enum err e = check_page(
            w, u16(n.at) | (uint64_t)u16(n.at + 2) << 16 | (uint64_t)n.flags << 32, depth + 1);
        if (e != ERR_OK)
            return e;
    }
    return used == w->f.page_size - u16(p + 14)
               ? ERR_OK
               : bad(w, page, "nodes that do not fill their place");
}

static enum err check_page(struct walk *w, uint64_t page, unsigned depth)
{
    if (depth > w->count.depth || !take(w, page, 1))
        return bad(w, page, "not there, or used twice");
    const uint8_t *p = page_at(&w->f, page);
    uint16_t kind = u16(p + 10);
    int nodes = nodes_of(&w->f, p);
    if (bytes_u64le(p) != page || nodes <= 0 ||
        kind != (depth == w->count.depth ? IS_LEAF : IS_BRANCH))
        return bad(w, page, "its header is wrong");
    return kind == IS_LEAF ? check_leaf(w, page, (unsigned)nodes)
                           : check_branch(w, page, (unsigned)nodes, depth);
}

static enum err check_db(struct walk *w, const struct db *d, uint16_t flags, const char *name)
{
    w->count = (struct db){.depth = d->depth};
    w->key = w->floor = BYTES_NONE;
    if (d->flags != flags || d->depth > DEPTH_MAX || (d->root == PAGE_NONE) != (d->depth == 0))
        return bad(w, 0, name);
    enum err e = d->root == PAGE_NONE ? ERR_OK : check_page(w, d->root, 1);
    if (e == ERR_OK && (d->branch != w->count.branch || d->leaf != w->count.leaf ||
                        d->overflow != w->count.overflow || d->entries != w->count.entries))
        e = bad(w, 0, "pages and entries are not as many as they should be");
    return e;
}

/* The newer of the two, when they follow each other as LMDB writes them: transaction n into page n & 1. */
static enum err check_metas(struct walk *w, const uint8_t **out)
{
    uint64_t txn[2];
    for (unsigned i = 0; i < 2; i++) {
        const uint8_t *p = page_at(&w->f, i), *m = p + PAGE_HEADER;
        txn[i] = bytes_u64le(m + 128);
        if (bytes_u64le(p) != i || !(u16(p + 10) & IS_META) || bytes_u32le(m) != META_MAGIC ||
            bytes_u32le(m + 4) != META_VERSION || bytes_u32le(m + 24) != w->f.page_size)
            return bad(w, i, "it is no meta page");
    }
    bool is_new = txn[0] == 0 && txn[1] == 0;
    unsigned newer = txn[1] > txn[0];
    if (!is_new && (txn[newer] - txn[!newer] != 1 || (txn[newer] & 1) != newer))
        return bad(w, newer, "the two meta pages do not follow each other");
    *out = page_at(&w->f, newer) + PAGE_HEADER;
    return ERR_OK;
}

static enum err check_file(struct walk *w)
{
    const uint8_t *m = NULL;
    enum err e = check_metas(w, &m);
    if (e != ERR_OK)
        return e;
    struct db free_db = db_read(m + 24), main_db = db_read(m + 24 + DB_SIZE);
    w->last = bytes_u64le(m + 120);
    if (w->last < 1 || w->last >= w->f.pages + SPARE_PAGES)
        return bad(w, w->last, "the last page is not in the file");
    if (!(w->used = calloc((size_t)(w->last / 8 + 1), 1)))
        return ERR_NOMEM;
    w->is_main = true;
    e = check_db(w, &main_db, 0, "the main database is none");
    w->is_main = false;
    for (unsigned i = 0; i < w->sub_count && e == ERR_OK; i++)
        e = check_db(w, &w->subs[i], 0, "a database is none");
    w->is_free = true;
    if (e == ERR_OK)
        e = check_db(w, &free_db, FREE_FLAGS, "the list of free pages is none");
    return e;
}

enum err lmdb_pages_check(const char *dir, bool heads, struct err_msg *msg)
{
    struct walk w = {.msg = msg, .heads = heads};
    enum err e = file_open(dir, &w.f, msg);
#ifndef TELLTALE_FAULT_NO_PAGES /* seeded defect; tests must notice */
    if (e == ERR_OK)
        e = check_file(&w);
#endif
    free(w.used);
    file_close(&w.f);
    return e;
}

/* --- salvaging ----------------------------------------------------------------------------------- */

enum err lmdb_pages_salvage(const char *dir,
                            void (*fn)(void *ctx, struct bytes key, struct bytes value), void *ctx,
                            struct err_msg *msg)
{
    struct file f;
    enum err e = file_open(dir, &f, msg);
    if (e != ERR_OK)
        return e;
    for (uint64_t page = 2; page < f.pages; page++) {
        const uint8_t *p = page_at(&f, page);
        int nodes = u16(p + 10) & IS_LEAF ? nodes_of(&f, p) : 0;
        for (int i = 0; i < nodes; i++) {
            struct node n;
            if (!node_read(&f, p, (unsigned)i, false, &n) || n.key.size == 0)
                continue;
            uint64_t first = n.flags & NODE_BIG ? bytes_u64le(n.data) : 0;
            if (!(n.flags & NODE_BIG))
                fn(ctx, n.key, bytes_of(n.data, n.data_size));
            else if (first >= 2 && first < f.pages &&
                     overflow_pages(&f, n.data_size) <= f.pages - first)
                fn(ctx, n.key, bytes_of(page_at(&f, first) + PAGE_HEADER, n.data_size));
        }
    }
    file_close(&f);
    return ERR_OK;
}
