/* loop FIFO SERVICE COUNT: posix_spawn of COUNT services, and of another for each that dies: what
 * a machine can do, with no logs, no control and no backoff. */
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

extern char **environ;
static int by_pid[1 << 22]; /* PID_MAX_LIMIT */

static void start(char **argv, int id) {
  char text[16];
  snprintf(text, sizeof text, "%d", id);
  char *args[] = {argv[2], argv[1], text, 0};
  pid_t pid;
  if (posix_spawn(&pid, args[0], 0, 0, args, environ)) exit(3);
  by_pid[pid] = id;
}

int main(int argc, char **argv) {
  if (argc < 4) return 2;
  signal(SIGTERM, SIG_DFL);
  for (int id = 1; id <= atoi(argv[3]); id++) start(argv, id);
  for (;;) {
    pid_t pid = waitpid(-1, 0, 0);
    if (pid > 0) start(argv, by_pid[pid]);
  }
}
