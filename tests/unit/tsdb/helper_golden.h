/* One small example of every stored format: how today's code writes it, and what it says in words.
 * Owner: caller.  Thread: one.  Failure: golden_make fails the running test; golden_dump gives the decoder's error.
 */
#ifndef HELPER_GOLDEN_H
#define HELPER_GOLDEN_H

#include "base/buf.h"
#include "base/err.h"

struct golden {
    const char *name;
    const char *seed; /* fuzz target whose corpus has it, or NULL */
    int seed_byte; /* before it in the seed; -1 none */
    int version_at; /* where its version byte lies; -1 none */
    void (*make)(struct buf *out);
    enum err (*dump)(struct bytes in, struct buf *text);
};
extern const struct golden golden_formats[];
extern const size_t golden_count;

#endif
