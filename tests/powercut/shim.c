/* Preloaded into the writer: does what the program asks and notes, in order, what it did to the files under
 * EDI_TRACE_ROOT in the file EDI_TRACE. A write is noted once it is done, the start of a sync before it starts: a write
 * that stands before the start of a sync is covered by it.
 *
 * Note: kind (1) · number (8) · length of path (4) · length of data (4) · path · data; native byte order.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;
static int trace = -1;
static const char *root;
static size_t root_length;
static uint64_t syncs;

#define REAL(name) ((__typeof__(&name))real(#name))
static void *real(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) abort();
    return found;
}

__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("EDI_TRACE");
    root = getenv("EDI_TRACE_ROOT");
    if (!file || !root) abort();
    root_length = strlen(root);
    trace = REAL(open64)(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (trace < 0) abort();
}

static int inside(const char *path) {
    return root && !strncmp(path, root, root_length) && (path[root_length] == '/' || path[root_length] == 0);
}

static int path_of(int fd, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, size - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return inside(path);
}

static void note(char kind, uint64_t number, const char *path, const void *data, size_t length) {
    char head[17];
    uint32_t path_length = strlen(path), data_length = length;
    head[0] = kind;
    memcpy(head + 1, &number, 8);
    memcpy(head + 9, &path_length, 4);
    memcpy(head + 13, &data_length, 4);
    struct iovec parts[3] = {{head, 17}, {(void *)path, path_length}, {(void *)data, length}};
    pthread_mutex_lock(&order);
    if (REAL(writev)(trace, parts, 3) != (ssize_t)(17 + path_length + length)) abort();
    pthread_mutex_unlock(&order);
}

static void opened(int fd, int flags) {
    char path[4096];
    int saved = errno;
    if (fd >= 0 && (flags & (O_CREAT | O_TRUNC)) && path_of(fd, path, sizeof path)) {
        if (flags & O_CREAT) note('C', 0, path, "", 0);
        if (flags & O_TRUNC) note('T', 0, path, "", 0);
    }
    errno = saved;
}

#define OPEN(name)                                        \
    int name(const char *path, int flags, ...) {          \
        va_list rest;                                     \
        va_start(rest, flags);                            \
        int fd = REAL(name)(path, flags, va_arg(rest, mode_t)); \
        va_end(rest);                                     \
        opened(fd, flags);                                \
        return fd;                                        \
    }
#define OPENAT(name)                                      \
    int name(int at, const char *path, int flags, ...) {  \
        va_list rest;                                     \
        va_start(rest, flags);                            \
        int fd = REAL(name)(at, path, flags, va_arg(rest, mode_t)); \
        va_end(rest);                                     \
        opened(fd, flags);                                \
        return fd;                                        \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

static ssize_t wrote(int fd, const void *data, ssize_t done, off64_t offset) {
    char path[4096];
    int saved = errno;
    if (done > 0 && fd != trace && path_of(fd, path, sizeof path)) note('W', offset, path, data, done);
    errno = saved;
    return done;
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
    return wrote(fd, data, REAL(pwrite64)(fd, data, length, offset), offset);
}
ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) {
    return wrote(fd, data, REAL(pwrite)(fd, data, length, offset), offset);
}
ssize_t write(int fd, const void *data, size_t length) {
    ssize_t done = REAL(write)(fd, data, length);
    int saved = errno;
    off64_t end = fd > 2 ? lseek64(fd, 0, SEEK_CUR) : -1;
    errno = saved;
    return end < 0 ? done : wrote(fd, data, done, end - done);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    off64_t at = fd > 2 ? lseek64(fd, 0, SEEK_CUR) : -1;
    ssize_t done = REAL(writev)(fd, parts, count), left = done;
    for (int i = 0; at >= 0 && left > 0 && i < count; i++) {
        ssize_t part = left < (ssize_t)parts[i].iov_len ? left : (ssize_t)parts[i].iov_len;
        wrote(fd, parts[i].iov_base, part, at);
        at += part;
        left -= part;
    }
    return done;
}

#define TRUNCATE(name, type)                              \
    int name(int fd, type length) {                       \
        char path[4096];                                  \
        int done = REAL(name)(fd, length);                \
        if (!done && path_of(fd, path, sizeof path)) note('T', length, path, "", 0); \
        return done;                                      \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

/* sync_file_range is not noted: it promises nothing about a power cut. */
#define SYNC(name)                                        \
    int name(int fd) {                                    \
        char path[4096];                                  \
        int ours = path_of(fd, path, sizeof path);        \
        uint64_t number = __atomic_add_fetch(&syncs, 1, __ATOMIC_SEQ_CST); \
        if (ours) note('B', number, path, "", 0);         \
        int done = REAL(name)(fd);                        \
        if (ours && !done) note('E', number, path, "", 0);\
        return done;                                      \
    }
SYNC(fsync)
SYNC(fdatasync)

int rename(const char *from, const char *to) {
    int done = REAL(rename)(from, to);
    if (!done && inside(from)) note('R', 0, from, to, strlen(to));
    return done;
}
int unlink(const char *path) {
    int done = REAL(unlink)(path);
    if (!done && inside(path)) note('U', 0, path, "", 0);
    return done;
}
int rmdir(const char *path) {
    int done = REAL(rmdir)(path);
    if (!done && inside(path)) note('U', 0, path, "", 0);
    return done;
}
int mkdir(const char *path, mode_t mode) {
    int done = REAL(mkdir)(path, mode);
    if (!done && inside(path)) note('D', 0, path, "", 0);
    return done;
}
