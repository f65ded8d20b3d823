"""Training as a person runs it: tiny backbone, small videos, every way it can stop."""

import dataclasses
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image

import unveil
from conftest import TINY, make_tiny_backbone
from unveil.attention.block import Block
from unveil.attention.block_file import block_metadata, calibrated_tau, load_block, shipped_block
from unveil.cli import main
from unveil.errors import TrainingError, said_of
from unveil.features.weights import DEFAULT
from unveil.training import block_method, features, loop, preparation
from unveil.training import checkpoint as checkpoints
from unveil.training.checkpoint import load_checkpoint
from unveil.training.monitor import read_log
from unveil.training.objects_recipe import ObjectsRecipe
from unveil.training.prototypes_recipe import PrototypeRecipe
from unveil.training.recipe import Recipe, read_recipe, what_is_trained
from unveil.training.slots_recipe import SlotRecipe
from unveil.training.smtc_recipe import SmtcRecipe

CONFIGS = Path(__file__).parents[1] / "configs"
UNVEIL = str(Path(sys.executable).with_name("unveil"))


def write_clip(folder: Path, seed: int, frames: int = 6, size: tuple[int, int] = (24, 36)) -> None:
    """A folder of frames in which a bright square crosses noise."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    scene = rng.integers(0, 120, (*size, 3), dtype=np.uint8)
    for i in range(frames):
        frame = scene.copy()
        frame[6:16, 2 + 3 * i : 12 + 3 * i] = rng.integers(180, 256, 3)
        Image.fromarray(frame).save(folder / f"{i:03d}.png")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for i in range(5):
        write_clip(folder / f"clip{i}", i)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def recipe(tiny_backbone: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two heads, 6x9 patches, eight steps, a checkpoint after every one."""
    file = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    file.write_text(
        f'backbone = "{tiny_backbone}"\nheads = 2\nsize = 24\nwindows = 2\nsteps = 8\n'
        "batch = 2\nlr = 1e-3\nvalidation = 1\ntry_every = 4\ncheckpoint_every = 1\nkeep = [0, 4]\n"
        'precision = "fp32"\n'
    )
    return file


def command(videos: Path, recipe: Path, cache: Path, out: Path, *more: str) -> list[str]:
    where = [str(videos), "--recipe", str(recipe), "--cache", str(cache), "--out", str(out)]
    return ["train", *where, "--accelerator", "cpu", *more]


@pytest.fixture(scope="module")
def run(videos, recipe, cache, tmp_path_factory) -> Path:
    """The folder of a run that was never interrupted."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert main(command(videos, recipe, cache, out)) == 0
    return out


def weights(out: Path, name: str = "block.safetensors") -> dict[str, torch.Tensor]:
    about = block_metadata(out / name)
    return load_block(out / name, about["backbone"], about["channels"]).state_dict()


def test_a_run_leaves_a_block_a_log_and_pictures(run, tiny_backbone):
    about = block_metadata(run / "block.safetensors")
    assert (about["backbone"], about["heads"], about["steps"]) == (tiny_backbone, 2, 8)
    kept = [block_metadata(run / f"block-{step}.safetensors")["steps"] for step in (0, 4)]
    assert kept == [0, 4]
    assert calibrated_tau(run / "block.safetensors") > 0
    records = read_log(run)
    assert [r["step"] for r in records if r["kind"] == "step"] == list(range(1, 9))
    assert [r["step"] for r in records if r["kind"] == "trial"] == [0, 4, 8]
    assert all(0 < r["entropy"] <= 1 for r in records if r["kind"] == "trial")
    (start,) = (r for r in records if r["kind"] == "start")
    assert len(start["train"]) == 4 and len(start["held"]) == 1
    assert not set(start["train"]) & set(start["held"])
    assert sorted(p.name for p in (run / "attention").iterdir()) == [
        "000000.png",
        "000004.png",
        "000008.png",
    ]
    with Image.open(run / "report.png") as report:
        assert report.width > 1000
    assert list((run / "tensorboard").glob("events*"))
    assert not list(run.rglob("*.partial"))


def test_weights_move_and_snapshots_differ(run):
    files = ("block-0.safetensors", "block-4.safetensors", "block.safetensors")
    first, early, late = (weights(run, file)["attention.qkv.weight"] for file in files)
    assert not torch.equal(first, early) and not torch.equal(early, late)


@pytest.mark.slow
def test_a_run_killed_at_any_moment_ends_at_the_same_weights(videos, recipe, cache, run, tmp_path):
    """SIGKILL when the third step is logged; then the same command again: bitwise the same."""
    out = tmp_path / "killed"
    line = [UNVEIL, *command(videos, recipe, cache, out)]
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not any(r["kind"] == "step" and r["step"] >= 3 for r in read_log(out)):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (out / "block.safetensors").exists()
    reached = load_checkpoint(out).step
    assert 2 <= reached < 8
    assert main(command(videos, recipe, cache, out)) == 0
    want, got = weights(run), weights(out)
    assert all(torch.equal(want[name], got[name]) for name in want)
    kept = {"step", "semantic", "motion", "lr", "grad_norm"}
    told = [
        [{k: r[k] for k in kept} for r in read_log(o) if r["kind"] == "step"] for o in (run, out)
    ]
    assert told[0] == told[1]


@pytest.mark.slow
def test_two_processes_equal_one_with_the_same_batch(videos, recipe, cache, run, tmp_path):
    out = tmp_path / "two"
    # A cache of their own: both want the same features at the same time.
    line = [UNVEIL, *command(videos, recipe, tmp_path / "cache", out, "--devices", "2")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(line, check=True, capture_output=True, env=environment, timeout=120)
    want, got = weights(run), weights(out)
    for name in want:
        torch.testing.assert_close(got[name], want[name], atol=1e-5, rtol=1e-4)
    steps, alone = ([r for r in read_log(x) if r["kind"] == "step"] for x in (out, run))
    assert [r["step"] for r in steps] == list(range(1, 9))
    norms = ([r["grad_norm"] for r in x] for x in (steps, alone))
    np.testing.assert_allclose(*norms, rtol=1e-3)


def as_node(rank: int, slurm: bool) -> dict[str, str]:
    """What tells one of two nodes who it is: Slurm, or whoever starts the command."""
    if not slurm:
        return {"NODE_RANK": str(rank), "MASTER_ADDR": "127.0.0.1"}
    told = {"NTASKS": 2, "NTASKS_PER_NODE": 1, "PROCID": rank, "LOCALID": 0, "NODEID": rank}
    told |= {"NNODES": 2, "JOB_ID": 7, "JOB_NAME": "unveil-train", "NODELIST": "127.0.0.1"}
    return {f"SLURM_{name}": str(value) for name, value in told.items()}


@pytest.mark.slow
def test_the_job_of_the_docs_trains_on_two_nodes_of_a_ray_cluster(
    videos, recipe, cache, run, tmp_path, monkeypatch
):
    pytest.importorskip("ray", reason="needs unveil[ray]")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    from ray.cluster_utils import Cluster

    page = (Path(__file__).parent.parent / "docs" / "training.md").read_text()
    (job,) = re.findall(r"```python\n(# train_on_ray.py.*?)```", page, re.DOTALL)
    out = tmp_path / "nodes"
    line = [UNVEIL, *command(videos, recipe, tmp_path / "cache", out)]
    said = 'COMMAND = 2, ["unveil", "train", "/shared/clips", "--out", "/shared/block"]'
    assert said in job
    script = tmp_path / "train_on_ray.py"
    script.write_text(job.replace(said, f"COMMAND = 2, {[str(word) for word in line]!r}"))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        told = {"RAY_ADDRESS": cluster.address, "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, script], env=os.environ | told, check=True, timeout=240)
    finally:
        cluster.shutdown()
    want, got = weights(run), weights(out)
    for name in want:
        torch.testing.assert_close(got[name], want[name], atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("slurm", [False, True])
def test_two_nodes_equal_one_process_with_the_same_batch(
    videos, recipe, cache, run, tmp_path, slurm
):
    out = tmp_path / "nodes"
    line = [UNVEIL, *command(videos, recipe, tmp_path / "cache", out, "--nodes", "2")]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    own = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_PORT": port}
    nodes = [
        subprocess.Popen(line, env=own | as_node(i, slurm), stdout=subprocess.DEVNULL)
        for i in range(2)
    ]
    try:
        assert [node.wait(180) for node in nodes] == [0, 0]
    finally:
        for node in nodes:
            node.kill()
            node.wait()
    want, got = weights(run), weights(out)
    for name in want:
        torch.testing.assert_close(got[name], want[name], atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_broken_and_short_clips_are_skipped_and_counted(tmp_path, recipe, cache, capsys):
    folder = tmp_path / "videos"
    for i in range(3):
        write_clip(folder / f"good{i}", i)
    write_clip(folder / "short", 9, frames=2)
    (folder / "broken.mp4").write_bytes(b"this is no video")
    out = tmp_path / "out"
    assert main(command(folder, recipe, cache, out, "--steps", "2")) == 0
    said = capsys.readouterr().err
    assert "skipped short: short has 2 frames, fewer than a window of 3" in said
    assert "skipped broken.mp4" in said
    (start,) = (r for r in read_log(out) if r["kind"] == "start")
    assert sorted(start["skipped"]) == ["broken.mp4", "short"]
    assert len(start["train"] + start["held"]) == 3


def test_without_the_extra_it_says_what_to_install(
    videos, recipe, cache, tmp_path, monkeypatch, capsys
):
    there = lambda name: None if name == "tensorboard" else find_spec(name)  # noqa: E731
    monkeypatch.setattr("unveil.cli.train.find_spec", there)
    assert main(command(videos, recipe, cache, tmp_path / "run")) == 2
    said = capsys.readouterr().err
    assert "needs tensorboard" in said and "pip install 'unveil[train]'" in said
    assert not (tmp_path / "run").exists()


def test_nothing_else_needs_what_the_extra_brings():
    source = Path(unveil.__file__).parent
    of_extra = re.compile(
        r"import lightning_fabric|from (lightning_fabric|kornia)|tensorboard import"
    )
    needing = {
        f.relative_to(source) for f in source.rglob("*.py") if of_extra.search(f.read_text())
    }
    assert needing and all("train" in file.as_posix() for file in needing)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "no folder"),
        (lambda folder: folder.mkdir(), "no videos and no folders of frames"),
        (lambda folder: write_clip(folder / "short", 0, frames=1), "none of the 1 clips"),
    ],
)
def test_nothing_to_train_on_is_said(make, message, tmp_path, recipe, cache, capsys):
    make(tmp_path / "videos")
    assert main(command(tmp_path / "videos", recipe, cache, tmp_path / "out")) == 2
    assert message in capsys.readouterr().err


def test_a_full_disk_keeps_the_checkpoint_before(
    videos, recipe, cache, tmp_path, monkeypatch, capsys
):
    out, real, calls = tmp_path / "out", os.fsync, []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(checkpoints.os, "fsync", fsync)
    assert main(command(videos, recipe, cache, out)) == 2
    said = capsys.readouterr().err
    assert "checkpoint of step 3" in said and "No space left on device" in said
    assert load_checkpoint(out).step == 2
    assert not list(out.glob(".*.partial"))


def test_a_full_disk_under_the_log_is_said(videos, recipe, cache, tmp_path, monkeypatch, capsys):
    def full(self, record) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("unveil.training.monitor.Monitor.stepped", full)
    assert main(command(videos, recipe, cache, tmp_path / "out")) == 2
    assert "No space left on device; its last checkpoint is kept" in capsys.readouterr().err


def test_one_run_at_a_time_writes_to_a_folder(videos, recipe, cache, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    with FileLock(out / ".train.lock"):
        assert main(command(videos, recipe, cache, out)) == 2
    assert f"another run writes to {out}: wait for it" in capsys.readouterr().err
    (out / ".train.lock").unlink(missing_ok=True)
    (out / ".train.lock").mkdir()  # so that no lock can be had
    assert main(command(videos, recipe, cache, out)) == 2
    assert f"cannot write to {out}: " in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == [".train.lock"]


@pytest.mark.slow
def test_a_run_goes_on_with_the_same_recipe_only(videos, recipe, cache, run, capsys):
    assert main(command(videos, recipe, cache, run, "--lr", "2e-3")) == 2
    said = capsys.readouterr().err
    assert "another recipe: lr was 0.001, is 0.002. Set that back to go on, or choose" in said


@dataclass(frozen=True)
class Part:
    wide: int = 3
    deep: int = 2


@dataclass(frozen=True)
class Whole:
    lr: float = 0.1
    model: Part = Part(deep=5)
    later: Part = field(default_factory=Part)
    kept: tuple[int, ...] = (1, 2)


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ({"lr": 0.1}, Whole(), None),
        ({"lr": 0.1, "model": {"wide": 3}}, Whole(), None),
        ({"lr": 0.2, "model": {"wide": 3}}, Whole(), "lr was 0.2, is 0.1"),
        ({"model": {"wide": 4}}, Whole(), "model.wide was 4, is 3"),
        ({"model": {"wide": 3}}, Whole(model=Part()), "model.deep is 2, and the run did what is"),
        ({"lr": 0.1}, Whole(kept=()), r"kept is \(\), and the run did what is now \(1, 2\)"),
        ({"lr": 0.1, "old": True}, Whole(), "old was True, which this recipe does not have"),
        ({"lr": 1.0, "model": {"old": 7}}, Whole(), "lr was 1.0, .*; model.old was 7, which"),
        (dict.fromkeys("abcdefg", 0), Whole(), "e was 0, which .*; and 2 more. Set that back"),
    ],
)
def test_what_a_recipe_says_since_is_no_difference_where_it_says_the_default(before, now, said):
    """A run that an earlier version began goes on; what really differs is named with values."""
    state = checkpoints.Checkpoint(1, before, [], {}, {})
    if said is None:
        checkpoints.check_fits(state, now, [], Path("run"))
    else:
        with pytest.raises(TrainingError, match=said):
            checkpoints.check_fits(state, now, [], Path("run"))


@pytest.mark.slow
def test_a_run_of_an_earlier_version_goes_on(videos, recipe, cache, run, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(run, out)
    state = torch.load(out / checkpoints.NAME, weights_only=True)
    del state["recipe"]["class_token"], state["recipe"]["losses"]["motion_margin"]
    torch.save(state, out / checkpoints.NAME)
    assert main(command(videos, recipe, cache, out)) == 0


def test_a_finished_run_is_left_as_it_is(videos, recipe, cache, run):
    before = weights(run)
    assert main(command(videos, recipe, cache, run)) == 0
    assert all(torch.equal(before[name], value) for name, value in weights(run).items())


@pytest.mark.parametrize("content", [b"nonsense", b""])
def test_a_damaged_checkpoint_is_an_error(content, tmp_path):
    (tmp_path / checkpoints.NAME).write_bytes(content)
    with pytest.raises(TrainingError, match="cannot be read"):
        load_checkpoint(tmp_path)


def test_a_checkpoint_of_another_version_is_an_error(tmp_path):
    torch.save({"format": "unveil-checkpoint-0"}, tmp_path / checkpoints.NAME)
    with pytest.raises(TrainingError, match="another version"):
        load_checkpoint(tmp_path)


def test_losses_that_are_not_finite_stop_the_run(
    videos, recipe, cache, tmp_path, monkeypatch, capsys
):
    from unveil.training.step import Losses

    real, calls = block_method.clip_losses, []

    def losses(*arguments):
        calls.append(arguments)
        found = real(*arguments)
        return Losses(found.semantic * float("nan"), found.motion) if len(calls) == 5 else found

    monkeypatch.setattr(block_method, "clip_losses", losses)
    out = tmp_path / "out"
    assert main(command(videos, recipe, cache, out)) == 2
    said = capsys.readouterr().err
    assert "step 3: semantic loss nan" in said and said.count("(window ") == 2
    assert load_checkpoint(out).step == 2


@dataclasses.dataclass
class Two:
    """What one of two processes sees of the other: what it has to add to each sum."""

    other: list[torch.Tensor]
    world_size: int = 2
    device: str = "cpu"

    def all_reduce(self, own: torch.Tensor, reduce_op: str) -> torch.Tensor:
        assert reduce_op == "sum"
        return own + self.other.pop(0)


def test_the_norm_is_that_of_the_gradient_of_all_processes(untyped):
    block, sums = Block(16, 2), torch.zeros(2, dtype=torch.float64)
    count = sum(p.numel() for p in block.parameters())
    own, other = torch.randn(2, count, generator=torch.Generator().manual_seed(0))
    for p, g in zip(
        block.parameters(), own.split([p.numel() for p in block.parameters()]), strict=True
    ):
        p.grad = g.view_as(p).clone()
    norm = loop._share(block, sums, Two([other, torch.ones(2, dtype=torch.float64)]))
    assert norm == pytest.approx(float((own + other).norm()), rel=1e-5)
    got = torch.cat([p.grad.flatten() for p in block.parameters()])
    torch.testing.assert_close(got, own + other)
    assert sums.tolist() == [1, 1]


def test_what_is_not_finite_in_another_process_stops_this_one(untyped):
    block, sums = Block(16, 2), torch.zeros(2, dtype=torch.float64)
    other = torch.zeros(sum(p.numel() for p in block.parameters()))
    other[7] = float("nan")
    assert math.isnan(loop._share(block, sums, Two([other, torch.zeros(2)])))


def test_a_clip_that_another_process_cannot_use_is_used_by_none(untyped):
    two = Two([torch.tensor([1.0, 0.0, 1.0])])
    assert preparation._usable_by_all([True, True, False], two) == [True, False, False]


@pytest.mark.slow
@pytest.mark.parametrize("error", [RuntimeError("odd tag"), MemoryError(), ValueError("what")])
def test_a_run_outlives_whatever_is_wrong_with_one_clip(
    error, tmp_path, videos, recipe, monkeypatch, capsys
):
    real = features.count_frames

    def count(clip):
        if clip.name == "clip2":
            raise error
        return real(clip)

    monkeypatch.setattr(features, "count_frames", count)
    out = tmp_path / "out"
    assert main(command(videos, recipe, tmp_path / "cache", out, "--steps", "1")) == 0
    assert f"skipped clip2: {said_of(error)}" in capsys.readouterr().err
    (start,) = (r for r in read_log(out) if r["kind"] == "start")
    assert sorted(start["skipped"]) == ["clip2"] and len(start["train"] + start["held"]) == 4


def test_an_error_in_a_step_says_on_which_clip(
    videos, recipe, cache, tmp_path, monkeypatch, capsys
):
    def losses(*arguments):
        raise RuntimeError("no memory")

    monkeypatch.setattr(block_method, "clip_losses", losses)
    assert main(command(videos, recipe, cache, tmp_path / "out")) == 2
    assert re.search(r"step 1, clip\d \(window \d\): RuntimeError: no mem", capsys.readouterr().err)


def test_the_files_of_a_run_have_the_mode_of_any_other(run, cache, tmp_path):
    (tmp_path / "any").touch()
    mode = (tmp_path / "any").stat().st_mode
    files = [*run.glob("*.*"), *cache.glob("*.safetensors")]
    assert len(files) > 5 and {f.name: f.stat().st_mode for f in files if f.is_file()} == {
        f.name: mode for f in files if f.is_file()
    }


@pytest.mark.parametrize("processes", ["2", "3"])
def test_processes_that_cannot_share_a_batch(processes, videos, recipe, cache, tmp_path, capsys):
    arguments = ["--devices", processes, "--batch", "5"]
    assert main(command(videos, recipe, cache, tmp_path / "out", *arguments)) == 2
    assert f"{processes} processes cannot share a batch of 5" in capsys.readouterr().err


KINDS = {k.trains: k for k in (Recipe, ObjectsRecipe, SlotRecipe, PrototypeRecipe, SmtcRecipe)}


@pytest.mark.parametrize(
    "file", sorted(CONFIGS.rglob("*.toml")), ids=lambda f: f"{f.parent.name}/{f.stem}"
)
def test_every_recipe_that_is_shipped_can_be_read(file):
    assert read_recipe(file, KINDS[what_is_trained(file)]).steps > 0


@pytest.mark.parametrize("file", sorted((CONFIGS / "processor").iterdir()), ids=lambda f: f.stem)
def test_recipes_for_a_processor_differ_from_the_published_in_what_costs_time(file):
    published = CONFIGS / file.name
    assert what_is_trained(file) == what_is_trained(published)
    kind = KINDS[what_is_trained(file)]
    here, there = (dataclasses.asdict(read_recipe(x, kind)) for x in (file, published))
    differ = {name for name in here if here[name] != there[name]} - {"model"}
    kept = {"checkpoint_every", "keep"}
    assert differ <= {"size", "frames", "windows", "batch", "steps", "lr", "momentum", *kept}
    model = {name for name, value in here["model"].items() if value != there["model"][name]}
    assert model <= {"decoder", "decoder_width", "decoder_layers"}


def test_the_paper_s_recipe_has_the_paper_s_constants():
    paper = read_recipe(CONFIGS / "paper.toml", Recipe)
    assert (paper.lr, paper.final_lr, paper.batch, paper.start) == (1e-5, 1e-6, 8, "random")
    assert not paper.centred
    assert (paper.frames, paper.max_gap) == (3, 4)
    assert (paper.weight_decay, paper.final_weight_decay) == (0.04, 0.1)
    assert (paper.dropout, paper.attention_dropout) == (0.1, 0.4)
    assert paper.losses == type(paper.losses)()


def test_the_released_recipe_differs_from_the_paper_s_where_the_docs_say_so():
    paper, released = (
        read_recipe(CONFIGS / f"{name}.toml", Recipe) for name in ("paper", "released")
    )
    differ = {f.name for f in dataclasses.fields(paper)}
    differ = {name for name in differ if getattr(paper, name) != getattr(released, name)}
    others = {"min_gap", "augment", "class_token", "weight_decay", "precision"}
    assert differ == {"size", *others}
    assert (released.min_gap, released.max_gap, released.size) == (4, 4, (192, 384))


def test_the_default_recipe_is_that_of_the_shipped_block():
    shipped = block_metadata(shipped_block(DEFAULT))["recipe"]
    default = dataclasses.asdict(read_recipe(CONFIGS / "default.toml", Recipe))
    named = {name: json.loads(json.dumps(default))[name] for name in shipped}
    assert shipped == named  # which names all that there was to say then
    new = {"min_gap": 1, "augment": "photometric", "class_token": "key"}
    assert {name: default[name] for name in default.keys() - shipped.keys()} == new
    assert Recipe() == read_recipe(CONFIGS / "default.toml", Recipe), "what runs when none is given"


def test_a_recipe_changes_only_what_it_names(tmp_path):
    (tmp_path / "r.toml").write_text('trains = "block"\nseed = 3\n[losses]\nqueries = 4')
    got = read_recipe(tmp_path / "r.toml", Recipe)
    losses = dataclasses.replace(Recipe().losses, queries=4)
    assert got == dataclasses.replace(Recipe(), seed=3, losses=losses)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps = 0", "steps must be positive"),
        ("step = 5", "no such entry 'step'"),
        ("frames = 1", "at least 2 frames"),
        ('precision = "int8"', "fp32, bf16 or auto"),
        ('start = "warm"', "random or tied"),
        ("[losses]\nquery = 1", "no such entry 'query'"),
        ("steps = ", "not TOML"),
        ("validation = -1", "validation is 0 or more clips, got -1"),
        ("heads = 2.5", r"r.toml: recipe: heads: expected a whole number, got 2.5"),
        ("centred = 1", "centred: expected True or False, got 1"),
        ("keep = [1, 'x']", "keep: expected any number of values, each a whole number, got"),
        ("losses = 3", r"\[losses\]: expected a table, got 3"),
        ("[losses]\nqueries = 'x'", r"\[losses\]: queries: expected a whole number"),
    ],
)
def test_a_recipe_that_is_wrong_is_an_error(untyped, text, message, tmp_path):
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(TrainingError, match=message):
        read_recipe(tmp_path / "r.toml", Recipe)


def test_a_recipe_that_is_no_text_is_an_error(tmp_path):
    (tmp_path / "r.toml").write_bytes(b"# \xe9\nsteps = 3\n")
    with pytest.raises(TrainingError, match=r"r.toml is not TOML: .*can't decode byte 0xe9"):
        read_recipe(tmp_path / "r.toml", Recipe)


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(TINY))
def test_every_family_of_backbones_trains_by_the_tiny_recipe(family, videos, tmp_path):
    """Eight heads of two channels; the recipe's steps cut to three, its size to the clips'."""
    backbone = str(make_tiny_backbone(tmp_path / family, family))
    line = command(videos, CONFIGS / "tiny.toml", tmp_path / "cache", tmp_path / "out")
    assert main([*line, "--backbone", backbone, "--size", "24", "--steps", "3"]) == 0
    assert weights(tmp_path / "out")["attention.qkv.weight"].shape == (48, 16)


def test_heads_that_do_not_divide_the_channels_are_said(videos, recipe, cache, tmp_path, capsys):
    other = tmp_path / "recipe.toml"
    other.write_text(recipe.read_text().replace("heads = 2", "heads = 3"))
    assert main(command(videos, other, cache, tmp_path / "out")) == 2
    assert "16 channels cannot have 3 heads" in capsys.readouterr().err
