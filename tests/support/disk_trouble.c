/* Makes a disk fail, for one directory: preloaded into a server under test.
 *
 * DISK_TROUBLE_BELOW is the directory; DISK_TROUBLE names a file that says what is wrong at the moment:
 *   ok        nothing
 *   full      nothing can be written (ENOSPC), small files are made and stay empty
 *   readonly  nothing can be made or renamed (EROFS)
 *   eio       syncing a file fails (EIO)
 *   direio    syncing a directory fails (EIO)
 *   unread    events.jsonl cannot be opened for reading: that waits until it says something else
 *   hung      every write and sync waits until it says something else
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void said(char *word, size_t size) {
    const char *path = getenv("DISK_TROUBLE");
    word[0] = 0;
    if (!path) return;
    int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return;
    ssize_t length = syscall(SYS_read, fd, word, size - 1);
    syscall(SYS_close, fd);
    word[length > 0 ? length : 0] = 0;
}

static int below(const char *path) {
    const char *directory = getenv("DISK_TROUBLE_BELOW");
    return directory && path && strncmp(path, directory, strlen(directory)) == 0;
}

static int fd_below(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return below(path);
}

/* 0, or the error that there is. */
static int trouble(const char *errors) {
    char word[32];
    for (;;) {
        said(word, sizeof word);
        if (strcmp(word, "hung") != 0) break;
        usleep(5000);
    }
    if (!strstr(errors, word) || !word[0]) return 0;
    if (!strcmp(word, "full")) return ENOSPC;
    if (!strcmp(word, "readonly")) return EROFS;
    if (!strcmp(word, "eio") || !strcmp(word, "direio")) return EIO;
    return 0;
}

#define FAIL_WITH(found) do { int error = (found); if (error) { errno = error; return -1; } } while (0)

/* Waits for as long as the file cannot be read. */
static void unread(const char *path) {
    const char *name = strrchr(path, '/');
    char word[32];
    if (!name || strcmp(name, "/events.jsonl") != 0 || !below(path)) return;
    for (said(word, sizeof word); strcmp(word, "unread") == 0; said(word, sizeof word)) usleep(5000);
}

static int opened(const char *path, int flags, mode_t mode) {
    if ((flags & O_ACCMODE) == O_RDONLY) unread(path);
    if ((flags & O_ACCMODE) != O_RDONLY && below(path)) FAIL_WITH(trouble("readonly"));
    return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = flags & O_CREAT ? va_arg(list, mode_t) : 0;
    va_end(list);
    return opened(path, flags, mode);
}

int open(const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = flags & O_CREAT ? va_arg(list, mode_t) : 0;
    va_end(list);
    return opened(path, flags, mode);
}

ssize_t write(int fd, const void *octets, size_t count) {
    if (count > 0 && fd > 2 && fd_below(fd)) FAIL_WITH(trouble("full"));
    return syscall(SYS_write, fd, octets, count);
}

int fsync(int fd) {
    struct stat what;
    if (fd_below(fd)) {
        int directory = fstat(fd, &what) == 0 && S_ISDIR(what.st_mode);
        FAIL_WITH(trouble(directory ? "direio" : "eio"));
    }
    return syscall(SYS_fsync, fd);
}

int rename(const char *from, const char *to) {
    if (below(to)) FAIL_WITH(trouble("readonly"));
    return syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
}

int mkdir(const char *path, mode_t mode) {
    if (below(path)) FAIL_WITH(trouble("readonly full"));
    return syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}
