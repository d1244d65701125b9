/* A shim between a program and the kernel: writes down what happens to the files below one directory, and can make calls fail.
 *
 * Linked into a test program (or preloaded, see record_io_preload in record_io.c) it takes the place of libc's write, pwrite, writev,
 * ftruncate, posix_fallocate, fsync, fdatasync, msync, open, mkdir, rename, unlink, rmdir and their kin, for this program and for every
 * library that it uses.
 *
 * Owner: the process; a log may lie in memory that processes share.  Thread: any; recorded calls run one after the other, so the log's order
 * is the order in which they took effect.  Failure: a full log ends the process (status 97): a recording with holes proves nothing.
 * Limits: paths are absolute and have no symbolic links below the root; names of at most IO_NAME_MAX bytes; descriptors below 4096.
 */
#ifndef FAULTS_RECORD_IO_H
#define FAULTS_RECORD_IO_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IO_NAME_MAX 47u

enum io_kind {
    IO_WRITE, /* inode, offset, payload */
    IO_SIZE, /* inode, offset: the new size */
    IO_SYNC, /* inode: a file; what was written before is durable */
    IO_SYNC_WRITE, /* inode: only the write just before it is (O_DSYNC) */
    IO_SYNC_DIR, /* inode: a directory */
    IO_CREATE, /* parent, name, inode: a file */
    IO_MKDIR, /* parent, name, inode */
    IO_RENAME, /* parent, name -> parent2, name2 */
    IO_EXCHANGE, /* the two change places */
    IO_UNLINK, /* parent, name */
    IO_RMDIR,
    IO_MARK, /* of the workload: offset = kind, inode = value */
};

struct io_event {
    uint8_t kind;
    uint32_t size; /* of the payload that follows */
    uint64_t inode, parent, parent2, offset;
    char name[IO_NAME_MAX + 1], name2[IO_NAME_MAX + 1];
};

struct io_log {
    size_t cap;
    uint64_t root; /* inode of the directory */
    _Atomic size_t used;
    uint8_t bytes[];
};

/* Memory that children share. NULL: none is left. */
struct io_log *io_log_new(size_t cap);
/* The event at *at, which moves on; NULL at the end. payload is valid with the log. */
const struct io_event *io_log_next(const struct io_log *log, size_t *at, const uint8_t **payload);

/* From now on what happens below root (an absolute path) is written down. log NULL: only faults are wanted. */
void record_io_begin(const char *root, struct io_log *log);
void record_io_end(void);
void record_io_mark(uint32_t kind, uint64_t value);

enum io_class { IO_CLASS_WRITE, IO_CLASS_SYNC, IO_CLASS_NAME, IO_CLASS_COUNT };
struct io_fault {
    enum io_class class; /* NAME: open with O_CREAT, mkdir, rename, unlink, rmdir */
    uint64_t at; /* the at-th such call from now on; 0 = none */
    bool forever; /* and all after it */
    int error; /* errno; 0 = a short write: half of the bytes, and no error */
};
void record_io_fail(const struct io_fault *f);
/* Calls of the fault's class since then. */
uint64_t record_io_calls(void);

#endif
