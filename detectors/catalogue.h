/* The catalogue of services: who owns which, and who is told of what (docs/webhooks.md).
 *
 * Owner: the caller's arena.  Thread: any, after it is read.
 * Failure: none; detectors_catalogue_read has a line for each mistake.
 */
#ifndef DETECTORS_CATALOGUE_H
#define DETECTORS_CATALOGUE_H

#include "detectors/detectors_catalogue.h"

const struct detectors_service *catalogue_find(const struct detectors_service *list, size_t n,
                                               struct bytes service); /* NULL: it is not in it */
/* Does the owner of the service say that this receiver is told of such an alert? Where nothing is said of its kind nor of its severity: yes. */
bool catalogue_routes(const struct detectors_service *s, struct bytes kind,
                      enum query_slo_severity severity, const char *receiver);

#endif
