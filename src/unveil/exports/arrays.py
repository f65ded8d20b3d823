"""Label arrays for science: NumPy's .npz, Zarr in chunks of frames, OME-Zarr with the pictures.

Sources: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html,
https://zarr-specs.readthedocs.io, https://ngff.openmicroscopy.org/0.5/
"""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from unveil.exports.extra import need
from unveil.exports.result import Result
from unveil.progress import Progress
from unveil.results.palette import colour_index, vivid_palette

CHUNK = 16
"""Frames of a chunk."""
_VERSION = "0.5"  # of OME-Zarr


def write_npz(result: Result, out: Path, report: Progress) -> None:
    """A compressed .npz: `labels` [T, H, W], and beside them what they are.

    `ids`, `names`, `classes`, `scores` (NaN where there is none) have an entry an object,
    `frame_names` and `time_s` one a frame. `numpy.load(path)["labels"]` needs memory for all.
    """
    things = result.things
    scores = [np.nan if thing.score is None else thing.score for thing in things]
    about = {
        "ids": np.array([thing.id for thing in things], result.dtype),
        "names": np.array([thing.name or "" for thing in things], str),
        "classes": np.array([thing.kind for thing in things], str),
        "scores": np.array(scores, np.float64),
        "frame_names": np.array(list(result.names()), str),
        "time_s": np.array([float(i / result.fps) for i in range(len(result))]),
        "fps": np.array([result.fps.numerator, result.fps.denominator]),
    }
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        with file.open(_entry("labels"), "w", force_zip64=True) as array:
            shape = (len(result), result.height, result.width)
            _npy_header(array, shape, result.dtype)
            for i, labels in enumerate(result.labels()):
                array.write(np.ascontiguousarray(labels).data)
                report("npz", i + 1, len(result))
        for name, values in about.items():
            with file.open(_entry(name), "w") as array:
                np.lib.format.write_array(array, values, allow_pickle=False)


def write_zarr(result: Result, out: Path, report: Progress) -> None:
    """A folder with `labels.zarr`: [T, H, W] in chunks of frames, the objects as attributes."""
    zarr = need("zarr", "zarr")
    out.mkdir()
    array = zarr.create_array(
        str(out / "labels.zarr"),
        **_form(result),
        dimension_names=("t", "y", "x"),
        attributes={
            "name": result.name,
            "fps": str(result.fps),
            "objects": _objects(result),
            "frame_names": list(result.names()),
        },
    )
    for start, labels in _chunks(result.labels()):
        array[start : start + len(labels)] = labels
        report("zarr", start + len(labels), len(result))


def write_ome_zarr(result: Result, out: Path, report: Progress, images: bool = True) -> None:
    """A folder with `video.ome.zarr`, OME-Zarr 0.5: the pictures, and `labels/objects` in it.

    Axes are time in seconds, then y and x in pixels. images: False writes the labels alone.
    """
    zarr = need("zarr", "zarr")
    out.mkdir()
    root = zarr.open_group(str(out / "video.ome.zarr"), mode="w")
    pictures = None
    if images:
        t, h, w = len(result), result.height, result.width
        root.attrs["ome"] = {
            "version": _VERSION,
            "multiscales": [_multiscale(result, result.name, channels=True)],
            "omero": {"channels": [_channel(i) for i in range(3)]},
        }
        pictures = root.create_array(
            "0",
            shape=(t, 3, h, w),
            chunks=(1, 3, h, w),
            dtype=np.uint8,
            dimension_names=("t", "c", "y", "x"),
        )
    root.create_group("labels", attributes={"ome": {"version": _VERSION, "labels": ["objects"]}})
    ids = np.array([thing.id for thing in result.things], np.uint16)
    colours = vivid_palette()[colour_index(ids)].tolist()
    label = {
        "colors": [
            {"label-value": int(id), "rgba": [*rgb, 255]}
            for id, rgb in zip(ids, colours, strict=True)
        ],
        "properties": [{"label-value": about.pop("id"), **about} for about in _objects(result)],
    }
    if images:
        label["source"] = {"image": "../../"}  # type: ignore[assignment]
    group = root.create_group("labels/objects")
    group.attrs["ome"] = {
        "version": _VERSION,
        "multiscales": [_multiscale(result, "objects")],
        "image-label": {name: part for name, part in label.items() if part},
    }
    array = group.create_array("0", **_form(result), dimension_names=("t", "y", "x"))
    frames = result.frames() if images else iter(())
    for start, labels in _chunks(result.labels()):
        array[start : start + len(labels)] = labels
        if pictures is not None:
            for i in range(len(labels)):
                pictures[start + i] = next(frames).transpose(2, 0, 1)
        report("ome-zarr", start + len(labels), len(result))


def _form(result: Result) -> dict[str, Any]:
    """Shape, chunks and type of an array of labels."""
    size = (result.height, result.width)
    chunks = (min(CHUNK, len(result)), *size)
    return {"shape": (len(result), *size), "chunks": chunks, "dtype": result.dtype}


def _objects(result: Result) -> list[dict[str, Any]]:
    return [
        {"id": thing.id, "name": thing.name or "", "class": thing.kind}
        | ({} if thing.score is None else {"score": thing.score})
        for thing in result.things
    ]


def _multiscale(result: Result, name: str, channels: bool = False) -> dict[str, Any]:
    """One scale: that of the video."""
    axes = [
        {"name": "t", "type": "time", "unit": "second"},
        *([{"name": "c", "type": "channel"}] if channels else []),
        *({"name": axis, "type": "space"} for axis in "yx"),
    ]
    scale = [float(1 / result.fps), *([1.0] if channels else []), 1.0, 1.0]
    steps = [{"type": "scale", "scale": scale}]
    return {
        "name": name,
        "axes": axes,
        "datasets": [{"path": "0", "coordinateTransformations": steps}],
    }


def _channel(index: int) -> dict[str, Any]:
    colour = ("FF0000", "00FF00", "0000FF")[index]
    window = {"min": 0, "max": 255, "start": 0, "end": 255}
    return {"label": "RGB"[index], "color": colour, "window": window, "active": True}


def _chunks(labels: Iterator[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    """Frames as chunks [t, H, W], each with the index of its first."""
    part: list[np.ndarray] = []
    start = 0
    for image in labels:
        part.append(image)
        if len(part) == CHUNK:
            yield start, np.stack(part)
            start += CHUNK
            part = []
    if part:
        yield start, np.stack(part)


def _entry(name: str) -> zipfile.ZipInfo:
    """An entry of an archive that says no time, so that equal results are equal files."""
    entry = zipfile.ZipInfo(f"{name}.npy")
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def _npy_header(file: Any, shape: tuple[int, ...], dtype: np.dtype) -> None:
    descr = np.lib.format.dtype_to_descr(dtype)
    about = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_2_0(file, about)
