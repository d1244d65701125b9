/* Detectors over objectives in a file of their own, a state in memory and nobody who delivers: an objective that burns as soon as it is evaluated.
 *
 * Owner: the test.  Thread: the test's.  Failure: the test fails.
 * Use: begin, receivers, documents, close the file, traffic, open; end.
 */
#ifndef TESTS_HELPER_BURNING_H
#define TESTS_HELPER_BURNING_H

#include "detectors/detectors.h"
#include "detectors/helper_state.h"
#include "query/helper_slo.h"

struct helper_burning {
    struct helper_slo *cells;
    struct query_slo_source source;
    struct helper_state *state;
    struct detectors_store store;
    struct detectors_receiver receivers[3];
    size_t receiver_count;
    const struct detectors_service *services;
    size_t service_count;
    char slo_path[64];
    struct detectors *d;
};

/* The open file that the objectives are written to. */
int helper_burning_begin(struct helper_burning *b);
/* Of 99.9 % over 30 days that pages at a burn of 14.4 over an hour. sli: what telltale's metric source is given. */
void helper_burning_document(int fd, const char *name, const char *service, const char *sli);
/* Requests of checkout: a day of good ones, then bad ones from two minutes ago to `after` minutes from now. */
void helper_burning_traffic(struct helper_burning *b, uint32_t after);
void helper_burning_open(struct helper_burning *b);
/* As the next process would. */
void helper_burning_again(struct helper_burning *b);
void helper_burning_end(struct helper_burning *b);

#endif
