"""Files that appear whole or not at all, and what is said where one cannot be written."""

import errno
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import av

from unveil.errors import OutputError

if TYPE_CHECKING:
    import filelock

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_HOST = re.sub(r"\W+", "_", platform.node()) or "here"


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block ends; removed when it fails.

    The name holds the process id, so that processes that write the same file do not meet. Its mode
    is that of any new file (umask), whatever mode a library gives its own.

        with written_whole(out / "run.json") as partial:
            partial.write_text(text)
    """
    partial = beside(path)
    sweep(path)
    try:
        partial.touch()
        mode = partial.stat().st_mode
        yield partial
        partial.chmod(mode)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def lock_at_once(file: Path) -> "filelock.BaseFileLock | None":
    """The lock of a file, held until released or the process ends; None if another has it."""
    import filelock

    lock = filelock.FileLock(file)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return None
    return lock


@contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """An empty folder beside `path`, gone with all that is in it when the block ends.

    What processes that are gone left there goes first. The folder may be renamed to `path`.
    """
    sweep(path)
    folder = beside(path)
    for n in count(1):
        try:
            folder.mkdir()
            break
        except FileExistsError:  # of another thread
            folder = folder.with_name(f"{beside(path).name}-{n}")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def beside(path: Path, what: str = "partial") -> Path:
    """A hidden name beside `path` for what this process, and no other, keeps there for a while."""
    return path.with_name(f".{path.name}.{what}-{_HOST}-{os.getpid()}")


def as_url(path: Path) -> str:
    """How FFmpeg is told of a file: of `10:30.mp4` alone it would take `10` for a protocol."""
    return f"file:{path}"


def check_parent(out: Path) -> None:
    """Raise OutputError unless something new may be put at `out`, an absolute path.

    The nearest of its folders that is there has to be a folder that may be written to.
    """
    parent = next(p for p in out.parents if p.exists())
    if not parent.is_dir():
        raise OutputError(f"{out} cannot be created, {parent} is a file: choose another --out")
    if not os.access(parent, os.W_OK | os.X_OK):
        with output_errors(out):
            raise PermissionError(errno.EACCES, "permission denied")


def sweep(path: Path, what: str = "partial") -> None:
    """Remove what processes of this machine that are gone (kill -9, no power) left beside `path`.

    What belongs to a living process or to another machine stays.
    """
    mine = re.compile(rf"\.{re.escape(path.name)}\.{what}-{re.escape(_HOST)}-(\d+)(-\d+)?")
    try:
        there = [(p, mine.fullmatch(p.name)) for p in path.parent.iterdir()]
    except OSError:
        return  # whoever writes there says what is wrong
    for left, match in there:
        if match and not _is_alive(int(match[1])):
            with suppress(OSError):  # another user's
                shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    if sys.platform == "win32":
        return True  # asking would end it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return True


@contextmanager
def output_errors(out: Path) -> Iterator[None]:
    """Turn what the system says about a failed write into an OutputError that says what to do."""
    try:
        yield
    except (OSError, av.FFmpegError) as e:
        if e.errno in _FULL:
            do = "the disk is full; free some space or choose another disk with --out"
        elif e.errno in _DENIED:
            do = "permission denied; choose a folder that you may write to with --out"
        else:
            do = f"{e.strerror or e}; choose another folder with --out"
        raise OutputError(f"cannot write the result to {out}: {do}") from e
