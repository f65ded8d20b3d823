"""Arrays that lie beside a result, as one compressed .npz of a known format."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unveil.errors import DataError
from unveil.files import written_whole


def save_arrays(path: Path, format: int, arrays: Mapping[str, Any]) -> None:
    """Write arrays under a temporary name first."""
    with written_whole(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, format=np.array(format), **arrays)


def load_arrays(
    path: Path, formats: Mapping[int, Iterable[str]], what: str
) -> dict[str, np.ndarray]:
    """Read what `save_arrays` wrote. formats: those that can be read, and the arrays each has.

    what: what the file is not, for the message. Raises DataError where it is not there, of another
    format, or something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            names = formats.get(int(file["format"]))
            if names is None:
                raise DataError(f"{path} was written by another version; segment anew")
            return {name: file[name] for name in names}
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"no {path}; it is written by 'unveil segment --mode fast'") from None
    except Exception as error:
        raise DataError(f"{path} is {what} that Unveil wrote: {error}") from error
