/* The proof of "acknowledged = stored": a child writes into a store from several threads and is killed with SIGKILL at a random moment,
 * again and again on the same directory; then every row is looked for.
 *
 *   store_writer [--kills N] [--life MS] [--seed N] [--expect-loss]        (TELLTALE_KILLS=200 in the environment is N, too)
 *
 * The ledger lies in memory that parent and children share, so what a child noted before it died is known. A child first sends again what
 * was never answered, as an exporter does (same bytes, same key), then goes on. Generations are tiny, so that kills also hit flushes. A life
 * ends up to MS after its first answer (240 where nothing is said; one in sixteen is ten times as long), one in four while it opens.
 * At the end: acknowledged rows missing, twice or altered must be none, and the accounts must agree with the rows. --expect-loss turns the
 * verdict round for the seeded defect (a committer that answers before it commits): only missing rows pass.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "tsdb/files.h"
#include "tsdb/helper_rows.h"

#define AGE_MS (INT64_C(36500) * 86400000) /* the rows are of a fixed day: none is ever too old */
#define AGES .retention_ms = AGE_MS, .retention_content_ms = AGE_MS, .retention_cells_ms = AGE_MS
#define THREADS 3u
#define ROWS 16u /* of a request */
#define REQUESTS_MAX 60000u
#define WAITING_MAX 8u /* unanswered requests of one thread */

enum said { SAID_NOTHING, SAID_SENT, SAID_STORED };

struct ledger { /* shared between processes */
    _Atomic uint32_t next; /* request that nobody has sent yet */
    _Atomic uint32_t cursor; /* of this child: which older requests were looked at */
    uint32_t old; /* requests below are older than this child */
    _Atomic uint64_t answers, flushes;
    _Atomic uint8_t said[REQUESTS_MAX];
};

struct writer {
    struct tsdb *db;
    struct ledger *ledger;
    _Atomic uint32_t waiting;
};

struct request {
    struct writer *writer;
    uint32_t number;
};

static void answered(void *ctx, enum err e, const struct tsdb_result *result)
{
    struct request *r = ctx;
    if (e == ERR_OK) {
        atomic_store(&r->writer->ledger->said[r->number], SAID_STORED);
        atomic_fetch_add(&r->writer->ledger->answers, 1);
    }
    (void)result;
    atomic_fetch_sub(&r->writer->waiting, 1);
    free(r);
}

/* The next request: first those that an earlier child sent without hearing back. */
static bool take_number(struct ledger *l, uint32_t *out)
{
    uint32_t i;
    while ((i = atomic_fetch_add(&l->cursor, 1)) < l->old)
        if (atomic_load(&l->said[i]) != SAID_STORED) {
            *out = i;
            return true;
        }
    *out = atomic_fetch_add(&l->next, 1);
    return *out < REQUESTS_MAX;
}

static void *write_main(void *arg)
{
    struct writer *w = arg;
    uint32_t number;
    while (take_number(w->ledger, &number)) {
        while (atomic_load(&w->waiting) >= WAITING_MAX)
            clock_sleep_ms(1);
        struct request *r = malloc(sizeof(*r));
        if (!r)
            _exit(2);
        *r = (struct request){w, number};
        atomic_store(&w->ledger->said[number], SAID_SENT);
        atomic_fetch_add(&w->waiting, 1);
        for (;;) {
            struct tsdb_batch *b =
                rows_batch(tsdb_series(w->db), (uint64_t)number * ROWS, ROWS, number + 1);
            enum err e = b ? tsdb_append(w->db, &b, answered, r) : ERR_NOMEM;
            if (e == ERR_OK)
                break;
            tsdb_batch_free(b);
            clock_sleep_ms(1); /* back-pressure: again, as a client would */
        }
    }
    for (;;)
        pause();
}

static void child_main(const char *dir, struct ledger *l, int64_t life_max_ms)
{
    struct tsdb_options o = {.dir = dir, .generation_max_age_ms = MAX(life_max_ms / 6, 2), AGES};
    struct tsdb *db;
    struct err_msg msg;
    static struct writer writers[THREADS];
    pthread_t thread;
    log_set_level(LOG_LEVEL_ERROR);
    if (tsdb_open(&o, &db, &msg) != ERR_OK) {
        fprintf(stderr, "store_writer: open: %s\n", msg.text);
        _exit(3);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        writers[i] = (struct writer){.db = db, .ledger = l};
        if (pthread_create(&thread, NULL, write_main, &writers[i]) != 0)
            _exit(2);
    }
    for (;;) {
        clock_sleep_ms(MAX(life_max_ms / 16, 1));
        if (tsdb_flush(db, false, &msg) == ERR_OK)
            atomic_fetch_add(&l->flushes, 1);
    }
}

static uint64_t random_next(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

/* One child's life. false: it ended by itself. */
static bool run_child(const char *dir, struct ledger *l, int64_t life_max_ms, int64_t life_ms)
{
    int status;
    l->old = atomic_load(&l->next);
    atomic_store(&l->cursor, 0);
    uint64_t before = atomic_load(&l->answers);
    pid_t child = fork();
    if (child == 0)
        child_main(dir, l, life_max_ms);
    if (child < 0)
        return false;
    /* The clock starts with its first answer (a slow machine opens slowly); one in four lives dies at start-up instead. */
    for (int i = 0; life_ms % 4 && i < 10000 && atomic_load(&l->answers) == before; i++) {
        clock_sleep_ms(1);
        if (waitpid(child, &status, WNOHANG) == child)
            return false;
    }
    clock_sleep_ms(life_ms);
    kill(child, SIGKILL);
    return waitpid(child, &status, 0) == child && WIFSIGNALED(status) &&
           WTERMSIG(status) == SIGKILL;
}

struct verdict {
    uint64_t acknowledged, missing, twice, altered, wrong_accounts;
};

static bool look(const char *dir, struct ledger *l, struct verdict *v)
{
    /* the view may live for long: a busy machine is not taken for a store that cannot be read */
    struct tsdb_options o = {.dir = dir, .view_max_age_ms = 3600000, AGES};
    struct tsdb_account accounts[4];
    struct tsdb *db;
    struct rows_found f;
    struct err_msg msg = {""};
    uint64_t ids = (uint64_t)REQUESTS_MAX * ROWS;
    enum err e = tsdb_open(&o, &db, &msg);
    if (e == ERR_OK)
        e = rows_find(db, ids, &f);
    if (e != ERR_OK) {
        fprintf(stderr, "store_writer: %s cannot be read: %s %s\n", dir, err_text(e), msg.text);
        return false;
    }
    for (uint64_t i = 0; i < ids; i++) {
        bool is_acknowledged = atomic_load(&l->said[i / ROWS]) == SAID_STORED;
        v->acknowledged += is_acknowledged;
        v->missing += is_acknowledged && f.times[i] == 0;
        v->twice += f.times[i] > 1;
    }
    v->altered = f.altered + f.strange;
    bool has_accounts = tsdb_accounts(db, accounts, 4) == 1;
    v->wrong_accounts = !has_accounts || accounts[0].stored != f.rows || f.counted != f.rows ||
                        f.cells != (int64_t)f.rows ||
                        accounts[0].received != accounts[0].stored + accounts[0].duplicate;
    printf("%llu rows acknowledged, %llu there, %llu counted, cells %lld, accounts: received %llu "
           "stored "
           "%llu duplicate %llu\n",
           (unsigned long long)v->acknowledged, (unsigned long long)f.rows,
           (unsigned long long)f.counted, (long long)f.cells,
           (unsigned long long)(has_accounts ? accounts[0].received : 0),
           (unsigned long long)(has_accounts ? accounts[0].stored : 0),
           (unsigned long long)(has_accounts ? accounts[0].duplicate : 0));
    rows_found_done(&f);
    tsdb_close(db, false);
    return true;
}

int main(int argc, char **argv)
{
    const char *from_env = getenv("TELLTALE_KILLS");
    unsigned kills = 40;
    uint64_t seed = 1;
    bool expect_loss = false;
    int64_t life_ms = 240;
    char dir[64];
    snprintf(dir, sizeof(dir), "%s/telltale-kill-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--kills") == 0 && i + 1 < argc)
            kills = (unsigned)atoi(argv[++i]);
        else if (strcmp(argv[i], "--life") == 0 && i + 1 < argc)
            life_ms = atoi(argv[++i]);
        else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            seed = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--expect-loss") == 0)
            expect_loss = true;
    }
    if (from_env && !expect_loss)
        kills = (unsigned)atoi(from_env);
    struct ledger *l =
        mmap(NULL, sizeof(*l), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (l == MAP_FAILED || !mkdtemp(dir) || kills == 0 || life_ms < 2)
        return 2;
    for (unsigned i = 0; i < kills; i++) {
        uint64_t r = random_next(&seed);
        int64_t life = 2 + (int64_t)(r / 16 % (uint64_t)life_ms);
        if (!run_child(dir, l, life_ms, r % 16 == 0 && life_ms < 240 ? life * 10 : life)) {
            fprintf(stderr, "store_writer: life %u did not end by SIGKILL\n", i);
            return 2;
        }
    }
    struct verdict v = {0};
    if (!look(dir, l, &v))
        return 2;
    printf("kills %u, answers %llu, flushes %llu: missing %llu, twice %llu, altered %llu, accounts "
           "%s\n",
           kills, (unsigned long long)atomic_load(&l->answers),
           (unsigned long long)atomic_load(&l->flushes), (unsigned long long)v.missing,
           (unsigned long long)v.twice, (unsigned long long)v.altered,
           v.wrong_accounts ? "WRONG" : "exact");
    files_remove_tree(dir);
    if (v.acknowledged < (uint64_t)kills * ROWS)
        return 4; /* hardly anything was written: this proves nothing */
    if (expect_loss)
        return v.missing > 0 ? 0 : 1;
    return v.missing || v.twice || v.altered || v.wrong_accounts ? 1 : 0;
}
