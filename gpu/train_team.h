/* A fixed number of threads that do one thing together, the caller among them.
 *
 * Owner: train_team_new / train_team_free.  Thread: one train_team_run at a time.
 * Failure: train_team_new: NULL.
 * Invariants: 1. do_part runs once for each part, part i on no more than one thread; train_team_run returns after the last.
 */
#ifndef GPU_TRAIN_TEAM_H
#define GPU_TRAIN_TEAM_H

struct train_team;
struct train_team *train_team_new(unsigned threads);
void train_team_free(struct train_team *t);
unsigned train_team_threads(const struct train_team *t);
void train_team_run(struct train_team *t, void (*do_part)(void *ctx, unsigned part), void *ctx);

#endif
