"""Unveil: find, segment and track every object in a video, without labels.

import unveil
unveil.segment("dog.mp4").save("out/dog")
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "Clip": "types",
    "DataError": "errors",
    "InputError": "errors",
    "Object": "segmentation.segmentation",
    "OutputError": "errors",
    "Segmentation": "segmentation.segmentation",
    "Segmenter": "segmentation.segmenter",
    "Settings": "settings",
    "TrainingError": "errors",
    "UnveilError": "errors",
    "WeightsError": "errors",
    "open_video": "video.source",
    "read_clip": "video.source",
    "segment": "segmentation.segmenter",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("unveil")
    # Names are imported when they are first used, so that `unveil --help` answers at once.
    if name not in _HOMES:
        raise AttributeError(f"module 'unveil' has no attribute {name!r}")
    return getattr(import_module(f"unveil.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
