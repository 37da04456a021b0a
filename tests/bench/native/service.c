/* service FIFO ID: its first act is to tell {u32 id, u32 pid, u64 CLOCK_MONOTONIC ns}, so that it
 * is never a supervisor's word that is believed; then it waits for a signal that ends it. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  if (argc < 3) return 2;
  struct { uint32_t id, pid; uint64_t at; } told = {
      atoi(argv[2]), getpid(), now.tv_sec * 1000000000ull + now.tv_nsec};
  int fd = open(argv[1], O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, &told, sizeof told) != sizeof told) return 3;
  close(fd);
  for (;;) pause();
}
