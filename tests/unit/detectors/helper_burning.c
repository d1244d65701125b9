#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "detectors/helper_burning.h"
#include "detectors/helper_state.h"
#include "query/helper_slo.h"

int helper_burning_begin(struct helper_burning *b)
{
    *b = (struct helper_burning){.cells = helper_slo_new(), .state = helper_state_new()};
    b->source = helper_slo_source(b->cells);
    b->store = helper_state_store(b->state);
    strcpy(b->slo_path, "/tmp/telltale-slo-XXXXXX");
    int fd = mkstemp(b->slo_path);
    assert_true(fd >= 0);
    return fd;
}

void helper_burning_document(int fd, const char *name, const char *service, const char *sli)
{
    dprintf(fd,
            "apiVersion: openslo/v1\nkind: SLO\nmetadata: {name: %s, labels: {team: pay}}\n"
            "spec:\n  service: %s\n  indicator:\n    metadata: {name: x}\n"
            "    spec: {ratioMetric: {raw: {metricSource: {type: telltale, spec: {sli: %s}}}}}\n"
            "  timeWindow: [{duration: 30d, isRolling: true}]\n"
            "  budgetingMethod: Occurrences\n  objectives: [{target: 0.999}]\n"
            "  alertPolicies:\n    - kind: AlertPolicy\n      metadata: {name: p}\n      spec:\n"
            "        conditions:\n          - kind: AlertCondition\n            metadata: "
            "{name: fast}\n            spec:\n              severity: page\n"
            "              condition: {kind: burnrate, op: gt, threshold: 14.4, "
            "lookbackWindow: 1h}\n---\n",
            name, service, sli);
}

void helper_burning_traffic(struct helper_burning *b, uint32_t after)
{
    uint32_t now = (uint32_t)((clock_wall_ms() - QUERY_SLO_DELAY_MS) / 60000);
    for (uint32_t m = now - 1440; m < now - 2; m++)
        helper_slo_request(b->cells, "checkout", "claude", "us", "ok", "", m, 100);
    for (uint32_t m = now - 2; m <= now + after; m++)
        helper_slo_request(b->cells, "checkout", "gpt-4o", "eu", "timeout", "provider", m, 100);
}

void helper_burning_open(struct helper_burning *b)
{
    const char *paths[] = {b->slo_path};
    struct buf errors;
    buf_init(&errors, 0);
    struct detectors_options o = {.slo_paths = paths,
                                  .slo_path_count = 1,
                                  .receivers = b->receivers,
                                  .receiver_count = b->receiver_count,
                                  .services = b->services,
                                  .service_count = b->service_count,
                                  .external_url = "http://t.test",
                                  .store = &b->store,
                                  .source = &b->source};
    if (detectors_new(&o, &b->d, &errors) != ERR_OK)
        fail_msg("%.*s", (int)errors.size, errors.data);
    buf_done(&errors);
}

void helper_burning_again(struct helper_burning *b)
{
    detectors_free(b->d);
    helper_burning_open(b);
}

void helper_burning_end(struct helper_burning *b)
{
    detectors_free(b->d);
    helper_slo_free(b->cells);
    helper_state_free(b->state);
    unlink(b->slo_path);
}
