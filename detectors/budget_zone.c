/* Time zones: RFC 9636's files, as every system has them. */
#include "base/check.h"
#include "detectors/budget.h"

#include <stdio.h>
#include <stdlib.h>

#define FILE_MAX ((size_t)1 << 20)
#define HEAD_SIZE 44u
#define ZONES "/usr/share/zoneinfo"

static uint32_t u32be(const uint8_t *p)
{
    return __builtin_bswap32(bytes_u32le(p));
}

struct head {
    uint32_t isut, isstd, leap, times, types, chars;
};

static bool read_head(struct bytes b, struct head *out)
{
    if (b.size < HEAD_SIZE || memcmp(b.data, "TZif", 4) != 0)
        return false;
    *out = (struct head){u32be(b.data + 20), u32be(b.data + 24), u32be(b.data + 28),
                         u32be(b.data + 32), u32be(b.data + 36), u32be(b.data + 40)};
    return out->isut <= 256 && out->isstd <= 256 && out->leap <= 1024 &&
           out->times <= BUDGET_ZONE_CHANGES_MAX && out->types > 0 && out->types <= 256 &&
           out->chars <= 4096;
}

static size_t body_size(const struct head *h, size_t time_size)
{
    return h->times * (time_size + 1) + h->types * 6u + h->chars + h->leap * (time_size + 4) +
           h->isstd + h->isut;
}

enum err budget_zone_read(struct bytes file, struct arena *a, struct budget_zone *out)
{
    struct head h;
    if (!read_head(file, &h) || file.data[4] < '2')
        return ERR_CORRUPT; /* files with 32-bit times only have not been made for twenty years */
    size_t skip = HEAD_SIZE + body_size(&h, 4);
    if (file.size < skip || !read_head(bytes_slice(file, skip, file.size), &h) ||
        file.size - skip < HEAD_SIZE + body_size(&h, 8))
        return ERR_CORRUPT;
    const uint8_t *times = file.data + skip + HEAD_SIZE, *index = times + h.times * 8u,
                  *types = index + h.times;
    struct budget_zone z = {.count = h.times,
                            .at = ARENA_ARRAY(a, int64_t, h.times + 1),
                            .offset = ARENA_ARRAY(a, int32_t, h.times + 1),
                            .first = (int32_t)u32be(types)};
    if (!z.at || !z.offset)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < h.times; i++) {
        if (index[i] >= h.types)
            return ERR_CORRUPT;
        z.at[i] = (int64_t)bytes_u64be(times + i * 8u);
        z.offset[i] = (int32_t)u32be(types + index[i] * 6u);
        if ((i && z.at[i] <= z.at[i - 1]) || abs(z.offset[i] % 86400) != abs(z.offset[i]))
            return ERR_CORRUPT;
    }
    if (abs(z.first % 86400) != abs(z.first))
        return ERR_CORRUPT;
    *out = z;
    return ERR_OK;
}

static bool is_zone_name(const char *name)
{
    for (const char *p = name; *p; p++)
        if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ||
              (*p && strchr("/_+-", *p))))
            return false;
    return *name && *name != '/' && strlen(name) < 64;
}

enum err budget_zone_load(const char *name, struct arena *a, struct budget_zone *out,
                          struct err_msg *msg)
{
    char path[128];
    *out = (struct budget_zone){.name = "UTC"};
    if (!name || strcmp(name, "UTC") == 0)
        return ERR_OK;
    if (!is_zone_name(name))
        return err_set(msg, ERR_INVALID, "\"%.64s\" is no time zone such as Europe/Berlin", name);
    snprintf(path, sizeof(path), ZONES "/%s", name);
    FILE *f = fopen(path, "rb");
    if (!f)
        return err_set(msg, ERR_NOT_FOUND, "%s is not there (install tzdata, or use UTC)", path);
    uint8_t *text = arena_alloc(a, FILE_MAX);
    size_t n = text ? fread(text, 1, FILE_MAX, f) : 0;
    fclose(f);
    enum err e = budget_zone_read(bytes_of(text, n), a, out);
    if (e != ERR_OK)
        return err_set(msg, e, "%s is no time zone that can be read", path);
    out->name = name;
    return ERR_OK;
}

int32_t budget_zone_offset(const struct budget_zone *z, int64_t unix_s)
{
    uint32_t lo = 0, hi = z->count;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (z->at[mid] <= unix_s)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo ? z->offset[lo - 1] : z->first;
}
