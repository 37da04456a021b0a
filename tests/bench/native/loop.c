/* loop FIFO SERVICE COUNT SESSION: posix_spawn of COUNT services, and of another for each that
 * dies: what a machine can do, with no logs, no control and no backoff. With SESSION 1 each leads
 * a session, for which the kernel makes a scheduling group where it has autogroups: on a busy
 * machine such a newborn gets its first turn later. */
#define _GNU_SOURCE
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

extern char **environ;
static posix_spawnattr_t how;
static int by_pid[1 << 22]; /* PID_MAX_LIMIT */

static void start(char **argv, int id) {
  char text[16];
  snprintf(text, sizeof text, "%d", id);
  char *args[] = {argv[2], argv[1], text, 0};
  pid_t pid;
  if (posix_spawn(&pid, args[0], 0, &how, args, environ)) exit(3);
  by_pid[pid] = id;
}

int main(int argc, char **argv) {
  if (argc < 5) return 2;
  signal(SIGTERM, SIG_DFL);
  posix_spawnattr_init(&how);
  if (atoi(argv[4])) posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSID);
  for (int id = 1; id <= atoi(argv[3]); id++) start(argv, id);
  for (;;) {
    pid_t pid = waitpid(-1, 0, 0);
    if (pid > 0) start(argv, by_pid[pid]);
  }
}
