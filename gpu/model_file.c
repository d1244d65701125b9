#include "gpu/model_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gpu/gpu_model.h"

#define CONFIG_MAX (1u << 20)
#define VOCAB_MAX (64u << 20)
#define PATH_BYTES 4096u

static enum err read_all(int fd, const char *path, size_t size, struct arena *a, struct bytes *out,
                         struct err_msg *msg)
{
    uint8_t *data = malloc(size + 1);
    size_t got = 0;
    if (!data)
        return err_set(msg, ERR_NOMEM, "no memory for the %zu bytes of %s", size, path);
    while (got < size) {
        ssize_t n = read(fd, data + got, size - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            free(data);
            return err_set(msg, ERR_IO, "%s: %s", path,
                           n ? strerror(errno) : "shorter than it said");
        }
        got += (size_t)n;
    }
    if (!arena_adopt(a, data, size))
        return ERR_NOMEM;
    *out = bytes_of(data, size);
    return ERR_OK;
}

enum err model_file_read(const char *path, size_t bytes_max, struct arena *a, struct bytes *out,
                         struct err_msg *msg)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(msg, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", path,
                       strerror(errno));
    enum err e = ERR_OK;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        e = err_set(msg, ERR_INVALID, "%s is not a file", path);
    else if ((uint64_t)st.st_size > bytes_max)
        e = err_set(msg, ERR_TOO_LARGE, "%s has %lld bytes; at most %zu are read", path,
                    (long long)st.st_size, bytes_max);
    else
        e = read_all(fd, path, (size_t)st.st_size, a, out, msg);
    close(fd);
    return e;
}

static enum err parse_config(struct model_file *f, const char *where, struct err_msg *msg)
{
    struct err_msg why = {""};
    enum err e = json_in_tree(f->config_text, 16, f->arena, &f->config, &why);
    if (e != ERR_OK || f->config->type != JSON_OBJECT)
        return err_set(msg, ERR_INVALID, "%s: the configuration is no JSON object%s%s", where,
                       why.text[0] ? ": " : "", why.text);
    return ERR_OK;
}

static enum err parse_weights(struct model_file *f, struct bytes file, const char *name,
                              struct err_msg *msg)
{
    struct err_msg why = {""};
    enum err e = safetensors_open(file, f->arena, &f->tensors, &why);
    return e == ERR_OK ? e : err_set(msg, e, "%s: %s", name, why.text[0] ? why.text : err_text(e));
}

static enum err open_weights(struct model_file *f, const char *path, struct err_msg *msg)
{
    struct bytes file;
    enum err e = model_file_read(path, GPU_MODEL_BYTES_MAX, f->arena, &file, msg);
    return e == ERR_OK ? parse_weights(f, file, path, msg) : e;
}

/* Whether a file that need not be there has this value under this key. */
static bool says(struct model_file *f, const char *dir, const char *file, const char *key,
                 bool value)
{
    char path[PATH_BYTES];
    struct bytes text;
    struct json_node *root;
    snprintf(path, sizeof(path), "%s/%s", dir, file);
    if (model_file_read(path, CONFIG_MAX, f->arena, &text, NULL) != ERR_OK ||
        json_in_tree(text, 16, f->arena, &root, NULL) != ERR_OK)
        return false;
    const struct json_node *node = json_get(root, key);
    return node && node->type == JSON_BOOL && node->boolean == value;
}

static enum err open_directory(struct model_file *f, const char *dir, const char *weights,
                               struct err_msg *msg)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "%s/config.json", dir);
    enum err e = model_file_read(path, CONFIG_MAX, f->arena, &f->config_text, msg);
    if (e == ERR_OK)
        e = parse_config(f, path, msg);
    snprintf(path, sizeof(path), "%s/vocab.txt", dir);
    if (e == ERR_OK)
        e = model_file_read(path, VOCAB_MAX, f->arena, &f->vocab, msg);
    snprintf(path, sizeof(path), "%s/model.safetensors", dir);
    if (e == ERR_OK)
        e = open_weights(f, weights ? weights : path, msg);
    if (e == ERR_OK)
        f->pools_cls = says(f, dir, "1_Pooling/config.json", "pooling_mode_cls_token", true);
    if (e == ERR_OK)
        f->keeps_case = says(f, dir, "tokenizer_config.json", "do_lower_case", false);
    return e;
}

/* Its tensors are known already. */
static enum err complete_single(struct model_file *f, const char *name, struct err_msg *msg)
{
    const struct safetensor *vocab = safetensors_find(&f->tensors, BYTES_LIT("vocab.txt"));
    f->config_text = safetensors_meta(&f->tensors, "config");
    if (!f->config_text.size || !vocab || vocab->type != SAFETENSORS_U8)
        return err_set(
            msg, ERR_INVALID,
            "%s carries no configuration and vocabulary of its own: give the model's directory, or "
            "make one file with `telltale model convert --base DIR`",
            name);
    if (f->config_text.size > CONFIG_MAX || vocab->data.size > VOCAB_MAX)
        return err_set(msg, ERR_TOO_LARGE,
                       "%s: a configuration of %zu or a vocabulary of %zu bytes", name,
                       f->config_text.size, vocab->data.size);
    f->vocab = vocab->data;
    f->pools_cls = bytes_equal_str(safetensors_meta(&f->tensors, "pooling"), "cls");
    return parse_config(f, name, msg);
}

static enum err open_single(struct model_file *f, const char *path, struct err_msg *msg)
{
    enum err e = open_weights(f, path, msg);
    return e == ERR_OK ? complete_single(f, path, msg) : e;
}

enum err model_file_open(const char *path, const char *base, struct model_file *out,
                         struct err_msg *msg)
{
    struct model_file f = {.arena = arena_new(0)};
    struct stat st;
    if (!f.arena)
        return ERR_NOMEM;
    enum err e = stat(path, &st) != 0 ? err_set(msg, ERR_NOT_FOUND, "%s: %s", path, strerror(errno))
                 : base && S_ISDIR(st.st_mode)
                     ? err_set(msg, ERR_INVALID, "%s is a directory: it needs no base", path)
                 : base                ? open_directory(&f, base, path, msg)
                 : S_ISDIR(st.st_mode) ? open_directory(&f, path, NULL, msg)
                                       : open_single(&f, path, msg);
    if (e != ERR_OK) {
        model_file_close(&f);
        return e;
    }
    *out = f;
    return ERR_OK;
}

enum err model_file_open_bytes(struct bytes file, const char *name, struct model_file *out,
                               struct err_msg *msg)
{
    struct model_file f = {.arena = arena_new(0)};
    if (!f.arena)
        return ERR_NOMEM;
    enum err e = parse_weights(&f, file, name, msg);
    if (e == ERR_OK)
        e = complete_single(&f, name, msg);
    if (e != ERR_OK) {
        model_file_close(&f);
        return e;
    }
    *out = f;
    return ERR_OK;
}

struct bytes model_file_prefix(const struct safetensors *s)
{
    struct bytes tail = BYTES_LIT("embeddings.word_embeddings.weight");
    for (uint32_t i = 0; i < s->count; i++)
        if (bytes_has_suffix(s->tensor[i].name, tail))
            return bytes_slice(s->tensor[i].name, 0, s->tensor[i].name.size - tail.size);
    return BYTES_NONE;
}

void model_file_close(struct model_file *f)
{
    arena_free(f->arena);
    *f = (struct model_file){0};
}
