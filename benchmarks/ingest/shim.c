/* Preloaded into a program: tells when its files reach the disk and what its sockets carry, and can
 * make the disk slow.
 *
 * SHIM_LOG             file to append to, one line a call: monotonic ns when it began, when it ended,
 *                      process, thread, name, descriptor, result, and the file's path or the first
 *                      bytes on the socket, each other than a letter or digit as '.'
 * SHIM_FSYNC_DELAY_MS  milliseconds that every fsync and fdatasync takes longer
 *
 * The log is written by bare system calls, so that it does not tell of itself.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static int log_fd = -1;
static long delay_ms;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("SHIM_LOG"), *delay = getenv("SHIM_FSYNC_DELAY_MS");
    if (path && *path)
        log_fd = (int)syscall(SYS_openat, AT_FDCWD, path,
                              O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    delay_ms = delay ? atol(delay) : 0;
}

static long long now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void tell(long long began, const char *call, int fd, long result, const void *bytes,
                 size_t length, mode_t kind) {
    int failed = errno;
    long long ended = now_ns();
    char text[256] = "", link[40], line[512];
    struct stat about;
    if (fd == log_fd || fstat(fd, &about) || (about.st_mode & S_IFMT) != kind) goto out;
    if (kind == S_IFREG) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, text, sizeof text - 1);
        text[n > 0 ? n : 0] = 0;
    } else if (bytes) {
        if (length > 24) length = 24;
        for (size_t i = 0; i < length; i++)
            text[i] = isalnum(((const unsigned char *)bytes)[i]) ? ((const char *)bytes)[i] : '.';
    }
    int n = snprintf(line, sizeof line, "%lld\t%lld\t%d\t%ld\t%s\t%d\t%ld\t%s\n", began, ended,
                     (int)getpid(), syscall(SYS_gettid), call, fd, result, text);
    if (n >= (int)sizeof line) n = sizeof line - 1;
    syscall(SYS_write, log_fd, line, (size_t)n);
out:
    errno = failed;
}

#define REAL(type, name, ...)                       \
    static type (*real)(__VA_ARGS__);               \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name);
#define TELL(began, name, fd, result, bytes, length, kind) \
    if (log_fd >= 0) tell(began, name, fd, (long)(result), bytes, length, kind)

#define SYNC(name)                                                               \
    int name(int fd) {                                                           \
        REAL(int, #name, int)                                                    \
        long long began = now_ns();                                              \
        struct timespec rest = {delay_ms / 1000, delay_ms % 1000 * 1000000};     \
        while (delay_ms > 0 && nanosleep(&rest, &rest) && errno == EINTR) {      \
        }                                                                        \
        int result = real(fd);                                                   \
        TELL(began, #name, fd, result, NULL, 0, S_IFREG);                        \
        return result;                                                           \
    }
SYNC(fsync)
SYNC(fdatasync)

/* File writes, with and without the name that large files have. */
#define PWRITE(name, offset_type)                                                    \
    ssize_t name(int fd, const void *bytes, size_t length, offset_type offset) {     \
        REAL(ssize_t, #name, int, const void *, size_t, offset_type)                 \
        long long began = now_ns();                                                  \
        ssize_t result = real(fd, bytes, length, offset);                            \
        TELL(began, "pwrite", fd, result, NULL, 0, S_IFREG);                         \
        return result;                                                               \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t write(int fd, const void *bytes, size_t length) {
    REAL(ssize_t, "write", int, const void *, size_t)
    long long began = now_ns();
    ssize_t result = real(fd, bytes, length);
    TELL(began, "write", fd, result, bytes, length, S_IFSOCK);
    return result;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(ssize_t, "writev", int, const struct iovec *, int)
    long long began = now_ns();
    ssize_t result = real(fd, parts, count);
    TELL(began, "writev", fd, result, count > 0 ? parts[0].iov_base : NULL,
         count > 0 ? parts[0].iov_len : 0, S_IFSOCK);
    return result;
}

ssize_t send(int fd, const void *bytes, size_t length, int flags) {
    REAL(ssize_t, "send", int, const void *, size_t, int)
    long long began = now_ns();
    ssize_t result = real(fd, bytes, length, flags);
    TELL(began, "send", fd, result, bytes, length, S_IFSOCK);
    return result;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    REAL(ssize_t, "sendmsg", int, const struct msghdr *, int)
    long long began = now_ns();
    ssize_t result = real(fd, message, flags);
    TELL(began, "sendmsg", fd, result, message->msg_iovlen ? message->msg_iov[0].iov_base : NULL,
         message->msg_iovlen ? message->msg_iov[0].iov_len : 0, S_IFSOCK);
    return result;
}

ssize_t read(int fd, void *bytes, size_t length) {
    REAL(ssize_t, "read", int, void *, size_t)
    long long began = now_ns();
    ssize_t result = real(fd, bytes, length);
    TELL(began, "read", fd, result, bytes, result > 0 ? (size_t)result : 0, S_IFSOCK);
    return result;
}

ssize_t recv(int fd, void *bytes, size_t length, int flags) {
    REAL(ssize_t, "recv", int, void *, size_t, int)
    long long began = now_ns();
    ssize_t result = real(fd, bytes, length, flags);
    TELL(began, "recv", fd, result, bytes, result > 0 ? (size_t)result : 0, S_IFSOCK);
    return result;
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
    REAL(ssize_t, "recvmsg", int, struct msghdr *, int)
    long long began = now_ns();
    ssize_t result = real(fd, message, flags);
    TELL(began, "recvmsg", fd, result,
         result > 0 && message->msg_iovlen ? message->msg_iov[0].iov_base : NULL,
         result > 0 ? (size_t)result : 0, S_IFSOCK);
    return result;
}
