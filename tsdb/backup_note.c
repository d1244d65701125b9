#include "tsdb/backup_note.h"

#include "base/check.h"
#include "tsdb/tsdb_versions.h"

void backup_note_write(const struct tsdb_restore_info *r, struct buf *out)
{
    buf_printf(out, "backup=%u made_ms=%lld seq=%llu\n", FORMAT_BACKUP, (long long)r->made_ms,
               (unsigned long long)r->seq);
    buf_printf(out, "state_rows=%llu commits=%llu parts=%llu blocks=%llu rows=%llu damaged=%llu\n",
               (unsigned long long)r->state_rows, (unsigned long long)r->commits,
               (unsigned long long)r->parts, (unsigned long long)r->blocks,
               (unsigned long long)r->rows, (unsigned long long)r->damaged);
}

/* "name=N" at the beginning, after a space or on a line of its own. */
static bool number_of(struct bytes text, const char *name, uint64_t *out)
{
    size_t size = strlen(name);
    for (size_t at = 0; at + size < text.size; at++) {
        bool is_word = at == 0 || text.data[at - 1] == ' ' || text.data[at - 1] == '\n';
        if (!is_word || memcmp(text.data + at, name, size) != 0 || text.data[at + size] != '=')
            continue;
        size_t to = at + size + 1;
        while (to < text.size && text.data[to] >= '0' && text.data[to] <= '9')
            to++;
        return bytes_to_u64(bytes_slice(text, at + size + 1, to), out);
    }
    return false;
}

enum err backup_note_read(struct bytes text, struct tsdb_restore_info *out)
{
    struct tsdb_restore_info info = {0};
    uint64_t format = 0, made = 0;
    const struct {
        const char *name;
        uint64_t *out;
    } numbers[] = {{"seq", &info.seq},         {"state_rows", &info.state_rows},
                   {"commits", &info.commits}, {"parts", &info.parts},
                   {"blocks", &info.blocks},   {"rows", &info.rows},
                   {"damaged", &info.damaged}, {"made_ms", &made}};
    if (!number_of(text, "backup", &format) || format > UINT32_MAX)
        return ERR_CORRUPT;
    enum err e = tsdb_versions_check("a backup", (unsigned)format, FORMAT_BACKUP);
    for (size_t i = 0; i < ARRAY_LEN(numbers) && e == ERR_OK; i++)
        e = number_of(text, numbers[i].name, numbers[i].out) ? ERR_OK : ERR_CORRUPT;
    if (e != ERR_OK)
        return e;
    info.made_ms = (int64_t)made;
    *out = info;
    return ERR_OK;
}
