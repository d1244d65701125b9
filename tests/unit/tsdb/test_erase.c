/* Erasing: what is asked for is out of every answer at once and then out of every byte; what others have stays as it is; a crash at any
 * step is survived.
 *   test_erase [FILTER]     Built with a store that leaves the rewriting out (unit.test_erase_can_fail) the search must find canaries. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault_point.h"
#include "base/log.h"
#include "tsdb/files.h"
#include "tsdb/helper_users.h"
#include "tsdb/tsdb_erase.h"
#include "tsdb/tsdb_read.h"
#include "tsdb/tsdb_state.h"
#include "tsdb/tsdb_verify.h"

#define WAIT_NS INT64_C(120000000000)

static int64_t fixed_now(void)
{
    return USERS_T0_NS + INT64_C(3600000000000);
}

static void make_dir(char out[64])
{
    snprintf(out, 64, "%s/telltale-erase-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(out));
    clock_test_set_wall(fixed_now);
    log_set_level(LOG_LEVEL_ERROR);
}

static struct tsdb *open_store(const char *dir)
{
    struct tsdb_options o = {.dir = dir, .retention_content_ms = INT64_C(86400000) * 30};
    struct tsdb *db;
    struct err_msg msg = {""};
    if (tsdb_open(&o, &db, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    return db;
}

/* Some rounds merged, one sealed, one in the journal and the head. */
static void fill(struct tsdb *db, bool victim)
{
    struct err_msg msg;
    for (unsigned round = 0; round < USERS_ROUNDS; round++) {
        users_append(db, USERS_ORG, round, victim);
        if (round == 1)
            users_append(db, USERS_BYSTANDER_ORG, round, true);
        if (round < USERS_ROUNDS - 1)
            assert_int_equal(tsdb_flush(db, round == 1, &msg), ERR_OK);
    }
}

static uint64_t ask_user(struct tsdb *db)
{
    struct err_msg msg = {""};
    uint64_t id = 0;
    struct tsdb_erase_ask ask = {
        .org = USERS_ORG, .kind = TSDB_ERASE_USER, .value = BYTES_LIT(USERS_VICTIM)};
    if (tsdb_erase(db, &ask, &id, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    return id;
}

static struct tsdb_erase_job job_of(struct tsdb *db, uint64_t id)
{
    struct arena *a = arena_new(0);
    struct tsdb_erase_job *jobs, one;
    size_t n;
    assert_int_equal(tsdb_erase_jobs(db, USERS_ORG, id, a, &jobs, &n), ERR_OK);
    assert_int_equal(n, 1);
    one = jobs[0];
    arena_free(a);
    return one;
}

static void wait_done(struct tsdb *db)
{
    assert_int_equal(tsdb_erase_wait(db, USERS_ORG, 0, clock_mono_ns() + WAIT_NS), ERR_OK);
}

static void assert_same(struct tsdb *db, const struct buf *want, const char *when)
{
    struct buf got = {0};
    users_dump(db, USERS_ORG, &got);
    if (!bytes_equal(buf_bytes(&got), buf_bytes(want))) {
        size_t at = 0, line;
        while (at < got.size && at < want->size && got.data[at] == want->data[at])
            at++;
        for (line = at; line > 0 && got.data[line - 1] != '\n'; line--)
            ;
        fail_msg("%s: the answers differ: %.120s | %.120s", when, (const char *)got.data + line,
                 (const char *)want->data + line);
    }
    buf_done(&got);
}

/* What a store says that never had the user. */
static struct buf without_victim(void)
{
    char dir[64];
    struct buf out = {0};
    make_dir(dir);
    struct tsdb *db = open_store(dir);
    fill(db, false);
    users_dump(db, USERS_ORG, &out);
    tsdb_close(db, false);
    files_remove_tree(dir);
    return out;
}

static void tell(void *ctx, const char *where, const char *what)
{
    fprintf(stderr, "%s: %s\n", where, what);
}

/* Indexes, zones, counts and seals are those of what is left. */
static void verify(const char *dir)
{
    struct tsdb_verify_sink sink = {.problem = tell};
    struct tsdb_verify_report r = {0};
    struct err_msg msg = {""};
    assert_int_equal(tsdb_verify_run(dir, &sink, &r, &msg), ERR_OK);
    assert_true(r.blocks > 10);
    assert_int_equal(r.problems, 0);
}

/* --- a gate on the flush role -------------------------------------------------------------------- */

static const char *_Atomic gate_at;
static _Atomic bool gate_reached;

static void gate(const char *name)
{
    const char *at = atomic_load(&gate_at);
    while (at && strcmp(at, name) == 0) {
        atomic_store(&gate_reached, true);
        usleep(500);
        at = atomic_load(&gate_at);
    }
}

static void wait_at_gate(void)
{
    for (int i = 0; !atomic_load(&gate_reached) && i < 240000; i++)
        usleep(500);
    assert_true(atomic_load(&gate_reached));
}

static void move_gate(const char *to)
{
    atomic_store(&gate_reached, false);
    atomic_store(&gate_at, to);
}

/* --- tests --------------------------------------------------------------------------------------- */

static void a_user_is_out_of_every_answer_at_once_and_then_out_of_every_byte(void **state)
{
    char dir[64];
    struct buf want = without_victim(), bystander = {0}, after = {0};
    make_dir(dir);
    struct tsdb *db = open_store(dir);
    fill(db, true);
    users_dump(db, USERS_BYSTANDER_ORG, &bystander);
    tsdb_close(db, false);

    /* the search finds what is there: each canary, and those that cannot be compressed as they are */
    struct users_found found = users_search(dir);
    for (int c = 0; c < USERS_CANARIES; c++)
        assert_true(found.decoded[c] > 0);
    assert_true(found.raw[USERS_PROMPT] > 10 && found.raw[USERS_BODY] > 10);
    assert_true(found.raw[USERS_LABEL] + found.raw[USERS_EXEMPLAR] + found.raw[USERS_CELL] > 2);

    db = open_store(dir);
    move_gate("flush.before_seal");
    fault_point_hook(gate);
    uint64_t id = ask_user(db);
    assert_same(db, &want, "asked");
    wait_at_gate();
    assert_same(db, &want, "while memory is sealed");
    assert_int_equal(job_of(db, id).phase, TSDB_ERASE_SEALING);
    move_gate("erase.before_exchange");
    wait_at_gate();
    assert_same(db, &want, "while a part is rewritten");
    assert_int_equal(job_of(db, id).phase, TSDB_ERASE_REWRITING);
    move_gate("erase.before_drained");
    wait_at_gate();
    assert_same(db, &want, "when all is rewritten");
    move_gate(NULL);
    wait_done(db);
    fault_point_hook(NULL);
    assert_same(db, &want, "in the end");
    struct tsdb_erase_job j = job_of(db, id);
    assert_int_equal(j.phase, TSDB_ERASE_DONE);
    assert_int_equal(j.erased.spans, USERS_ROUNDS * 24);
    assert_int_equal(j.erased.logs, USERS_ROUNDS * 12);
    assert_int_equal(j.erased.samples, USERS_ROUNDS * 30);
    assert_int_equal(j.erased.exemplars, USERS_ROUNDS * 6);
    assert_true(j.erased.cells > 0 && j.erased.bytes > 0 && j.erased.parts > 4);
    tsdb_close(db, false);

    /* the bystander's org has a user of that name, whose rows are nobody's business */
    db = open_store(dir);
    assert_same(db, &want, "after a restart");
    users_dump(db, USERS_BYSTANDER_ORG, &after);
    assert_true(bytes_equal(buf_bytes(&after), buf_bytes(&bystander)));
    struct tsdb_account accounts[16];
    size_t n = tsdb_accounts(db, accounts, 16);
    uint64_t erased = 0;
    for (size_t i = 0; i < n; i++)
        erased += accounts[i].org == USERS_ORG ? accounts[i].erased : 0;
    assert_int_equal(erased, USERS_ROUNDS * (24 + 12 + 30));
    tsdb_close(db, false);
    files_remove_tree(dir);
    buf_done(&want);
    buf_done(&after);
    buf_done(&bystander);
}

/* Something damaged that somebody kept: a directory and the bytes of a block. */
static void keep_damaged(const char *dir)
{
    char path[128];
    struct err_msg msg;
    snprintf(path, sizeof(path), "%s/quarantine/20260101-rows-1", dir);
    assert_int_equal(files_make_dir(path, &msg), ERR_OK);
    snprintf(path, sizeof(path), "%s/quarantine/20260101-rows-1/data.mdb", dir);
    assert_int_equal(files_write(path, users_canary(USERS_PROMPT), &msg), ERR_OK);
    snprintf(path, sizeof(path), "%s/quarantine/20260101-text-1-1-1-1", dir);
    assert_int_equal(files_write(path, users_canary(USERS_BODY), &msg), ERR_OK);
}

/* The same without a bystander, so that not one byte may be left. */
static void fill_alone(struct tsdb *db)
{
    struct err_msg msg;
    for (unsigned round = 0; round < USERS_ROUNDS; round++) {
        users_append(db, USERS_ORG, round, true);
        if (round < USERS_ROUNDS - 1)
            assert_int_equal(tsdb_flush(db, round == 1, &msg), ERR_OK);
    }
}

static void no_byte_of_the_user_is_left_in_any_file(void **state)
{
    char dir[64];
    make_dir(dir);
    struct tsdb *db = open_store(dir);
    fill_alone(db);
    keep_damaged(dir);
    ask_user(db);
    wait_done(db);
    tsdb_close(db, false);
    struct users_found found = users_search(dir);
    assert_true(found.files > 5 && found.blocks > 10);
    for (int c = 0; c < USERS_CANARIES; c++)
        if (found.raw[c] + found.decoded[c])
            fail_msg("canary %d is left: %llu as it is, %llu decoded", c,
                     (unsigned long long)found.raw[c], (unsigned long long)found.decoded[c]);
    verify(dir);
    files_remove_tree(dir);
}

static void rows_that_come_after_the_wish_are_kept(void **state)
{
    char dir[64];
    struct buf want = {0};
    make_dir(dir);
    struct tsdb *fresh = open_store(dir);
    users_append(fresh, USERS_ORG, 3, true);
    users_dump(fresh, USERS_ORG, &want);
    tsdb_close(fresh, false);
    files_remove_tree(dir);
    make_dir(dir);
    struct tsdb *db = open_store(dir);
    ask_user(db); /* while nothing is there */
    users_append(db, USERS_ORG, 3, true);
    assert_same(db, &want, "later rows");
    wait_done(db);
    assert_same(db, &want, "later rows, in the end");
    tsdb_close(db, false);
    files_remove_tree(dir);
    buf_done(&want);
}

static void series_go_by_selector_and_time(void **state)
{
    char dir[64];
    struct err_msg msg = {""};
    make_dir(dir);
    struct tsdb *db = open_store(dir);
    fill(db, true);
    struct tsdb_matcher m[] = {
        {.name = BYTES_LIT("__name__"), .value = BYTES_LIT("spent")},
        {.op = TSDB_MATCH_NE, .name = BYTES_LIT("user_id"), .value = BYTES_LIT("user-0")}};
    int64_t cut = USERS_T0_NS / 1000000 - 3600000; /* the day before goes, today stays */
    uint64_t id;
    assert_int_equal(tsdb_erase_series(db, USERS_ORG, m, 2, 0, cut, &id, &msg), ERR_OK);
    assert_true(id > 0);
    for (int pass = 0; pass < 2; pass++) { /* at once, and when it is done */
        struct tsdb_view *v;
        struct arena *a = arena_new(0);
        struct tsdb_series *s;
        size_t n;
        assert_int_equal(tsdb_view_open(db, USERS_ORG, NULL, &v), ERR_OK);
        /* parts answer by their day */
        assert_int_equal(tsdb_select(v, m, 2, 0, cut - 10 * 3600000, a, &s, &n), ERR_OK);
        assert_int_equal(n, 0);
        assert_int_equal(tsdb_select(v, m, 1, 0, cut - 10 * 3600000, a, &s, &n), ERR_OK);
        assert_int_equal(n, 1); /* user-0 */
        assert_int_equal(tsdb_select(v, m, 2, cut, INT64_MAX / 2, a, &s, &n), ERR_OK);
        assert_int_equal(n, 4);
        for (size_t i = 0; i < n; i++) {
            struct tsdb_points p;
            assert_int_equal(tsdb_points_read(v, &s[i], 0, INT64_MAX / 2, a, &p), ERR_OK);
            assert_int_equal(p.count, USERS_ROUNDS * 20);
            assert_true(p.t_ms[0] > cut);
        }
        tsdb_view_close(v);
        arena_free(a);
        wait_done(db);
    }
    assert_int_equal(job_of(db, id).erased.samples, USERS_ROUNDS * 10 * 4);
    assert_int_equal(job_of(db, id).erased.spans, 0);
    m[0].value = BYTES_LIT("nothing_of_that_name");
    assert_int_equal(tsdb_erase_series(db, USERS_ORG, m, 1, 0, cut, &id, &msg), ERR_OK);
    assert_int_equal(id, 0);
    tsdb_close(db, false);
    files_remove_tree(dir);
}

static uint32_t spans_in(struct tsdb *db)
{
    struct tsdb_view *v;
    struct arena *a = arena_new(0);
    struct tsdb_spans spans;
    struct tsdb_span_filter all = {.start_max_ns = INT64_MAX};
    assert_int_equal(tsdb_view_open(db, USERS_ORG, NULL, &v), ERR_OK);
    assert_int_equal(tsdb_span_scan(v, &all, 100000, a, &spans), ERR_OK);
    uint32_t n = spans.count;
    tsdb_view_close(v);
    arena_free(a);
    return n;
}

static void traces_and_attributes_go_alike(void **state)
{
    char dir[64];
    struct err_msg msg = {""};
    uint64_t id;
    make_dir(dir);
    struct tsdb *db = open_store(dir);
    fill(db, true);
    uint32_t all = spans_in(db);
    struct tsdb_id16 traces[3] = {{{0}}};
    for (unsigned i = 0; i < 3; i++)
        bytes_put_u64be(traces[i].b, 1 + i * 5);
    struct tsdb_erase_ask ask = {
        .org = USERS_ORG, .kind = TSDB_ERASE_TRACES, .traces = traces, .trace_count = 3};
    assert_int_equal(tsdb_erase(db, &ask, &id, &msg), ERR_OK);
    assert_int_equal(spans_in(db), all - 3);
    struct bytes name = BYTES_LIT("i");
    ask = (struct tsdb_erase_ask){.org = USERS_ORG,
                                  .kind = TSDB_ERASE_ATTRIBUTE,
                                  .value = BYTES_LIT("7"),
                                  .names = &name,
                                  .name_count = 1,
                                  .whole_traces = true};
    assert_int_equal(tsdb_erase(db, &ask, &id, &msg), ERR_OK);
    assert_int_equal(spans_in(db), all - 3 - USERS_ROUNDS * 5);
    wait_done(db);
    assert_int_equal(spans_in(db), all - 3 - USERS_ROUNDS * 5);
    assert_int_equal(job_of(db, id).erased.logs, USERS_ROUNDS * 5);
    tsdb_close(db, false);
    files_remove_tree(dir);
}

/* Does a file below dir hold the bytes? */
static bool is_anywhere(const char *dir, struct bytes what)
{
    struct arena *a = arena_new(0);
    char path[FILES_PATH_MAX], **names;
    struct err_msg msg;
    struct bytes file;
    size_t n = 0;
    bool found = false;
    assert_int_equal(files_list(dir, true, a, &names, &n, &msg), ERR_OK);
    for (size_t i = 0; i < n && !found; i++) {
        struct stat st;
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        assert_int_equal(stat(path, &st), 0);
        if (S_ISDIR(st.st_mode)) {
            found = is_anywhere(path, what);
            continue;
        }
        assert_int_equal(files_read(path, (size_t)st.st_size, a, &file, &msg), ERR_OK);
        found = file.size && memmem(file.data, file.size, what.data, what.size);
    }
    arena_free(a);
    return found;
}

static void the_id_of_an_erased_trace_is_in_no_file_and_rows_of_others_that_name_it_are_told(
    void **state)
{
    char dir[64], hex[33];
    struct err_msg msg = {""};
    struct tsdb_state_write *w;
    uint64_t id;
    struct tsdb_id16 canary = {{0}}, other;
    for (unsigned i = 0; i < 16; i++)
        canary.b[i] = (uint8_t)(0xa7 + 29 * i);
    other = canary;
    other.b[15] ^= 0x55;
    make_dir(dir);
    struct tsdb *db = open_store(dir);
    fill(db, false);
    assert_int_equal(tsdb_keep_trace(db, USERS_ORG, canary), ERR_OK);
    assert_int_equal(tsdb_keep_trace(db, USERS_ORG, other), ERR_OK);
    assert_true(is_anywhere(dir, bytes_of(canary.b, 16)));
    struct tsdb_erase_ask ask = {
        .org = USERS_ORG, .kind = TSDB_ERASE_TRACES, .traces = &canary, .trace_count = 1};
    assert_int_equal(tsdb_erase(db, &ask, &id, &msg), ERR_OK);
    wait_done(db);
    assert_int_equal(job_of(db, id).state_rows, 0);
    tsdb_close(db, true);
    assert_false(is_anywhere(dir, bytes_of(canary.b, 16)));
    assert_true(is_anywhere(dir, bytes_of(other.b, 16)));
    /* a table that is not the store's: told, and left to its owner */
    db = open_store(dir);
    bytes_to_hex(bytes_of(canary.b, 16), hex);
    assert_int_equal(tsdb_state_begin(db, &w), ERR_OK);
    assert_int_equal(tsdb_state_put(w, "alerts", bytes_of(canary.b, 16), BYTES_LIT("x")), ERR_OK);
    assert_int_equal(tsdb_state_put(w, "alerts", BYTES_LIT("k"), bytes_str(hex)), ERR_OK);
    assert_int_equal(tsdb_state_put(w, "alerts", BYTES_LIT("l"), BYTES_LIT("nobody")), ERR_OK);
    assert_int_equal(tsdb_state_commit(w), ERR_OK);
    assert_int_equal(tsdb_erase(db, &ask, &id, &msg), ERR_OK);
    wait_done(db);
    assert_int_equal(job_of(db, id).state_rows, 2);
    tsdb_close(db, false);
    files_remove_tree(dir);
}

/* --- crashes ------------------------------------------------------------------------------------- */

static uint64_t kill_at, *met; /* met: between processes */

static void count_down(const char *name)
{
    if (strncmp(name, "erase.", 6) != 0 && strncmp(name, "compact.", 8) != 0)
        return;
    if (__atomic_add_fetch(met, 1, __ATOMIC_SEQ_CST) == kill_at)
        kill(getpid(), SIGKILL);
}

/* true: it was killed on its way. */
static bool ask_and_die(const char *dir, uint64_t at, bool again)
{
    pid_t child = fork();
    if (child == 0) {
        struct tsdb *db = open_store(dir);
        *met = 0;
        kill_at = at;
        fault_point_hook(count_down);
        if (!again)
            ask_user(db);
        enum err e = tsdb_erase_wait(db, USERS_ORG, 0, clock_mono_ns() + WAIT_NS);
        tsdb_close(db, false);
        _exit(e == ERR_OK ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        return true;
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return false;
}

static void a_kill_at_any_step_is_survived_and_the_work_goes_on(void **state)
{
    char from[64], dir[80], command[256];
    struct buf want = {0};
    make_dir(from);
    struct tsdb *db = open_store(from);
    fill_alone(db);
    tsdb_close(db, false);
    char plain[64];
    make_dir(plain);
    db = open_store(plain);
    fill(db, false);
    users_dump(db, USERS_ORG, &want);
    tsdb_close(db, false);
    files_remove_tree(plain);
    snprintf(dir, sizeof(dir), "%s-copy", from);
    met = mmap(NULL, sizeof(*met), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(met != MAP_FAILED);
    /* The steps at the begin and at the end each, of the many alike between every fifth (TELLTALE_KILL_TIMES: every one). */
    uint64_t at = 1, killed = 0, steps = UINT64_MAX, stride = getenv("TELLTALE_KILL_TIMES") ? 1 : 9;
    for (bool more = true; more; at += at < 4 || at + 6 > steps ? 1 : MIN(stride, steps - 5 - at)) {
        snprintf(command, sizeof(command), "cp -r --sparse=always %s %s", from, dir);
        assert_int_equal(system(command), 0);
        if (steps == UINT64_MAX) { /* how many there are */
            assert_false(ask_and_die(dir, 0, false));
            steps = *met;
            files_remove_tree(dir);
            assert_int_equal(system(command), 0);
        }
        more = ask_and_die(dir, at, false);
        killed += more;
        if (more && at % 2) /* and once more, on the way of the second life */
            (void)ask_and_die(dir, 2, true);
        db = open_store(dir);
        struct arena *a = arena_new(0);
        struct tsdb_erase_job *jobs;
        size_t n;
        assert_int_equal(tsdb_erase_jobs(db, USERS_ORG, 0, a, &jobs, &n), ERR_OK);
        arena_free(a);
        if (n == 0) { /* it died before the wish was kept */
            assert_true(at <= 2);
            ask_user(db);
        } else {
            assert_same(db, &want, "after a kill");
        }
        wait_done(db);
        assert_same(db, &want, "after a kill, in the end");
        struct tsdb_erase_job j = job_of(db, 1);
        assert_int_equal(j.erased.spans, USERS_ROUNDS * 24); /* neither lost nor counted twice */
        assert_int_equal(j.erased.logs, USERS_ROUNDS * 12);
        assert_int_equal(j.erased.samples, USERS_ROUNDS * 30);
        tsdb_close(db, false);
        struct users_found found = users_search(dir);
        if (users_found_sum(&found))
            fail_msg("killed at step %llu: %llu canaries are left", (unsigned long long)at,
                     (unsigned long long)users_found_sum(&found));
        files_remove_tree(dir);
    }
    assert_true(killed > 8);
    printf("%llu steps, killed at %llu\n", (unsigned long long)steps, (unsigned long long)killed);
    munmap(met, sizeof(*met));
    files_remove_tree(from);
    buf_done(&want);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_user_is_out_of_every_answer_at_once_and_then_out_of_every_byte),
        cmocka_unit_test(no_byte_of_the_user_is_left_in_any_file),
        cmocka_unit_test(rows_that_come_after_the_wish_are_kept),
        cmocka_unit_test(series_go_by_selector_and_time),
        cmocka_unit_test(traces_and_attributes_go_alike),
        cmocka_unit_test(
            the_id_of_an_erased_trace_is_in_no_file_and_rows_of_others_that_name_it_are_told),
        cmocka_unit_test(a_kill_at_any_step_is_survived_and_the_work_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
