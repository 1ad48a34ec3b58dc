"""A child under ptrace(2): killed before or after any of its writes, and what it wrote, in order.

Linux 5.3 or later (PTRACE_GET_SYSCALL_INFO), on x86-64 or 64-bit ARM; a full disk on x86-64 alone.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_TRACEME, _SETOPTIONS, _SYSCALL, _GET_SYSCALL_INFO = 0, 0x4200, 24, 0x420E
_SYSGOOD, _EXITKILL = 0x1, 0x100000
_POKEUSER = 6
_RESULT, _NUMBER = 10 * 8, 15 * 8
"""Of rax and orig_rax in x86-64's struct user."""
_ENTRY, _EXIT = 1, 2
_INFO = struct.Struct("=B3xIQQ7Q")
"""struct ptrace_syscall_info: op, arch, instruction and stack pointer, then number and arguments, or the result."""
_AT_FDCWD = -100

_NUMBERS = {
    "x86_64": {
        "write": 1, "pwrite64": 18, "fsync": 74, "fdatasync": 75, "ftruncate": 77, "rename": 82, "unlink": 87,
        "openat": 257, "unlinkat": 263, "renameat": 264, "sendto": 44,
    },
    "aarch64": {
        "write": 64, "pwrite64": 68, "fsync": 82, "fdatasync": 83, "ftruncate": 46, "openat": 56, "unlinkat": 35,
        "renameat": 38, "sendto": 206,
    },
}  # fmt: skip
_NAMES = {number: name for name, number in _NUMBERS.get(platform.machine(), {}).items()}
_WRITES = frozenset({"write", "pwrite64"})
_POINTS = frozenset(_NAMES.values()) - {"openat"}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long

Operation = dict[str, Any]


@dataclass
class DiskLog:
    """What happened to the files of one directory: `operations` as `power_cut.Disk` replays them."""

    directory: Path
    operations: list[Operation] = field(default_factory=list)

    def add(self, pid: int, name: str, arguments: tuple[int, ...]) -> None:
        """Note a system call that is about to run."""
        operation = _OPERATIONS[name](pid, arguments) if name in _OPERATIONS else None
        if operation is not None and all(str(path).startswith(str(self.directory)) for path in operation["paths"]):
            self.operations.append(operation)


def traced(child: Callable[[], None], die_at: int, log: DiskLog, full_at: int = -1) -> tuple[int, int]:
    """Run `child` in a fork.

    Args:
        die_at: the point at which to kill it: each call that writes has one before and one after it. Negative: never.
        full_at: the write to `log.directory` from which on its disk is full. Negative: never.

    Returns:
        How many points it passed, or writes if its disk is to be full, and its wait status.
    """
    pid = os.fork()
    if pid == 0:
        _ptrace(_TRACEME, 0, 0, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        child()
    os.waitpid(pid, 0)
    _ptrace(_SETOPTIONS, pid, 0, _SYSGOOD | _EXITKILL)
    return _followed(pid, die_at, log) if full_at < 0 else _starved(pid, log.directory, full_at)


def _followed(pid: int, die_at: int, log: DiskLog) -> tuple[int, int]:
    passed, name, deliver = 0, "", 0
    while True:
        _ptrace(_SYSCALL, pid, 0, deliver)
        _, status = os.waitpid(pid, 0)
        if not os.WIFSTOPPED(status):
            return passed, status
        stop = os.WSTOPSIG(status)
        deliver = 0 if stop & 0x80 else stop
        if deliver:
            continue
        op, arguments = _info(pid)
        if op == _ENTRY:
            name = _NAMES.get(arguments[0], "")
            log.add(pid, name, arguments[1:])
        if name in _POINTS:
            if passed == die_at:
                os.kill(pid, signal.SIGKILL)
                return passed, os.waitpid(pid, 0)[1]
            passed += 1


def _starved(pid: int, directory: Path, full_at: int) -> tuple[int, int]:
    """Every write to the directory from that one on is answered with ENOSPC."""
    writes, starving, deliver = 0, False, 0
    while True:
        _ptrace(_SYSCALL, pid, 0, deliver)
        _, status = os.waitpid(pid, 0)
        if not os.WIFSTOPPED(status):
            return writes, status
        stop = os.WSTOPSIG(status)
        deliver = 0 if stop & 0x80 else stop
        if deliver:
            continue
        op, arguments = _info(pid)
        if op == _EXIT and starving:
            _ptrace(_POKEUSER, pid, _RESULT, -errno.ENOSPC)
            starving = False
        elif (
            op == _ENTRY and _NAMES.get(arguments[0]) in _WRITES and _path(pid, arguments[1]).startswith(str(directory))
        ):
            starving = writes >= full_at
            writes += 1
            if starving:
                _ptrace(_POKEUSER, pid, _NUMBER, -1)


def _writes_to(directory: Path, pid: int, arguments: tuple[int, ...]) -> bool:
    return _NAMES.get(arguments[0]) in _WRITES and _path(pid, arguments[1]).startswith(str(directory))


def _info(pid: int) -> tuple[int, tuple[int, ...]]:
    buffer = ctypes.create_string_buffer(128)
    _ptrace(_GET_SYSCALL_INFO, pid, 128, ctypes.addressof(buffer))
    op, _, _, _, *rest = _INFO.unpack_from(buffer)
    return op, tuple(rest)


def _ptrace(request: int, pid: int, address: int, data: int) -> int:
    result = int(_libc.ptrace(request, pid, address, data))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"ptrace request {request:#x}")
    return result


def _written(pid: int, arguments: tuple[int, ...], offset: int | None = None) -> Operation:
    handle, address, size = arguments[0], arguments[1], arguments[2]
    data = _memory(pid, address, size)
    at = arguments[3] if offset is None else offset
    return {"name": "write", "paths": [_path(pid, handle)], "offset": at, "data": data.hex()}


def _appended(pid: int, arguments: tuple[int, ...]) -> Operation:
    position = Path(f"/proc/{pid}/fdinfo/{arguments[0]}").read_text().split()[1]
    return _written(pid, arguments, int(position))


def _synced(pid: int, arguments: tuple[int, ...]) -> Operation:
    return {"name": "sync", "paths": [_path(pid, arguments[0])]}


def _truncated(pid: int, arguments: tuple[int, ...]) -> Operation:
    return {"name": "truncate", "paths": [_path(pid, arguments[0])], "size": arguments[1]}


def _opened(pid: int, arguments: tuple[int, ...]) -> Operation | None:
    if not arguments[2] & os.O_CREAT:
        return None
    return {"name": "open", "paths": [_text(pid, arguments[1])], "empty": bool(arguments[2] & os.O_TRUNC)}


def _renamed(pid: int, arguments: tuple[int, ...]) -> Operation:
    return {"name": "rename", "paths": [_text(pid, address) for address in arguments[:2]]}


def _renamed_at(pid: int, arguments: tuple[int, ...]) -> Operation:
    return _renamed(pid, (arguments[1], arguments[3]))


def _unlinked(pid: int, arguments: tuple[int, ...]) -> Operation:
    return {"name": "unlink", "paths": [_text(pid, arguments[0])]}


def _unlinked_at(pid: int, arguments: tuple[int, ...]) -> Operation:
    return _unlinked(pid, arguments[1:])


_OPERATIONS: dict[str, Callable[[int, tuple[int, ...]], Operation | None]] = {
    "write": _appended,
    "pwrite64": _written,
    "fsync": _synced,
    "fdatasync": _synced,
    "ftruncate": _truncated,
    "openat": _opened,
    "rename": _renamed,
    "renameat": _renamed_at,
    "unlink": _unlinked,
    "unlinkat": _unlinked_at,
}


def _path(pid: int, handle: int) -> str:
    return str(Path(f"/proc/{pid}/fd/{handle}").readlink())


def _memory(pid: int, address: int, size: int) -> bytes:
    with Path(f"/proc/{pid}/mem").open("rb") as memory:
        memory.seek(address)
        return memory.read(size)


def _text(pid: int, address: int) -> str:
    data = _memory(pid, address, 4096 - address % 4096)
    if b"\0" not in data:
        data += _memory(pid, address + len(data), 4096)
    return os.fsdecode(data.split(b"\0")[0])


if __name__ == "__main__":  # whether this machine allows it
    if not _NAMES or traced(lambda: os._exit(0), -1, DiskLog(Path("/nowhere")))[1] != 0:
        raise SystemExit(1)
