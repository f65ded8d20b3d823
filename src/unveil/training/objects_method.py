"""How the objects' head is trained: on composites of what is found in the clips, one by one."""

import copy
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from unveil.attention.objects_file import save_head
from unveil.attention.objects_head import ObjectsHead
from unveil.batch.job import Job, Outcome
from unveil.batch.workers import Workers
from unveil.errors import TrainingError
from unveil.features.backbone import Backbone, check_size
from unveil.progress import silent
from unveil.training.clips import TrainingClip
from unveil.training.composite_data import CompositeFeatures, composite_features
from unveil.training.features import Cache, Store
from unveil.training.method import Data
from unveil.training.objects_loss import HeadLosses, composite_losses
from unveil.training.objects_recipe import ObjectsRecipe
from unveil.training.preparation import usable_clips, where
from unveil.training.sampling import generator
from unveil.training.sources import read_source
from unveil.training.watcher import Watcher
from unveil.training.work import HeadWork, fill

_SPREAD = 17
"""Every so many patches measure the mean and the scale of the keys: enough, and quick."""


@dataclass(frozen=True)
class CompositeSample:
    """One composite's part in a step. The numbers drawn are the step's, one after the other."""

    composite: CompositeFeatures
    generator: torch.Generator

    def __str__(self) -> str:
        return f"composite {self.composite.number}"


@dataclass(frozen=True)
class HeadMethod:
    """The self-training of the objects' head, on one process."""

    recipe: ObjectsRecipe
    name: str = "head"
    most_gradient: float | None = 1.0

    def prepare(
        self,
        videos: Path | Sequence[TrainingClip],
        fabric: Fabric,
        cache: Cache,
        watcher: Watcher,
        workers: Workers,
    ) -> Data:
        """Sources of the clips, by content: a file under another name, or a folder listed in
        another order, changes nothing. Then composites of what is found in them.
        """
        r = self.recipe
        for size in (r.size, *r.sizes):
            check_size(r.backbone, size)
        store = Store(cache.folder)
        work = HeadWork(cache.folder, recipe=r, on=where(fabric, workers))

        def backbone() -> Backbone:
            return work.backbone(silent)

        clips = usable_clips(videos, "clips", work, workers, fabric, watcher)
        clips = sorted(clips, key=lambda clip: clip.digest)
        sources = [read_source(clip, r, store, backbone) for clip in clips]
        things = {source.clip.name: len(source.cut_outs()) for source in sources}
        if not any(things.values()):
            raise TrainingError(
                f"nothing that is surely one thing was found in the {len(sources)} clips of "
                f"{videos}; give more clips, of people, animals or things that move"
            )
        if len(sources) < 2:
            raise TrainingError(
                f"{videos}: things of one clip are pasted into others, and there is one alone; "
                "give more clips"
            )
        done = 0

        def ended(job: Job, outcome: Outcome) -> None:
            nonlocal done
            if outcome.error:
                raise TrainingError(f"composite {job.options['number']}: {outcome.error}")
            done += 1
            watcher.prepared("composites", done, r.composites, "")

        numbers = range(r.composites)
        jobs = [Job(f"composite-{n}", "", options={"number": n, "clips": clips}) for n in numbers]
        fill(jobs, work, workers, ended)
        data = [composite_features(n, sources, r, store, backbone) for n in numbers]
        cache.evict()
        told = {"clips": things, "things": sum(things.values())}
        digests = [clip.digest for clip in clips]
        return Data(data[r.validation :], data[: r.validation], digests, told)

    def draw(self, items: Sequence[CompositeFeatures], step: int) -> list[CompositeSample]:
        """The composites of a step, any of them as likely as any other."""
        drawn = generator(self.recipe.seed, "head", step)
        chosen = torch.randint(len(items), (self.recipe.batch,), generator=drawn).tolist()
        return [CompositeSample(items[i], drawn) for i in chosen]

    @torch.no_grad()
    def new(self, items: Sequence[CompositeFeatures]) -> ObjectsHead:
        """A head before its first step, its mean and scale those of the composites' keys."""
        r, keys = self.recipe, torch.cat([x.keys.flatten(0, -2)[::_SPREAD] for x in items])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(r.seed)
            shape = {"width": r.width, "layers": r.layers, "embedding": r.embedding}
            head = ObjectsHead(keys.shape[-1], dropout=r.dropout, **shape)
        head.mean.copy_(keys.mean(0))
        head.scale.copy_(keys.std(0).clamp_min(1e-6))
        return head

    def rates(self, step: int) -> tuple[float, float]:
        """A line up to `lr`, times half a cosine down to nothing; constant weight decay."""
        r = self.recipe
        rise = min(1.0, (step + 1) / max(1, r.warm_up))
        return r.lr * rise * 0.5 * (1 + math.cos(math.pi * step / r.steps)), r.weight_decay

    def backward(
        self, module: ObjectsHead, samples: Sequence[CompositeSample], device: torch.device
    ) -> dict[str, float]:
        """Add the gradients of composites, one after the other."""
        sums = {"objectness": 0.0, "sameness": 0.0}
        # Dropout draws from torch's own numbers: seeded here, and given back as they were.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(samples[0].generator.initial_seed())
            for sample in samples:
                losses = self._losses(module, sample)
                (losses.total / self.recipe.batch).backward()
                for name in sums:
                    sums[name] += float(getattr(losses, name).detach()) / self.recipe.batch
        return sums

    @torch.inference_mode()
    def held_losses(
        self, module: ObjectsHead, held: Sequence[CompositeFeatures]
    ) -> dict[str, float]:
        """Mean losses on composites that are not trained on."""
        still, seed = copy.deepcopy(module).eval(), self.recipe.seed
        sums = {"objectness": 0.0, "sameness": 0.0}
        for number, composite in enumerate(held):
            sample = CompositeSample(composite, generator(seed, "held", number))
            losses = self._losses(still, sample)
            for name in sums:
                sums[name] += float(getattr(losses, name)) / len(held)
        return sums

    def _losses(self, module: ObjectsHead, sample: CompositeSample) -> HeadLosses:
        c, device = sample.composite, module.mean.device
        keys, shares, unsure = (x.to(device) for x in (c.keys, c.shares, c.unsure))
        return composite_losses(
            module, keys, shares, unsure, c.own, self.recipe.pairs, sample.generator
        )

    def write(
        self,
        module: ObjectsHead,
        steps: int,
        clips: int,
        held: Sequence[CompositeFeatures],
        path: Path,
    ) -> None:
        """The head as a file that `load_head` takes, in fp16; its recipe travels in it."""
        about: dict[str, Any] = {"backbone": self.recipe.backbone, "steps": steps, "clips": clips}
        save_head(module, path, torch.float16, **about, recipe=dataclasses.asdict(self.recipe))
