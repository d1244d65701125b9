/* The catalogue of services: owner, tier, and receivers by severity and kind, from `services:` of the configuration.
 *
 * Owner: the caller's arena; borrowed by detectors_new until detectors_free.  Thread: any, after it is read.
 * Failure: ERR_INVALID with one line per mistake in `errors`.
 * Limits: DETECTORS_SERVICES_MAX services, DETECTORS_ROUTES_MAX routes each.
 */
#ifndef DETECTORS_DETECTORS_CATALOGUE_H
#define DETECTORS_DETECTORS_CATALOGUE_H

#include "detectors/detectors.h"

#define DETECTORS_SERVICES_MAX 1000u
#define DETECTORS_ROUTES_MAX 6u /* page, ticket and the four kinds */

struct yaml_node;

struct detectors_route {
    struct bytes
        of; /* "page", "ticket"; or a kind: "infrastructure", "model", "security", "legal" */
    struct bytes receivers[DETECTORS_RECEIVERS_MAX];
    uint32_t receiver_count;
};

struct detectors_service {
    struct bytes name, owner; /* owner: a team */
    uint32_t tier; /* 1 = the most important; 0 = not said */
    unsigned line;
    struct detectors_route routes[DETECTORS_ROUTES_MAX];
    uint32_t route_count;
};

/* list: the value of services:. Receivers that are named must be among those given. */
enum err detectors_catalogue_read(const struct yaml_node *list, const char *file,
                                  const struct detectors_receiver *receivers, size_t receiver_count,
                                  struct arena *a, struct detectors_service **out,
                                  size_t *out_count, struct buf *errors) MUST_CHECK;
/* A line for each objective whose service has no owner: it is not in the catalogue. */
enum err detectors_catalogue_lint(const struct detectors_service *list, size_t n,
                                  const struct query_slo_set *set, struct buf *errors) MUST_CHECK;

#endif
