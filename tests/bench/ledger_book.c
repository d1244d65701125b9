/* What the cost ledger takes of the committer: a booking of eight dimensions, with few values and with very many; the memory of a million
 * values; and what a question to a budget takes, in process.
 *
 *   ledger_book [--rows N]     N bookings a case; prints CPU time a booking, bytes a value and a checksum
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "detectors/detectors_budgets.h"
#include "tsdb/ledger_table.h"

static double cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Bookings as a fleet makes them: few teams, services, models, keys; so many users, in no order. */
static void book_of(uint64_t i, uint64_t users, char text[4][32], struct tsdb_book *out)
{
    uint64_t mixed = i * UINT64_C(0x9e3779b97f4a7c15);
    *out = (struct tsdb_book){.minute = 29000000 + (uint32_t)(i / 100000),
                              .sums = {1, 1000, 200, 4500000 + (int64_t)(i % 7), 0, 0}};
    snprintf(text[0], 32, "team-%u", (unsigned)(mixed >> 20) % 12);
    snprintf(text[1], 32, "key-%u", (unsigned)(mixed >> 30) % 200);
    snprintf(text[2], 32, "user-%llu", (unsigned long long)((mixed >> 13) % users));
    snprintf(text[3], 32, "model-%u", (unsigned)(mixed >> 40) % 6);
    out->value[TSDB_BOOK_SERVICE] = BYTES_LIT("checkout");
    out->value[TSDB_BOOK_ENDPOINT] = BYTES_LIT("/v1/chat");
    out->value[TSDB_BOOK_TEAM] = bytes_str(text[0]);
    out->value[TSDB_BOOK_API_KEY] = bytes_str(text[1]);
    out->value[TSDB_BOOK_USER] = bytes_str(text[2]);
    out->value[TSDB_BOOK_MODEL] = bytes_str(text[3]);
}

static void run_table(uint64_t rows, uint64_t users)
{
    struct ledger_table t = {.entries_max = 1u << 21};
    char text[4][32];
    struct tsdb_book k;
    int64_t sum = 0;
    double begin = cpu_ns(), made;
    for (uint64_t i = 0; i < rows; i++) { /* what making them takes goes off */
        book_of(i, users, text, &k);
        sum += k.sums.nanousd + k.value[TSDB_BOOK_USER].data[0];
    }
    made = cpu_ns() - begin;
    begin = cpu_ns();
    for (uint64_t i = 0; i < rows; i++) {
        book_of(i, users, text, &k);
        CHECK(ledger_table_add(&t, 1, &k));
    }
    double ns = cpu_ns() - begin - made;
    printf("table users=%llu rows=%llu ns_a_booking=%.0f ns_a_dimension=%.1f entries=%u "
           "bytes=%llu bytes_an_entry=%.0f error=%lld checksum=%lld\n",
           (unsigned long long)users, (unsigned long long)rows, ns / (double)rows,
           ns / (double)rows / TSDB_BOOK_DIM_COUNT, t.count,
           (unsigned long long)ledger_table_bytes(&t),
           (double)ledger_table_bytes(&t) / (double)t.count, (long long)t.error_nanousd,
           (long long)sum);
    ledger_table_done(&t);
}

static void run_check(uint64_t questions)
{
    char path[] = "/tmp/telltale-bench-budgets-XXXXXX";
    struct buf errors = {0};
    struct detectors_budgets *b;
    struct detectors_budget_answer a;
    int64_t now = clock_wall_ms(), sum = 0;
    int fd = mkstemp(path);
    FILE *f = fd >= 0 ? fdopen(fd, "wb") : NULL;
    CHECK(f);
    fputs("budgets:\n- {name: users, by: user, amount: 10 USD, window: 24h, hard: true}\n"
          "- {name: teams, by: team, amount: 100 USD, window: month}\n"
          "- {name: keys, by: api_key, amount: 100 USD, window: 7d}\n",
          f);
    fclose(f);
    CHECK(detectors_budgets_load(path, &b, &errors) == ERR_OK);
    unlink(path);
    double begin = cpu_ns();
    for (uint64_t i = 0; i < questions; i++) {
        char user[32];
        snprintf(user, sizeof(user), "user-%llu", (unsigned long long)(i % 1000));
        struct detectors_budget_call call = {.nanousd = 1000000};
        call.value[TSDB_BOOK_USER] = bytes_str(user);
        call.value[TSDB_BOOK_TEAM] = BYTES_LIT("red");
        call.value[TSDB_BOOK_API_KEY] = BYTES_LIT("key-1");
        detectors_budgets_check(b, &call, now, &a);
        sum += a.matched;
    }
    printf("check questions=%llu ns_a_question=%.0f checksum=%lld\n", (unsigned long long)questions,
           (cpu_ns() - begin) / (double)questions, (long long)sum);
    detectors_budgets_free(b);
    buf_done(&errors);
}

int main(int argc, char **argv)
{
    uint64_t rows = 20000;
    for (int i = 1; i + 1 < argc; i += 2)
        if (strcmp(argv[i], "--rows") == 0)
            rows = strtoull(argv[i + 1], NULL, 10);
    run_table(rows, 50);
    run_table(rows, 20000);
    run_table(rows, 1000000);
    run_check(rows);
    return 0;
}
