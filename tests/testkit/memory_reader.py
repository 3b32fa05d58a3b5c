"""A program that reads another process's memory by every way that Linux has, and says what it got.

    python memory_reader.py PID START LENGTH

It prints, as JSON, for each way the bytes that it read in hexadecimal, or the name of the error; nothing where there is
nothing to read. Sources: proc(5), process_vm_readv(2), ptrace(2), pidfd_getfd(2).
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import sys
from collections.abc import Callable
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_PTRACE_PEEKDATA, _PTRACE_ATTACH, _PTRACE_DETACH = 2, 16, 17
_PIDFD_GETFD = 438  # The system call's number on x86_64 and aarch64.
# Enough to know a page by, since a word at a time is slow.
_PEEKED_BYTES_MAX = 16_384
_LIBC.ptrace.restype = ctypes.c_long
_LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


class _Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def _raise() -> None:
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))


def _by_proc_mem(pid: int, start: int, length: int) -> bytes:
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        return os.pread(memory.fileno(), length, start)


def _by_process_vm_readv(pid: int, start: int, length: int) -> bytes:
    buffer = ctypes.create_string_buffer(length)
    local, remote = _Vector(ctypes.addressof(buffer), length), _Vector(start, length)
    got = _LIBC.process_vm_readv(pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)
    if got < 0:
        _raise()
    return buffer.raw[:got]


def _by_ptrace(pid: int, start: int, length: int) -> bytes:
    if _LIBC.ptrace(_PTRACE_ATTACH, pid, None, None) < 0:
        _raise()
    try:
        os.waitpid(pid, 0)
        read = b""
        for at in range(start, start + min(length, _PEEKED_BYTES_MAX), 8):
            ctypes.set_errno(0)
            word = _LIBC.ptrace(_PTRACE_PEEKDATA, pid, at, None)
            if word == -1 and ctypes.get_errno():
                if read:
                    break
                _raise()
            read += word.to_bytes(8, sys.byteorder, signed=True)
        return read
    finally:
        _LIBC.ptrace(_PTRACE_DETACH, pid, None, None)


def _by_map_files(pid: int, start: int, length: int) -> bytes:
    """What is mapped there, opened anew as a file."""
    (path,) = Path(f"/proc/{pid}/map_files").glob(f"{start:x}-*")
    return _contents(path, length)


def _by_descriptors(pid: int, start: int, length: int) -> bytes:
    """A descriptor of secret memory that was left open, opened anew."""
    paths = _descriptors_of_secrets(pid)
    return _contents(paths[0], length) if paths else b""


def _by_pidfd_getfd(pid: int, start: int, length: int) -> bytes:
    """The same, taken as it is."""
    paths = _descriptors_of_secrets(pid)
    if not paths:
        return b""
    process = os.pidfd_open(pid)
    descriptor = _LIBC.syscall(_PIDFD_GETFD, process, int(paths[0].name), 0)
    if descriptor < 0:
        _raise()
    with mmap.mmap(descriptor, length, prot=mmap.PROT_READ) as mapping:
        return bytes(mapping)


def _descriptors_of_secrets(pid: int) -> list[Path]:
    return [path for path in Path(f"/proc/{pid}/fd").iterdir() if "secretmem" in str(path.readlink())]


def _contents(path: Path, length: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        try:
            return os.pread(descriptor, length, 0)
        except OSError:
            with mmap.mmap(descriptor, length, prot=mmap.PROT_READ) as mapping:
                return bytes(mapping)
    finally:
        os.close(descriptor)


WAYS: dict[str, Callable[[int, int, int], bytes]] = {
    "/proc/PID/mem": _by_proc_mem,
    "process_vm_readv": _by_process_vm_readv,
    "ptrace": _by_ptrace,
    "/proc/PID/map_files": _by_map_files,
    "/proc/PID/fd": _by_descriptors,
    "pidfd_getfd": _by_pidfd_getfd,
}


def main() -> None:
    pid, start, length = map(int, sys.argv[1:])
    told = {}
    for way, read in WAYS.items():
        try:
            told[way] = read(pid, start, length).hex()
        except OSError as error:
            told[way] = errno.errorcode[error.errno or 0]
        except ValueError:  # Nothing is mapped there from a file.
            told[way] = ""
    print(json.dumps(told))


if __name__ == "__main__":
    main()
