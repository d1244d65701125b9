/* Objectives of Sloth (prometheus/v1, also its Kubernetes form) and Pyrra (v1alpha1) as OpenSLO documents.
 *
 * Owner: caller's buffers.  Thread: any.
 * Failure: ERR_INVALID: nothing of the kind is in the text, or something cannot be said in OpenSLO as it is read here; one line for each mistake,
 *          "file:line: key: what". What was understood is in `out` all the same.
 * Limits: of YAML (base/yaml_in.h).
 * Invariant: each document of `out` loads (query_slo_load_text); two objectives of one name are left to its reader.
 */
#ifndef QUERY_QUERY_SLO_IMPORT_H
#define QUERY_QUERY_SLO_IMPORT_H

#include "base/buf.h"

enum err query_slo_import(const char *file, struct bytes text, struct buf *out,
                          struct buf *errors) MUST_CHECK;

#endif
