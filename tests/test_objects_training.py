"""Training an objects' head as a person runs it: tiny backbone, small videos, stopped, resumed."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from PIL import Image
from safetensors.torch import load_file, save_file

from training_runs import whole_and_stopped
from unveil.attention.objects_file import head_metadata, load_head
from unveil.cli import main
from unveil.errors import TrainingError, WeightsError
from unveil.fast.groups import Grouper
from unveil.features.backbone import Backbone
from unveil.training import sources, work
from unveil.training.clips import TrainingClip, find_clips
from unveil.training.composite_data import (
    CompositeFeatures,
    composite_features,
    draw_composite,
)
from unveil.training.features import Cache, Store
from unveil.training.loop import train
from unveil.training.method import Data
from unveil.training.monitor import read_log
from unveil.training.objects_method import CompositeSample, HeadMethod
from unveil.training.objects_recipe import ObjectsRecipe
from unveil.training.recipe import read_recipe, what_is_trained
from unveil.training.sampling import generator
from unveil.training.sources import read_source
from unveil.training.watcher import Watcher

CONFIGS = Path(__file__).parents[1] / "configs"


def write_clip(folder: Path, seed: int, frames: int = 8) -> None:
    """A folder of frames in which a bright square crosses noise."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    scene = rng.integers(0, 120, (48, 72, 3), dtype=np.uint8)
    for i in range(frames):
        frame = scene.copy()
        frame[14:36, 4 + 4 * i : 26 + 4 * i] = rng.integers(200, 256, 3)
        Image.fromarray(frame).save(folder / f"{i:03d}.png")


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for i in range(3):
        write_clip(folder / f"clip{i}", i)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"), 10**9)


@pytest.fixture(autouse=True)
def bright_is_found(monkeypatch):
    """What a random backbone finds means nothing: here, what is bright is found."""
    look = sources._look

    def told(clip, recipe, backbone):
        found = look(clip, recipe, backbone)
        found["labels"] = (found["frames"].float().mean(-1) > 170).byte()
        return found

    monkeypatch.setattr(sources, "_look", told)


@pytest.fixture(scope="module")
def recipe(tiny_backbone: str) -> ObjectsRecipe:
    small = {"size": 48, "sizes": (48, 32), "composites": 7, "validation": 2, "moving": 2}
    head = {"width": 12, "embedding": 4, "pairs": 20, "steps": 6, "checkpoint_every": 2}
    return ObjectsRecipe(backbone=tiny_backbone, batch=2, **small, **head)


@pytest.fixture(scope="module")
def file(recipe: ObjectsRecipe, tmp_path_factory) -> Path:
    table = {k: v for k, v in dataclasses.asdict(recipe).items() if k != "scenes"}
    lines = ['trains = "objects"']
    for name, value in table.items():
        shown = f'"{value}"' if isinstance(value, str) else value
        lines.append(f"{name} = {list(value) if isinstance(value, tuple) else shown}")
    path = tmp_path_factory.mktemp("recipe") / "objects.toml"
    path.write_text("\n".join([*lines, "[scenes]", "most = 3"]) + "\n")
    return path


def weights(file: Path, recipe: ObjectsRecipe) -> dict[str, torch.Tensor]:
    return load_head(file, recipe.backbone, 16).state_dict()


@pytest.mark.slow
def test_the_command_leaves_a_head_a_log_and_a_report(videos, file, recipe, cache, tmp_path):
    out = tmp_path / "run"
    line = [str(videos), "--recipe", str(file), "--cache", str(cache.folder), "--out", str(out)]
    assert main(["train", *line, "--accelerator", "cpu"]) == 0
    about = head_metadata(out / "head.safetensors")
    assert (about["backbone"], about["steps"], about["clips"]) == (recipe.backbone, 6, 3)
    assert about["recipe"]["scenes"]["most"] == 3
    records = read_log(out)
    assert [r["step"] for r in records if r["kind"] == "step"] == [1, 2, 3, 4, 5, 6]
    assert [r["step"] for r in records if r["kind"] == "trial"] == [0, 2, 4, 6]
    assert records[0]["things"] == 3
    with Image.open(out / "report.png") as report:
        assert report.width > 500


def train_head(videos, recipe: ObjectsRecipe, out: Path, cache: Cache, watcher=None) -> Path:
    fabric = Fabric(accelerator="cpu", devices=1)
    return train(videos, HeadMethod(recipe), out, fabric, cache, watcher or Watcher())


@pytest.mark.slow
def test_a_run_that_was_stopped_ends_at_the_same_bits(videos, recipe, cache, tmp_path):
    """On some processors (Zen 4) MKL rounds by where in memory factors lie, if it is let."""
    everywhere = {"MKL_CBWR": "COMPATIBLE"}
    if everywhere.items() <= os.environ.items():
        whole_and_stopped(videos, HeadMethod(recipe), cache, tmp_path, stops=(1, 3, 5))
        return
    there = {name: x for name, x in os.environ.items() if not name.startswith("PYTEST")}
    itself = f"{__file__}::test_a_run_that_was_stopped_ends_at_the_same_bits"
    command = [sys.executable, "-m", "pytest", "-n0", "-q", "-p", "no:cacheprovider", itself]
    ran = subprocess.run(command, env=there | everywhere, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout


def test_clips_of_a_dataset_are_as_good_as_files(videos, recipe, cache, tmp_path):
    """They have frames and a digest; where those come from changes nothing."""
    clips = [
        TrainingClip(clip.path / "record", clip.digest, lambda c=clip: np.stack(list(c.open())))
        for clip in find_clips(videos)
    ]
    files = train_head(videos, recipe, tmp_path / "files", cache)
    records = train_head(clips, recipe, tmp_path / "records", Cache(tmp_path / "new", 10**9))
    a, b = load_file(files), load_file(records)
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_loss_that_is_not_finite_names_the_composites(videos, recipe, cache, tmp_path):
    wild = dataclasses.replace(recipe, lr=1e30, warm_up=0)
    with pytest.raises(TrainingError, match=r"nan.* on composite \d, composite \d; the last"):
        train_head(videos, wild, tmp_path, cache)


@pytest.mark.slow
def test_features_are_computed_once(videos, recipe, cache, tmp_path, monkeypatch):
    train_head(videos, recipe, tmp_path / "first", cache)

    class NoBackbone(Backbone):
        def __init__(self, *args) -> None:
            raise AssertionError("nothing had to be computed")

    monkeypatch.setattr(work, "Backbone", NoBackbone)
    train_head(videos, recipe, tmp_path / "second", cache)


@pytest.mark.slow
def test_a_head_finds_the_things_of_another_round(videos, recipe, cache, tmp_path, monkeypatch):
    first = train_head(videos, recipe, tmp_path / "first", cache)
    again = dataclasses.replace(recipe, head=str(first))
    used = []
    monkeypatch.setattr(sources, "Grouper", lambda head: used.append(head) or Grouper(head))
    second = train_head(videos, again, tmp_path / "second", cache)
    assert len(used) == 3 and all(torch.equal(h.read.weight, used[0].read.weight) for h in used)
    assert torch.equal(used[0].read.weight, load_head(first, recipe.backbone, 16).read.weight)
    assert head_metadata(second)["recipe"]["head"] == str(first)
    train_head(videos, again, tmp_path / "third", cache)
    assert len(used) == 3, "what it found is kept"
    for head, error in (("shipped", "no head is shipped"), ("nowhere", "no objects' head nowhere")):
        wrong = dataclasses.replace(recipe, head=head)
        with pytest.raises(WeightsError, match=error):
            train_head(videos, wrong, tmp_path / head, cache)


def test_names_and_order_of_the_files_change_nothing(videos, recipe, cache, tmp_path):
    renamed = tmp_path / "videos"
    renamed.mkdir()
    for i, clip in enumerate(sorted(videos.iterdir(), reverse=True)):
        (renamed / f"{i}").symlink_to(clip)
    a, b = (
        weights(train_head(folder, recipe, tmp_path / out, cache), recipe)
        for folder, out in ((videos, "a"), (renamed, "b"))
    )
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_composite_follows_its_number_and_its_keys_are_those_of_its_frames(
    videos, recipe, cache, tmp_path
):
    backbone = Backbone(recipe.backbone, "cpu")
    store = Store(tmp_path)
    found = [read_source(c, recipe, store, lambda: backbone) for c in find_clips(videos)]
    for number in range(3):
        drawn = draw_composite(number, found, recipe, backbone.patch)
        again = draw_composite(number, found, recipe, backbone.patch)
        assert (drawn.frames == again.frames).all()
        kept = composite_features(number, found, recipe, store, lambda: backbone)
        keys = backbone.encode(drawn.frames, drawn.frames.shape[1:3]).keys
        assert torch.allclose(kept.keys, keys.float(), atol=2e-3, rtol=2e-3)
        assert np.allclose(kept.shares, drawn.shares, atol=1e-3)
        assert len(kept.keys) == 2
    other = draw_composite(3, found, recipe, backbone.patch)
    assert other.frames.shape != drawn.frames.shape or not (other.frames == drawn.frames).all()


@pytest.mark.slow
def test_training_learns_what_is_pasted(videos, recipe, cache, tmp_path):
    seen = []

    class Watch(Watcher):
        def stepped(self, record) -> None:
            seen.append(record.losses["objectness"])

    longer = dataclasses.replace(recipe, steps=60, checkpoint_every=60, lr=3e-3, warm_up=5)
    train_head(videos, longer, tmp_path, cache, Watch())
    assert np.mean(seen[-10:]) < 0.7 * np.mean(seen[:10])


def test_clips_without_a_thing_are_an_error_that_says_so(recipe, cache, tmp_path):
    (tmp_path / "clips" / "grey").mkdir(parents=True)
    for i in range(4):
        Image.fromarray(np.full((48, 72, 3), 90, np.uint8)).save(
            tmp_path / "clips" / "grey" / f"{i}.png"
        )
    with pytest.raises(TrainingError, match="nothing that is surely one thing was found"):
        train_head(tmp_path / "clips", recipe, tmp_path / "out", cache)


def test_one_clip_alone_is_an_error_that_says_so(recipe, cache, tmp_path):
    write_clip(tmp_path / "clips" / "alone", 0)
    with pytest.raises(TrainingError, match="things of one clip are pasted into others"):
        train_head(tmp_path / "clips", recipe, tmp_path / "out", cache)


def test_a_run_goes_on_exactly_where_a_step_has_no_pairs(tmp_path):
    """The offset of pairs has no gradient in such a step; its momentum moves it all the same."""

    def composite(number: int, things: int) -> CompositeFeatures:
        drawn = torch.Generator().manual_seed(number)
        shares = torch.zeros(things, 1, 4, 4)
        for i in range(things):
            shares[i, 0, i] = 1
        keys = torch.randn(1, 4, 4, 8, generator=drawn)
        return CompositeFeatures(number, keys, shares, torch.zeros(1, 4, 4), own=0)

    class InTurn(HeadMethod):
        def prepare(self, *_) -> Data:
            return Data([composite(0, 2), composite(1, 1), composite(2, 1)], [], ["a"], {})

        def draw(self, items, step):
            return [CompositeSample(items[step], generator(step))]

        def write(self, module, steps, clips, held, path) -> None:
            save_file(module.state_dict(), path)

    small = {"width": 12, "layers": 1, "embedding": 4, "composites": 3, "validation": 0}
    recipe = ObjectsRecipe(batch=1, steps=3, checkpoint_every=1, **small)
    whole = whole_and_stopped(tmp_path, InTurn(recipe), Cache(tmp_path, 0), tmp_path, stops=(2,))
    assert whole["offset"] != 2.0


@pytest.mark.slow
def test_another_recipe_does_not_go_on_with_a_run(videos, recipe, cache, tmp_path):
    train_head(videos, recipe, tmp_path, cache)
    other = dataclasses.replace(recipe, lr=2e-3)
    with pytest.raises(TrainingError, match="another recipe"):
        train_head(videos, other, tmp_path, cache)


def test_recipes_are_read_and_wrong_ones_refused(untyped, tmp_path):
    assert what_is_trained(CONFIGS / "objects.toml") == "objects"
    assert what_is_trained(CONFIGS / "default.toml") == "block"
    shipped = read_recipe(CONFIGS / "objects.toml", ObjectsRecipe)
    assert shipped == ObjectsRecipe(), "the recipe's defaults are those of the shipped head"
    bad = tmp_path / "bad.toml"
    for text, message in (
        (
            'trains = "nothing"',
            "trains is one of block, objects, slots, prototypes, smtc, got 'nothing'",
        ),
        ('trains = "objects"\nheads = 3', "no such entry 'heads'"),
        ('trains = "objects"\n[scenes]\nmoon = 3', r"\[scenes\]: no such entry 'moon'"),
        ('trains = "objects"\nsteps = 0', "steps must be positive"),
        ('trains = "objects"\nvalidation = 900', "must leave some"),
        ('trains = "objects"\nsteps = "many"', "steps: expected a whole number, got 'many'"),
    ):
        bad.write_text(text)
        with pytest.raises(TrainingError, match=message):
            what_is_trained(bad) and read_recipe(bad, ObjectsRecipe)


def test_the_rate_rises_and_falls():
    method = HeadMethod(ObjectsRecipe(steps=100, warm_up=10, lr=1.0))
    rates = [method.rates(step)[0] for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and max(rates) > 0.95
    assert rates.index(max(rates)) == 9 and rates[-1] < 0.001
