/* What a program did to one directory, in the order in which it did it: for LD_PRELOAD.
 *
 * RECORDER_ROOT names the directory, RECORDER_LOG the file for the records. Calls on other files pass through. A sync is
 * not carried out, for nothing is read back from this disk: it is recorded when it begins and when it ends, and takes a
 * moment, in which other threads go on. A call that changes files and cannot be recorded ends the program.
 *
 * A record, in the machine's byte order: operation (1 byte), descriptor (4), number (8), two lengths (4 each), two strings.
 *
 *     o  open a file: flags, path   w  write: offset, bytes      b  a sync begins: its number
 *     d  open a directory: path     t  new size: size            e  a sync ends: its number
 *     c  close                      r  rename: from, to          u  unlink: path
 *     m  make a directory: path
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define DESCRIPTORS 4096
#define SYNC_MICROSECONDS 200

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *root;
static size_t root_length;
static int log_fd = -1;
static uint64_t syncs;
static unsigned char watched[DESCRIPTORS];

__attribute__((constructor)) static void begin(void)
{
    const char *log = getenv("RECORDER_LOG");
    root = getenv("RECORDER_ROOT");
    if (!root || !log)
        return;
    root_length = strlen(root);
    log_fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (log_fd < 0)
        _exit(97);
}

static int ours(const char *path)
{
    return log_fd >= 0 && path && !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

static int is_watched(int fd)
{
    return fd >= 0 && fd < DESCRIPTORS && watched[fd];
}

static void record(char op, int fd, uint64_t number, const void *one, uint32_t one_length, const char *two)
{
    uint32_t two_length = two ? strlen(two) : 0;
    char head[21];
    head[0] = op;
    memcpy(head + 1, &fd, 4);
    memcpy(head + 5, &number, 8);
    memcpy(head + 13, &one_length, 4);
    memcpy(head + 17, &two_length, 4);
    struct iovec parts[3] = {{head, sizeof head}, {(void *)one, one_length}, {(void *)two, two_length}};
    if (syscall(SYS_writev, log_fd, parts, 3) != (long)(sizeof head + one_length + two_length))
        _exit(98);
}

/* A name below a directory that is open, as a whole path. */
static const char *whole(int folder, const char *path, char *room)
{
    char link[40];
    if (log_fd < 0 || !path || path[0] == '/' || !is_watched(folder))
        return path;
    snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    ssize_t length = readlink(link, room, PATH_MAX);
    if (length < 0 || length + strlen(path) + 2 > PATH_MAX)
        _exit(96);
    if (!strcmp(path, "."))
        room[length] = 0;
    else
        snprintf(room + length, PATH_MAX - length, "/%s", path);
    return room;
}

static int open_recorded(int folder, const char *path, int flags, mode_t mode)
{
    char room[PATH_MAX];
    path = whole(folder, path, room);
    if (!ours(path))
        return syscall(SYS_openat, folder, path, flags, mode);
    pthread_mutex_lock(&lock);
    int fd = syscall(SYS_openat, folder, path, flags, mode);
    if (fd >= DESCRIPTORS)
        _exit(99);
    if (fd >= 0) {
        struct stat state;
        watched[fd] = 1;
        record(!fstat(fd, &state) && S_ISDIR(state.st_mode) ? 'd' : 'o', fd, flags, path, strlen(path), 0);
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

#define OPEN(name)                                                   \
    int name(const char *path, int flags, ...)                       \
    {                                                                \
        va_list arguments;                                           \
        va_start(arguments, flags);                                  \
        mode_t mode = va_arg(arguments, mode_t);                     \
        va_end(arguments);                                           \
        return open_recorded(AT_FDCWD, path, flags, mode);           \
    }
#define OPENAT(name)                                                 \
    int name(int folder, const char *path, int flags, ...)           \
    {                                                                \
        va_list arguments;                                           \
        va_start(arguments, flags);                                  \
        mode_t mode = va_arg(arguments, mode_t);                     \
        va_end(arguments);                                           \
        return open_recorded(folder, path, flags, mode);             \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

int close(int fd)
{
    if (!is_watched(fd))
        return syscall(SYS_close, fd);
    pthread_mutex_lock(&lock);
    watched[fd] = 0;
    record('c', fd, 0, 0, 0, 0);
    int result = syscall(SYS_close, fd);
    pthread_mutex_unlock(&lock);
    return result;
}

static ssize_t write_recorded(int fd, const void *data, size_t size, off_t offset, int is_positioned)
{
    if (!is_watched(fd))
        return is_positioned ? syscall(SYS_pwrite64, fd, data, size, offset) : syscall(SYS_write, fd, data, size);
    pthread_mutex_lock(&lock);
    struct stat state;
    if (!is_positioned && syscall(SYS_fcntl, fd, F_GETFL) & O_APPEND && !fstat(fd, &state))
        offset = state.st_size;
    else if (!is_positioned)
        offset = syscall(SYS_lseek, fd, 0, SEEK_CUR);
    ssize_t done = is_positioned ? syscall(SYS_pwrite64, fd, data, size, offset) : syscall(SYS_write, fd, data, size);
    if (done > 0)
        record('w', fd, offset, data, done, 0);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t write(int fd, const void *data, size_t size) { return write_recorded(fd, data, size, 0, 0); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return write_recorded(fd, data, size, at, 1); }
ssize_t pwrite64(int fd, const void *data, size_t size, off_t at) { return write_recorded(fd, data, size, at, 1); }

static int cut_recorded(int fd, off_t size)
{
    if (!is_watched(fd))
        return syscall(SYS_ftruncate, fd, size);
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_ftruncate, fd, size);
    if (!result)
        record('t', fd, size, 0, 0, 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int ftruncate(int fd, off_t size) { return cut_recorded(fd, size); }
int ftruncate64(int fd, off_t size) { return cut_recorded(fd, size); }

static int sync_recorded(int fd, long call)
{
    if (!is_watched(fd))
        return syscall(call, fd);
    pthread_mutex_lock(&lock);
    uint64_t number = syncs++;
    record('b', fd, number, 0, 0, 0);
    pthread_mutex_unlock(&lock);
    usleep(SYNC_MICROSECONDS);
    pthread_mutex_lock(&lock);
    record('e', fd, number, 0, 0, 0);
    pthread_mutex_unlock(&lock);
    return 0;
}

int fsync(int fd) { return sync_recorded(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_recorded(fd, SYS_fdatasync); }

int rename(const char *from, const char *to)
{
    if (!ours(from) && !ours(to))
        return syscall(SYS_rename, from, to);
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_rename, from, to);
    if (!result)
        record('r', -1, 0, from, strlen(from), to);
    pthread_mutex_unlock(&lock);
    return result;
}

int mkdir(const char *path, mode_t mode)
{
    if (!ours(path))
        return syscall(SYS_mkdir, path, mode);
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_mkdir, path, mode);
    if (!result)
        record('m', -1, 0, path, strlen(path), 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int unlink(const char *path)
{
    if (!ours(path))
        return syscall(SYS_unlink, path);
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_unlink, path);
    if (!result)
        record('u', -1, 0, path, strlen(path), 0);
    pthread_mutex_unlock(&lock);
    return result;
}

/* Nobody makes these calls below the root. Who does so one day has to have them recorded first: unseen, a cut would forgive
 * what was never synced.
 */
static void refuse(int is_ours)
{
    if (is_ours)
        _exit(95);
}

static int ours_in(int folder, const char *path)
{
    char room[PATH_MAX];
    return ours(whole(folder, path, room));
}

int renameat(int from_folder, const char *from, int to_folder, const char *to)
{
    refuse(ours_in(from_folder, from) || ours_in(to_folder, to));
    return syscall(SYS_renameat, from_folder, from, to_folder, to);
}

int link(const char *from, const char *to)
{
    refuse(ours(to));
    return syscall(SYS_link, from, to);
}

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags)
{
    refuse(ours_in(to_folder, to));
    return syscall(SYS_linkat, from_folder, from, to_folder, to, flags);
}

int symlink(const char *from, const char *to)
{
    refuse(ours(to));
    return syscall(SYS_symlink, from, to);
}

int mkdirat(int folder, const char *path, mode_t mode)
{
    refuse(ours_in(folder, path));
    return syscall(SYS_mkdirat, folder, path, mode);
}

int unlinkat(int folder, const char *path, int flags)
{
    refuse(ours_in(folder, path));
    return syscall(SYS_unlinkat, folder, path, flags);
}

int rmdir(const char *path)
{
    refuse(ours(path));
    return syscall(SYS_rmdir, path);
}

int truncate(const char *path, off_t size)
{
    refuse(ours(path));
    return syscall(SYS_truncate, path, size);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    refuse(is_watched(fd));
    return syscall(SYS_writev, fd, parts, count);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at)
{
    refuse(is_watched(fd));
    return syscall(SYS_pwritev, fd, parts, count, at, 0);
}

ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t at, int flags)
{
    refuse(is_watched(fd));
    return syscall(SYS_pwritev2, fd, parts, count, at, 0, flags);
}

ssize_t sendfile(int to, int from, off_t *at, size_t size)
{
    refuse(is_watched(to));
    return syscall(SYS_sendfile, to, from, at, size);
}

ssize_t sendfile64(int to, int from, off_t *at, size_t size) { return sendfile(to, from, at, size); }
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t at) { return pwritev(fd, parts, count, at); }
ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off_t at, int flags)
{
    return pwritev2(fd, parts, count, at, flags);
}
int truncate64(const char *path, off_t size) { return truncate(path, size); }

int posix_fallocate(int fd, off_t at, off_t size)
{
    refuse(is_watched(fd));
    return syscall(SYS_fallocate, fd, 0, at, size) ? errno : 0;
}

int posix_fallocate64(int fd, off_t at, off_t size) { return posix_fallocate(fd, at, size); }
