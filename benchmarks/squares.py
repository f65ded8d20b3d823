"""Say which slot methods tell two moving squares apart, and after how many steps.

    python benchmarks/squares.py                    # half an hour of a core
    python benchmarks/squares.py --only mixer STEVE

The smallest scene that a method could fail at, keys made up and plain to tell apart: whether what
is slow on real videos is slow on it too, and what of a method makes it so.
"""

import dataclasses
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from lightning_fabric import Fabric
from safetensors.torch import save_file

from results import machine
from unveil.metrics import PROTOCOLS, Measured
from unveil.slots.carry import Carrier
from unveil.slots.settings import SlotSettings
from unveil.slots.smtc import SmtcSettings
from unveil.training.clips import TrainingClip
from unveil.training.features import ClipFeatures
from unveil.training.features_method import FeatureMethod, model_of
from unveil.training.loop import take_step
from unveil.training.optimiser import make_optimiser
from unveil.training.slots_losses import SlotLossSettings
from unveil.training.slots_method import SlotMethod
from unveil.training.slots_recipe import SlotRecipe
from unveil.training.smtc_method import SmtcMethod
from unveil.training.smtc_recipe import SmtcRecipe

SIDE = 6
"""Of a frame, in patches."""
SQUARE = 3
"""Of a square."""
EVERY, ENOUGH = 100, 0.95
"""Steps between looks at the masks, and the FG-ARI a video that tells the squares apart."""


@dataclass(frozen=True)
class Scene:
    """Two squares a video. kinds: of squares there are, two of which a video shows. where: how
    loudly the keys say where a patch is. apart: least distance of the squares' centres along an
    axis, in patches; from 3 none hides another.
    """

    kinds: int
    where: float
    apart: float


ALIKE = Scene(kinds=2, where=0.5, apart=0.0)
"""Every video shows the same two, now and then one before the other."""
VARIED = Scene(kinds=6, where=1.0, apart=3.0)
"""Other squares in every video."""
RECURRENT = SlotSettings(
    slots=3, width=32, start="learned", mlp=64, decoder="broadcast", decoder_width=64,
    decoder_layers=1, similarity=False,
)  # fmt: skip
"""SlotContrast without its contrast; SAVi with learned slots where `hidden` is raw."""
SOLV = SlotSettings(
    slots=3, width=16, start="learned", time="window", around=1, attention="invariant", steps=2,
    mlp=32, hidden="raw", heads=1, encoder_layers=1, decoder="broadcast", decoder_width=32,
    decoder_layers=1, similarity=False,
)  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """What is trained, on which scene. method: of a seed. clips: how many."""

    name: str
    scene: Scene
    method: Callable[[int], FeatureMethod[Any]]
    clips: int = 256


def trials() -> Iterator[Trial]:
    """All of them."""
    pairs = {"frames": 2, "batch": 32, "steps": 600, "decay": 0.1, "lr": 1e-2}
    raw = dataclasses.replace(RECURRENT, hidden="raw")
    mixer = dataclasses.replace(RECURRENT, decoder="mixer")
    videosaur = dataclasses.replace(mixer, mlp=0, similarity=True)
    steve = dataclasses.replace(
        raw, mlp_last=False, decoder="autoregressive", decoder_width=32, first_steps=2
    )
    for scene, said in ((VARIED, "six kinds"), (ALIKE, "two kinds")):
        for model, what in (
            (RECURRENT, "SlotContrast without its contrast"),
            (raw, "SAVi"),
            (mixer, "mixer"),
            (steve, "STEVE"),
        ):
            for start in ("learned", "random"):
                shape = dataclasses.replace(model, start=start)
                yield slots(f"{what}, {start} slots, {said}", scene, shape, **pairs)
    for weight in (0.05, 0.5):
        name = f"SlotContrast, contrast x {weight}, six kinds"
        yield slots(
            name, VARIED, RECURRENT, SlotLossSettings(similarity=0.0, contrast=weight), **pairs
        )
    for start in ("learned", "random"):
        shape = dataclasses.replace(videosaur, start=start)
        yield slots(
            f"VideoSAUR, {start} slots, six kinds", VARIED, shape, SlotLossSettings(), **pairs
        )
    windows = {"frames": 3, "batch": 16, "steps": 900, "decay": 0.25, "lr": 4e-3}
    yield slots("SOLV, two kinds", ALIKE, SOLV, clips=64, **windows)
    yield smtc("SMTC, three semantics, two kinds", ALIKE, SmtcSettings(semantics=3, instances=1))
    yield smtc("SMTC, two instances each, two kinds", ALIKE, SmtcSettings(semantics=3, instances=2))
    yield smtc("SMTC, seven semantics, six kinds", VARIED, SmtcSettings(semantics=7, instances=1))


def slots(
    name: str,
    scene: Scene,
    model: SlotSettings,
    losses: SlotLossSettings | None = None,
    clips: int = 256,
    **run: Any,
) -> Trial:
    """A trial of a slot model, trained to reconstruct where no losses are given."""

    def method(seed: int) -> SlotMethod:
        return SlotMethod(
            SlotRecipe(
                most_gradient=1.0, precision="fp32", seed=seed, model=model,
                losses=losses or SlotLossSettings(similarity=0.0), **run,
            )
        )  # fmt: skip

    return Trial(name, scene, method, clips)


def smtc(name: str, scene: Scene, model: SmtcSettings) -> Trial:
    """A trial of SMTC."""
    run = {"batch": 8, "steps": 300, "lr": 3e-3, "precision": "fp32"}
    return Trial(
        name, scene, lambda seed: SmtcMethod(SmtcRecipe(seed=seed, model=model, **run)), 64
    )


def video(scene: Scene, number: int, frames: int) -> tuple[torch.Tensor, np.ndarray]:
    """Keys [T, h, w, c] of two squares that move over a ground, each of its own kind, and which.

    As in the keys of a backbone something tells where a patch is: no slot could say so otherwise.
    """
    rng = np.random.default_rng(number)
    kinds = np.random.default_rng(99).normal(size=(1 + scene.kinds, 8))
    kinds *= 3 / np.linalg.norm(kinds, axis=1, keepdims=True)
    shown = kinds[:3]
    if scene.kinds > 2:
        shown = kinds[[0, *(1 + rng.choice(scene.kinds, 2, replace=False))]]
    low, high = (1, SIDE - 2) if scene.apart < SQUARE else (0.6, SIDE - 1.6)
    while True:
        starts, ways = rng.uniform(low, high, (2, 2)), rng.uniform(-0.7, 0.7, (2, 2))
        centres = np.clip(starts + np.arange(frames)[:, None, None] * ways, 0.6, SIDE - 1.6)
        if abs(centres[:, 0] - centres[:, 1]).max(1).min() >= scene.apart:
            break
    y, x = np.mgrid[:SIDE, :SIDE]
    truth = np.zeros((frames, SIDE, SIDE), np.uint8)
    for t, i in np.ndindex(frames, 2):
        row, column = centres[t, i]
        truth[t][(abs(y - row) < SQUARE / 2) & (abs(x - column) < SQUARE / 2)] = i + 1
    near = scene.where * np.exp(-((np.arange(SIDE)[:, None] - np.arange(SIDE)) ** 2) / 2)
    where = np.concatenate((near[y], near[x]), -1)[None].repeat(frames, 0)
    keys = np.concatenate((shown[truth], where), -1)
    return torch.from_numpy(keys + 0.1 * rng.normal(size=keys.shape)).float(), truth


def as_clip(keys: torch.Tensor, folder: Path, number: int) -> ClipFeatures:
    """Keys as the cache keeps those of one window, a class token before them."""
    t, h, w, c = keys.shape
    file = folder / f"{number}.safetensors"
    save_file({"keys": torch.cat([torch.zeros(t, 1, c), keys.flatten(1, 2)], 1)[None]}, file)
    clip = TrainingClip(folder / str(number), str(number))
    return ClipFeatures(clip, file, (h, w), (tuple(range(t)),))


def course(trial: Trial, seed: int, folder: Path) -> Iterator[tuple[int, float, float]]:
    """Steps done, FG-ARI a video, and the mean of the first loss since the look before; begins
    with the model as it is before it is trained, whose loss is not known.
    """
    method = trial.method(seed)
    frames, fabric = method.recipe.frames, Fabric(accelerator="cpu", devices=1)
    clips = [as_clip(video(trial.scene, i, frames)[0], folder, i) for i in range(trial.clips)]
    module = method.new(clips)
    optimiser, errors = make_optimiser(module, *method.rates(0)), list[float]()
    yield 0, fg_ari(module, trial.scene), float("nan")
    for step in range(method.recipe.steps):
        record = take_step(module, optimiser, method, clips, step, fabric)
        errors.append(next(iter(record.losses.values())))
        if (step + 1) % EVERY == 0:
            yield step + 1, fg_ari(module, trial.scene), float(np.mean(errors[-EVERY:]))


def fg_ari(module: torch.nn.Module, scene: Scene) -> float:
    """FG-ARI a video, on videos that are longer and were not trained on."""
    model = model_of(module.eval())  # a step trains again
    scene = dataclasses.replace(scene, apart=max(scene.apart, 2.5))
    records = []
    for keys, truth in (video(scene, 1000 + i, 8) for i in range(8)):
        carrier = Carrier(model)
        masks = torch.cat([carrier.add(keys), carrier.flush()])
        measured = Measured(1 + masks.argmax(1).numpy().astype(np.uint8), truth)
        records.append(PROTOCOLS["fg-ari"].score(measured))
    return PROTOCOLS["fg-ari"].mean(records)["FG-ARI per video"]


def main(only: tuple[str, ...] = (), seeds: int = 3) -> None:
    """Print a table, a trial a line.

    Args:
        only: Trials whose names hold one of these; all if not given.
        seeds: Of each, from 0 on.
    """
    print(f"{machine()}; torch {torch.__version__}\n")
    print(f"| trial | steps | FG-ARI, {seeds} seeds | steps to {ENOUGH} | loss |")
    print("| --- | ---: | --- | --- | --- |")
    for trial in trials():
        if any(part in trial.name for part in only or [""]):
            print(line(trial, range(seeds)), flush=True)


def line(trial: Trial, seeds: Iterable[int]) -> str:
    """What came of a trial, a line of a table."""
    ends, reached, losses = list[str](), list[str](), list[str]()
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            looks = list(course(trial, seed, Path(folder)))
        ends.append(f"{looks[-1][1]:.2f}")
        losses.append(f"{looks[-1][2]:.2f}")
        reached.append(next((str(step) for step, score, _ in looks if score >= ENOUGH), "–"))
    cells = (trial.name, str(looks[-1][0]), *(", ".join(x) for x in (ends, reached, losses)))
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    tyro.cli(main)
