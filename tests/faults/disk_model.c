#include "tests/faults/disk_model.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "tsdb/files.h"

#define NAMES_MAX 4096u
#define FILES_BUCKETS 1024u

struct change { /* of a file */
    bool is_size;
    uint64_t offset;
    const uint8_t *data; /* of the log */
    uint32_t size;
};

struct node { /* an inode */
    uint64_t inode;
    bool is_dir;
    uint8_t *data; /* durable */
    uint64_t size, cap;
    bool is_hashed; /* hash is that of data */
    struct hash128 hash;
    struct change *changes;
    size_t change_count, change_cap;
    struct node *next;
};

struct name {
    uint64_t parent, inode;
    const char *name; /* of the log */
};

struct disk_model {
    uint64_t root;
    struct node *nodes[FILES_BUCKETS];
    struct name names[NAMES_MAX]; /* durable */
    size_t name_count;
    const struct io_event *pending[NAMES_MAX];
    size_t pending_count, write_count;
    /* of the state that is being written */
    struct name chosen[NAMES_MAX];
    size_t chosen_count;
    uint8_t *image;
    uint64_t image_cap, random;
};

struct disk_model *disk_model_new(uint64_t root_inode)
{
    struct disk_model *m = calloc(1, sizeof(*m));
    CHECK(m);
    m->root = root_inode;
    return m;
}

void disk_model_free(struct disk_model *m)
{
    for (size_t i = 0; m && i < FILES_BUCKETS; i++)
        for (struct node *n = m->nodes[i], *next; n; n = next) {
            next = n->next;
            free(n->data);
            free(n->changes);
            free(n);
        }
    if (m)
        free(m->image);
    free(m);
}

static struct node *node_of(struct disk_model *m, uint64_t inode)
{
    struct node **p = &m->nodes[inode % FILES_BUCKETS];
    while (*p && (*p)->inode != inode)
        p = &(*p)->next;
    if (!*p) {
        *p = calloc(1, sizeof(**p));
        CHECK(*p);
        (*p)->inode = inode;
    }
    return *p;
}

static void reserve(uint8_t **data, uint64_t *cap, uint64_t size)
{
    if (size <= *cap)
        return;
    uint64_t more = size + size / 2 + 4096;
    uint8_t *p = realloc(*data, more);
    CHECK(p);
    *data = p;
    *cap = more;
}

/* --- names --------------------------------------------------------------------------------------- */

static bool is_same(uint64_t parent, const char *name, uint64_t parent2, const char *name2)
{
    return parent == parent2 && strcmp(name, name2) == 0;
}

static bool has_two(const struct io_event *e)
{
    return e->kind == IO_RENAME || e->kind == IO_EXCHANGE;
}

/* Both change the same name. */
static bool touches_same(const struct io_event *a, const struct io_event *b)
{
    return is_same(a->parent, a->name, b->parent, b->name) ||
           (has_two(a) && is_same(a->parent2, a->name2, b->parent, b->name)) ||
           (has_two(b) && is_same(a->parent, a->name, b->parent2, b->name2)) ||
           (has_two(a) && has_two(b) && is_same(a->parent2, a->name2, b->parent2, b->name2));
}

static struct name *name_find(struct name *names, size_t count, uint64_t parent, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (is_same(names[i].parent, names[i].name, parent, name))
            return &names[i];
    return NULL;
}

static void name_remove(struct name *names, size_t *count, struct name *n)
{
    if (n)
        *n = names[--*count];
}

static void name_apply(struct name *names, size_t *count, const struct io_event *e)
{
    struct name *from = name_find(names, *count, e->parent, e->name);
    struct name *to = has_two(e) ? name_find(names, *count, e->parent2, e->name2) : NULL;
    switch ((enum io_kind)e->kind) {
    case IO_CREATE:
    case IO_MKDIR:
        if (from)
            from->inode = e->inode;
        else if (*count < NAMES_MAX)
            names[(*count)++] = (struct name){e->parent, e->inode, e->name};
        break;
    case IO_RENAME:
        CHECK(from);
        if (to) {
            to->inode = from->inode;
            name_remove(names, count, from);
        } else {
            *from = (struct name){e->parent2, from->inode, e->name2};
        }
        break;
    case IO_EXCHANGE: {
        CHECK(from && to);
        uint64_t inode = from->inode;
        from->inode = to->inode;
        to->inode = inode;
        break;
    }
    default: name_remove(names, count, from);
    }
}

/* Marks whatever the marked ones build on. */
static void close_over(struct disk_model *m, bool *marked)
{
    for (size_t i = m->pending_count; i-- > 0;)
        for (size_t k = 0; marked[i] && k < i; k++)
            marked[k] |= touches_same(m->pending[i], m->pending[k]);
}

static void sync_dir(struct disk_model *m, uint64_t inode)
{
    bool marked[NAMES_MAX];
    size_t kept = 0;
    for (size_t i = 0; i < m->pending_count; i++)
        marked[i] = m->pending[i]->parent == inode ||
                    (has_two(m->pending[i]) && m->pending[i]->parent2 == inode);
    close_over(m, marked);
    for (size_t i = 0; i < m->pending_count; i++) {
        if (marked[i])
            name_apply(m->names, &m->name_count, m->pending[i]);
        else
            m->pending[kept++] = m->pending[i];
    }
    m->pending_count = kept;
}

/* --- bytes --------------------------------------------------------------------------------------- */

static void change_add(struct disk_model *m, struct node *n, const struct change *c)
{
    if (n->change_count == n->change_cap) {
        n->change_cap = n->change_cap ? n->change_cap * 2 : 16;
        n->changes = realloc(n->changes, n->change_cap * sizeof(*n->changes));
        CHECK(n->changes);
    }
    n->changes[n->change_count++] = *c;
    m->write_count++;
}

static void size_apply(uint8_t **data, uint64_t *cap, uint64_t *size, uint64_t want)
{
    reserve(data, cap, want);
    if (want > *size)
        memset(*data + *size, 0, want - *size);
    *size = want;
}

static void write_apply(uint8_t **data, uint64_t *cap, uint64_t *size, uint64_t offset,
                        const uint8_t *bytes, uint64_t n)
{
    if (offset + n > *size)
        size_apply(data, cap, size, offset + n);
    if (n)
        memcpy(*data + offset, bytes, n);
}

static void change_apply(struct node *n, const struct change *c)
{
    n->is_hashed = false;
    if (c->is_size)
        size_apply(&n->data, &n->cap, &n->size, c->offset);
    else
        write_apply(&n->data, &n->cap, &n->size, c->offset, c->data, c->size);
}

void disk_model_play(struct disk_model *m, const struct io_event *e, const uint8_t *payload)
{
    struct node *n = node_of(m, e->inode);
    switch ((enum io_kind)e->kind) {
    case IO_WRITE: change_add(m, n, &(struct change){false, e->offset, payload, e->size}); break;
    case IO_SIZE: change_add(m, n, &(struct change){.is_size = true, .offset = e->offset}); break;
    case IO_SYNC:
        for (size_t i = 0; i < n->change_count; i++)
            change_apply(n, &n->changes[i]);
        m->write_count -= n->change_count;
        n->change_count = 0;
        break;
    case IO_SYNC_WRITE: /* later than what waits before it; a subset of that may still be lost */
        CHECK(n->change_count > 0);
        change_apply(n, &n->changes[--n->change_count]);
        m->write_count--;
        break;
    case IO_SYNC_DIR: sync_dir(m, e->inode); break;
    case IO_MARK: break;
    case IO_MKDIR:
        n->is_dir = true;
        /* fall through */
    default: CHECK(m->pending_count < NAMES_MAX); m->pending[m->pending_count++] = e;
    }
}

size_t disk_model_pending(const struct disk_model *m)
{
    return m->pending_count + m->write_count;
}

/* --- a state ------------------------------------------------------------------------------------- */

static bool draw(struct disk_model *m, uint32_t percent)
{
    m->random = m->random * 6364136223846793005u + 1442695040888963407u;
    return (m->random >> 33) % 100 < percent;
}

static void choose_names(struct disk_model *m, const struct disk_choice *c)
{
    bool marked[NAMES_MAX];
    for (size_t i = 0; i < m->pending_count; i++)
        marked[i] = draw(m, c->name_percent);
    close_over(m, marked);
    m->chosen_count = m->name_count;
    memcpy(m->chosen, m->names, m->name_count * sizeof(*m->names));
    for (size_t i = 0; i < m->pending_count; i++)
        if (marked[i])
            name_apply(m->chosen, &m->chosen_count, m->pending[i]);
}

/* The file as it may be: *out_size bytes of m->image. */
static uint64_t image_of(struct disk_model *m, const struct node *n, const struct disk_choice *c)
{
    uint64_t size = 0;
    write_apply(&m->image, &m->image_cap, &size, 0, n->data ? n->data : (const uint8_t *)"",
                n->size);
    for (size_t i = 0; i < n->change_count; i++) {
        const struct change *w = &n->changes[i];
        if (w->is_size) {
            if (draw(m, c->write_percent))
                size_apply(&m->image, &m->image_cap, &size, w->offset);
            continue;
        }
        for (uint64_t at = 0; at < w->size;) {
            uint64_t piece = c->piece - (w->offset + at) % c->piece;
            piece = MIN(piece, w->size - at);
            if (draw(m, c->write_percent))
                write_apply(&m->image, &m->image_cap, &size, w->offset + at, w->data + at, piece);
            at += piece;
        }
    }
    return size;
}

static void file_write(struct disk_model *m, const struct node *n, const struct disk_choice *c,
                       const char *path)
{
    uint64_t size = image_of(m, n, c);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0640);
    CHECK(fd >= 0);
    const char *base = strrchr(path, '/');
    if (strcmp(base, "/lock.mdb") == 0) /* LMDB writes it through a map and never believes it */
        CHECK(ftruncate(fd, (off_t)size) == 0);
    else
        CHECK(write(fd, m->image, size) == (ssize_t)size);
    close(fd);
}

static void dir_write(struct disk_model *m, uint64_t inode, const struct disk_choice *c,
                      const char *dir)
{
    for (size_t i = 0; i < m->chosen_count; i++) {
        char path[FILES_PATH_MAX];
        if (m->chosen[i].parent != inode)
            continue;
        struct node *n = node_of(m, m->chosen[i].inode);
        CHECK((size_t)snprintf(path, sizeof(path), "%s/%s", dir, m->chosen[i].name) < sizeof(path));
        if (!n->is_dir) {
            file_write(m, n, c, path);
            continue;
        }
        CHECK(mkdir(path, 0750) == 0);
        dir_write(m, n->inode, c, path);
    }
}

/* Bytes of a file as a state has them. Drawn in the order in which dir_write draws. */
static struct hash128 file_hash(struct disk_model *m, struct node *n, const struct disk_choice *c,
                                const char *name)
{
    if (strcmp(name, "lock.mdb") == 0) {
        uint64_t size = image_of(m, n, c);
        return (struct hash128){size, 0};
    }
    if (n->change_count) {
        uint64_t size = image_of(m, n, c);
        return hash128(bytes_of(m->image, size), 0);
    }
    if (!n->is_hashed)
        n->hash = hash128(bytes_of(n->data, n->size), 0);
    n->is_hashed = true;
    return n->hash;
}

static void dir_hash(struct disk_model *m, uint64_t inode, const struct disk_choice *c,
                     struct hash128 above, struct hash128 *sum)
{
    for (size_t i = 0; i < m->chosen_count; i++) {
        struct {
            struct hash128 above, name, content;
        } one = {.above = above};
        if (m->chosen[i].parent != inode)
            continue;
        struct node *n = node_of(m, m->chosen[i].inode);
        one.name = hash128(bytes_str(m->chosen[i].name), 0);
        if (!n->is_dir)
            one.content = file_hash(m, n, c, m->chosen[i].name);
        struct hash128 h = hash128(bytes_of(&one, sizeof(one)), 0);
        sum->lo += h.lo; /* names of a directory have no order */
        sum->hi += h.hi;
        if (n->is_dir)
            dir_hash(m, n->inode, c, h, sum);
    }
}

static void choose(struct disk_model *m, const struct disk_choice *c)
{
    m->random = c->seed * 0x9e3779b97f4a7c15u + 1;
    choose_names(m, c);
}

struct hash128 disk_model_hash(struct disk_model *m, const struct disk_choice *c)
{
    struct hash128 sum = {0, 0};
    choose(m, c);
    dir_hash(m, m->root, c, (struct hash128){0, 0}, &sum);
    return sum;
}

void disk_model_write(struct disk_model *m, const struct disk_choice *c, const char *dir)
{
    files_remove_tree(dir);
    CHECK(mkdir(dir, 0750) == 0);
    choose(m, c);
    dir_write(m, m->root, c, dir);
}

void disk_model_cut(const struct io_log *log, const char *dir)
{
    struct disk_model *m = disk_model_new(log->root);
    size_t at = 0;
    const uint8_t *payload;
    for (const struct io_event *e; (e = io_log_next(log, &at, &payload));)
        disk_model_play(m, e, payload);
    disk_model_write(m, &(struct disk_choice){.piece = 4096}, dir);
    disk_model_free(m);
}
