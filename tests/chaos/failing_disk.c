/* A disk that fails for the processes that load this by LD_PRELOAD, from some call on.

   KEYFACE_DISK=FOLDER|COUNTER|AT|ERROR|CALLS in the environment: calls on files below FOLDER are counted in the
   file COUNTER, first those that write and then those that read, for all processes together. From number AT on
   those of the kind CALLS, "w" or "r", fail with the error number ERROR. Without the variable nothing changes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[4096], calls;
static long at, *counter;
static int error, state; /* 0: not asked yet, 1: counts */

static int counts(void) {
  if (!state) {
    const char *asked = getenv("KEYFACE_DISK");
    char file[4096];
    if (!asked || sscanf(asked, "%4095[^|]|%4095[^|]|%ld|%d|%c", folder, file, &at, &error, &calls) != 5) return 0;
    int (*raw_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    int handle = raw_open(file, O_RDWR);
    if (handle < 0) return 0;
    counter = mmap(NULL, 2 * sizeof *counter, PROT_READ | PROT_WRITE, MAP_SHARED, handle, 0);
    close(handle);
    if (counter == MAP_FAILED) return 0;
    state = 1;
  }
  return 1;
}

/* Whether a call on an open file fails now. */
static int fails(int handle, char call) {
  if (!counts()) return 0;
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  if (strncmp(path, folder, strlen(folder))) return 0;
  long number = __sync_add_and_fetch(counter + (call == 'r'), 1);
  return call == calls && number >= at;
}

#define REAL(name) ({ static typeof(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name); real; })
#define WRAP(call, type, name, parameters, handle, ...)                                                        \
  type name parameters {                                                                                       \
    if (fails(handle, call)) { errno = error; return -1; }                                                     \
    return REAL(name)(__VA_ARGS__);                                                                            \
  }

WRAP('w', ssize_t, write, (int f, const void *b, size_t n), f, f, b, n)
WRAP('w', ssize_t, writev, (int f, const struct iovec *v, int n), f, f, v, n)
WRAP('w', ssize_t, pwrite, (int f, const void *b, size_t n, off_t o), f, f, b, n, o)
WRAP('w', ssize_t, pwrite64, (int f, const void *b, size_t n, off64_t o), f, f, b, n, o)
WRAP('w', int, ftruncate, (int f, off_t n), f, f, n)
WRAP('w', int, ftruncate64, (int f, off64_t n), f, f, n)
WRAP('w', int, fsync, (int f), f, f)
WRAP('w', int, fdatasync, (int f), f, f)
WRAP('w', ssize_t, copy_file_range, (int i, off64_t *p, int f, off64_t *q, size_t n, unsigned g), f, i, p, f, q, n, g)
WRAP('w', ssize_t, sendfile, (int f, int i, off_t *o, size_t n), f, f, i, o, n)
WRAP('w', ssize_t, sendfile64, (int f, int i, off64_t *o, size_t n), f, f, i, o, n)
WRAP('r', ssize_t, read, (int f, void *b, size_t n), f, f, b, n)
WRAP('r', ssize_t, readv, (int f, const struct iovec *v, int n), f, f, v, n)
WRAP('r', ssize_t, pread, (int f, void *b, size_t n, off_t o), f, f, b, n, o)
WRAP('r', ssize_t, pread64, (int f, void *b, size_t n, off64_t o), f, f, b, n, o)

/* These return the error's number. */
int posix_fallocate(int f, off_t o, off_t n) { return fails(f, 'w') ? error : REAL(posix_fallocate)(f, o, n); }
int posix_fallocate64(int f, off64_t o, off64_t n) { return fails(f, 'w') ? error : REAL(posix_fallocate64)(f, o, n); }
