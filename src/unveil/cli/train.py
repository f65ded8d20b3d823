"""`unveil train`."""

import dataclasses
import hashlib
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from unveil.batch.workers import Workers
from unveil.cli.workers import gathered
from unveil.errors import TrainingError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from unveil.training.clips import TrainingClip
    from unveil.training.method import Method
    from unveil.training.monitor import Monitor
    from unveil.training.recipe import R


@dataclass(frozen=True)
class Train:
    """Train the block, the objects' head or a slot model on a folder of videos, without labels. The
    same command goes on with a run that was interrupted, from its last checkpoint.
    """

    folder: tyro.conf.Positional[Path]
    """Videos, or folders of frames; with --dataset the folder that holds it."""
    out: Path
    """The run's folder: what was trained, checkpoint, log, pictures."""
    dataset: str | None = None
    """Read the videos of a dataset from its own files, such as the shards of movi-e: a name as
    `unveil evaluate` takes it."""
    split: str | None = None
    """Which of the dataset's lists, with --dataset; by default train."""
    recipe: Path | None = None
    """A recipe as TOML, such as configs/default.toml (the block), configs/objects.toml (the
    objects' head) or configs/videosaur.toml (slots); that of the shipped block if not given."""
    backbone: str | None = None
    """Instead of the recipe's: a name of `unveil weights list`, a hub id or a local folder."""
    steps: int | None = None
    """Instead of the recipe's: steps of the optimiser."""
    batch: int | None = None
    """Instead of the recipe's: clips a step, over all processes together."""
    lr: float | None = None
    """Instead of the recipe's: learning rate at the start."""
    size: int | None = None
    """Instead of the recipe's: short side of a frame in px; of slot models, both sides."""
    windows: int | None = None
    """Instead of the recipe's: windows a clip whose features are cached."""
    seed: int | None = None
    """Instead of the recipe's: of everything that is drawn."""
    cache: Path | None = None
    """Where features are kept, beside the weights if not given."""
    cache_limit: float = 20.0
    """GB that the cache may hold; what was used longest ago goes first."""
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """What to train on."""
    devices: int = 1
    """Processes on each node, one a device."""
    nodes: int = 1
    """Nodes; start the same command on each, as Lightning Fabric describes."""
    workers: Workers = field(default_factory=Workers)
    """Who computes the features that are cached, before training begins: a clip after the other."""

    def run(self) -> int:
        """Train, or go on; prints where what was trained and the report are."""
        _check_extra()
        if self.devices * self.nodes > 1 and not self.workers.alone:
            raise TrainingError(
                f"the {self.devices * self.nodes} processes that train make the features between "
                "them: leave out --jobs and --ray, or --devices and --nodes"
            )
        from unveil.training.recipe import what_is_trained

        what = "block" if self.recipe is None else what_is_trained(self.recipe)
        if what == "block":
            return self._train_block()
        return self._train_head() if what == "objects" else self._train_model(what)

    def _train_block(self) -> int:
        from unveil.training.block_method import BlockMethod
        from unveil.training.block_monitor import BlockMonitor
        from unveil.training.recipe import Recipe

        file = self._train(BlockMethod(self._recipe(Recipe)), BlockMonitor)
        if file is not None:
            print(f"        unveil segment VIDEO --out out --block {file}")
        return 0

    def _train_head(self) -> int:
        from unveil.training.objects_method import HeadMethod
        from unveil.training.objects_monitor import HeadMonitor
        from unveil.training.objects_recipe import ObjectsRecipe

        if self.windows is not None:
            raise TrainingError("--windows is for the block: composites are counted in the recipe")
        if self.devices * self.nodes != 1:
            raise TrainingError("the objects' head trains on one device: leave out --devices")
        self._train(HeadMethod(self._recipe(ObjectsRecipe)), HeadMonitor)
        return 0

    def _train_model(self, what: str) -> int:
        from unveil.training.features_method import FeatureMethod
        from unveil.training.features_monitor import FeatureMonitor
        from unveil.training.prototypes_method import PrototypeMethod
        from unveil.training.prototypes_recipe import PrototypeRecipe
        from unveil.training.slots_method import SlotMethod
        from unveil.training.slots_recipe import SlotRecipe
        from unveil.training.smtc_method import SmtcMethod
        from unveil.training.smtc_recipe import SmtcRecipe

        sides = {} if self.size is None else {"size": (self.size, self.size)}
        method: FeatureMethod[Any]
        if what == "slots":
            method = SlotMethod(self._recipe(SlotRecipe, **sides))
        elif what == "prototypes":
            method = PrototypeMethod(self._recipe(PrototypeRecipe, **sides))
        else:
            method = SmtcMethod(self._recipe(SmtcRecipe, **sides))
        file = self._train(method, FeatureMonitor)
        if file is not None:
            print(f"        unveil segment VIDEO --out out --model {file}")
        return 0

    def _recipe(self, kind: "type[R]", **instead: Any) -> "R":
        """The recipe with what was given instead of its values, and with others of those."""
        from unveil.training.recipe import read_recipe

        recipe: Any = kind() if self.recipe is None else read_recipe(self.recipe, kind)
        names = ("backbone", "steps", "batch", "lr", "size", "windows", "seed")
        given = {n: getattr(self, n) for n in names if getattr(self, n) is not None}
        return dataclasses.replace(recipe, **(given | instead))

    def _train(self, method: "Method[Any]", kind: "Callable[..., Monitor]") -> Path | None:
        """Run the loop under a kind of monitor; prints where file and report are, and returns the
        file, in one process.
        """
        from unveil.training.features import Cache, default_cache
        from unveil.training.loop import alone_in, train
        from unveil.training.watcher import Watcher

        fabric = self._fabric(method.recipe.batch)
        if not 0 <= self.cache_limit < math.inf:
            raise TrainingError(f"--cache-limit: expected GB from 0 on, got {self.cache_limit}")
        cache = Cache(self.cache or default_cache(), int(self.cache_limit * 1e9))
        videos = self._videos()
        if not fabric.is_global_zero:
            train(videos, method, self.out, fabric, cache, Watcher(), self.workers)
            return None
        with (
            alone_in(self.out),
            gathered(self.workers),
            self._watched(method, kind) as monitor,
        ):
            file = train(videos, method, self.out, fabric, cache, monitor, self.workers)
            report = monitor.report()
        print(f"{method.name:7} {file}")
        print(f"report  {report}")
        return file

    def _videos(self) -> "Path | list[TrainingClip]":
        """What is trained on: a folder, or the videos of a dataset."""
        if self.dataset is None:
            if self.split is not None:
                raise TrainingError("--split is of a dataset: give --dataset too, or leave it out")
            return self.folder
        from unveil.datasets import open_dataset
        from unveil.training.clips import TrainingClip

        split = self.split or (None if self.dataset == "folder" else "train")
        found = open_dataset(self.dataset, self.folder, split=split)
        clips = []
        for s in found.sequences:
            # Of its place and size: to read all would take as long as what is kept of it.
            said = f"{found.name} {s.name} " + " ".join(
                f"{f.name} {f.stat().st_size if f.is_file() else None}" for f in s.frame_files()
            )
            digest = hashlib.sha256(said.encode()).hexdigest()
            clips.append(TrainingClip(s.origin / s.name, digest, s.frames))
        return clips

    @contextmanager
    def _watched(
        self, method: "Method[Any]", kind: "Callable[..., Monitor]"
    ) -> "Iterator[Monitor]":
        """A run under a monitor, closed however it ends; then what it left out is said."""
        from unveil.cli.progress import progress

        with progress(self.out.name) as show:
            monitor = kind(self.out, method, show)
            try:
                yield monitor
            except OSError as error:
                raise TrainingError(
                    f"the run in {self.out} stopped: {error}; its last checkpoint is kept, the "
                    "same command goes on from there"
                ) from error
            finally:
                monitor.close()
        for name, reason in monitor.skipped_clips.items():
            print(f"unveil: skipped {name}: {reason}", file=sys.stderr)

    def _fabric(self, batch: int) -> "Fabric":
        from lightning_fabric import Fabric

        processes = self.devices * self.nodes
        if self.devices < 1 or self.nodes < 1:
            raise TrainingError("devices and nodes must be at least 1")
        if batch % processes:
            raise TrainingError(
                f"{processes} processes cannot share a batch of {batch} clips evenly; "
                "choose --batch as a multiple"
            )
        try:
            fabric = Fabric(
                accelerator=self.accelerator,
                devices=self.devices,
                num_nodes=self.nodes,
                strategy="ddp" if processes > 1 else "auto",
            )
        except (RuntimeError, ValueError) as error:
            raise TrainingError(
                f"cannot train on {self.devices} x {self.accelerator}: {error}"
            ) from error
        fabric.launch()
        return fabric


def _check_extra() -> None:
    """Raise TrainingError where what only training needs is not installed."""
    needed = ("kornia", "lightning_fabric", "tensorboard")
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise TrainingError(
            f"training needs {' and '.join(missing)}, which only it does: "
            "pip install 'unveil[train]'"
        )
