"""Places: paths of this machine, also as file://, and addresses of other storages."""

import os
import re
from pathlib import Path
from urllib.parse import unquote

from unveil.errors import InputError, OutputError

_ADDRESS = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+):/{1,2}(?=[^/])(.*)", re.DOTALL)
_OF_HERE = re.compile(r"file:(?://(?:localhost)?)?(/(?!/).*)", re.IGNORECASE | re.DOTALL)


def plain_place(place: str) -> str:
    """A place without file://, which says no more than that it is here; others as they are.

    Raises InputError for a file:// of another machine.
    """
    if found := _OF_HERE.fullmatch(place):
        return unquote(found[1])
    if place.lower().startswith("file://"):
        raise InputError(
            f"{place} is of another machine: for one of this machine give its path, or "
            "file:///path with three slashes"
        )
    return place


def as_path(place: str | Path) -> Path:
    """A place on this machine as a path, `~` written out; file:///clips/my%20dog.mp4 is one too.

    `~name` of nobody here is the name of a file.
    """
    return Path(os.path.expanduser(plain_place(str(place))))


def as_address(place: str | Path) -> str | None:
    """An address in full (a Path has lost a slash of it), None for what is a path."""
    found = _ADDRESS.fullmatch(str(place))
    if found is None or found[1].lower() == "file":
        return None
    return f"{found[1]}://{found[2]}".rstrip("/")


def out_path(out: str | Path) -> Path:
    """The path of something that is to be written here. Raises OutputError for an address."""
    if address := as_address(out):
        raise OutputError(
            f"{address} is an address, and this is written on this machine alone: give a path, and "
            "copy what lies there"
        )
    return as_path(out)
