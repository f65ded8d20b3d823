"""Results of a video without a backbone: two squares that touch, and a third that stands still."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

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

PATCH = 8
GRID = (9, 16)
WISHES = cut_wishes(None, None, False)
COLOURS = np.array([[40, 60, 50], [220, 60, 60], [70, 90, 220], [230, 200, 60]], np.uint8)


def patches(t: int) -> np.ndarray:
    """What every patch is of, [t, h, w]: 0 the ground, 1 and 2 touch and walk, 3 stands aside."""
    h, w = GRID
    out = np.zeros((t, h, w), int)
    for i in range(t):
        x = 2 + abs((i // 4 + 4) % 8 - 4)
        out[i, 2:6, x : x + 3] = 1
        out[i, 2:6, x + 3 : x + 6] = 2
        out[i, 6:8, 12:15] = 3
    return out


def frames_of(t: int) -> np.ndarray:
    """The frames, uint8 [t, 72, 128, 3]: a colour a thing, and some noise."""
    noise = np.random.default_rng(0).integers(-12, 12, (t, 72, 128, 3))
    flat = COLOURS[patches(t)].repeat(PATCH, 1).repeat(PATCH, 2)
    return np.clip(flat + noise, 0, 255).astype(np.uint8)


def found_in(t: int) -> Found:
    """What the default mode makes of features that tell 0 from 1 and 2, and hardly 1 from 2."""
    rng = np.random.default_rng(1)
    looks = rng.normal(size=(4, 24))
    looks[2] = looks[1] + 0.6 * rng.normal(size=24)
    looks[3] = looks[0] + 0.9 * rng.normal(size=24)
    of = patches(t)
    keys = looks[of] + 0.1 * rng.normal(size=(*of.shape, 24))
    saliency = np.where((of == 1) | (of == 2), 3.0, 0.3) + 0.05 * rng.random(of.shape)
    grouper = Grouper()
    grouper.add(Features(torch.from_numpy(keys).float(), PATCH, torch.from_numpy(saliency).float()))
    groups = grouper.finish()
    found = cut(describe(groups), **WISHES)
    return Found(found.ids, found.scores, found.share, found.state, evidence(groups))


def write_video(path: Path, t: int) -> None:
    """The frames as an mp4."""
    movie = Movie(path, Fraction(12), 72, 128, alpha=0.0)
    for frame in frames_of(t):
        movie.write(frame, np.zeros(frame.shape[:2], np.uint8))
    movie.close()


def make_result(folder: Path, t: int = 20) -> Path:
    """`folder/clip.mp4` and its result in `folder/out`, which is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    write_video(folder / "clip.mp4", t)
    video = open_video(folder / "clip.mp4")
    about = {"name": "clip", "frames": t, "height": 72, "width": 128, "fps": "12"}
    run = {
        "unveil": "test",
        "settings": Settings().plain(),
        "video": {
            **about,
            "source": str(folder / "clip.mp4"),
            "start": None,
            "end": None,
            "stride": 1,
        },
        "warnings": [],
        "grid": list(GRID),
    }
    write_anew(folder / "out", video, found_in(t), run, WISHES, Log(WISHES), Clock())
    return folder / "out"
