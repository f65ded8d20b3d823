"""How fast the viewer answers: a result of 1,000 frames of 854x480, opened in a real browser.

python benchmarks/viewer.py [--frames 1000] [--rounds 7] [--step 3]

Needs Chromium and Playwright. The video is drawn and its features are made up, so that no backbone
is needed: three things of 384 channels on a grid of 24x42. Times are taken in the page: from asking
for it to the first picture and to the timeline; from letting a slider go, or pressing on a patch,
to what is seen of it. "Cut" is a slider that is set at once, "cut that was tried" one that was
moved there first, as a hand does it. Memory is that of the server once it is open, after the
presses, and after each quarter of a walk through every third frame (`--step`).
"""

import argparse
import json
import os
import platform
import re
import statistics
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from playwright.sync_api import Page

from served import chromium, served
from unveil.editing.log import Log
from unveil.fast.describe import describe
from unveil.fast.evidence import evidence
from unveil.fast.groups import Grouper
from unveil.results.movie import Movie
from unveil.segmentation.first_pass import Found, cut
from unveil.segmentation.recut import write_anew
from unveil.settings import Settings, cut_wishes
from unveil.timing import Clock
from unveil.types import Features
from unveil.video.source import open_video

HEIGHT, WIDTH = 480, 854
H, W = 24, 42
CHANNELS = 384
WISHES = cut_wishes(None, None, False)
COLOURS = np.array([[52, 74, 60], [214, 70, 60], [70, 96, 214], [226, 196, 70]], np.uint8)


def things(i: int) -> np.ndarray:
    """What every patch of a frame is of, [h, w]: three things that walk to and fro."""
    out = np.zeros((H, W), int)
    for k, (row, tall, speed) in enumerate(((3, 8, 31), (9, 7, 43), (15, 8, 57)), 1):
        x = int((W - 8) * abs(((i / speed / 4 + 0.3 * k) % 2) - 1))
        out[row : row + tall, x : x + 7] = k
    return out


def frames(count: int) -> Iterator[np.ndarray]:
    """The frames of the video, a colour a thing, and noise that an encoder has to work on."""
    rng = np.random.default_rng(0)
    rows, columns = np.arange(HEIGHT) * H // HEIGHT, np.arange(WIDTH) * W // WIDTH
    noise = rng.integers(-14, 14, (HEIGHT + 32, WIDTH + 32, 1))
    for i in range(count):
        flat = COLOURS[things(i)][rows][:, columns].astype(int)
        y, x = rng.integers(0, 32, 2)
        yield np.clip(flat + noise[y : y + HEIGHT, x : x + WIDTH], 0, 255).astype(np.uint8)


def make(folder: Path, count: int) -> Path:
    """A video and its result."""
    movie = Movie(folder / "clip.mp4", Fraction(25), HEIGHT, WIDTH, alpha=0.0)
    for frame in frames(count):
        movie.write(frame, np.zeros((HEIGHT, WIDTH), np.uint8))
    movie.close()
    rng = np.random.default_rng(1)
    looks = rng.normal(size=(4, CHANNELS))
    grouper = Grouper()
    for i in range(0, count, 8):
        of = np.stack([things(t) for t in range(i, min(i + 8, count))])
        keys = looks[of] + 0.2 * rng.normal(size=(*of.shape, CHANNELS))
        salient = np.where(of > 0, 3.0, 0.3) + 0.05 * rng.random(of.shape)
        features = (torch.from_numpy(x).float() for x in (keys, salient))
        grouper.add(Features(next(features), 14, next(features)))
    groups = grouper.finish()
    found = cut(describe(groups), **WISHES)
    found = Found(found.ids, found.scores, found.share, found.state, evidence(groups))
    about = {"name": "clip", "frames": count, "height": HEIGHT, "width": WIDTH, "fps": "25"}
    span = {"start": None, "end": None, "stride": 1, "source": str(folder / "clip.mp4")}
    run = {"settings": Settings().plain(), "video": {**about, **span}, "warnings": []}
    video = open_video(folder / "clip.mp4")
    write_anew(folder / "out", video, found, run, WISHES, Log(WISHES), Clock())
    return folder / "out"


def resident(process: int) -> int:
    """MB that a process holds."""
    said = Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", said)[1]) // 1024


def since(page: Page, act: str, seen: str) -> float:
    """Milliseconds from an act in the page, JavaScript, until something is to be seen in it."""
    return page.evaluate(
        f"""() => new Promise((done) => {{
            const start = performance.now();
            {act};
            const look = () => ({seen})
                ? requestAnimationFrame(() => done(performance.now() - start))
                : setTimeout(look, 1);
            look();
        }})"""
    )


def measure(url: str, process: int, rounds: int, count: int, walk: range) -> dict[str, list[float]]:
    """Milliseconds of each kind, a list a kind, and the memory."""
    out: dict[str, list[float]] = {
        name: []
        for name in (
            "first picture",
            "timeline",
            "cut",
            "slider preview",
            "cut that was tried",
            "patch press",
        )
    }
    with chromium() as browser:
        for _ in range(rounds):
            page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
            page.goto(url, wait_until="commit")
            page.wait_for_selector("#canvas[data-frame]", state="attached")
            for name, mark in (("timeline", "timeline"), ("first picture", "picture")):
                ask = f"performance.getEntriesByName('{mark}')[0].startTime"
                out[name].append(page.evaluate(ask))
            page.close()
        page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
        page.set_default_timeout(120_000)  # of a machine that others use too
        page.goto(url)
        page.wait_for_selector("#canvas[data-frame]")
        held = [resident(process)]
        slider = "const s = document.getElementById('granularity'); s.value = {value};"
        for i in range(rounds):
            value = 0.3 + 0.5 * (i % 2)
            page.evaluate(
                f"() => {{ const r = document.getElementById('scrub'); r.value = {97 * i % count};"
                "r.dispatchEvent(new Event('input')) }"
            )
            page.wait_for_timeout(700)
            version = int(page.get_attribute("#canvas", "data-version"))
            canvas = "document.getElementById('canvas').dataset"
            act = slider.format(value=value) + "s.dispatchEvent(new Event('change'))"
            out["cut"].append(since(page, act, f"Number({canvas}.painted) === {version + 1}"))
            page.wait_for_timeout(300)
            page.evaluate(f"() => {{ delete {canvas}.tried }}")
            act = slider.format(value=0.55) + "s.dispatchEvent(new Event('input'))"
            out["slider preview"].append(since(page, act, f"{canvas}.tried"))
            page.wait_for_timeout(300)
            version = int(page.get_attribute("#canvas", "data-version"))
            act = "const s = document.getElementById('granularity');"
            act += "s.dispatchEvent(new Event('change'))"
            seen = f"Number({canvas}.painted) === {version + 1}"
            out["cut that was tried"].append(since(page, act, seen))
            page.wait_for_timeout(300)
        page.keyboard.press("a")
        box = page.locator("#canvas").bounding_box()
        for i in range(rounds):
            x, y = box["x"] + box["width"] * (0.3 + 0.05 * i), box["y"] + box["height"] * 0.5
            press = (
                f"document.getElementById('canvas').dispatchEvent(new MouseEvent('click',"
                f"{{clientX: {x}, clientY: {y}, button: 0}}))"
            )
            page.evaluate(
                "() => document.querySelectorAll('#panels canvas').forEach(c => c.remove())"
            )
            seen = (
                "document.querySelectorAll('#panels canvas').length && [...document"
                ".querySelectorAll('#panels canvas')].every(c => c.dataset.frame)"
            )
            out["patch press"].append(since(page, press, seen))
        held.append(resident(process))
        for i, frame in enumerate(walk, 1):
            page.evaluate(
                f"() => {{ const r = document.getElementById('scrub'); r.value = {frame};"
                "r.dispatchEvent(new Event('input')) }"
            )
            page.wait_for_selector(f'#canvas[data-frame="{frame}"]', state="attached")
            if 4 * i // len(walk) >= len(held) - 1:
                held.append(resident(process))
        out["memory opened, before the walk, and after each quarter of it, MB"] = held
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--step", type=int, default=3, help="of the walk, in frames")
    parser.add_argument("--folder", type=Path, help="keep the result here, and use it again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        out = folder / "out"
        if not out.is_dir():
            out = make(folder, options.frames)
        start = time.perf_counter()
        with served(out) as (url, process):
            started = time.perf_counter() - start
            walk = range(0, options.frames, options.step)
            found = measure(url, process, options.rounds, options.frames, walk)
        size = {p.name: p.stat().st_size for p in out.glob("*.npz")}
    print(f"{platform.machine()}, {platform.python_version()}, {options.frames} frames")
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"the command until it prints its address: {started:.1f} s")
    for name, values in found.items():
        if name.startswith("memory"):
            print(f"{name}: {', '.join(map(str, values))}")
        else:
            worst = max(values)
            print(f"{name}: {statistics.median(values):.0f} ms in the median, {worst:.0f} at worst")
    print("bytes a frame:", json.dumps({k: v // options.frames for k, v in size.items()}))


if __name__ == "__main__":
    main()
