#include "collector/redact/redact.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "collector/redact/redact_core.h"
#include "collector/redact/redact_match.h"

enum err redact_new(const struct redact_options *o, struct redact **out, struct buf *errors)
{
    static const struct redact_options defaults;
    const struct redact_engine_word *words;
    struct err_msg msg = {""};
    struct redact *r = calloc(1, sizeof *r);
    o = o ? o : &defaults;
    if (!r || sodium_init() < 0 || !(r->arena = arena_new(0))) {
        redact_free(r);
        return ERR_NOMEM;
    }
    r->is_off = o->is_off;
    r->type_count = REDACT_TYPE_COUNT;
    for (uint32_t i = 0; i < REDACT_TYPE_COUNT; i++) {
        r->names[i] = redact_types[i].name;
        r->groups[i] = (uint8_t)redact_types[i].group;
    }
    size_t n = redact_match_words(&words);
    enum err e = redact_engine_words(words, n, &r->words, &msg);
    if (e != ERR_OK)
        buf_printf(errors, "redaction: %s\n", msg.text);
    else
        e = redact_options_apply(r, o, errors);
    if (e != ERR_OK) {
        redact_free(r);
        return e;
    }
    *out = r;
    return ERR_OK;
}

void redact_free(struct redact *r)
{
    if (!r)
        return;
    redact_engine_free(r->words);
    redact_engine_free(r->patterns);
    arena_free(r->arena);
    sodium_memzero(r->key, sizeof r->key);
    free(r);
}

uint32_t redact_type_count(const struct redact *r)
{
    return r->type_count;
}

const char *redact_type_name(const struct redact *r, uint32_t type)
{
    CHECK(type < r->type_count);
    return r->names[type];
}

bool redact_type_alerts(const struct redact *r, uint32_t type)
{
    CHECK(type < r->type_count);
    return r->alerts[type];
}

/* --- the key -------------------------------------------------------------------------------------------- */

void redact_set_key(struct redact *r, const uint8_t key[REDACT_KEY_BYTES])
{
    memcpy(r->key, key, REDACT_KEY_BYTES);
}

enum err redact_parse_key(struct redact *r, const char *hex, struct err_msg *msg)
{
    return bytes_from_hex(bytes_str(hex), r->key, sizeof r->key)
               ? ERR_OK
               : err_set(msg, ERR_INVALID, "redaction.key: give %u hex digits",
                         2 * REDACT_KEY_BYTES);
}

static enum err key_write(struct redact *r, const char *path, struct err_msg *msg)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(msg, ERR_IO, "%s: %s", path, strerror(errno));
    randombytes_buf(r->key, sizeof r->key);
    bool ok = write(fd, r->key, sizeof r->key) == (ssize_t)sizeof r->key && fsync(fd) == 0;
    int why = errno;
    ok = close(fd) == 0 && ok;
    if (ok)
        return ERR_OK;
    (void)unlink(path); /* half a key must not be found by the next start */
    return err_set(msg, ERR_IO, "%s: %s", path, strerror(why));
}

enum err redact_load_key(struct redact *r, const char *dir, struct err_msg *msg)
{
    char folder[4000], path[4096];
    struct stat st;
    if ((size_t)snprintf(folder, sizeof folder, "%s/keys", dir) >= sizeof folder)
        return err_set(msg, ERR_INVALID, "the data directory's name is too long");
    snprintf(path, sizeof path, "%s/redaction", folder);
    if (mkdir(folder, 0700) != 0 && errno != EEXIST)
        return err_set(msg, ERR_IO, "%s: %s", folder, strerror(errno));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return key_write(r, path, msg);
    if (fd < 0)
        return err_set(msg, ERR_IO, "%s: %s", path, strerror(errno));
    enum err e = ERR_OK;
    if (fstat(fd, &st) == 0 && (st.st_mode & 077) != 0)
        e = err_set(msg, ERR_FORBIDDEN, "%s: others may read this file; run chmod 600 on it", path);
    else if (read(fd, r->key, sizeof r->key) != (ssize_t)sizeof r->key)
        e = err_set(msg, ERR_CORRUPT, "%s: shorter than %u bytes", path, REDACT_KEY_BYTES);
    close(fd);
    return e;
}
