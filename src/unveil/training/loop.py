"""The training run: devices, optimiser, checkpoints; what is trained is a `method.Method`.

Every process computes the losses of its share of a step's clips; gradients are summed over clips
and processes, and every process takes the same step. One process and several thus differ by the
order of a sum and nothing else, as long as a method's clips have nothing to do with each other.
"""

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from unveil.batch.workers import Workers
from unveil.errors import TrainingError, said_of
from unveil.files import lock_at_once
from unveil.training.checkpoint import Checkpoint, check_fits, load_checkpoint, save_checkpoint
from unveil.training.clips import TrainingClip
from unveil.training.features import Cache
from unveil.training.method import M, Method
from unveil.training.optimiser import make_optimiser
from unveil.training.watcher import StepRecord, Watcher

_LOCK = ".train.lock"


@contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """A folder, made if need be, that no other run writes to while the block lasts.

    Raises TrainingError where another one does, or the folder cannot be made or written to.
    """
    _make(out)
    try:
        lock = lock_at_once(out / _LOCK)
    except OSError as error:
        raise TrainingError(f"cannot write to {out}: {error.strerror}") from error
    if lock is None:
        raise TrainingError(
            f"another run writes to {out}: wait for it, or choose another folder with --out"
        )
    try:
        yield
    finally:
        lock.release()


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"cannot make the folder {out}: {error.strerror}") from error


def train(
    videos: Path | Sequence[TrainingClip],
    method: Method[M],
    out: Path,
    fabric: Fabric,
    cache: Cache,
    watcher: Watcher,
    workers: Workers | None = None,
) -> Path:
    """Train a module, or go on with the run in `out`; returns its file.

    videos: a folder of them, or clips that were found elsewhere. workers: who computes what the
    cache lacks; this process by default. They are at hand already.

    Raises TrainingError where nothing can be trained on, a loss is not finite, or the disk is
    full; WeightsError where the backbone is not there or does not fit the module.
    """
    _make(out)
    checkpoint, recipe = load_checkpoint(out), method.recipe
    data = method.prepare(videos, fabric, cache, watcher, workers or Workers())
    module = method.new(data.train).to(fabric.device)
    optimiser = make_optimiser(module, *method.rates(0))
    first = 0
    if checkpoint is not None:
        check_fits(checkpoint, recipe, data.clips, out)
        module.load_state_dict(checkpoint.module)
        optimiser.load_state_dict(checkpoint.optimiser)
        for p in optimiser.state:  # had a gradient, and has one in every step from there on
            p.grad = torch.zeros_like(p)
        first = checkpoint.step

    def save(step: int) -> None:
        if fabric.is_global_zero:
            state = module.state_dict(), optimiser.state_dict()
            save_checkpoint(Checkpoint(step, dataclasses.asdict(recipe), data.clips, *state), out)
        fabric.barrier()

    def write(step: int, path: Path) -> None:
        if not fabric.is_global_zero:
            return
        try:
            method.write(module, step, len(data.clips), data.held or data.train, path)
        except OSError as error:
            raise TrainingError(
                f"cannot write the {method.name} {path}: {error.strerror or error}"
            ) from error

    def keep(step: int) -> None:
        if step in recipe.keep:
            write(step, out / f"{method.name}-{step}.safetensors")

    watcher.started(first, data.told)
    if first == 0:
        keep(0)
        watcher.tried(0, module, data.held)
    for step in range(first, recipe.steps):
        watcher.stepped(take_step(module, optimiser, method, data.train, step, fabric))
        done = step + 1
        keep(done)
        if done % recipe.try_every == 0 or done == recipe.steps:
            watcher.tried(done, module, data.held)
        if done % recipe.checkpoint_every == 0 or done == recipe.steps:
            save(done)
    file = out / f"{method.name}.safetensors"
    write(recipe.steps, file)
    fabric.barrier()
    return file


def take_step(
    module: M,
    optimiser: torch.optim.Optimizer,
    method: Method[M],
    items: Sequence[Any],
    step: int,
    fabric: Fabric,
) -> StepRecord:
    """One step on this process's share of the batch, gradients summed over all processes."""
    began, worked = time.perf_counter(), time.process_time()
    rate, decay = method.rates(step)
    for group, wd in zip(optimiser.param_groups, (decay, 0.0), strict=True):
        group["lr"], group["weight_decay"] = rate, wd
    optimiser.zero_grad(set_to_none=False)
    module.train()
    batch = method.draw(items, step)
    share = batch[fabric.global_rank :: fabric.world_size]
    try:
        losses = method.backward(module, share, fabric.device)
    except Exception as error:
        raise TrainingError(
            f"step {step + 1}, {said_of(error)}; the last checkpoint is kept"
        ) from error
    sums = torch.tensor([*losses.values()], device=fabric.device, dtype=torch.float64)
    norm = _share(module, sums, fabric)
    losses = dict(zip(losses, sums.tolist(), strict=True))
    if not math.isfinite(sum(losses.values()) + norm):
        names = ", ".join(map(str, batch))
        told = ", ".join(f"{name} loss {value}" for name, value in losses.items())
        raise TrainingError(
            f"step {step + 1}: {told}, gradient norm {norm} on {names}; the last checkpoint is "
            "kept, lower lr or leave those out"
        )
    if method.most_gradient is not None:
        torch.nn.utils.clip_grads_with_norm_(
            module.parameters(), method.most_gradient, torch.tensor(norm, device=fabric.device)
        )
    optimiser.step()
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - worked
    return StepRecord(step + 1, losses, rate, norm, seconds, cpu_seconds)


def _share(module: nn.Module, sums: Tensor, fabric: Fabric) -> float:
    """Sum gradients and losses over processes, in place; the norm of the summed gradient.

    What is not finite in one process is so in the sum, and thus in all of them.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
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
