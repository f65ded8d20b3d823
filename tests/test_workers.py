"""Evaluate, export and train by several processes: what one gives, and past what is broken."""

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from conftest import ROOT
from exported import scene, write_result
from test_segmenter import digests
from test_training import write_clip
from unveil.batch.job import Job, Outcome
from unveil.batch.ledger import read
from unveil.batch.work import Work
from unveil.batch.workers import Workers
from unveil.cli import main
from unveil.cli.data import Make
from unveil.datasets import open_dataset
from unveil.errors import InputError, TrainingError, WeightsError
from unveil.evaluate.run import evaluate
from unveil.progress import Progress
from unveil.settings import Settings
from unveil.training.clips import find_clips
from unveil.training.features import Cache
from unveil.training.objects_recipe import ObjectsRecipe
from unveil.training.recipe import Recipe
from unveil.training.work import FeatureWork, HeadWork, fill, job_of

TWO = Workers(jobs=2)


class Toy(Work):
    """Hands back which process did it; some jobs are wrong."""

    def do(self, job: Job, report: Progress) -> Outcome:
        if job.name == "known":
            raise InputError("no such thing")
        if job.name == "unknown":
            raise KeyError("surprise")
        if job.name == "weights":
            with self.loading(report):
                raise InputError("device 'gpu' cannot be used here")
        if job.name == "full":
            raise TrainingError("the disk is full")
        report("backbone", 1, 1)
        return Outcome(frames=1, result=os.getpid())


def outcomes(tmp_path: Path, *names: str, workers: Workers | None = None) -> dict[str, Outcome]:
    done: dict[str, Outcome] = {}

    def ended(job: Job, outcome: Outcome) -> None:
        done[job.name] = outcome

    jobs = [Job(name, name) for name in names]
    (workers or Workers()).do(jobs, Toy(tmp_path), tmp_path, ended=ended)
    return done


def test_the_process_that_asks_does_it_where_nobody_asked_for_others(tmp_path, capsys):
    done = outcomes(tmp_path, "a", "known", "unknown", "b")
    assert done["a"].result == done["b"].result == os.getpid()
    assert done["known"].error == "no such thing"
    assert "KeyError: 'surprise'; this is a fault" in done["unknown"].error
    assert set(read(tmp_path).failed) == {"known", "unknown"}
    assert outcomes(tmp_path) == {}
    assert "Traceback" not in capsys.readouterr().err


def test_what_ends_every_job_is_raised_as_what_it_is(tmp_path):
    with pytest.raises(InputError, match="device 'gpu'"):
        outcomes(tmp_path, "a", "weights", "b")
    assert outcomes(tmp_path, "full")["full"].error == "the disk is full"
    work = FeatureWork(tmp_path)
    assert {WeightsError, TrainingError} <= set(work.FATAL) and TrainingError not in Work.FATAL


@pytest.mark.slow
def test_limits_are_kept_by_a_process_also_where_one_does_it(tmp_path):
    limited = Workers(memory=100_000)
    done = outcomes(tmp_path, "a", "unknown", workers=limited)
    assert done["a"].result != os.getpid() and not limited.alone
    assert "surprise" in done["unknown"].error and read(tmp_path).videos["unknown"].tries == 3
    assert "KeyError: 'surprise'" in (tmp_path / "logs/unknown.log").read_text()


@pytest.mark.parametrize("wrong", [{"jobs": 0}, {"timeout": 0.0}, {"memory": 0}, {"tries": 0}])
def test_workers_that_make_no_sense(wrong):
    with pytest.raises(InputError, match=f"{next(iter(wrong))}: expected a"):
        Workers(**wrong)


@pytest.mark.slow
def test_unveil_is_evaluated_by_two_processes_as_by_one(tmp_path, tiny_backbone, capsys):
    root = tmp_path / "data"
    assert Make(root, "folder", sequences=3, frames=4, size=(33, 35)).run() == 0
    settings = Settings(backbone=tiny_backbone, attention="cosine", size=16, device="cpu")
    dataset = open_dataset("folder", root)
    records = {}
    for name, workers in (("one", Workers()), ("two", TWO)):
        out = tmp_path / name
        records[name] = evaluate(dataset, ["miou"], settings=settings, out=out, workers=workers)
    assert records["one"] == records["two"] and not records["one"]["failures"]
    for sequence in dataset.sequences:
        place = Path("predictions") / sequence.name
        assert digests(tmp_path / "one" / place) == digests(tmp_path / "two" / place)
    assert main(["status", str(tmp_path / "two")]) == 0
    assert "3 of 3 videos done" in capsys.readouterr().out
    other = replace(settings, backbone=str(tmp_path / "none"))
    with pytest.raises(WeightsError, match="no weights in"):
        evaluate(dataset, ["miou"], settings=other, out=tmp_path / "three", workers=TWO)


@pytest.fixture
def batch(tmp_path) -> Path:
    """A folder of three results, one of them broken."""
    frames, labels = scene()
    for name in ("cat", "dog", "owl"):
        write_result(tmp_path / "batch" / name, labels, frames)
    (tmp_path / "batch/dog/objects.json").write_text("{")
    return tmp_path / "batch"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "jobs", [[], pytest.param(["--jobs", "2"], marks=pytest.mark.slow)], ids=["one", "two"]
)
def test_all_results_of_a_batch_are_exported_past_a_broken_one(batch, tmp_path, capsys, jobs):
    call = ["export", str(batch), "--to", "csv", "--to", "mots-png", *jobs]
    out = tmp_path / "batch-export"
    assert main(call) == 2
    said = capsys.readouterr()
    assert said.err.count("dog to") == 2 and str(out / "owl" / "tracks.csv") in said.out
    assert set(read(out).failed) == {"dog.csv", "dog.mots-png"}
    for name in ("cat", "owl"):
        plain = ["export", str(batch / name), "--out", str(tmp_path / "plain" / name)]
        assert main([*plain, *call[2:6]]) == 0
        assert contents(out / name) == contents(tmp_path / "plain" / name)
        assert sorted(p.name for p in (out / name).iterdir()) == ["mots-png", "tracks.csv"]
    capsys.readouterr()
    shutil.rmtree(batch / "dog")
    (out / "cat" / "tracks.csv").unlink()
    assert main(call) == 0  # what is missing, and no more
    said = capsys.readouterr().out
    assert said.count("is there already, skipped") == 3 and (out / "cat/tracks.csv").is_file()


def test_several_results_are_named_and_put_somewhere(batch, tmp_path, capsys):
    cat, owl = str(batch / "cat"), str(batch / "owl")
    assert main(["export", cat, owl, "--to", "csv"]) == 2
    assert "say with --out where" in capsys.readouterr().err
    assert main(["export", cat, owl, "--to", "csv", "--source", cat]) == 2
    assert "--source is the video of one result" in capsys.readouterr().err
    shutil.copytree(batch, tmp_path / "other")
    both = ["export", str(batch), str(tmp_path / "other"), "--to", "csv", "--out", str(tmp_path)]
    assert main(both) == 2 and "have one name" in capsys.readouterr().err
    assert main(["export", cat, owl, "--to", "csv", "--out", str(tmp_path / "x")]) == 0
    assert (tmp_path / "x/cat/tracks.csv").is_file() and (tmp_path / "x/owl/tracks.csv").is_file()


class Deadly(FeatureWork):
    """The real work, that dies of one clip."""

    def do(self, job: Job, report: Progress) -> Outcome:
        if job.source.endswith("deadly"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().do(job, report)


@pytest.mark.slow
def test_features_of_two_processes_are_those_of_one_past_a_clip_that_kills(tmp_path, tiny_backbone):
    for i, name in enumerate(("a", "b", "deadly")):
        write_clip(tmp_path / "in" / name, i)
    (tmp_path / "in/bad.mp4").write_bytes(b"no video")
    recipe = Recipe(backbone=tiny_backbone, heads=2, size=16, windows=2)
    jobs = [job_of(clip) for clip in find_clips(tmp_path / "in")]
    told: dict[str, str] = {}

    def ended(job: Job, outcome: Outcome) -> None:
        told[Path(job.source).name] = outcome.error

    work = Deadly(tmp_path / "two", recipe=recipe, on="cpu")
    fill(jobs, work, Workers(jobs=2, tries=2), ended)
    assert told["a"] == told["b"] == "" and "SIGKILL" in told["deadly"] and told["bad.mp4"]
    plain = FeatureWork(tmp_path / "one", recipe=recipe, on="cpu")
    for job in jobs:
        plain(job, lambda *_: None)
    two = {p.name: p.read_bytes() for p in (tmp_path / "two").glob("*.safetensors")}
    one = {p.name: p.read_bytes() for p in (tmp_path / "one").glob("*.safetensors")}
    assert len(two) == 2 and len(one) == 3 and two.items() <= one.items()
    assert not list((tmp_path / "two").glob(".ledger*"))


@pytest.mark.slow
def test_a_training_whose_features_two_processes_made_is_that_of_one(
    tmp_path, tiny_backbone, capsys
):
    for i in range(4):
        write_clip(tmp_path / "in" / f"clip{i}", i)
    (tmp_path / "in/bad.mp4").write_bytes(b"no video")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f'backbone = "{tiny_backbone}"\nheads = 2\nsize = 24\nwindows = 2\nsteps = 2\nbatch = 2\n'
        'validation = 1\nprecision = "fp32"\n'
    )
    call = ["train", str(tmp_path / "in"), "--recipe", str(recipe), "--accelerator", "cpu"]
    for name, jobs in (("one", []), ("two", ["--jobs", "2"])):
        more = ["--cache", str(tmp_path / f"cache-{name}"), "--out", str(tmp_path / name)]
        assert main([*call, *more, *jobs]) == 0
        assert "skipped bad.mp4" in capsys.readouterr().err
    one, two = (load_file(tmp_path / n / "block.safetensors") for n in ("one", "two"))
    assert all((two[name] == value).all() for name, value in one.items())


@pytest.mark.slow
def test_sources_and_composites_of_two_processes_are_those_of_one(tmp_path, tiny_backbone):
    for i in range(3):
        write_clip(tmp_path / "in" / f"clip{i}", i, frames=8, size=(48, 64))
    recipe = ObjectsRecipe(
        backbone=tiny_backbone, size=24, sizes=(24,), composites=3, validation=1, head=""
    )
    clips = sorted(find_clips(tmp_path / "in"), key=lambda clip: clip.digest)
    jobs = [job_of(clip) for clip in clips]
    more = [Job(f"c{n}", "", options={"number": n, "clips": clips}) for n in range(3)]
    made = {}
    for name, workers in (("one", Workers()), ("two", TWO)):
        told: list[str] = []
        work = HeadWork(tmp_path / name, recipe=recipe, on="cpu")
        for some in (jobs, more):
            fill(some, work, workers, lambda job, outcome, told=told: told.append(outcome.error))
        files = (tmp_path / name).glob("*.safetensors")
        assert not any(told)
        made[name] = {p.name: p.read_bytes() for p in files}
    assert made["one"] == made["two"] and len(made["one"]) >= 3


def test_features_that_are_there_ask_for_no_worker(tmp_path, tiny_backbone, monkeypatch):
    write_clip(tmp_path / "in" / "a", 1)
    recipe = Recipe(backbone=tiny_backbone, heads=2, size=16, windows=2)
    (clip,) = find_clips(tmp_path / "in")
    cache = Cache(tmp_path / "cache", 10**9)
    assert not cache.file(clip, recipe).exists()
    FeatureWork(cache.folder, recipe=recipe, on="cpu")(job_of(clip), lambda *_: None)
    assert cache.file(clip, recipe).is_file()
    monkeypatch.setattr(Workers, "do", lambda *a, **k: pytest.fail("a worker was asked"))
    fill([], FeatureWork(cache.folder), TWO, lambda *_: None)


def test_what_trains_together_makes_its_features_together(tmp_path, capsys):
    call = ["train", str(tmp_path), "--out", str(tmp_path / "x"), "--devices", "2", "--jobs", "2"]
    assert main(call) == 2
    assert "the 2 processes that train make the features" in capsys.readouterr().err


def test_the_docs_say_it_of_every_command():
    page = (ROOT / "docs/scale.md").read_text()
    for command in ("evaluate", "export", "train"):
        assert f"unveil {command}" in page
