/* Named places where a test may end the process or look around; nothing at all in a release build.
 *
 *   fault_point("flush.before_seal");
 *
 * Owner: the process has one hook.  Thread: any; the hook is set before threads start.  Failure: none.
 */
#ifndef BASE_FAULT_POINT_H
#define BASE_FAULT_POINT_H

#ifdef TELLTALE_FAULT_POINTS
void fault_point_hit(const char *name);
void fault_point_hook(void (*hook)(const char *name)); /* NULL: none */
#define fault_point(name) fault_point_hit(name)
#else
#define fault_point(name) ((void)0)
#endif

#endif
