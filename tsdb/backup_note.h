/* BACKUP: what a finished backup says of itself, as text.
 *
 * Owner: caller.  Thread: any.  Failure: backup_note_read: ERR_CORRUPT, ERR_NEWER.
 */
#ifndef TSDB_BACKUP_NOTE_H
#define TSDB_BACKUP_NOTE_H

#include "base/buf.h"
#include "tsdb/tsdb_restore.h"

void backup_note_write(const struct tsdb_restore_info *info, struct buf *out);
enum err backup_note_read(struct bytes text, struct tsdb_restore_info *out) MUST_CHECK;

#endif
