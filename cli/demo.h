/* The verb `telltale demo`: a synthetic fleet of LLM services that sends OTLP to the public port, and to nothing else.
 *
 * Owner: the process.  Thread: the caller's.
 * Failure: returns the exit status: 0 done, 1 the receiver refused or vanished, 2 bad arguments (one line each on stderr).
 */
#ifndef CLI_DEMO_H
#define CLI_DEMO_H

int demo_main(int argc, char **argv);

#endif
