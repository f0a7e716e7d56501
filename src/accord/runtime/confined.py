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

NUMBERS: dict[str, tuple[int, list[int], int]] = {
    # AUDIT_ARCH; refused system calls (sockets; processes; signals; tracing; other processes' memory; io_uring; mounts); clone
    "x86_64": (
        0xC000003E,
        [
            *(41, 42, 43, 49, 50, 288),
            *(57, 58, 59, 322, 101, 310, 311, 62, 200, 234, 129, 297, 424, 434, 438),
            *(425, 426, 427, 165, 166, 161, 272, 308, 321, 298, 323, 246, 169, 175, 313, 250, 248, 249, 157, 160, 302),
        ],
        56,
    ),
    "aarch64": (
        0xC00000B7,
        [
            *(198, 200, 201, 202, 203, 242),
            *(221, 281, 117, 270, 271, 129, 130, 131, 138, 240, 424, 434, 438),
            *(425, 426, 427, 39, 40, 51, 97, 268, 280, 241, 282, 104, 142, 105, 273, 217, 218, 219, 167, 164, 261),
        ],
        220,
    ),
}


def _filter(machine: str) -> bytes:
    """The seccomp program: what is refused fails with EPERM; clone3 is not known, so that threads come by clone, whose flags show."""
    arch, refused, clone = NUMBERS[machine]

    def word(code: int, jump: int, other: int, value: int) -> bytes:
        return struct.pack("HBBI", code, jump, other, value)

    load, equal, above, some, give = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, kill, deny, unknown = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
    program = [word(load, 0, 0, 4), word(equal, 1, 0, arch), word(give, 0, 0, kill), word(load, 0, 0, 0)]
    program += [word(above, 0, 1, 0x40000000), word(give, 0, 0, deny)]
    for number in refused:
        program += [word(equal, 0, 1, number), word(give, 0, 0, deny)]
    program += [word(equal, 0, 1, 435), word(give, 0, 0, unknown)]
    program += [word(equal, 0, 3, clone), word(load, 0, 0, 16), word(some, 1, 0, 0x00010000), word(give, 0, 0, deny)]
    return b"".join([*program, word(give, 0, 0, allow)])


def confine_calls() -> None:
    """Install the seccomp filter. Raises OSError where the kernel has none."""

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("words", ctypes.c_char_p))

    libc = ctypes.CDLL(None, use_errno=True)
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
    """Allow reading of Python's own folders alone, and writing in ``work`` alone, where Landlock is there."""
    import ctypes

    version = landlock_version()
    if version < 1:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    every = ((1 << 13) - 1) | (1 << 13 if version >= 2 else 0) | (1 << 14 if version >= 3 else 0)
    read, file_write = 0b1100 | 1, 0b111 | (1 << 14 if version >= 3 else 0)
    rules = libc.syscall(444, struct.pack("Q", every), 8, 0)
    if rules < 0:
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset")
    paths = sysconfig.get_paths()
    own = {sys.prefix, sys.base_prefix, sys.exec_prefix, *(paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))}
    seen = {*own, "/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/localtime"}
    for path, access in [*((each, read) for each in seen), (work, every), ("/dev/null", file_write), ("/dev/urandom", 0b100)]:
        if not os.path.exists(path):
            continue
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        allowed = access & every if os.path.isdir(path) else access & every & (0b111 | (1 << 14))
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
