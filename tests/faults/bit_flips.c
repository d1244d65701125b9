/* The proof against bytes that change on the disk: a store of everything that there is, sealed, compacted and in an open journal; one random
 * bit of one of its files flipped; and every question asked again, before and after a compaction. Each answer must be the one that was given
 * before, or lack something and say so: never other values, never a crash, never a hang.
 *
 *   bit_flips [--flips N] [--seed N] [--only N] [--expect-wrong]         (TELLTALE_FLIPS in the environment is N of --flips, too)
 */
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "tests/faults/fault_child.h"
#include "tests/faults/flip_store.h"
#include "tests/faults/slice.h"
#include "tsdb/files.h"
#include "tsdb/helper_rows.h"
#include "tsdb/tsdb_quarantine.h"

#define JOBS 4u /* much of their time is waiting */
#define FILES_MAX 64u
#define FLIPS 200u /* in a short run */
#define PAGE 4096u

struct tally { /* shared */
    _Atomic unsigned flips, exact, told, refused, wrong;
};

struct flip {
    char file[192]; /* below the store's directory */
    uint64_t byte;
    unsigned bit;
};

struct files {
    char name[FILES_MAX][192];
    size_t count;
};

static uint64_t next(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* --- files --------------------------------------------------------------------------------------- */

static void list_into(const char *root, const char *below, struct files *out)
{
    char path[512], child[256];
    struct arena *a = arena_new(0);
    char **names;
    size_t n;
    struct err_msg msg;
    struct stat st;
    snprintf(path, sizeof(path), "%s%s", root, below);
    CHECK(a && files_list(path, false, a, &names, &n, &msg) == ERR_OK);
    for (size_t i = 0; i < n; i++) {
        snprintf(child, sizeof(child), "%s/%s", below, names[i]);
        snprintf(path, sizeof(path), "%s%s", root, child);
        CHECK(stat(path, &st) == 0);
        if (S_ISDIR(st.st_mode))
            list_into(root, child, out);
        else if (strcmp(names[i], "lock.mdb") != 0 && strcmp(names[i], "LOCK") != 0 &&
                 out->count < FILES_MAX)
            snprintf(out->name[out->count++], sizeof(out->name[0]), "%s", child);
    }
    arena_free(a);
}

static void copy_file(const char *from, const char *to)
{
    static uint8_t buffer[1u << 20];
    int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0640);
    struct stat st;
    CHECK(in >= 0 && out >= 0 && fstat(in, &st) == 0);
    for (ssize_t n; (n = read(in, buffer, sizeof(buffer))) > 0;)
        CHECK(write(out, buffer, (size_t)n) == n);
    CHECK(futimens(out, (struct timespec[]){st.st_mtim, st.st_mtim}) == 0);
    close(in);
    close(out);
}

static void copy_store(const char *from, const char *to, const struct files *f)
{
    char a[512], b[512];
    struct err_msg msg;
    files_remove_tree(to);
    for (size_t i = 0; i < f->count; i++) {
        snprintf(a, sizeof(a), "%s%s", from, f->name[i]);
        snprintf(b, sizeof(b), "%s%s", to, f->name[i]);
        char *slash = strrchr(b, '/');
        *slash = 0;
        CHECK(files_make_dir(b, &msg) == ERR_OK);
        *slash = '/';
        copy_file(a, b);
    }
}

/* Half of them anywhere in what is not empty, half where the structure of a file is: the heads of its pages and their tables. */
static struct flip choose(const char *store, const struct files *f, uint64_t *rng)
{
    struct flip flip = {.bit = (unsigned)(next(rng) % 8)};
    char path[512];
    uint8_t page[PAGE];
    snprintf(flip.file, sizeof(flip.file), "%s", f->name[next(rng) % f->count]);
    snprintf(path, sizeof(path), "%s%s", store, flip.file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    CHECK(fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0);
    uint64_t pages = ((uint64_t)st.st_size + PAGE - 1) / PAGE;
    bool head = next(rng) % 2;
    for (;;) {
        uint64_t at = next(rng) % pages * PAGE;
        ssize_t n = pread(fd, page, PAGE, (off_t)at);
        CHECK(n > 0);
        uint64_t in = next(rng) % (head ? MIN((uint64_t)n, 160u) : (uint64_t)n);
        flip.byte = at + in;
        bool is_empty = true;
        for (ssize_t i = 0; i < n && is_empty; i++)
            is_empty = page[i] == 0;
        if (!is_empty)
            break;
    }
    close(fd);
    return flip;
}

static void apply(const char *store, const struct flip *f)
{
    char path[512];
    uint8_t byte;
    struct stat st;
    snprintf(path, sizeof(path), "%s%s", store, f->file);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0 && fstat(fd, &st) == 0 && pread(fd, &byte, 1, (off_t)f->byte) == 1);
    byte ^= (uint8_t)(1u << f->bit);
    CHECK(pwrite(fd, &byte, 1, (off_t)f->byte) == 1);
    CHECK(futimens(fd, (struct timespec[]){st.st_mtim, st.st_mtim}) == 0);
    close(fd);
}

/* --- one flip ------------------------------------------------------------------------------------ */

struct look {
    const char *dir, *where;
    const struct flip_answers *right;
    struct tally *tally;
    uint64_t number;
};

static int look(void *ctx)
{
    struct look *k = ctx;
    struct tsdb_options o = ledger_options(k->dir);
    struct err_msg msg = {""};
    struct tsdb *db;
    struct flip_answers *have = flip_answers_new();
    ledger_clock(0);
    enum err e = tsdb_open(&o, &db, &msg);
    if (e != ERR_OK) { /* it may refuse, if it says why */
        atomic_fetch_add(&k->tally->refused, 1);
        if (!msg.text[0])
            fprintf(stderr, "%s: does not open, and does not say why\n", k->where);
        return !msg.text[0];
    }
    bool told = false;
    bool ok = flip_ask(db, have) && flip_compare(db, have, k->right, k->where, &told);
    bool is_due = k->number % 4 == 0 || tsdb_quarantine_list(db, ROWS_ORG, true, NULL, 0);
    if (ok && is_due) {
        enum err went = tsdb_flush(db, true, &msg);
        ok = went == ERR_OK;
        if (!ok)
            fprintf(stderr, "%s: is not compacted: %s %s\n", k->where, err_text(went), msg.text);
    }
    if (ok && is_due)
        ok = flip_ask(db, have) && flip_compare(db, have, k->right, k->where, &told);
    tsdb_close(db, false);
    if (ok)
        atomic_fetch_add(told ? &k->tally->told : &k->tally->exact, 1);
    return !ok;
}

static int work(const char *base, const char *store, const struct flip_answers *right,
                const struct files *files, struct tally *tally, struct slice *slice, unsigned job,
                uint64_t seed, uint64_t to)
{
    char dir[160], where[320];
    snprintf(dir, sizeof(dir), "%s/%u", base, job);
    for (uint64_t i = slice_from(slice); i < to; i++) {
        uint64_t rng = seed * 1000003 + i;
        if (i % JOBS != job)
            continue;
        if (!slice_goes_on(slice, job, i))
            return 0;
        struct flip f = choose(store, files, &rng);
        copy_store(store, dir, files);
        apply(dir, &f);
        snprintf(where, sizeof(where), "flip %llu (%s, byte %llu, bit %u)", (unsigned long long)i,
                 f.file + 1, (unsigned long long)f.byte, f.bit);
        struct look k = {dir, where, right, tally, i};
        if (!fault_child_run(look, &k, where))
            atomic_fetch_add(&tally->wrong, 1);
        atomic_fetch_add(&tally->flips, 1);
    }
    slice_ended(slice, job);
    return 0;
}

/* --- the whole ----------------------------------------------------------------------------------- */

struct first {
    const char *store, *dir;
    const struct files *files;
    struct flip_answers *right;
};

static int build(void *ctx)
{
    struct first *f = ctx;
    return !flip_build(f->store);
}

static int ask_first(void *ctx)
{
    struct first *f = ctx;
    struct tsdb_options o = ledger_options(f->dir);
    struct tsdb *db;
    struct err_msg msg;
    ledger_clock(0);
    if (tsdb_open(&o, &db, &msg) != ERR_OK)
        return 1;
    bool ok = flip_ask(db, f->right);
    tsdb_close(db, false);
    return !ok;
}

int main(int argc, char **argv)
{
    const char *from_env = getenv("TELLTALE_FLIPS");
    uint64_t flips = from_env ? strtoull(from_env, NULL, 10) : FLIPS, seed = 1, from = 0;
    bool expect_wrong = false, died = false;
    char base[64], store[96], dir[96];
    struct files files = {.count = 0};
    struct tally *t =
        mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (strcmp(argv[i], "--flips") == 0 && more)
            flips = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--seed") == 0 && more)
            seed = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--only") == 0 && more)
            flips = (from = strtoull(argv[++i], NULL, 10)) + 1;
        else if (strcmp(argv[i], "--expect-wrong") == 0)
            expect_wrong = true;
    }
    snprintf(base, sizeof(base), "%s/telltale-flips-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (t == MAP_FAILED || !mkdtemp(base))
        return 2;
    if (flips - from > 1)
        log_set_level((enum log_level) - 1); /* nothing: what is damaged here is meant to be */
    snprintf(store, sizeof(store), "%s/store", base);
    snprintf(dir, sizeof(dir), "%s/0", base);
    (void)mallopt(M_MMAP_THRESHOLD, 256 << 10); /* see power_cut.c */
    struct first first = {store, dir, &files, flip_answers_new()};
    bool ok = first.right && fault_child_run(build, &first, "building");
    if (ok) {
        list_into(store, "", &files);
        copy_store(store, dir, &files);
        ok = fault_child_run(ask_first, &first, "asking");
    }
    struct slice *slice = slice_new("flipped bits", "flip", from, JOBS);
    for (unsigned job = 0; job < JOBS && ok; job++) {
        pid_t child = fork();
        if (child == 0)
            _exit(work(base, store, first.right, &files, t, slice, job, seed, flips));
        died |= child < 0;
    }
    for (int status; wait(&status) > 0;)
        died |= !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    unsigned wrong = atomic_load(&t->wrong);
    printf(
        "flipped bits: %u in %zu files: %u answered exactly, %u told what is missing, %u refused "
        "to start and said why, %u wrong\n",
        atomic_load(&t->flips), files.count, atomic_load(&t->exact), atomic_load(&t->told),
        atomic_load(&t->refused), wrong);
    slice_done(slice);
    files_remove_tree(base);
    if (died || !ok)
        return 2;
    return expect_wrong ? wrong == 0 : wrong != 0;
}
