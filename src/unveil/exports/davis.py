"""DAVIS-2017 Unsupervised in its official folders.

    Annotations_unsupervised/480p/<video>/00000.png   ids as palette PNGs
    JPEGImages/480p/<video>/00000.jpg
    ImageSets/2017/val.txt

Source: https://davischallenge.org
"""

import os
from contextlib import closing
from pathlib import Path

import numpy as np

from unveil.exports.pictures import write_pictures
from unveil.exports.result import Result
from unveil.progress import Progress
from unveil.results.writer import write_mask
from unveil.video.prefetch import mapped

VOID = 255


def write_davis(result: Result, out: Path, report: Progress, images: bool = True) -> None:
    """The folders of DAVIS with one video. images: False writes no pictures.

    From 255 on, which is void in 8 bits, ids need 16: grey PNGs then, which the official tools do
    not read.
    """
    masks = out / "Annotations_unsupervised" / "480p" / result.file_name
    folder = out / "JPEGImages" / "480p" / result.file_name
    masks.mkdir(parents=True)
    if images:
        folder.mkdir(parents=True)
    deep = any(thing.id >= VOID for thing in result.things)

    def write(mask: tuple[str, np.ndarray]) -> None:
        name, labels = mask
        write_mask(masks / f"{name}.png", labels, deep=deep)

    with (
        write_pictures(result, (folder / f"{n}.jpg" for n in result.names()), images) as steps,
        closing(mapped(write, zip(result.names(), result.labels(), strict=True))) as written,
    ):
        for i, _ in enumerate(zip(written, steps, strict=images)):
            report("davis", i + 1, len(result))
    (out / "ImageSets" / "2017").mkdir(parents=True)
    with (out / "ImageSets" / "2017" / "val.txt").open("wb") as file:
        file.write(os.fsencode(f"{result.file_name}\n"))  # as the folders are called
