"""The training run: devices, optimiser, schedule, checkpoints.

Every process computes the losses of its share of a step's clips, one clip after the other (so
clips may differ in shape); gradients are summed over clips and processes, and every process
takes the same step. One process and several thus differ by the order of a sum and nothing else.
"""

import copy
import dataclasses
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor

from unveil.attention.block import Block
from unveil.attention.block_file import save_block
from unveil.errors import TrainingError, WeightsError, said_of
from unveil.features.backbone import Backbone, pick_dtype
from unveil.training.checkpoint import Checkpoint, check_fits, load_checkpoint, save_checkpoint
from unveil.training.clips import find_clips
from unveil.training.features import Cache, ClipFeatures
from unveil.training.optimiser import make_optimiser
from unveil.training.recipe import Recipe
from unveil.training.sampling import Sample, cosine, draw_batch, hold_out
from unveil.training.start import new_block
from unveil.training.step import clip_losses
from unveil.training.trial import row_scale

log = logging.getLogger(__name__)
BLOCK = "block.safetensors"


@dataclass(frozen=True)
class StepRecord:
    """What happened in a step. seconds: of this step."""

    step: int
    semantic: float
    motion: float
    lr: float
    grad_norm: float
    seconds: float

    @property
    def total(self) -> float:
        """What was minimised."""
        return self.semantic + self.motion


class Watcher:
    """What a run tells while it goes on; does nothing. `monitor.Monitor` shows and writes it."""

    def features(self, done: int, total: int, name: str) -> None:
        """The features of a clip are there, or it was skipped."""

    def skipped(self, name: str, reason: str) -> None:
        """A clip cannot be used."""

    def started(
        self, step: int, train: Sequence[ClipFeatures], held: Sequence[ClipFeatures]
    ) -> None:
        """Training goes on after so many steps."""

    def stepped(self, record: StepRecord) -> None:
        """A step was taken."""

    def tried(self, step: int, block: Block, held: Sequence[ClipFeatures]) -> None:
        """It is time to try the block on clips that are not trained on."""


@dataclass(frozen=True)
class Data:
    """The clips of a run with their features."""

    train: list[ClipFeatures]
    held: list[ClipFeatures]
    skipped: dict[str, str]


def train(
    folder: Path, recipe: Recipe, out: Path, fabric: Fabric, cache: Cache, watcher: Watcher
) -> Path:
    """Train a block on the videos of a folder, or go on with the run in `out`; returns its file.

    Raises TrainingError where nothing can be trained on, a loss is not finite, or the disk is
    full; WeightsError where the backbone is not there or its channels do not fit the heads.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"cannot make the folder {out}: {error.strerror}") from error
    checkpoint = load_checkpoint(out)
    data = prepare(folder, recipe, fabric, cache, watcher)
    block = new_block(recipe, data.train[0]).to(fabric.device)
    optimiser = make_optimiser(block, recipe.lr, recipe.weight_decay)
    digests = [c.clip.digest for c in data.train]
    first = 0
    if checkpoint is not None:
        check_fits(checkpoint, recipe, digests, out)
        block.load_state_dict(checkpoint.block)
        optimiser.load_state_dict(checkpoint.optimiser)
        first = checkpoint.step

    def save(step: int) -> None:
        if fabric.is_global_zero:
            state = block.state_dict(), optimiser.state_dict()
            save_checkpoint(Checkpoint(step, dataclasses.asdict(recipe), digests, *state), out)
        fabric.barrier()

    def keep(step: int) -> None:
        if step in recipe.keep and fabric.is_global_zero:
            write_block(block, recipe, step, data, out / f"block-{step}.safetensors")

    watcher.started(first, data.train, data.held)
    if first == 0:
        keep(0)
        watcher.tried(0, block, data.held)
    for step in range(first, recipe.steps):
        watcher.stepped(take_step(block, optimiser, recipe, data.train, step, fabric))
        done = step + 1
        keep(done)
        if done % recipe.try_every == 0 or done == recipe.steps:
            watcher.tried(done, block, data.held)
        if done % recipe.checkpoint_every == 0 or done == recipe.steps:
            save(done)
    if fabric.is_global_zero:
        write_block(block, recipe, recipe.steps, data, out / BLOCK)
    fabric.barrier()
    return out / BLOCK


def prepare(folder: Path, recipe: Recipe, fabric: Fabric, cache: Cache, watcher: Watcher) -> Data:
    """The features of every clip; what cannot be used is skipped, said and counted."""
    loaded: list[Backbone] = []

    def backbone() -> Backbone:
        if not loaded:
            loaded.append(Backbone(recipe.backbone, fabric.device))
        return loaded[0]

    found: dict[str, ClipFeatures] = {}
    skipped: dict[str, str] = {}

    def skip(name: str, reason: str) -> None:
        skipped[name] = reason
        watcher.skipped(name, reason)

    clips = find_clips(folder, skip)
    # Each process begins with another clip: they share the work, and wait for no lock for long.
    turn = fabric.global_rank * len(clips) // fabric.world_size
    for done, clip in enumerate(clips[turn:] + clips[:turn]):
        try:
            found[clip.digest] = cache.get(clip, recipe, backbone)
        except (TrainingError, WeightsError):
            raise
        except Exception as error:  # whatever is wrong with one clip must not end the run
            log.debug("%s cannot be used", clip.name, exc_info=True)
            skip(clip.name, said_of(error))
        watcher.features(done + 1, len(clips), clip.name)
    usable = _usable_by_all([c.digest in found for c in clips], fabric)
    features = [found[c.digest] for c, all_can in zip(clips, usable, strict=True) if all_can]
    for clip, all_can in zip(clips, usable, strict=True):
        if clip.digest in found and not all_can:
            skip(clip.name, "another process cannot use it")
    if not features:
        raise TrainingError(
            f"none of the {len(skipped)} clips in {folder} can be used; the first: "
            f"{next(iter(skipped.values()))}"
        )
    if fabric.is_global_zero:
        cache.evict()
    return Data(*hold_out(features, recipe.validation, recipe.seed), skipped)


def _usable_by_all(usable: list[bool], fabric: Fabric) -> list[bool]:
    """Which clips every process can use; waits for all of them."""
    counts = torch.tensor(usable, dtype=torch.float32, device=fabric.device)
    if fabric.world_size > 1:
        counts = cast(Tensor, fabric.all_reduce(counts, reduce_op="sum"))
    return (counts == fabric.world_size).tolist()


def take_step(
    block: Block,
    optimiser: torch.optim.Optimizer,
    recipe: Recipe,
    clips: Sequence[ClipFeatures],
    step: int,
    fabric: Fabric,
) -> StepRecord:
    """One step on this process's share of the batch, gradients summed over all processes."""
    began = time.perf_counter()
    rate = cosine(recipe.lr, recipe.final_lr, step, recipe.steps)
    decay = cosine(recipe.weight_decay, recipe.final_weight_decay, step, recipe.steps)
    for group, wd in zip(optimiser.param_groups, (decay, 0.0), strict=True):
        group["lr"], group["weight_decay"] = rate, wd
    optimiser.zero_grad(set_to_none=False)
    block.train()
    sums = torch.zeros(2, device=fabric.device, dtype=torch.float64)
    batch = draw_batch(recipe, clips, step)
    for sample in batch[fabric.global_rank :: fabric.world_size]:
        try:
            sums += _backward(block, recipe, sample, fabric.device)
        except Exception as error:
            raise TrainingError(
                f"step {step + 1}, {sample.features.clip.name} (window {sample.window}): "
                f"{said_of(error)}; the last checkpoint is kept"
            ) from error
    norm = _share(block, sums, fabric)
    semantic, motion = sums.tolist()
    if not math.isfinite(semantic + motion + norm):
        names = ", ".join(f"{s.features.clip.name} (window {s.window})" for s in batch)
        raise TrainingError(
            f"step {step + 1}: semantic loss {semantic}, motion loss {motion}, gradient norm "
            f"{norm} on {names}; the last checkpoint is kept, lower lr or leave those clips out"
        )
    optimiser.step()
    return StepRecord(step + 1, semantic, motion, rate, norm, time.perf_counter() - began)


def write_block(block: Block, recipe: Recipe, steps: int, data: Data, path: Path) -> None:
    """The block as a file that `--block` takes; its recipe and scale travel in it."""
    still = copy.deepcopy(block).cpu().eval()
    about: dict[str, Any] = {
        "backbone": recipe.backbone,
        "steps": steps,
        "clips": len(data.train),
        "scale": row_scale(still, data.held or data.train),
        "recipe": dataclasses.asdict(recipe),
    }
    try:
        save_block(still, path, **about)
    except OSError as error:
        raise TrainingError(f"cannot write the block {path}: {error.strerror or error}") from error


def _backward(block: Block, recipe: Recipe, sample: Sample, device: torch.device) -> Tensor:
    features = sample.features.window(sample.window).to(device).float()
    with torch.autocast(device.type, torch.bfloat16, enabled=_bf16(recipe, device)):
        losses = clip_losses(block, features, recipe.losses, sample.generator)
    (losses.total / recipe.batch).backward()
    return torch.stack([losses.semantic, losses.motion]).detach().double() / recipe.batch


def _bf16(recipe: Recipe, device: torch.device) -> bool:
    if recipe.precision == "auto":
        return pick_dtype(device) == torch.bfloat16
    return recipe.precision == "bf16"


def _share(block: Block, sums: Tensor, fabric: Fabric) -> float:
    """Sum gradients and losses over processes, in place; the norm of the summed gradient.

    What is not finite in one process is so in the sum, and thus in all of them.
    """
    parameters = list(block.parameters())
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    if fabric.world_size > 1:
        flat = torch.cat([g.flatten() for g in gradients])
        flat = cast(Tensor, fabric.all_reduce(flat, reduce_op="sum"))
        sums.copy_(cast(Tensor, fabric.all_reduce(sums, reduce_op="sum")))
        parts = flat.split([g.numel() for g in gradients])
        gradients = [part.view_as(p).clone() for part, p in zip(parts, parameters, strict=True)]
        for p, g in zip(parameters, gradients, strict=True):
            p.grad = g
    return float(torch.linalg.vector_norm(torch.stack([g.norm() for g in gradients])))
