/* Records what a process does to the files below a folder: for `power_cut.py`.
 *
 * Preloaded into every process (LD_PRELOAD). RECORD_ROOT is the folder, RECORD_LOG a folder for the
 * record: `log` has one line per operation, its words separated by tabs, in the order in which the
 * operations happened in all processes; `N` has the bytes of a file at the N-th fsync.
 * Bytes that are written are not recorded: those that no fsync followed count as lost.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int raw_open(const char *path, int flags) {
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0600);
}

/* The absolute path of a folder and a path relative to it; whether it is below RECORD_ROOT. */
static int locate(int folder, const char *path, char *out) {
    const char *root = getenv("RECORD_ROOT");
    if (!root || !path) return 0;
    out[0] = 0;
    if (path[0] != '/') {
        char link[64];
        if (folder == AT_FDCWD) strcpy(link, "/proc/self/cwd");
        else snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t length = readlink(link, out, PATH_MAX - 2);
        if (length < 0) return 0;
        out[length] = '/', out[length + 1] = 0;
    }
    if (strlen(out) + strlen(path) >= PATH_MAX) return 0;
    strcat(out, path);
    size_t length = strlen(root);
    return strncmp(out, root, length) == 0 && (out[length] == '/' || out[length] == 0);
}

/* One lock over all threads and processes, each of which opens the file anew. */
static int lock(void) {
    char path[PATH_MAX];
    const char *folder = getenv("RECORD_LOG");
    if (!folder) return -1;
    snprintf(path, sizeof path, "%s/lock", folder);
    int handle = raw_open(path, O_CREAT | O_RDWR);
    if (handle >= 0) flock(handle, LOCK_EX);
    return handle;
}

static void unlock(int handle) {
    int saved = errno;
    if (handle >= 0) syscall(SYS_close, handle);
    errno = saved;
}

static void note(const char *operation, const char *first, const char *second) {
    char path[PATH_MAX], line[2 * PATH_MAX + 32];
    int saved = errno;
    snprintf(path, sizeof path, "%s/log", getenv("RECORD_LOG"));
    int length = snprintf(line, sizeof line, "%s\t%s\t%s\n", operation, first, second);
    int handle = raw_open(path, O_CREAT | O_WRONLY | O_APPEND);
    if (handle >= 0) {
        if (syscall(SYS_write, handle, line, (size_t)length) != length) abort();
        syscall(SYS_close, handle);
    }
    errno = saved;
}

/* --- files that come into being, or lose their bytes ------------------------------------------ */

static void note_opened(const char *path, int existed, int truncates) {
    if (!existed) note("create", path, "");
    else if (truncates) note("truncate", path, "");
}

typedef int (*opener)(int, const char *, int, mode_t);

static int real_openat(int folder, const char *path, int flags, mode_t mode) {
    return REAL(openat)(folder, path, flags, mode);
}

static int record_open(opener open_it, int folder, const char *path, int flags, mode_t mode) {
    char full[PATH_MAX];
    int is_temporary = (flags & O_TMPFILE) == O_TMPFILE;
    if (is_temporary || !(flags & (O_CREAT | O_TRUNC)) || !locate(folder, path, full))
        return open_it(folder, path, flags, mode);
    int held = lock(), existed = faccessat(AT_FDCWD, full, F_OK, 0) == 0;
    int handle = open_it(folder, path, flags, mode);
    if (handle >= 0) note_opened(full, existed, flags & O_TRUNC);
    unlock(held);
    return handle;
}

static mode_t mode_of(int flags, va_list rest) {
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
}

#define OPEN(name)                                                     \
    int name(const char *path, int flags, ...) {                       \
        va_list rest;                                                  \
        va_start(rest, flags);                                         \
        mode_t mode = mode_of(flags, rest);                            \
        va_end(rest);                                                  \
        return record_open(real_openat, AT_FDCWD, path, flags, mode);  \
    }
#define OPENAT(name)                                                   \
    int name(int folder, const char *path, int flags, ...) {           \
        va_list rest;                                                  \
        va_start(rest, flags);                                         \
        mode_t mode = mode_of(flags, rest);                            \
        va_end(rest);                                                  \
        return record_open(real_openat, folder, path, flags, mode);    \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

int creat(const char *path, mode_t mode) {
    return open(path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

#define FOPEN(name)                                                    \
    FILE *name(const char *path, const char *mode) {                   \
        char full[PATH_MAX];                                           \
        if (mode[0] == 'r' || !locate(AT_FDCWD, path, full))           \
            return REAL(name)(path, mode);                             \
        int held = lock(), existed = faccessat(AT_FDCWD, full, F_OK, 0) == 0; \
        FILE *file = REAL(name)(path, mode);                           \
        if (file) note_opened(full, existed, mode[0] == 'w');          \
        unlock(held);                                                  \
        return file;                                                   \
    }
FOPEN(fopen)
FOPEN(fopen64)

/* --- names ------------------------------------------------------------------------------------ */

#define ONE_PATH(name, operation, folder, path, call)                  \
    {                                                                  \
        char full[PATH_MAX];                                           \
        if (!locate(folder, path, full)) return call;                  \
        int held = lock(), result = call;                              \
        if (result == 0) note(operation, full, "");                    \
        unlock(held);                                                  \
        return result;                                                 \
    }

int unlink(const char *path) ONE_PATH(unlink, "unlink", AT_FDCWD, path, REAL(unlink)(path))
int rmdir(const char *path) ONE_PATH(rmdir, "unlink", AT_FDCWD, path, REAL(rmdir)(path))
int remove(const char *path) ONE_PATH(remove, "unlink", AT_FDCWD, path, REAL(remove)(path))
int unlinkat(int folder, const char *path, int flags)
    ONE_PATH(unlinkat, "unlink", folder, path, REAL(unlinkat)(folder, path, flags))
int mkdir(const char *path, mode_t mode)
    ONE_PATH(mkdir, "mkdir", AT_FDCWD, path, REAL(mkdir)(path, mode))
int mkdirat(int folder, const char *path, mode_t mode)
    ONE_PATH(mkdirat, "mkdir", folder, path, REAL(mkdirat)(folder, path, mode))

#define TWO_PATHS(operation, from_folder, from, to_folder, to, call)   \
    {                                                                  \
        char old[PATH_MAX], new[PATH_MAX];                             \
        int is_old = locate(from_folder, from, old);                   \
        int is_new = locate(to_folder, to, new);                       \
        if (!is_old && !is_new) return call;                           \
        int held = lock(), result = call;                              \
        if (result == 0) note(operation, old, new);                    \
        unlock(held);                                                  \
        return result;                                                 \
    }

int rename(const char *from, const char *to)
    TWO_PATHS("rename", AT_FDCWD, from, AT_FDCWD, to, REAL(rename)(from, to))
int renameat(int f, const char *from, int t, const char *to)
    TWO_PATHS("rename", f, from, t, to, REAL(renameat)(f, from, t, to))
int renameat2(int f, const char *from, int t, const char *to, unsigned flags)
    TWO_PATHS("rename", f, from, t, to, REAL(renameat2)(f, from, t, to, flags))
int link(const char *from, const char *to)
    TWO_PATHS("link", AT_FDCWD, from, AT_FDCWD, to, REAL(link)(from, to))
int linkat(int f, const char *from, int t, const char *to, int flags)
    TWO_PATHS("link", f, from, t, to, REAL(linkat)(f, from, t, to, flags))

/* --- fsync ------------------------------------------------------------------------------------ */

static void copy_bytes(const char *from, const char *to) {
    char buffer[1 << 16];
    int source = raw_open(from, O_RDONLY), target = raw_open(to, O_CREAT | O_WRONLY | O_TRUNC);
    ssize_t length;
    while (source >= 0 && (length = syscall(SYS_read, source, buffer, sizeof buffer)) > 0)
        if (syscall(SYS_write, target, buffer, (size_t)length) != length) abort();
    syscall(SYS_close, source);
    syscall(SYS_close, target);
}

static int record_sync(int (*sync_it)(int), int handle) {
    char link[64], full[PATH_MAX], path[PATH_MAX], number[32];
    struct stat status;
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = 0;
    if (!locate(AT_FDCWD, path, full) || fstat(handle, &status)) return sync_it(handle);
    int held = lock(), result = sync_it(handle);
    if (S_ISDIR(status.st_mode)) note("syncdir", full, "");
    else {
        char counter[PATH_MAX], copy[PATH_MAX];
        snprintf(counter, sizeof counter, "%s/number", getenv("RECORD_LOG"));
        int file = raw_open(counter, O_CREAT | O_WRONLY | O_APPEND);
        if (syscall(SYS_write, file, ".", 1) != 1) abort();
        snprintf(number, sizeof number, "%ld", (long)lseek(file, 0, SEEK_END));
        syscall(SYS_close, file);
        snprintf(copy, sizeof copy, "%s/%s", getenv("RECORD_LOG"), number);
        copy_bytes(link, copy);
        note("sync", full, number);
    }
    unlock(held);
    return result;
}

int fsync(int handle) { return record_sync(REAL(fsync), handle); }
int fdatasync(int handle) { return record_sync(REAL(fdatasync), handle); }
