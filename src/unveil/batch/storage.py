"""Sources and results at addresses: s3, gs, http(s), sftp, hf and whatever else fsspec reaches.

    with fetched("s3://bucket/dog.mp4", scratch) as video:      # a file of this machine
        segmenter.segment_to(video, folder)
    store(folder, "s3://bucket/results/dog")                    # run.json last

Credentials are fsspec's own affair: environment, files of the provider, its configuration. A call
that fails is made again, a download goes on where it broke off. A result is there when its run.json
is: it is written last, and removed first where a result is replaced.
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from unveil.address import as_address
from unveil.errors import InputError, OutputError, UnveilError
from unveil.files import lock_at_once, scratch, written_whole
from unveil.results.folder import RUN

log = logging.getLogger(__name__)
T = TypeVar("T")

TRIES = 6
"""Times that a call to a storage is made before it counts as failed."""
WAIT = 0.2
"""Seconds before the second; each further one waits twice as long."""
BLOCK = 4 << 20
"""Bytes fetched at a time."""
_AT_ONCE = 4 << 20  # bytes of a file that is put in one call
_HOPELESS = (FileNotFoundError, PermissionError, IsADirectoryError, ImportError, ValueError)


def is_stored(place: str) -> bool:
    """Whether a video is at an address of a storage; one of the web is recorded as it comes."""
    import fsspec

    address = as_address(place)
    scheme = "" if address is None else address.partition("://")[0]
    known = {*fsspec.available_protocols(), *fsspec.registry}
    return scheme in known - {"http", "https", "ftp"}


def open_storage(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it.

    Raises InputError where fsspec knows no such, or a library for it is missing.
    """
    import fsspec

    try:
        return fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise InputError(
            f"{address} needs a library ({error}): pip install 'unveil[storage]'"
        ) from error
    except ValueError as error:
        raise InputError(f"{address}: {error}") from error


def listed(address: str) -> list[tuple[str, int]]:
    """The files that a pattern names, or that lie in a folder, with their sizes in bytes."""
    fs, path = open_storage(address)
    found = _patiently(
        address,
        lambda: fs.glob(path, detail=True) if _is_pattern(path) else _files_in(fs, path),
        InputError,
    )
    return [(fs.unstrip_protocol(p), int(about.get("size") or 0)) for p, about in found.items()]


def exists(address: str) -> bool:
    """Whether there is a complete result at an address."""
    fs, path = open_storage(address)
    return bool(_patiently(address, lambda: _is_there(fs, f"{path}/{RUN}"), OutputError))


def read_run(address: str) -> dict[str, Any]:
    """The run.json of a result at an address."""
    fs, path = open_storage(address)
    return json.loads(_patiently(address, lambda: fs.cat_file(f"{path}/{RUN}"), OutputError))


def name_source(folder: Path, address: str) -> None:
    """Let a run.json name the address of its video, not the file that it was fetched to."""
    run = json.loads((folder / RUN).read_text(encoding="utf-8"))
    run["video"]["source"] = address
    with written_whole(folder / RUN) as partial:
        partial.write_text(json.dumps(run, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def place_of_fetched() -> Path:
    """The folder of this machine that downloads lie in, this user's own."""
    user = f"-{os.getuid()}" if hasattr(os, "getuid") else ""
    return Path(tempfile.gettempdir()) / f"unveil-fetched{user}"


def version_of(address: str) -> str:
    """An address and what its storage tells of the version of the file that lies there.

    Raises InputError where there is none.
    """
    fs, path = open_storage(address)
    return _version(address, _patiently(address, lambda: fs.info(path), InputError))


@contextmanager
def fetched(address: str, place: Path) -> Iterator[Path]:
    """A file of this machine with what lies at an address, for as long as the block runs.

    place: a folder for it; where a download broke off there, it goes on. While another job holds
    what lies at the address, it is fetched again beside that. Raises InputError where there is no
    such file, or it cannot be had.
    """
    fs, path = open_storage(address)
    about = _patiently(address, lambda: fs.info(path), InputError)
    folder = place / hashlib.sha256(address.encode()).hexdigest()[:16]
    name = Path(path).name or "video"
    place.mkdir(parents=True, exist_ok=True)
    lock = lock_at_once(locked := place / f".{folder.name}.lock")
    if lock is None:
        with scratch(folder) as own:
            yield _fetch(fs, path, address, about, own / name)
        return
    try:
        folder.mkdir(exist_ok=True)
        file = _fetch(fs, path, address, about, folder / name)
        try:
            yield file
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        with suppress(OSError):  # where what is open cannot be removed
            locked.unlink()
        lock.release()


def _version(address: str, about: dict[str, Any]) -> str:
    said = [str(about.get(k)) for k in ("ETag", "etag", "mtime", "created")]
    return json.dumps([address, about.get("size"), *said])


def _fetch(fs: Any, path: str, address: str, about: dict[str, Any], file: Path) -> Path:
    """Download a file, going on with what an earlier try left of the same version of it."""
    size, version = about.get("size"), _version(address, about)
    mark, part = file.parent / ".version", file.parent / ".part"
    if not mark.is_file() or mark.read_text() != version:
        for old in (part, file):
            old.unlink(missing_ok=True)
        mark.write_text(version)
    elif size is not None and file.is_file() and file.stat().st_size == size:
        return file

    def go_on() -> None:
        done = part.stat().st_size if part.exists() else 0
        if size is None:  # a server that does not say cannot be asked for the rest
            done = 0
            part.unlink(missing_ok=True)
        if size is None or done < size:
            with fs.open(path, "rb") as there, part.open("ab") as here:
                if done:
                    there.seek(done)
                while block := there.read(BLOCK):
                    here.write(block)
        if size is not None and part.stat().st_size != size:
            raise OSError(f"expected {size} bytes, got {part.stat().st_size}")

    _patiently(address, go_on, InputError, lambda: part.stat().st_size if part.exists() else 0)
    return part.replace(file)


def store(folder: Path, address: str) -> None:
    """Put a result folder at an address; what lay there of an earlier one is replaced.

    Raises OutputError where it cannot be written: then there is no run.json, and so no result.
    """
    fs, path = open_storage(address)
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != RUN)

    def clear() -> None:
        if _is_there(fs, path):
            if _is_there(fs, f"{path}/{RUN}"):
                fs.rm(f"{path}/{RUN}")
            fs.rm(path, recursive=True)

    _patiently(address, clear, OutputError)
    for file in (*files, folder / RUN):
        put(file, f"{address}/{file.relative_to(folder).as_posix()}")


def put(file: Path, address: str) -> None:
    """Put one file at an address, whole. Raises OutputError where that cannot be done."""
    fs, path = open_storage(address)

    def copy() -> None:
        fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        fs.pipe_file(path, file.read_bytes()) if file.stat().st_size < _AT_ONCE else fs.put_file(
            str(file), path
        )
        if (size := fs.info(path).get("size")) not in (None, file.stat().st_size):
            raise OSError(f"expected {file.stat().st_size} bytes there, got {size}")

    _patiently(address, copy, OutputError)


def get(address: str, file: Path) -> bool:
    """Fetch a small file; False where there is none."""
    fs, path = open_storage(address)
    if not _patiently(address, lambda: _is_there(fs, path), InputError):
        return False
    file.write_bytes(_patiently(address, lambda: fs.cat_file(path), InputError))
    return True


def _patiently(
    address: str,
    call: Callable[[], T],
    kind: type[UnveilError],
    far: Callable[[], int] = lambda: 0,
) -> T:
    """What a call returns, made again where it fails.

    kind: of the error when it never succeeds. far: how far it is; one that gets on is not at its
    end, however often it fails.
    """
    failures, reached = 0, far()
    while True:
        try:
            return call()
        except _HOPELESS as error:
            raise kind(f"{address}: {_why(error)}") from error
        except Exception as error:  # every storage has errors of its own
            failures, reached = (failures, reached) if far() <= reached else (0, far())
            failures += 1
            if failures == TRIES:
                raise kind(f"{address}: {_why(error)}, {TRIES} times") from error
            log.warning("%s: %s, tried again", address, _why(error))
            time.sleep(WAIT * 2 ** (failures - 1))


def _why(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file or folder"
    if isinstance(error, PermissionError):
        return "permission denied: check the credentials of its storage"
    return f"{type(error).__name__}: {error}"


def _is_there(fs: Any, path: str) -> bool:
    """Whether there is something; fsspec's own `exists` takes every failure for a no."""
    try:
        fs.info(path)
    except FileNotFoundError:
        return False
    return True


def _is_pattern(path: str) -> bool:
    return bool({"*", "?", "["} & set(path))


def _files_in(fs: Any, path: str) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in fs.ls(path, detail=True) if entry["type"] == "file"}
