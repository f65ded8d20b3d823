"""That training works: blobs that move are told apart after some hundred steps, from nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import save_file

from unveil.metrics import PROTOCOLS, Measured
from unveil.slots.carry import Carrier
from unveil.slots.settings import SlotSettings
from unveil.training.clips import TrainingClip
from unveil.training.features import ClipFeatures
from unveil.training.loop import take_step
from unveil.training.optimiser import make_optimiser
from unveil.training.slots_losses import SlotLossSettings
from unveil.training.slots_method import SlotMethod
from unveil.training.slots_recipe import SlotRecipe

SIDE = 6
SOLV = SlotSettings(
    slots=3, width=16, start="learned", time="window", around=1, attention="invariant", steps=2,
    mlp=32, hidden="raw", heads=1, encoder_layers=1, decoder="broadcast", decoder_width=32,
    decoder_layers=1, similarity=False,
)  # fmt: skip


def blobs(number: int, frames: int, apart: float = 0.0) -> tuple[torch.Tensor, np.ndarray]:
    """Keys [T, h, w, c] of two squares that move over a ground, each of its own kind, and which.

    As in the keys of a backbone something tells where a patch is: no slot could say so otherwise.
    apart: least distance of their centres along an axis, in patches; from 3 none hides another.
    """
    rng = np.random.default_rng(number)
    kinds = np.random.default_rng(99).normal(size=(3, 8))
    kinds *= 3 / np.linalg.norm(kinds, axis=1, keepdims=True)
    while True:
        starts, ways = rng.uniform(1, 4, (2, 2)), rng.uniform(-0.7, 0.7, (2, 2))
        centres = np.clip(starts + np.arange(frames)[:, None, None] * ways, 0.6, 4.4)
        if abs(centres[:, 0] - centres[:, 1]).max(1).min() >= apart:
            break
    y, x = np.mgrid[:SIDE, :SIDE]
    truth = np.zeros((frames, SIDE, SIDE), np.uint8)
    for t, i in np.ndindex(frames, 2):
        row, column = centres[t, i]
        truth[t][(abs(y - row) < 1.5) & (abs(x - column) < 1.5)] = i + 1
    near = 0.5 * np.exp(-((np.arange(SIDE)[:, None] - np.arange(SIDE)) ** 2) / 2)
    where = np.concatenate((near[y], near[x]), -1)[None].repeat(frames, 0)
    keys = np.concatenate((kinds[truth], where), -1)
    return torch.from_numpy(keys + 0.1 * rng.normal(size=keys.shape)).float(), truth


def as_clip(keys: torch.Tensor, folder: Path, number: int) -> ClipFeatures:
    """Keys as the cache keeps those of one window, a class token before them."""
    t, h, w, c = keys.shape
    file = folder / f"{number}.safetensors"
    save_file({"keys": torch.cat([torch.zeros(t, 1, c), keys.flatten(1, 2)], 1)[None]}, file)
    clip = TrainingClip(folder / str(number), str(number))
    return ClipFeatures(clip, file, (h, w), (tuple(range(t)),))


@pytest.mark.slow
def test_moving_blobs_are_told_apart(tmp_path):
    """After some 400 steps of the first seed, 35 CPU seconds on a shared processor; seeds differ,
    and with them processors, whose sums are not rounded alike.
    """
    clips = [as_clip(blobs(i, 3)[0], tmp_path, i) for i in range(64)]
    assert any(reached(clips, seed) for seed in range(3))


def reached(clips: list[ClipFeatures], seed: int, wanted: float = 0.95) -> bool:
    """Whether training comes to that FG-ARI; looked at every hundred steps."""
    recipe = SlotRecipe(
        frames=3, batch=16, steps=900, lr=1e-2, warm_up=0.025, decay=0.25, most_gradient=1.0,
        precision="fp32", seed=seed, model=SOLV, losses=SlotLossSettings(similarity=0.0),
    )  # fmt: skip
    method, fabric = SlotMethod(recipe), Fabric(accelerator="cpu", devices=1)
    module = method.new(clips)
    optimiser = make_optimiser(module, *method.rates(0))
    assert fg_ari(module) < 0.3
    for step in range(recipe.steps):
        take_step(module, optimiser, method, clips, step, fabric)
        if (step + 1) % 100 == 0 and fg_ari(module) >= wanted:
            return True
    return False


def fg_ari(module: torch.nn.Module) -> float:
    """FG-ARI a video, on videos that are longer and were not trained on."""
    module.eval()  # a step trains again
    records = []
    for keys, truth in (blobs(1000 + i, 8, apart=2.5) for i in range(8)):
        carrier = Carrier(module)
        masks = torch.cat([carrier.add(keys), carrier.flush()])
        measured = Measured(1 + masks.argmax(1).numpy().astype(np.uint8), truth)
        records.append(PROTOCOLS["fg-ari"].score(measured))
    return PROTOCOLS["fg-ari"].mean(records)["FG-ARI per video"]
