#include "cli/verb_store.h"

#include <stdio.h>
#include <unistd.h>

#define YEARS (100 * INT64_C(365) * 86400000)

enum err verb_store_open(const char *dir, struct tsdb **out, struct err_msg *msg)
{
    char path[4096];
    struct tsdb_options o = {.dir = dir,
                             .retention_ms = YEARS,
                             .retention_content_ms = YEARS,
                             .retention_cells_ms = YEARS,
                             .series_max_per_org = UINT32_MAX / 2,
                             .series_max_per_metric = UINT32_MAX / 2};
    snprintf(path, sizeof(path), "%s/VERSION", dir);
    if (access(path, F_OK) != 0)
        return err_set(msg, ERR_NOT_FOUND, "%s is no data directory", dir);
    enum err e = tsdb_open(&o, out, msg);
    if (e == ERR_CONFLICT)
        err_set(msg, e,
                "%s is in use by a running telltale: give the address of its page in place of the "
                "directory",
                dir);
    return e;
}
