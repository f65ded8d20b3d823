"""Results a sequence, kept so that an evaluation goes on where it stopped.

An entry belongs to a key: whatever a score depends on. Another key, or a file that was cut off,
is as if nothing were there.
"""

import errno
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import unveil
from unveil.files import output_errors, written_whole

_CODE = (".py", ".safetensors")  # weights that travel with the package decide results too


def digest(*parts: object) -> str:
    """A short digest of values that JSON or str can tell apart."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def code_digest(*rooms: str, source: Path | None = None) -> str:
    """A digest of the source of these modules and packages of Unveil: new code, new scores.

    source: another copy of the package, such as that of an earlier commit. Raises ValueError for a
    name that is neither: what was moved must not keep old scores alive.
    """
    source = source or Path(unveil.__file__).parent
    hashed = hashlib.sha256()
    for room in rooms:
        file, folder = source / f"{room}.py", source / room
        paths = [file] if file.is_file() else []
        paths += sorted(p for p in folder.rglob("*") if p.suffix in _CODE)
        if not paths:
            raise ValueError(f"no module or package unveil.{room} to take a digest of")
        for path in paths:
            hashed.update(path.read_bytes())
    return hashed.hexdigest()[:16]


def of_files(files: Iterable[Path]) -> str:
    """A digest that changes when files do: their names, sizes and times; or when one goes."""
    hashed = hashlib.sha256()
    for file in files:
        try:
            about = file.stat()
            said = f"{file.name} {about.st_size} {about.st_mtime_ns}\n"
        except OSError:
            said = f"{file.name} is not there\n"
        hashed.update(said.encode())
    return hashed.hexdigest()[:16]


def load(file: Path, key: str) -> dict[str, Any] | None:
    """The entry with this key, or None."""
    try:
        entry = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    return entry["content"] if isinstance(entry, dict) and entry.get("key") == key else None


def store(file: Path, key: str, content: Mapping[str, Any]) -> None:
    """Write an entry."""
    write(file, json.dumps({"key": key, "content": content}))


def check_writable(file: Path) -> None:
    """Raise OutputError unless `write` can put a file there; call it before the work begins."""
    with output_errors(file):
        if file.is_dir():
            raise IsADirectoryError(errno.EISDIR, "a folder has that name")
        file.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(file.parent, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "permission denied")


def write(file: Path, text: str) -> None:
    """Write a text file that appears whole or not at all. Raises OutputError."""
    with output_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(file) as partial:
            partial.write_text(text, encoding="utf-8")
