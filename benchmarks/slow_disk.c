/* A disk on which every sync takes a while: SLOW_DISK_SECONDS of them. Loaded by LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

static void wait_for_it(void) {
  const char *seconds = getenv("SLOW_DISK_SECONDS");
  double wanted = seconds ? atof(seconds) : 0.0;
  struct timespec pause = {(time_t)wanted, (long)((wanted - (double)(time_t)wanted) * 1e9)};
  nanosleep(&pause, NULL);
}

int fsync(int descriptor) {
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
  wait_for_it();
  return real(descriptor);
}

int fdatasync(int descriptor) {
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
  wait_for_it();
  return real(descriptor);
}
