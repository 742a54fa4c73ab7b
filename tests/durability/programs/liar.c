/* Runs a program whose renames and deletions fail, lie or come late, by a seed, on whatever file system.
 *
 * usage: liar SEED CONTROL PREFIX COMMAND...
 *
 * Of the calls on names below the folder PREFIX that the program and its threads make, so many of a thousand as the first
 * word of the file CONTROL says are refused with an error: before they are done, although they were done, or before they
 * are done by somebody else a moment later, as a server does what it heard of too late. The second word counts them.
 * A file system in user space cannot do this: the kernel and the library between go on with the names that they know. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#if !defined(__x86_64__)
#error "for x86-64"
#endif

enum { LATEST_US = 60000, NAME = 4096 };

static volatile int64_t *control;
static const char *prefix;
static unsigned long long state;

struct name { int folder; char path[NAME]; };
struct late { unsigned when, flags; unsigned long file; struct name from, to; };

static unsigned draw(unsigned below)
{
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(state >> 33) % below;
}

/* A name as the program has it, for us to use: its folder opened, so that it stays the same. */
static int take(pid_t pid, int folder, unsigned long address, struct name *name)
{
    char path[NAME], link[64], place[NAME + 1] = "";
    for (size_t n = 0; n < sizeof path; n++) {
        struct iovec own = {path + n, 1}, its = {(void *)(address + n), 1};
        if (process_vm_readv(pid, &own, 1, &its, 1, 0) != 1) return 0;
        if (path[n] == '\0') break;
    }
    path[NAME - 1] = '\0';
    if (path[0] == '/') snprintf(link, sizeof link, "/");
    else if (folder == AT_FDCWD) snprintf(link, sizeof link, "/proc/%d/cwd", pid);
    else snprintf(link, sizeof link, "/proc/%d/fd/%d", pid, folder);
    name->folder = open(link, O_PATH | O_CLOEXEC);
    if (name->folder < 0) return 0;
    strcpy(name->path, path);
    if (path[0] == '/') return strncmp(path, prefix, strlen(prefix)) == 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", name->folder);
    ssize_t length = readlink(link, place, NAME);
    return length > 0 && strncmp(place, prefix, strlen(prefix)) == 0;
}

/* A number that no other file has: inodes are used again at once, times of creation are not. */
static unsigned long file_of(const struct name *name)
{
    struct statx found;
    if (statx(name->folder, name->path, AT_SYMLINK_NOFOLLOW, STATX_INO | STATX_BTIME, &found) != 0) return 0;
    return (found.stx_ino * 1000003 + (unsigned long)found.stx_btime.tv_sec) * 1000003 + found.stx_btime.tv_nsec;
}

/* What was asked was about this file: one that has got the name since is left alone. */
static void *do_late(void *argument)
{
    struct late *late = argument;
    usleep(late->when);
    if (late->file != 0 && file_of(&late->from) == late->file) {
        if (late->to.path[0])
            syscall(SYS_renameat2, late->from.folder, late->from.path, late->to.folder, late->to.path, late->flags);
        else
            unlinkat(late->from.folder, late->from.path, 0);
    }
    close(late->from.folder);
    if (late->to.path[0]) close(late->to.folder);
    free(late);
    return NULL;
}

/* What becomes of the call that a thread is about to make: the error to answer at its end, 0 for none. */
static int strike(pid_t pid, struct user_regs_struct *r)
{
    struct late *late = calloc(1, sizeof *late);
    int is_ours = 0, renames = 1;
    switch (r->orig_rax) {
    case SYS_rename: is_ours = take(pid, AT_FDCWD, r->rdi, &late->from) & take(pid, AT_FDCWD, r->rsi, &late->to); break;
    case SYS_renameat: case SYS_renameat2:
        is_ours = take(pid, (int)r->rdi, r->rsi, &late->from) & take(pid, (int)r->rdx, r->r10, &late->to);
        if (r->orig_rax == SYS_renameat2) late->flags = (unsigned)r->r8;
        break;
    case SYS_unlink: renames = 0; is_ours = take(pid, AT_FDCWD, r->rdi, &late->from); break;
    case SYS_unlinkat: renames = 0; is_ours = take(pid, (int)r->rdi, r->rsi, &late->from); break;
    }
    unsigned struck = draw(1000), kind = draw(3), when = draw(LATEST_US);
    if (!is_ours || struck >= (unsigned)control[0]) {
        if (late->from.folder > 0) close(late->from.folder);
        if (late->to.folder > 0) close(late->to.folder);
        free(late);
        return 0;
    }
    control[1]++;
    if (kind == 1) { /* It is done, and an error is answered. */
        close(late->from.folder);
        if (renames) close(late->to.folder);
        free(late);
        return -EIO;
    }
    r->orig_rax = -1; /* No call at all. */
    ptrace(PTRACE_SETREGS, pid, 0, r);
    pthread_t thread;
    late->when = when;
    late->file = file_of(&late->from);
    if (kind == 2 && pthread_create(&thread, NULL, do_late, late) == 0) pthread_detach(thread);
    return -EIO;
}

static void start(char **command)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rename, 5, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_renameat, 4, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_renameat2, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_unlink, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_unlinkat, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    ptrace(PTRACE_TRACEME, 0, 0, 0);
    raise(SIGSTOP);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) _exit(126);
    execvp(command[0], command);
    _exit(127);
}

int main(int count, char **arguments)
{
    if (count < 5) return 2;
    state = strtoull(arguments[1], NULL, 10) * 2654435761ULL + 1;
    int file = open(arguments[2], O_RDWR);
    control = mmap(NULL, 16, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (control == MAP_FAILED) return 2;
    prefix = arguments[3];
    pid_t first = fork();
    if (first == 0) start(arguments + 4);
    int status, ended = 1;
    waitpid(first, &status, 0);
    ptrace(PTRACE_SETOPTIONS, first, 0,
           PTRACE_O_TRACESECCOMP | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_EXITKILL);
    ptrace(PTRACE_CONT, first, 0, 0);
    static int answer[1 << 22]; /* By thread: what its call answers, while it is made. */
    for (pid_t pid; (pid = waitpid(-1, &status, __WALL)) > 0;) {
        if (!WIFSTOPPED(status)) {
            if (pid == first) ended = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            continue;
        }
        int signal = WSTOPSIG(status), event = status >> 16;
        struct user_regs_struct r;
        if (event == PTRACE_EVENT_SECCOMP) {
            ptrace(PTRACE_GETREGS, pid, 0, &r);
            answer[pid] = strike(pid, &r);
            ptrace(answer[pid] ? PTRACE_SYSCALL : PTRACE_CONT, pid, 0, 0);
        } else if (signal == SIGTRAP && event == 0 && answer[pid]) {
            /* The end of a call that was struck. */
            ptrace(PTRACE_GETREGS, pid, 0, &r);
            if ((long long)r.rax >= 0 || (long long)r.rax == -ENOSYS) r.rax = (unsigned long long)(long long)answer[pid];
            ptrace(PTRACE_SETREGS, pid, 0, &r);
            answer[pid] = 0;
            ptrace(PTRACE_CONT, pid, 0, 0);
        } else {
            int is_own = event != 0 || signal == SIGSTOP || signal == SIGTRAP;
            ptrace(PTRACE_CONT, pid, 0, is_own ? 0 : signal);
        }
    }
    return ended;
}
