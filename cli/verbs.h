/* The verbs of the program that have no header of their own.
 *
 * Each takes the words after the verb and returns the exit status: 0 done, 1 failed, 2 bad arguments or configuration (one line an
 * error on stderr).  Thread: the process' first.
 */
#ifndef CLI_VERBS_H
#define CLI_VERBS_H

int verbs_serve(int argc, char **argv); /* serve.c */
int verbs_check_config(int argc, char **argv); /* serve.c */
int verbs_config_reference(int argc, char **argv); /* serve.c */
int verbs_model(int argc, char **argv); /* model_verb.c */
int verbs_ground(int argc, char **argv); /* ground_verb.c */
int verbs_backup(int argc, char **argv); /* backup_verb.c */
int verbs_restore(int argc, char **argv); /* backup_verb.c */
int verbs_query(int argc, char **argv); /* query_verb.c */
int verbs_slo_import(int argc, char **argv); /* slo_import_verb.c */
int verbs_slo_explain(int argc, char **argv); /* explain_verb.c */
int verbs_slo_backtest(int argc, char **argv); /* backtest_verb.c */
int verbs_rules(int argc, char **argv); /* rules_verb.c; 1 = a file is wrong, or a test fails */
int verbs_receivers(int argc, char **argv); /* receivers_verb.c; 1 = not delivered */
int verbs_import(int argc, char **argv); /* import_verb.c */
int verbs_reconcile(int argc, char **argv); /* reconcile_verb.c; 1 = above the limit */
int verbs_costs(int argc, char **argv); /* costs_verb.c */
int verbs_erase(int argc, char **argv); /* erase_verb.c */
int verbs_verify(int argc, char **argv); /* verify_verb.c; 1 = something is wrong with the data */

#endif
