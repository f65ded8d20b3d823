"""The clips of a run, and what is computed of each of them before training begins."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from lightning_fabric import Fabric
from torch import Tensor

from unveil.batch.job import Job, Outcome
from unveil.batch.workers import Workers
from unveil.errors import TrainingError
from unveil.training.clips import TrainingClip, find_clips
from unveil.training.watcher import Watcher
from unveil.training.work import FeatureWork, fill, job_of


def where(fabric: Fabric, workers: Workers) -> str:
    """The device of what is computed before training: of its kind, where others compute it."""
    return str(fabric.device) if workers.alone else fabric.device.type


def usable_clips(
    videos: Path | Sequence[TrainingClip],
    what: str,
    work: FeatureWork,
    workers: Workers,
    fabric: Fabric,
    watcher: Watcher,
) -> list[TrainingClip]:
    """The clips of which the cache holds what `work` computes, in every process.

    videos: a folder of them, or clips that were found elsewhere. what: it is called while it is
    computed. What cannot be used is skipped, said and counted. Raises TrainingError where nothing
    is left.
    """
    skipped: dict[str, str] = {}
    failed: set[str] = set()

    def skip(name: str, reason: str) -> None:
        skipped[name] = reason
        watcher.skipped(name, reason)

    clips = find_clips(videos, skip) if isinstance(videos, Path) else list(videos)
    # Each process begins with another clip: they share the work, and wait for no lock for long.
    turn = fabric.global_rank * len(clips) // fabric.world_size
    todo = [c for c in clips[turn:] + clips[:turn] if not work.has(c)]
    done = len(clips) - len(todo)

    def ended(job: Job, outcome: Outcome) -> None:
        nonlocal done
        done += 1
        clip = job.options["clip"]
        if outcome.error:
            failed.add(clip.digest)
            skip(clip.name, outcome.error)
        watcher.prepared(what, done, len(clips), clip.name)

    fill([job_of(clip) for clip in todo], work, workers, ended)
    by_all = _usable_by_all([c.digest not in failed for c in clips], fabric)
    usable = [clip for clip, all_can in zip(clips, by_all, strict=True) if all_can]
    for clip, all_can in zip(clips, by_all, strict=True):
        if clip.digest not in failed and not all_can:
            skip(clip.name, "another process cannot use it")
    if not usable:
        place = f" in {videos}" if isinstance(videos, Path) else ""
        raise TrainingError(
            f"none of the {len(skipped)} clips{place} can be used; the first: "
            f"{next(iter(skipped.values()))}"
        )
    return usable


def _usable_by_all(usable: list[bool], fabric: Fabric) -> list[bool]:
    """Which clips every process can use; waits for all of them."""
    counts = torch.tensor(usable, dtype=torch.float32, device=fabric.device)
    if fabric.world_size > 1:
        counts = cast(Tensor, fabric.all_reduce(counts, reduce_op="sum"))
    return (counts == fabric.world_size).tolist()
