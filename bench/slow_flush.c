/* A slow disk: a library for LD_PRELOAD with which each flush of PostgreSQL's server takes SLOW_FLUSH_MS milliseconds longer.
 *
 * fsync and fdatasync flush first, then sleep. sync_file_range does not: PostgreSQL calls it to begin a write, not to wait for
 * it. Only a program named "postgres" is slowed down: initdb flushes a thousand files, and nothing measures it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct timespec delay;

/* At the start: later, PostgreSQL overwrites the program's name with the title that ps shows. */
__attribute__((constructor)) static void start(void) {
    const char *text = getenv("SLOW_FLUSH_MS");
    if (!text || strcmp(program_invocation_short_name, "postgres") != 0) return;
    long nanoseconds = (long)(atof(text) * 1e6);
    delay = (struct timespec){.tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
}

static int flush(const char *name, int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    int result = real(fd), error = errno;
    struct timespec left = delay;
    while ((left.tv_sec || left.tv_nsec) && nanosleep(&left, &left) < 0 && errno == EINTR) continue;
    errno = error;
    return result;
}

int fsync(int fd) { return flush("fsync", fd); }

int fdatasync(int fd) { return flush("fdatasync", fd); }
