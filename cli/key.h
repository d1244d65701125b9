/* The verb `telltale key create|list|revoke`: on the data directory while no server holds it, or through a running server's API (--url).
 *
 * Owner: the process.  Thread: the caller's.
 * Failure: returns the exit status: 0 done, 1 refused or unreachable, 2 bad arguments (one line each on stderr).
 */
#ifndef CLI_KEY_H
#define CLI_KEY_H

/* argv[0] is the first word after `key`, or argc is 0. */
int key_main(int argc, char **argv);

#endif
