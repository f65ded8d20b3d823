"""The run that trains an objects' head: sources, composites, steps, checkpoints."""

import copy
import dataclasses
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from unveil.attention.objects_file import save_head
from unveil.attention.objects_head import ObjectsHead
from unveil.batch.job import Job, Outcome
from unveil.batch.workers import Workers
from unveil.errors import TrainingError
from unveil.features.backbone import Backbone, check_size
from unveil.progress import silent
from unveil.training.checkpoint import Checkpoint, check_fits, load_checkpoint, save_checkpoint
from unveil.training.clips import TrainingClip, find_clips
from unveil.training.composite_data import CompositeFeatures, composite_features
from unveil.training.features import Cache, Store
from unveil.training.objects_loss import HeadLosses, composite_losses
from unveil.training.objects_recipe import ObjectsRecipe
from unveil.training.optimiser import make_optimiser
from unveil.training.sampling import generator
from unveil.training.sources import Source, read_source
from unveil.training.work import HeadWork, fill, job_of

log = logging.getLogger(__name__)
HEAD = "head.safetensors"
MOST_GRADIENT = 1.0
"""Norm above which the gradient of a step is shortened."""
_SPREAD = 17
"""Every so many patches measure the mean and the scale of the keys: enough, and quick."""


@dataclass(frozen=True)
class HeadRecord:
    """What happened in a step. seconds: of this step."""

    step: int
    objectness: float
    sameness: float
    lr: float
    grad_norm: float
    seconds: float


class HeadWatcher:
    """What a run tells while it goes on; does nothing."""

    def prepared(self, what: str, done: int, total: int, name: str) -> None:
        """A source or a composite is there."""

    def skipped(self, name: str, reason: str) -> None:
        """A clip cannot be used."""

    def started(self, step: int, sources: Sequence[Source], things: int) -> None:
        """Training goes on after so many steps; things: cut-outs that there are."""

    def stepped(self, record: HeadRecord) -> None:
        """A step was taken."""

    def tried(self, step: int, losses: dict[str, float]) -> None:
        """The head was tried on composites that it is not trained on."""


def train_head(
    folder: Path,
    recipe: ObjectsRecipe,
    out: Path,
    device: torch.device,
    cache: Cache,
    watcher: HeadWatcher,
    workers: Workers | None = None,
) -> Path:
    """Train a head on the videos of a folder, or go on with the run in `out`; returns its file.

    workers: who computes what the cache lacks; this process by default. They are at hand already.

    Raises TrainingError where nothing can be trained on, a loss is not finite, or the disk is
    full; WeightsError where the backbone is not there.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"cannot make the folder {out}: {error.strerror}") from error
    checkpoint = load_checkpoint(out)
    sources, data = prepare_composites(folder, recipe, device, cache, watcher, workers or Workers())
    held, data = data[: recipe.validation], data[recipe.validation :]
    head = new_head(recipe, data).to(device)
    optimiser = make_optimiser(head, recipe.lr, recipe.weight_decay)
    digests = [s.clip.digest for s in sources]
    first = 0
    if checkpoint is not None:
        check_fits(checkpoint, recipe, digests, out)
        head.load_state_dict(checkpoint.module)
        optimiser.load_state_dict(checkpoint.optimiser)
        first = checkpoint.step
    watcher.started(first, sources, sum(len(s.cut_outs()) for s in sources))
    for step in range(first, recipe.steps):
        watcher.stepped(take_head_step(head, optimiser, recipe, data, step))
        done = step + 1
        if done % recipe.checkpoint_every == 0 or done == recipe.steps:
            watcher.tried(done, held_losses(head, held, recipe))
            state = head.state_dict(), optimiser.state_dict()
            save_checkpoint(Checkpoint(done, dataclasses.asdict(recipe), digests, *state), out)
    about = {
        "backbone": recipe.backbone,
        "steps": recipe.steps,
        "clips": len(sources),
        "recipe": dataclasses.asdict(recipe),
    }
    try:
        save_head(head, out / HEAD, torch.float16, **about)
    except OSError as error:
        raise TrainingError(
            f"cannot write the head {out / HEAD}: {error.strerror or error}"
        ) from error
    return out / HEAD


def prepare_composites(
    folder: Path,
    recipe: ObjectsRecipe,
    device: torch.device,
    cache: Cache,
    watcher: HeadWatcher,
    workers: Workers,
) -> tuple[list[Source], list[CompositeFeatures]]:
    """Sources and composites; clips that cannot be used are skipped, said and counted."""
    for size in (recipe.size, *recipe.sizes):
        check_size(recipe.backbone, size)
    on = str(device) if workers.alone else device.type
    work, store = HeadWork(cache.folder, recipe=recipe, on=on), Store(cache.folder)

    def backbone() -> Backbone:
        return work.backbone(silent)

    clips = _usable(folder, work, workers, watcher)
    sources = [read_source(clip, recipe, store, backbone) for clip in clips]
    if not any(source.cut_outs() for source in sources):
        raise TrainingError(
            f"nothing that is surely one thing was found in the {len(sources)} clips of {folder}; "
            "give more clips, of people, animals or things that move"
        )
    numbers = range(recipe.composites)
    done = 0

    def ended(job: Job, outcome: Outcome) -> None:
        nonlocal done
        if outcome.error:
            raise TrainingError(f"composite {job.options['number']}: {outcome.error}")
        done += 1
        watcher.prepared("composites", done, recipe.composites, "")

    jobs = [Job(f"composite-{n}", "", options={"number": n, "clips": clips}) for n in numbers]
    fill(jobs, work, workers, ended)
    data = [composite_features(n, sources, recipe, store, backbone) for n in numbers]
    cache.evict()
    return sources, data


def _usable(
    folder: Path, work: HeadWork, workers: Workers, watcher: HeadWatcher
) -> list[TrainingClip]:
    """The clips whose sources are in the store then, by content: a file under another name, or a
    folder listed in another order, changes nothing.
    """
    reasons: list[str] = []
    usable: list[TrainingClip] = []

    def skip(name: str, reason: str) -> None:
        reasons.append(reason)
        watcher.skipped(name, reason)

    clips = find_clips(folder, skip)

    def ended(job: Job, outcome: Outcome) -> None:
        clip = job.options["clip"]
        if outcome.error:
            skip(clip.name, outcome.error)
        else:
            usable.append(clip)
        watcher.prepared("clips", len(usable) + len(reasons) - before, len(clips), clip.name)

    before = len(reasons)
    fill([job_of(clip) for clip in clips], work, workers, ended)
    if not usable:
        raise TrainingError(
            f"none of the {len(reasons)} clips in {folder} can be used; the first: {reasons[0]}"
        )
    return sorted(usable, key=lambda clip: clip.digest)


@torch.no_grad()
def new_head(recipe: ObjectsRecipe, data: Sequence[CompositeFeatures]) -> ObjectsHead:
    """A head before its first step, its mean and scale those of the composites' keys."""
    keys = torch.cat([x.keys.flatten(0, -2)[::_SPREAD] for x in data])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        head = ObjectsHead(
            keys.shape[-1],
            width=recipe.width,
            layers=recipe.layers,
            embedding=recipe.embedding,
            dropout=recipe.dropout,
        )
    head.mean.copy_(keys.mean(0))
    head.scale.copy_(keys.std(0).clamp_min(1e-6))
    return head


def take_head_step(
    head: ObjectsHead,
    optimiser: torch.optim.Optimizer,
    recipe: ObjectsRecipe,
    data: Sequence[CompositeFeatures],
    step: int,
) -> HeadRecord:
    """One step on a batch; what is drawn depends on the seed and the step alone."""
    began = time.perf_counter()
    rate = schedule(recipe, step)
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad()
    head.train()
    drawn = generator(recipe.seed, "head", step)
    chosen = torch.randint(len(data), (recipe.batch,), generator=drawn).tolist()
    sums = torch.zeros(2, dtype=torch.float64)
    # Dropout draws from torch's own numbers: seeded here, and given back as they were.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(drawn.initial_seed())
        for i in chosen:
            losses = _losses(head, data[i], recipe, drawn)
            (losses.total / recipe.batch).backward()
            parts = torch.stack([losses.objectness, losses.sameness])
            sums += parts.detach().double().cpu() / recipe.batch
    norm = float(torch.nn.utils.clip_grad_norm_(head.parameters(), MOST_GRADIENT))
    objectness, sameness = sums.tolist()
    if not math.isfinite(objectness + sameness + norm):
        raise TrainingError(
            f"step {step + 1}: objectness loss {objectness}, sameness loss {sameness}, gradient "
            f"norm {norm}; the last checkpoint is kept, lower lr"
        )
    optimiser.step()
    seconds = time.perf_counter() - began
    return HeadRecord(step + 1, objectness, sameness, rate, norm, seconds)


def schedule(recipe: ObjectsRecipe, step: int) -> float:
    """The learning rate of a step: a line up to `lr`, times half a cosine down to nothing."""
    rise = min(1.0, (step + 1) / max(1, recipe.warm_up))
    return recipe.lr * rise * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))


@torch.inference_mode()
def held_losses(
    head: ObjectsHead, held: Sequence[CompositeFeatures], recipe: ObjectsRecipe
) -> dict[str, float]:
    """Mean losses on composites that are not trained on; empty where there are none."""
    still = copy.deepcopy(head).eval()
    sums = {"objectness": 0.0, "sameness": 0.0}
    for number, composite in enumerate(held):
        losses = _losses(still, composite, recipe, generator(recipe.seed, "held", number))
        for name in sums:
            sums[name] += float(getattr(losses, name)) / len(held)
    return sums if held else {}


def _losses(
    head: ObjectsHead,
    composite: CompositeFeatures,
    recipe: ObjectsRecipe,
    drawn: torch.Generator,
) -> HeadLosses:
    device = head.mean.device
    keys, shares, unsure = (
        x.to(device) for x in (composite.keys, composite.shares, composite.unsure)
    )
    return composite_losses(head, keys, shares, unsure, composite.own, recipe.pairs, drawn)
