"""Objects cut out of their frames: videos and pictures with opacity, or another background.

Edges are soft (`unveil.exports.matte`) unless soft is False, then they are the masks' own. Opacity
is straight: colours are not multiplied by it, and where an edge is soft they are the object's alone
(`unveil.exports.colours`), so that no rim of the old background goes along. What is further than
MARGIN from all that is seen is black, for that costs nothing to store.
"""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image
from scipy import ndimage

from unveil.errors import InputError
from unveil.exports.colours import object_colours
from unveil.exports.film import MP4, PRORES, WEBM, Film, Kind, filmed
from unveil.exports.matte import box_of, matte, regions, spread
from unveil.exports.result import Result
from unveil.progress import Progress
from unveil.video.prefetch import mapped

T = TypeVar("T")
GREEN = "#00b140"
"""The green of studios."""
BLUR = 0.02
"""Of the longer side: the standard deviation by which a background is blurred."""
MARGIN = 16
"""Pixels around what is seen that keep their colours: a codec's blocks spill no black into it."""
COLUMNS = ("left_px", "top_px", "width_px", "height_px")
_AT_ONCE = 8  # movies written in one pass: an encoder takes some 20 MB at 854x480
_COARSE = 4  # a background is blurred at such a part of its size
_PNG: dict[str, Any] = {"compress_level": 1}


def write_prores(result: Result, out: Path, report: Progress, soft: bool = True) -> None:
    """A ProRes 4444 .mov of all objects with opacity, sound kept."""
    _write_all(result, out, PRORES, "prores", report, soft)


def write_webm(result: Result, out: Path, report: Progress, soft: bool = True) -> None:
    """A VP9 .webm of all objects with opacity, sound kept; lossy, for the web."""
    _write_all(result, out, WEBM, "webm", report, soft)


def write_prores_each(result: Result, out: Path, report: Progress, soft: bool = True) -> None:
    """A folder with a ProRes 4444 .mov for each object, named by its id and name."""
    _write_each(result, out, PRORES, "prores-each", report, soft)


def write_webm_each(result: Result, out: Path, report: Progress, soft: bool = True) -> None:
    """A folder with a VP9 .webm for each object, named by its id and name."""
    _write_each(result, out, WEBM, "webm-each", report, soft)


def write_png(result: Result, out: Path, report: Progress, soft: bool = True) -> None:
    """A folder with an RGBA PNG a frame, named after the frames, lossless."""
    out.mkdir(parents=True)

    def packed(frame: np.ndarray, alphas: list[np.ndarray]) -> bytes:
        return _png(_cut(frame, alphas[0]))

    walk = _walk(result, packed, "rgba-png", report, soft)
    for name, content in zip(result.names(), walk, strict=True):
        (out / f"{name}.png").write_bytes(content)


def write_cutouts(result: Result, out: Path, report: Progress, soft: bool = True) -> None:
    """A folder an object of RGBA PNGs, each cropped to what is seen of it in a frame.

    `cutouts.csv` tells where in its frame each one lies: file, id, name, frame_name, left_px,
    top_px, width_px, height_px.
    """
    out.mkdir(parents=True)
    for thing in result.things:
        (out / thing.file_name).mkdir()
    groups = [[thing.id] for thing in result.things]
    with (out / "cutouts.csv").open(
        "w", encoding="utf-8", errors="surrogateescape", newline=""
    ) as file:
        table = csv.writer(file)
        table.writerow(("file", "id", "name", "frame_name", *COLUMNS))
        walk = _walk(result, _cropped, "cutouts", report, soft, groups)
        for name, pieces in zip(result.names(), walk, strict=True):
            for thing, piece in zip(result.things, pieces, strict=True):
                if piece is None:
                    continue
                content, where = piece
                path = f"{thing.file_name}/{name}.png"
                (out / path).write_bytes(content)
                table.writerow((path, thing.id, thing.name, name, *where))


def _cropped(
    frame: np.ndarray, alphas: list[np.ndarray]
) -> list[tuple[bytes, tuple[int, int, int, int]] | None]:
    """The PNG of each object and where it lies, left, top, width and height; None where absent."""
    found: list[tuple[bytes, tuple[int, int, int, int]] | None] = []
    for alpha in alphas:
        if not alpha.any():
            found.append(None)
            continue
        box = box_of(alpha > 0)
        (top, height), (left, width) = ((s.start, s.stop - s.start) for s in box)
        found.append((_png(_cut(frame[box], alpha[box])), (left, top, width, height)))
    return found


def _png(picture: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG", **_PNG)
    return out.getvalue()


def write_screen(
    result: Result, out: Path, report: Progress, soft: bool = True, colour: str = GREEN
) -> None:
    """An .mp4 of all objects before one colour, #rrggbb, sound kept."""
    try:
        paper = np.frombuffer(bytes.fromhex(colour.removeprefix("#")), np.uint8)
        if len(paper) != 3:
            raise ValueError(colour)
    except ValueError:
        raise InputError(f"colour: expected #rrggbb such as {GREEN}, got {colour!r}") from None

    def before(frame: np.ndarray, alphas: list[np.ndarray]) -> np.ndarray:
        return mixed(frame, np.broadcast_to(paper, frame.shape), alphas[0])

    with filmed([out], MP4, result) as (film,):
        for picture in _walk(result, before, "green-screen", report, soft):
            film.write(picture)


def write_blurred(
    result: Result, out: Path, report: Progress, soft: bool = True, blur: float = BLUR
) -> None:
    """An .mp4 of all objects before their blurred background, sound kept.

    blur: the standard deviation as a part of the longer side, 0 … 0.2.
    """
    if not 0 < blur <= 0.2:
        raise InputError(f"blur: expected a part of the longer side, 0 … 0.2, got {blur}")

    def before(frame: np.ndarray, alphas: list[np.ndarray]) -> np.ndarray:
        return mixed(frame, blurred(frame, alphas[0], blur), alphas[0])

    with filmed([out], MP4, result) as (film,):
        for picture in _walk(result, before, "blur", report, soft):
            film.write(picture)


def mixed(frame: np.ndarray, behind: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """A frame [H, W, 3] over another by its opacity [H, W], 0 … 255."""
    layers = (Image.fromarray(np.ascontiguousarray(x)) for x in (frame, behind, alpha))
    return np.array(Image.composite(*layers))


def blurred(frame: np.ndarray, alpha: np.ndarray, blur: float) -> np.ndarray:
    """The background of a frame under a Gaussian; what is cut out of it gives it no colour."""
    height, width = alpha.shape
    size = (-(-width // _COARSE), -(-height // _COARSE))
    seen = 255 - np.asarray(Image.fromarray(alpha).resize(size, Image.Resampling.BOX), np.float32)
    small = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX), np.float32)
    planes = np.dstack((small * seen[..., None], seen))
    sigma = blur * max(height, width) / _COARSE
    planes = ndimage.gaussian_filter(planes, (sigma, sigma, 0), mode="nearest")
    colours = planes[..., :3] / np.maximum(planes[..., 3:], 1e-3)
    coarse = Image.fromarray(colours.clip(0, 255).round().astype(np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


def _write_all(
    result: Result, out: Path, kind: Kind, stage: str, report: Progress, soft: bool
) -> None:
    with filmed([out], kind, result) as (film,):
        for (picture,) in _walk(result, _cut_each, stage, report, soft):
            film.write(picture)


def _write_each(
    result: Result, out: Path, kind: Kind, stage: str, report: Progress, soft: bool
) -> None:
    """Few movies at a time: with many objects the video is read several times over."""
    out.mkdir(parents=True)
    parts = [result.things[i : i + _AT_ONCE] for i in range(0, len(result.things), _AT_ONCE)]
    for n, part in enumerate(parts):

        def tell(stage: str, done: int, total: int | None, n: int = n) -> None:
            report(stage, (n * len(result) + done) // len(parts), total)

        paths = [out / f"{thing.file_name}{kind.suffix}" for thing in part]
        with filmed(paths, kind, result) as films:
            groups = [[thing.id] for thing in part]
            for cuts in _walk(result, _cut_each, stage, tell, soft, groups):
                _write_films(films, cuts)
    if not parts:
        report(stage, len(result), len(result))


def _write_films(films: list[Film], cuts: list[np.ndarray]) -> None:
    for film, picture in zip(films, cuts, strict=True):
        film.write(picture)


def _cut_each(frame: np.ndarray, alphas: list[np.ndarray]) -> list[np.ndarray]:
    return [_cut(frame, alpha) for alpha in alphas]


def _walk(
    result: Result,
    make: Callable[[np.ndarray, list[np.ndarray]], T],
    stage: str,
    report: Progress,
    soft: bool,
    groups: Sequence[Sequence[int]] | None = None,
) -> Iterator[T]:
    """What `make` makes of every frame, and of the opacity 0 … 255 [H, W] of each group of objects.

    groups: all objects as one by default. Several frames are worked on side by side.
    """

    def one(of: tuple[int, np.ndarray, np.ndarray]) -> T:
        index, labels, frame = of
        there = set(np.flatnonzero(np.bincount(labels.ravel())).tolist())
        shares = None
        if soft and result.shares is not None and there - {0}:
            shares = result.shares(index, frame)
        alphas = []
        for group in groups if groups is not None else [[t.id for t in result.things]]:
            if not there & set(group):
                alphas.append(np.zeros(labels.shape, np.uint8))
                continue
            mask = labels > 0 if groups is None else np.isin(labels, group, kind="table")
            if not soft:
                alphas.append(np.where(mask, np.uint8(255), np.uint8(0)))
            elif shares is None:
                alphas.append(matte(mask, frame))
            else:
                alphas.append(matte(mask, frame, shares[1], np.isin(shares[0], group)))
        return make(frame, alphas)

    every = zip(result.chosen, result.labels(), result.frames(), strict=True)
    for i, made in enumerate(mapped(one, every)):
        yield made
        report(stage, i + 1, len(result))


def _cut(frame: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """A frame with its opacity, black where nothing near is seen: uint8 [H, W, 4]."""
    out = np.zeros((*alpha.shape, 4), np.uint8)
    seen = alpha > 0
    for box in regions(seen, 2 * MARGIN):
        part, near = alpha[box], spread(seen[box], MARGIN)
        colours = Image.fromarray(object_colours(frame[box], part, MARGIN))
        black = Image.new("RGB", colours.size)
        picture = Image.composite(colours, black, Image.fromarray(near.view(np.uint8) * 255))
        picture.putalpha(Image.fromarray(part))
        out[box] = picture
    return out
