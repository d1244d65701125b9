/* A long proof in slices: where it is, said now and then, and where to go on when its time is over.
 *
 *   TELLTALE_FROM=N      begin at step N (as the last slice said) instead of the first
 *   TELLTALE_MINUTES=M   stop after so long; the proof says from where to go on
 * Each program says what its steps are; those before N count as passed by the slice that ended there.
 * Owner: caller; lies in memory that the jobs' processes share.  Thread: each job has one.  Failure: none: without memory there is no slice.
 */
#ifndef FAULTS_SLICE_H
#define FAULTS_SLICE_H

#include <stdbool.h>
#include <stdint.h>

#define SLICE_JOBS_MAX 64u

struct slice;

/* name: of the proof; unit: of a step, for the messages; first: where one begins that nothing is said of. */
struct slice *slice_new(const char *name, const char *unit, uint64_t first, unsigned jobs);
uint64_t slice_from(const struct slice *s);
/* A job comes to step n. false: the time is over, and n is not done. */
bool slice_goes_on(struct slice *s, unsigned job, uint64_t n);
/* A job has come to its end by itself. */
void slice_ended(struct slice *s, unsigned job);
/* After all jobs: says so if the proof has not come to its end. */
void slice_done(struct slice *s);

#endif
