/* A power cut without pulling a plug: what a process has not synced is gone.
 *
 * Preloaded into a server (LD_PRELOAD), this keeps in POWER_CUT_DISK a copy of each file under POWER_CUT_FOLDER as it was when it was
 * last synced (fsync or fdatasync). After kill -9 that copy is what a disk would hold that wrote nothing by itself: the worst it may do.
 * Names are taken to last at once, which real file systems promise only after a sync of the folder.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static void keep(int file) {
    const char *folder = getenv("POWER_CUT_FOLDER"), *disk = getenv("POWER_CUT_DISK");
    char link[64], path[PATH_MAX], kept[PATH_MAX], made[PATH_MAX], part[1 << 16];
    struct stat about;
    if (!folder || !disk || fstat(file, &about) || !S_ISREG(about.st_mode)) return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return;
    path[length] = 0;
    size_t start = strlen(folder);
    if (strncmp(path, folder, start) || path[start] != '/' || strchr(path + start + 1, '/')) return;
    snprintf(kept, sizeof kept, "%s/%s", disk, path + start + 1);
    snprintf(made, sizeof made, "%s/.part", disk);
    pthread_mutex_lock(&turn);
    int from = open(path, O_RDONLY | O_CLOEXEC), to = open(made, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t read_now = -1;
    while (from >= 0 && to >= 0 && (read_now = read(from, part, sizeof part)) > 0)
        if (write(to, part, read_now) != read_now) abort();
    if (read_now != 0) abort(); /* a copy that is not whole would make the check lie */
    close(from);
    close(to);
    if (rename(made, kept)) abort();
    pthread_mutex_unlock(&turn);
}

int fsync(int file) {
    int done = ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(file);
    if (!done) keep(file);
    return done;
}

int fdatasync(int file) {
    int done = ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(file);
    if (!done) keep(file);
    return done;
}
