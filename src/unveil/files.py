"""Files that appear whole or not at all, and what is said where one cannot be written."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av

from unveil.errors import OutputError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block ends; removed when it fails.

    The name holds the process id, so that processes that write the same file do not meet.

        with written_whole(out / "run.json") as partial:
            partial.write_text(text)
    """
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


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
