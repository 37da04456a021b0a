/* Preloaded: the time of day is off by as many seconds as the file $CLOCK_OFFSET holds now. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *now) {
  static volatile int64_t *seconds;
  const char *path = getenv("CLOCK_OFFSET");
  if (!seconds && path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    void *page = fd < 0 ? MAP_FAILED : mmap(0, 8, PROT_READ, MAP_SHARED, fd, 0);
    if (fd >= 0) close(fd);
    if (page != MAP_FAILED) seconds = page;
  }
  int code = syscall(SYS_clock_gettime, id, now);
  if (seconds && id == CLOCK_REALTIME) now->tv_sec += *seconds;
  return code;
}
