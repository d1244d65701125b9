/* The verb `telltale slo check FILE...`: what an objective means before it is loaded.
 *
 * Prints, for each objective: windows, factors, how long an outage lasts before each alert fires, the budget in minutes and in requests,
 * and warnings.
 * Owner: the process.  Thread: the caller's.
 * Failure: returns the exit status: 0 fine, 2 bad arguments or documents (one line each on stderr).
 */
#ifndef CLI_SLO_CHECK_H
#define CLI_SLO_CHECK_H

/* argv[0] is the first word after `slo check`, or argc is 0. */
int slo_check_main(int argc, char **argv);

#endif
