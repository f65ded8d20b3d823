"""Text as people write it: UTF-8 with or without a byte order mark, UTF-16, or names of files."""

import json
import re
from pathlib import Path
from typing import Any

from unveil.errors import DataError

_UNWRITABLE = re.compile("[\ud800-\udfff]")


def sayable(name: str) -> str:
    """A name of a file as text that can be written anywhere: bytes that are none, written out."""
    return name.encode("utf-8", "backslashreplace").decode()


def read_text(path: Path) -> str:
    """The text of a file. Raises DataError for one that cannot be read, or is no text."""
    try:
        data = path.read_bytes()
        return data.decode(json.detect_encoding(data)).removeprefix("\ufeff")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text ({error}): save it as UTF-8") from error


def read_json(path: Path) -> Any:
    """What a JSON file holds. Raises DataError for one that cannot be read, or is no JSON."""
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON ({error}): write it or get it again") from error


def writable(text: str) -> str:
    """The same as UTF-8 can write it: � for each byte by which a file's name is no text."""
    return _UNWRITABLE.sub("\ufffd", text)
