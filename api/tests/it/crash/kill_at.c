/*
 * Kills the process that it is loaded into at one exact point: before, during or after the n-th thing
 * that the process makes durable. Loaded with LD_PRELOAD, so that the program under test is the one
 * that is shipped.
 *
 * KILL_AT_OBJECTS   directory of the object store
 * KILL_AT_DATABASE  path of the SQLite database
 * KILL_AT_LOG       file that gets a line for each point: KIND NUMBER SIZE PATH
 * KILL_AT           the point: KIND NUMBER MOMENT [FRAME]; without it, points are only told
 *
 * Kinds: `commit` is a transaction: frames written to the write-ahead log, then a sync of it. Of objects:
 * `write`, `rename`, `link`, `unlink`. A write is cut in half by `during`; a commit after FRAME frames.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum kind { COMMIT, WRITE, RENAME, LINK, UNLINK, KINDS };
static const char *const NAMES[KINDS] = {"commit", "write", "rename", "link", "unlink"};

static const char *objects, *database;
static int out = -1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int counts[KINDS];
/* Frames that were written since the log was last synced. */
static int frames;

/* The point to die at; no kind if there is none. */
static int at_kind = -1, at_number, at_frame;
static char at_moment[16];

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void begin(void) {
    char kind[16];
    const char *at = getenv("KILL_AT"), *log = getenv("KILL_AT_LOG");
    objects = getenv("KILL_AT_OBJECTS");
    database = getenv("KILL_AT_DATABASE");
    /* The children of the process are not meant. */
    unsetenv("LD_PRELOAD");
    if (log)
        out = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (at && sscanf(at, "%15s %d %15s %d", kind, &at_number, at_moment, &at_frame) >= 3)
        for (int i = 0; i < KINDS; i++)
            if (strcmp(kind, NAMES[i]) == 0)
                at_kind = i;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

static int is_at(enum kind kind, int number, const char *moment) {
    return (int)kind == at_kind && number == at_number && strcmp(moment, at_moment) == 0;
}

/* Begins what is the next of its kind; its number. */
static int begins(enum kind kind, long size, const char *path) {
    char line[PATH_MAX + 64];
    pthread_mutex_lock(&lock);
    int number = ++counts[kind];
    int length = snprintf(line, sizeof line, "%s %d %ld %s\n", NAMES[kind], number, size, path);
    if (out >= 0 && REAL(write)(out, line, length) != length)
        abort();
    pthread_mutex_unlock(&lock);
    if (is_at(kind, number, "before"))
        die();
    return number;
}

static void ended(enum kind kind, int number) {
    if (is_at(kind, number, "after"))
        die();
}

static int is_object(const char *path) {
    size_t length = objects ? strlen(objects) : 0;
    return length && strncmp(path, objects, length) == 0 && path[length] == '/';
}

/* Whether the path is that of the write-ahead log. */
static int is_log(const char *path) {
    size_t length = database ? strlen(database) : 0;
    return length && strncmp(path, database, length) == 0 && strcmp(path + length, "-wal") == 0;
}

static const char *path_of(int fd, char path[PATH_MAX]) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    return path;
}

/* A frame of the commit that is going on is about to be written. */
static void frame(void) {
    pthread_mutex_lock(&lock);
    int commit = counts[COMMIT] + 1, number = ++frames;
    pthread_mutex_unlock(&lock);
    if (number == 1 && is_at(COMMIT, commit, "before"))
        die();
    if (number == at_frame && is_at(COMMIT, commit, "during"))
        die();
}

/* The log was synced: what is in it is committed. */
static void synced(const char *path) {
    char line[PATH_MAX + 64];
    pthread_mutex_lock(&lock);
    int number = frames ? ++counts[COMMIT] : 0;
    int length = snprintf(line, sizeof line, "commit %d %d %s\n", number, frames, path);
    if (number && out >= 0 && REAL(write)(out, line, length) != length)
        abort();
    frames = 0;
    pthread_mutex_unlock(&lock);
    if (number)
        ended(COMMIT, number);
}

ssize_t write(int fd, const void *bytes, size_t size) {
    char path[PATH_MAX];
    ssize_t (*real)(int, const void *, size_t) = REAL(write);
    if (fd <= 2 || fd == out)
        return real(fd, bytes, size);
    path_of(fd, path);
    if (is_log(path))
        frame();
    if (!is_object(path))
        return real(fd, bytes, size);
    int number = begins(WRITE, (long)size, path);
    if (is_at(WRITE, number, "during") && real(fd, bytes, size / 2) >= 0)
        die();
    ssize_t done = real(fd, bytes, size);
    ended(WRITE, number);
    return done;
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t offset) {
    char path[PATH_MAX];
    if (is_log(path_of(fd, path)))
        frame();
    return REAL(pwrite64)(fd, bytes, size, offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset) {
    return pwrite64(fd, bytes, size, offset);
}

int fsync(int fd) {
    char path[PATH_MAX];
    int done = REAL(fsync)(fd);
    if (is_log(path_of(fd, path)))
        synced(path);
    return done;
}

int fdatasync(int fd) {
    char path[PATH_MAX];
    int done = REAL(fdatasync)(fd);
    if (is_log(path_of(fd, path)))
        synced(path);
    return done;
}

int rename(const char *from, const char *to) {
    int (*real)(const char *, const char *) = REAL(rename);
    if (!is_object(to))
        return real(from, to);
    int number = begins(RENAME, 0, to);
    int done = real(from, to);
    ended(RENAME, number);
    return done;
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) {
    int (*real)(int, const char *, int, const char *, int) = REAL(linkat);
    if (!is_object(to))
        return real(from_dir, from, to_dir, to, flags);
    int number = begins(LINK, 0, to);
    int done = real(from_dir, from, to_dir, to, flags);
    ended(LINK, number);
    return done;
}

int link(const char *from, const char *to) {
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlink(const char *path) {
    int (*real)(const char *) = REAL(unlink);
    if (!is_object(path))
        return real(path);
    int number = begins(UNLINK, 0, path);
    int done = real(path);
    ended(UNLINK, number);
    return done;
}
