"""What runs of training are tried on, and how they are stopped."""

from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from PIL import Image
from safetensors.torch import load_file

from unveil.training.loop import train
from unveil.training.watcher import Watcher


def write_clips(folder: Path, clips: int = 4, frames: int = 7) -> Path:
    """Folders of frames in which a bright square crosses noise."""
    for seed in range(clips):
        clip = folder / f"clip{seed}"
        clip.mkdir(parents=True)
        rng = np.random.default_rng(seed)
        scene = rng.integers(0, 120, (24, 36, 3), dtype=np.uint8)
        for i in range(frames):
            frame = scene.copy()
            frame[6:16, 2 + 3 * i : 12 + 3 * i] = rng.integers(180, 256, 3)
            Image.fromarray(frame).save(clip / f"{i:03d}.png")
    return folder


class Stopped(Watcher):
    """Ends a run after some steps, as a power cut would."""

    def __init__(self, after: int) -> None:
        self.after = after

    def stepped(self, record) -> None:
        if record.step == self.after:
            raise KeyboardInterrupt


def whole_and_stopped(
    videos: Path, method, cache, place: Path, stops: tuple[int, ...] = (2, 3)
) -> dict[str, torch.Tensor]:
    """The tensors of what is trained in one go, in `place`/whole.

    They are those of the same run stopped after some steps, in `place`/stopped.
    """
    fabric = Fabric(accelerator="cpu", devices=1)
    whole = train(videos, method, place / "whole", fabric, cache, Watcher())
    out = place / "stopped"
    for after in stops:
        with pytest.raises(KeyboardInterrupt):
            train(videos, method, out, fabric, cache, Stopped(after))
    again = train(videos, method, out, fabric, cache, Watcher())
    a, b = load_file(whole), load_file(again)
    assert all(torch.equal(a[key], b[key]) for key in a)
    return a
