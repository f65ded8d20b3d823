"""MOTChallenge boxes, and the masks of MOTS in both of its forms.

Sources: https://motchallenge.net/instructions/, https://www.vision.rwth-aachen.de/page/mots
"""

from contextlib import closing
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image

from unveil.errors import InputError
from unveil.exports.pictures import write_pictures
from unveil.exports.result import Result
from unveil.progress import Progress
from unveil.results.coco import encode
from unveil.results.extents import extents
from unveil.text import writable
from unveil.video.prefetch import mapped

PEDESTRIAN = 1
"""The class that MOTChallenge scores."""
MOTS_CLASS = 2
"""The class that MOTS scores: a person."""
PLACES = 1000
"""Ids of a class in MOTS: class x 1000 + object."""


def write_mot(result: Result, out: Path, report: Progress, images: bool = True) -> None:
    """A sequence of MOTChallenge: `gt/gt.txt`, `seqinfo.ini` and `img1/`.

    A line is frame, id, left, top, width, height, 1, 1, 1, counted from 1, as is the left upper
    pixel; every object has the class that is scored. images: False writes no pictures.
    """
    (out / "gt").mkdir(parents=True)
    if images:
        (out / "img1").mkdir()
    paths = (out / "img1" / f"{i:06d}.jpg" for i in count(1))
    with (
        (out / "gt" / "gt.txt").open("w", encoding="utf-8") as file,
        write_pictures(result, paths, images) as steps,
    ):
        for i, (labels, _) in enumerate(zip(result.labels(), steps, strict=images), 1):
            for id, mask in extents(labels).items():
                x, y, w, h = mask.box
                file.write(f"{i},{id},{x + 1},{y + 1},{w},{h},1,{PEDESTRIAN},1\n")
            report("mot", i, len(result))
    about = {
        "name": writable(result.file_name),
        "imDir": "img1",
        "frameRate": f"{float(result.fps):g}",
        "seqLength": len(result),
        "imWidth": result.width,
        "imHeight": result.height,
        "imExt": ".jpg",
    }
    text = "[Sequence]\n" + "".join(f"{k}={v}\n" for k, v in about.items())
    (out / "seqinfo.ini").write_text(text, encoding="utf-8")


def write_mots(result: Result, out: Path, report: Progress) -> None:
    """A text file of MOTS: frame from 1, id, class, height, width, COCO run lengths a line."""
    with out.open("w", encoding="utf-8") as file:
        for i, labels in enumerate(result.labels(), 1):
            for id, mask in encode(labels).items():
                number = MOTS_CLASS * PLACES + id
                size = f"{result.height} {result.width}"
                file.write(f"{i} {number} {MOTS_CLASS} {size} {mask.counts.decode()}\n")
            report("mots", i, len(result))


def write_mots_png(result: Result, out: Path, report: Progress) -> None:
    """A folder of 16-bit PNGs that hold class x 1000 + id, 0 for background.

    Raises InputError for ids from 1000 on, which this form has no room for.
    """
    if result.things and result.things[-1].id >= PLACES:
        raise InputError(
            f"MOTS pictures hold ids below {PLACES}, {result.name} has {result.things[-1].id}: "
            "choose some with --objects, or use --to mots"
        )
    out.mkdir(parents=True)
    every = ((out / f"{i:06d}.png", labels) for i, labels in enumerate(result.labels(), 1))
    with closing(mapped(_write_mots_mask, every)) as steps:
        for i, _ in enumerate(steps, 1):
            report("mots-png", i, len(result))


def _write_mots_mask(mask: tuple[Path, np.ndarray]) -> None:
    path, labels = mask
    numbers = labels.astype(np.uint16)
    numbers[numbers > 0] += MOTS_CLASS * PLACES
    Image.fromarray(numbers).save(path, compress_level=1)
