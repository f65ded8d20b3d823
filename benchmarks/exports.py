"""What an export costs: CPU milliseconds a frame beside decoding's and encoding's, and peak memory.

    python benchmarks/exports.py --frames 5000
    python benchmarks/exports.py --frames 200 --only decode encode-prores prores
    python benchmarks/exports.py --frames 1000 --pictures --only decode coco
    python benchmarks/exports.py --frames 10000 --lines 48

A clip of 854x480 with five objects that move over a textured ground and sometimes hide each other;
its result is written without a state, so edges are softened by colours. Each form is exported in a
process of its own. CPU seconds count, all threads together, since machines are shared. `loop-jpeg`
and `loop-png` are what a plain loop takes, one frame after the other: every frame decoded and saved
as JPEG; every mask read and saved as PNG. No form that writes these can take less.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from unveil.exports.result import Result

LINES, OBJECTS = 480, 5
QUALITY = 95  # of JPEG, as exports have it
LOOPS = ("loop-jpeg", "loop-png")


def scene(i: int, ground: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frame i and its labels, of the size of the ground."""
    height, width = ground.shape[:2]
    labels = np.zeros((height, width), np.uint8)
    y, x = np.ogrid[:height, :width]
    y, x = (side * LINES / height for side in (y, x))
    frame = np.roll(ground, i, 1)
    for id in range(1, OBJECTS + 1):
        cy = 240 + 150 * np.sin(0.01 * id * i + id)
        cx = 427 + 330 * np.cos(0.013 * i + 1.3 * id)
        inside = (y - cy) ** 2 / (50 + 6 * id) ** 2 + (x - cx) ** 2 / (60 + 5 * id) ** 2 < 1
        labels[inside] = id
        frame[inside] = frame[inside] // 4 + np.array([30 * id, 200 - 30 * id, 90], np.uint8)
    return frame, labels


def make(folder: Path, frames: int, pictures: bool = False, lines: int = LINES) -> None:
    """The clip and its result. pictures: the clip is a folder of JPEG files, not a movie."""
    from unveil.results.movie import Movie
    from unveil.results.writer import Writer

    rng = np.random.default_rng(0)
    height, width = lines, lines * 427 // LINES * 2  # even, as H.264 wants it
    ground = np.kron(rng.integers(40, 200, (60, 107, 3)), np.ones((8, 8, 1)))[:height, :width]
    ground = ground.astype(np.uint8)
    source = folder / ("clip" if pictures else "clip.mp4")
    movie = None
    if pictures:
        source.mkdir()
    else:
        movie = Movie(source, Fraction(25), height, width, alpha=0.0)
    size = {"height": height, "width": width}
    with Writer(folder / "result", name="clip", fps=Fraction(25), **size) as writer:
        for i in range(frames):
            frame, labels = scene(i, ground)
            if movie is None:
                Image.fromarray(frame).save(source / f"{i:05d}.jpg", quality=QUALITY)
            else:
                movie.write(frame, labels * 0)
            writer.write(None, labels[None], [f"{i:05d}"])
        if movie is not None:
            movie.close()
        run = {"video": {"source": str(source), "stride": 1}}
        writer.finish({id: 0.5 for id in range(1, OBJECTS + 1)}, run)


ENCODERS = ("prores", "webm", "green-screen", "rgba-png")
"""Forms whose encoder is measured alone too, `encode-NAME`."""


def encode(folder: Path, name: str) -> float:
    """CPU seconds that an encoder takes for as many frames as there are, cut out beforehand."""
    from unveil.exports.film import MP4, PRORES, WEBM, filmed
    from unveil.exports.formats import export
    from unveil.exports.result import open_result

    result = open_result(folder / "result")
    few = replace(result, chosen=range(min(16, len(result))))
    with tempfile.TemporaryDirectory(dir=folder) as place:
        ready = export(few, Path(place) / "ready", "rgba-png").glob("*.png")
        pictures = [np.asarray(Image.open(path)) for path in sorted(ready)]
        if name == "rgba-png":
            began = time.process_time()
            for i in range(len(result)):
                picture = Image.fromarray(pictures[i % len(pictures)])
                picture.save(Path(place) / f"{i}.png", compress_level=1)
            return time.process_time() - began
        kind = {"prores": PRORES, "webm": WEBM, "green-screen": MP4}[name]
        channels = 3 if kind is MP4 else 4
        began = time.process_time()
        with filmed([Path(place) / f"out{kind.suffix}"], kind, result) as (film,):
            for i in range(len(result)):
                film.write(np.ascontiguousarray(pictures[i % len(pictures)][..., :channels]))
        return time.process_time() - began


def loop(result: "Result", name: str, place: Path) -> None:
    """What cannot be saved: every picture decoded and encoded, one after the other."""
    frames = result.frames() if name == "loop-jpeg" else result.labels()
    for i, frame in enumerate(frames):
        if name == "loop-jpeg":
            Image.fromarray(frame).save(place / f"{i}.jpg", quality=QUALITY)
        else:
            Image.fromarray(frame).save(place / f"{i}.png", compress_level=1)


def measure(folder: Path, name: str) -> dict[str, float]:
    """One form, `decode`, or an encoder, in this process."""
    from unveil.exports.formats import FORMATS, export
    from unveil.exports.result import open_result
    from unveil.timing import peak_memory_mb

    result = open_result(folder / "result")
    if name in FORMATS:
        assert FORMATS[name].write  # what it imports is no part of what a frame costs
    next(result.frames())
    began, cpu = time.perf_counter(), time.process_time()
    if name.startswith("encode-"):
        spent = encode(folder, name.removeprefix("encode-"))
        cpu = time.process_time() - spent  # without what made the frames
    elif name == "decode":
        for _ in result.frames():
            pass
    elif name.startswith("loop-"):
        with tempfile.TemporaryDirectory(dir=folder) as out:
            loop(result, name, Path(out))
    else:
        with tempfile.TemporaryDirectory(dir=folder) as out:
            export(result, Path(out) / FORMATS[name].file, name)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    frames = len(result)
    return {"cpu_ms": 1000 * cpu / frames, "fps": frames / seconds, "mb": peak_memory_mb() or 0}


def main() -> None:
    from unveil.exports.formats import FORMATS

    every = ["decode", *LOOPS, *(f"encode-{name}" for name in ENCODERS), *FORMATS]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=5000)
    parser.add_argument("--only", nargs="*", default=every)
    parser.add_argument("--lines", type=int, default=LINES, help="of a frame, at most 480")
    parser.add_argument("--pictures", action="store_true", help="of a folder of JPEG files")
    parser.add_argument("--measure", nargs=2, metavar=("FOLDER", "FORM"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(Path(args.measure[0]), args.measure[1])))
        return
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), args.frames, args.pictures, args.lines)
        print("| form | CPU ms a frame | frames a second | peak MB |\n|---|---|---|---|")
        for name in args.only:
            call = [sys.executable, __file__, "--measure", folder, name]
            done = subprocess.run(call, capture_output=True, text=True)
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["?"])[-1]
                print(f"| `{name}` | failed: {last} | | |", flush=True)
                continue
            got = json.loads(done.stdout)
            print(
                f"| `{name}` | {got['cpu_ms']:.1f} | {got['fps']:.1f} | {got['mb']} |", flush=True
            )


if __name__ == "__main__":
    main()
