"""The inside of the sandbox: confine this process, then run a program's text in it. Only the standard library is there.

Started by ``runtime/sandbox.py`` as a script. Numbers of system calls are those of Linux's tables for each processor.
"""

from __future__ import annotations

import ctypes
import math
import os
import platform
import signal
import struct
import sys
import sysconfig

REFUSED = """
# sockets; a pair within the process can be opened
socket 41 198, connect 42 203, accept 43 202, accept4 288 242, bind 49 200, listen 50 201
# processes and programs; threads can be started
fork 57 -, vfork 58 -, execve 59 221, execveat 322 281
# other processes: their signals, memory, priority and limits
ptrace 101 117, process_vm_readv 310 270, process_vm_writev 311 271, kcmp 312 272, kill 62 129, tkill 200 130, tgkill 234 131,
rt_sigqueueinfo 129 138, rt_tgsigqueueinfo 297 240, pidfd_send_signal 424 424, pidfd_open 434 434, pidfd_getfd 438 438,
process_madvise 440 440, process_mrelease 448 448, migrate_pages 256 238, move_pages 279 239, setpriority 141 140,
ioprio_set 251 30, sched_setaffinity 203 122, sched_setscheduler 144 119, sched_setparam 142 118, sched_setattr 314 274,
setrlimit 160 164, prlimit64 302 261, prctl 157 167
# metadata of files, for which Landlock has no right; and truncate, for which it has none before version 3
chmod 90 -, fchmod 91 52, fchmodat 268 53, chown 92 -, fchown 93 55, lchown 94 -, fchownat 260 54, setxattr 188 5,
lsetxattr 189 6, fsetxattr 190 7, removexattr 197 14, lremovexattr 198 15, fremovexattr 199 16, utime 132 -, utimes 235 -,
futimesat 261 -, utimensat 280 88, truncate 76 45
# memory that outlives the process or is not counted as its own
shmget 29 194, shmat 30 196, shmctl 31 195, shmdt 67 197, semget 64 190, semop 65 193, semtimedop 220 192, semctl 66 191,
msgget 68 186, msgsnd 69 189, msgrcv 70 188, msgctl 71 187, mq_open 240 180, mq_unlink 241 181, memfd_create 319 279,
memfd_secret 447 447
# devices, mounts, namespaces, and files by handle
mknod 133 -, mknodat 259 33, mount 165 40, umount2 166 39, pivot_root 155 41, chroot 161 51, unshare 272 97, setns 308 268,
move_mount 429 429, open_tree 428 428, fsopen 430 430, fsconfig 431 431, fsmount 432 432, fspick 433 433,
mount_setattr 442 442, name_to_handle_at 303 -, open_by_handle_at 304 -, fanotify_init 300 262, quotactl 179 60,
quotactl_fd 443 443
# parts of the kernel with a history of holes
bpf 321 280, perf_event_open 298 241, userfaultfd 323 282, io_uring_setup 425 425, io_uring_enter 426 426,
io_uring_register 427 427, add_key 248 217, request_key 249 218, keyctl 250 219, seccomp 317 277, personality 135 92,
modify_ldt 154 -, uselib 134 -, iopl 172 -, ioperm 173 -, lookup_dcookie 212 18
# users, groups and capabilities
setuid 105 146, setgid 106 144, setreuid 113 145, setregid 114 143, setresuid 117 147, setresgid 119 149, setfsuid 122 151,
setfsgid 123 152, setgroups 116 159, capset 126 91
# the machine
reboot 169 142, kexec_load 246 104, kexec_file_load 320 294, init_module 175 105, finit_module 313 273, delete_module 176 106,
swapon 167 224, swapoff 168 225, acct 163 89, syslog 103 116, sethostname 170 161, setdomainname 171 162,
settimeofday 164 170, clock_settime 227 112, clock_adjtime 305 266, adjtimex 159 171, vhangup 153 58
"""
"""System calls that fail with EPERM: each with its numbers on x86-64 and ARM64, where ``-`` says that it is not there."""

NEWEST = 450
"""The last system call of Linux 5.17. Newer ones, fchmodat2 and setxattrat among them, fail with ENOSYS as on an older kernel."""

NUMBERS: dict[str, tuple[int, int]] = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""Processors that the table is for: AUDIT_ARCH, and which of a system call's two numbers is theirs."""

# F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL; locks, old and new; F_DUPFD_CLOEXEC, F_GETPIPE_SZ
FCNTL = (*range(5), 5, 6, 7, 36, 37, 38, 1030, 1032)
"""What fcntl may do. F_SETOWN, F_SETOWN_EX and F_SETSIG would send any process a signal; F_SETLEASE would make others wait."""

# TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX, TCGETS2
IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451, 0x802C542A)
"""What ioctl may do. FIOSETOWN and SIOCSPGRP would send signals, TIOCSTI types into a terminal, FS_IOC_SETFLAGS change a file's flags."""

EPERM, ENOTTY, ENOSYS = 1, 25, 38


def refused(machine: str) -> dict[str, int]:
    """Return the names and numbers of the system calls that a processor's table refuses."""
    column = NUMBERS[machine][1]
    numbers: dict[str, int] = {}
    for line in REFUSED.splitlines():
        if not line.startswith("#"):
            for name, *both in filter(None, map(str.split, line.split(","))):
                if both[column] != "-":
                    numbers[name] = int(both[column])
    return numbers


def _filter(machine: str) -> bytes:
    """Return the seccomp program. clone3 and openat2, whose flags it cannot read, fail with ENOSYS; their older forms come instead."""
    arch, column = NUMBERS[machine]

    def word(code: int, jump: int, other: int, value: int) -> bytes:
        return struct.pack("HBBI", code, jump, other, value)

    load, equal, greater, some, only, give = 0x20, 0x15, 0x25, 0x45, 0x54, 0x06
    allow, kill, fail = 0x7FFF0000, 0x80000000, 0x00050000

    def where(number: int, *inside: bytes) -> list[bytes]:
        return [word(equal, 0, len(inside), number), *inside]

    def listed(number: int, values: tuple[int, ...], error: int) -> list[bytes]:
        """Allow a system call where its second argument is one of the values alone."""
        inside = [word(load, 0, 0, 24)]
        for value in values:
            inside += where(value, word(give, 0, 0, allow))
        return where(number, *inside, word(give, 0, 0, fail | error))

    def opens(number: int, argument: int) -> list[bytes]:
        """Refuse O_TRUNC without the right to write, which Landlock takes for reading before its version 3."""
        inside = [word(load, 0, 0, 16 + 8 * argument), word(only, 0, 0, 0o1003)]
        inside += [*where(0o1000, word(give, 0, 0, fail | EPERM)), *where(0o1003, word(give, 0, 0, fail | EPERM))]
        return where(number, *inside, word(give, 0, 0, allow))

    program = [word(load, 0, 0, 4), word(equal, 1, 0, arch), word(give, 0, 0, kill), word(load, 0, 0, 0)]
    program += [word(greater, 0, 1, NEWEST), word(give, 0, 0, fail | ENOSYS)]
    for number in refused(machine).values():
        program += where(number, word(give, 0, 0, fail | EPERM))
    for number in (435, 437):
        program += where(number, word(give, 0, 0, fail | ENOSYS))
    program += listed((72, 25)[column], FCNTL, EPERM) + listed((16, 29)[column], IOCTL, ENOTTY) + opens((257, 56)[column], 2)
    if machine == "x86_64":
        program += opens(2, 1)
    program += where((56, 220)[column], word(load, 0, 0, 16), word(some, 1, 0, 0x00010000), word(give, 0, 0, fail | EPERM))
    return b"".join([*program, word(give, 0, 0, allow)])


def confine_calls() -> None:
    """Drop every capability, which root has, and install the seccomp filter. Raises OSError where the kernel has none."""

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("words", ctypes.c_char_p))

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capset(struct.pack("Ii", 0x20080522, 0), bytes(24)):
        raise OSError(ctypes.get_errno(), "capset")
    words = _filter(platform.machine())
    program = Program(len(words) // 8, words)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_SECCOMP)")


def landlock_version() -> int:
    """The version of Landlock in the kernel; 0 or less where there is none."""
    if sys.platform != "linux":
        return 0
    return int(ctypes.CDLL(None, use_errno=True).syscall(444, None, 0, 1))


def confine_files(work: str) -> None:
    """Allow reading of Python's own folders and the system's alone, and writing in ``work`` alone, where Landlock is there.

    Nothing can be run as a program, no device made, and from version 6 on no process outside be signalled.
    """
    version = landlock_version()
    if version < 1:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    every = (1 << 13) - 1
    for since, right in ((2, 13), (3, 14), (5, 15)):  # REFER, TRUNCATE, IOCTL_DEV
        every |= 1 << right if version >= since else 0
    read, file_write = 0b1100, 0b110 | 1 << 14
    write = every & ~(1 << 0 | 1 << 6 | 1 << 11 | 1 << 15)  # EXECUTE, MAKE_CHAR, MAKE_BLOCK, IOCTL_DEV
    handled = struct.pack("QQQ", every, 0b11, 0b11)[: 24 if version >= 6 else 16 if version >= 4 else 8]  # files, TCP, scopes
    rules = libc.syscall(444, handled, len(handled), 0)
    if rules < 0:
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset")
    paths = sysconfig.get_paths()
    own = {sys.prefix, sys.base_prefix, sys.exec_prefix, *(paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))}
    seen = {*own, "/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/localtime"}
    for path, access in [*((each, read) for each in seen), (work, write), ("/dev/null", file_write), ("/dev/urandom", 0b100)]:
        if not os.path.exists(path):
            continue
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        allowed = access & every if os.path.isdir(path) else access & every & file_write
        if libc.syscall(445, rules, 1, struct.pack("=Qi", allowed, opened), 0):
            raise OSError(ctypes.get_errno(), f"landlock_add_rule {path}")
        os.close(opened)
    libc.prctl(38, 1, 0, 0, 0)
    if libc.syscall(446, rules, 0):
        raise OSError(ctypes.get_errno(), "landlock_restrict_self")
    os.close(rules)


def run(folder: str, seconds: str, memory_mb: str, file_mb: str) -> None:
    """Run program.py of a folder, whose first line is a mark that is written to standard error once all of it has run."""
    import resource

    with open(os.path.join(folder, "program.py"), encoding="utf-8", errors="surrogatepass") as file:
        mark, _, program = file.read().partition("\n")
    work = os.path.join(folder, "work")
    os.umask(0o077)
    soft = math.ceil(float(seconds))
    for kind, value in (
        (resource.RLIMIT_CPU, soft),
        (resource.RLIMIT_AS, int(memory_mb) << 20),
        (resource.RLIMIT_FSIZE, int(file_mb) << 20),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (value, value))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, float(seconds))
    confine_files(work)
    confine_calls()
    sys.argv = ["program.py"]
    space = {"__name__": "__main__", "__builtins__": __builtins__}
    exec(compile(program, "program.py", "exec"), space)
    sys.stdout.flush()
    os.write(2, f"\n{mark}".encode())


if __name__ == "__main__":
    if sys.argv[1:] == ["--probe"]:
        confine_calls()
    else:
        run(*sys.argv[1:])
