"""The forms that a result can be exported to, by name."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

from unveil.address import out_path
from unveil.errors import InputError
from unveil.exports.place import mark, whole
from unveil.exports.result import Result
from unveil.progress import Progress, silent


@dataclass(frozen=True)
class Format:
    """A form. home: where it is written, `module:function`. file: what it is called by default.

    A name that ends in a suffix is a file, any other a folder. about: what it is, for the help.
    """

    home: str
    file: str
    about: str

    @property
    def is_file(self) -> bool:
        """Whether it is one file, not a folder."""
        return "." in self.file

    @property
    def write(self) -> Callable[..., None]:
        """The function that writes it: (result, path, report, **options)."""
        module, _, function = self.home.partition(":")
        return getattr(import_module(f"unveil.exports.{module}"), function)

    @property
    def options(self) -> tuple[str, ...]:
        """What can be chosen about it."""
        return tuple(signature(self.write).parameters)[3:]


FORMATS = {
    "coco": Format("coco:write_coco", "coco", "COCO instances, one image a frame, with track ids"),
    "yolo": Format("yolo:write_yolo", "yolo", "YOLO segmentation: polygons, data.yaml, a split"),
    "yolo-tracks": Format("yolo:write_yolo_tracks", "yolo-tracks", "YOLO boxes with track ids"),
    "ytvis": Format("coco:write_youtube_vis", "ytvis", "YouTube-VIS with the frames it names"),
    "davis": Format("davis:write_davis", "davis", "the folders of DAVIS-2017 Unsupervised"),
    "mot": Format("mot:write_mot", "mot", "boxes of MOTChallenge: gt.txt and seqinfo.ini"),
    "mots": Format("mot:write_mots", "mots.txt", "masks of MOTS as text"),
    "mots-png": Format("mot:write_mots_png", "mots-png", "masks of MOTS as 16-bit PNGs"),
    "cvat": Format("cvat:write_cvat", "cvat", "CVAT for video 1.1: a mask an object and frame"),
    "cvat-boxes": Format("cvat:write_cvat_boxes", "cvat-boxes", "CVAT for video: tracks of boxes"),
    "label-studio": Format(
        "label_studio:write_label_studio", "label-studio", "Label Studio: a brush mask an object"
    ),
    "label-studio-video": Format(
        "label_studio:write_label_studio_video",
        "label-studio-video",
        "Label Studio: tracks of boxes over the video",
    ),
    "csv": Format("tracks:write_csv", "tracks.csv", "a table: one row an object and frame"),
    "parquet": Format("tracks:write_parquet", "tracks.parquet", "the same table for Arrow"),
    "plot": Format("plot:write_plot", "tracks.png", "area and centre over time, drawn"),
    "plot-svg": Format("plot:write_plot_svg", "tracks.svg", "the same as a drawing that scales"),
    "rerun": Format("looking:write_rerun", "recording.rrd", "a recording for rerun's viewer"),
    "npz": Format("arrays:write_npz", "labels.npz", "NumPy: labels [T, H, W], ids, names, scores"),
    "zarr": Format("arrays:write_zarr", "zarr", "Zarr: labels [T, H, W] in chunks of frames"),
    "ome-zarr": Format(
        "arrays:write_ome_zarr", "ome-zarr", "OME-Zarr 0.5: the video, its labels beside it"
    ),
    "prores": Format("cut:write_prores", "alpha.mov", "ProRes 4444 with alpha, for editing"),
    "prores-each": Format("cut:write_prores_each", "prores", "the same, one file an object"),
    "webm": Format("cut:write_webm", "alpha.webm", "VP9 with alpha, for the web"),
    "webm-each": Format("cut:write_webm_each", "webm", "the same, one file an object"),
    "rgba-png": Format("cut:write_png", "rgba-png", "an RGBA PNG a frame, lossless"),
    "cutouts": Format("cut:write_cutouts", "cutouts", "RGBA PNGs cropped to each object"),
    "green-screen": Format("cut:write_screen", "green-screen.mp4", "objects before one colour"),
    "blur": Format("cut:write_blurred", "blur.mp4", "objects before their blurred background"),
}
"""Name → form."""


ELSEWHERE = {
    "fiftyone": "FiftyOne reads coco as it is: export to coco, and import that (docs/howto.md)",
    "napari": "napari takes layers from Python, found.to_napari(), and reads ome-zarr",
    "supervision": "supervision takes what found.to_supervision() gives in Python, and reads yolo",
    "datumaro": "datumaro reads cvat-boxes: export to that",
}
"""What is no form of its own, and how it is come by."""


def find_format(name: str) -> Format:
    """The form of that name. Raises InputError, naming those there are."""
    if name in ELSEWHERE:
        raise InputError(f"no format {name!r} to export to: {ELSEWHERE[name]}")
    if name not in FORMATS:
        raise InputError(f"no format {name!r} to export to; there are {', '.join(FORMATS)}")
    return FORMATS[name]


def check_options(names: list[str], options: dict[str, Any]) -> None:
    """Raise InputError for an option that none of these forms has: nothing asked for is ignored."""
    for option in options:
        takers = [name for name, form in FORMATS.items() if option in form.options]
        if not set(takers) & set(names):
            raise InputError(
                f"{option} means nothing to {', '.join(names)}: leave it out"
                + (f", or export to {', '.join(takers)}" if takers else "")
            )


def export(
    result: Result,
    out: str | Path,
    name: str,
    *,
    again: bool = False,
    on_progress: Progress | None = None,
    **options: Any,
) -> Path:
    """Write a result in a form, whole or not at all; returns where it lies.

    out: the file or folder that it becomes. again: what an earlier export wrote there is replaced.
    options: those of the form. Raises InputError for a form or an option that is not there,
    OutputError where `out` cannot be written or a library is missing.
    """
    form = find_format(name)
    check_options([name], options)
    out = out_path(out).absolute()
    with whole(out, again) as partial:
        form.write(result, partial, on_progress or silent, **options)
        if not form.is_file:
            objects = {str(t.id): t.name or t.kind for t in result.things}
            mark(partial, {"format": name, "video": result.name, "objects": objects})
    return out
