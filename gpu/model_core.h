/* What a model is inside gpu/. Owner: gpu_model.c. */
#ifndef GPU_MODEL_CORE_H
#define GPU_MODEL_CORE_H

#include "gpu/bert.h"
#include "gpu/gpu_model.h"
#include "gpu/model_file.h"

_Static_assert((int)GPU_F32 == (int)KERNEL_F32 && (int)GPU_BF16 == (int)KERNEL_BF16 &&
                   (int)GPU_INT8 == (int)KERNEL_INT8,
               "the public names are the kernels'");

struct gpu_model {
    struct bert bert;
    struct bert branch; /* layers NULL: none; else what the head sees, its tables those of `bert` */
    struct arena *arena; /* of the extras */
    struct gpu_extra *extras;
    uint32_t extra_count;
    struct gpu_vocab *vocab;
    enum gpu_precision precision;
    enum gpu_pooling pooling;
    uint64_t parameters;
};

/* The encoder that a head's outputs are made with. */
static inline const struct bert *gpu_model_head_bert(const struct gpu_model *m)
{
    return m->branch.layer ? &m->branch : &m->bert;
}

/* A model of files that are in memory; name is for messages. */
enum err gpu_model_load(const struct model_file *f, const char *name, enum gpu_precision precision,
                        struct gpu_model **out, struct err_msg *msg) MUST_CHECK;

#endif
