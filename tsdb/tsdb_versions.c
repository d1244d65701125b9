#include "tsdb/tsdb_versions.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/stats.h"

STATS_COUNTER(newer, "telltale_store_newer_total", "",
              "Blocks, records and rows left alone because a newer version wrote them.");

static _Thread_local char said[160];
static _Thread_local bool is_said;

const char *tsdb_versions_take_newer(void)
{
    const char *text = is_said ? said : NULL;
    is_said = false;
    return text;
}

enum err tsdb_versions_check(const char *what, unsigned found, unsigned current)
{
    if (found == current)
        return ERR_OK;
    if (found < current)
        return ERR_CORRUPT;
    char before[sizeof(said)];
    memcpy(before, said, sizeof(said));
    snprintf(said, sizeof(said), "%s was written by a newer version (%u), this one reads up to %u",
             what, found, current);
    is_said = true;
    stats_add(&newer, 1);
    if (strcmp(before, said) != 0) /* once, and not for each of a thousand blocks */
        log_error("store", "%s; it is left as it is", said);
    return ERR_NEWER;
}

unsigned tsdb_versions_magic(const char *letters, unsigned version)
{
    return (unsigned)(unsigned char)letters[0] | (unsigned)(unsigned char)letters[1] << 8 |
           (unsigned)(unsigned char)letters[2] << 16 | ('0' + version) << 24;
}

enum err tsdb_versions_check_magic(const char *letters, unsigned found, unsigned current)
{
    unsigned digit = found >> 24;
    if ((found & 0xffffff) != (tsdb_versions_magic(letters, 0) & 0xffffff) || digit < '0' ||
        digit > '9')
        return ERR_CORRUPT;
    return tsdb_versions_check(letters[2] == 'R' ? "a record" : "a commit", digit - '0', current);
}
