"""A batch that finds results: skipped where they are what was asked for, else said."""

import json
import shutil
from pathlib import Path

import pytest

from exported import scene, write_result
from test_cli import image_folder
from unveil.batch.job import Job, Outcome
from unveil.batch.ledger import Ledger, read
from unveil.batch.there import look_through, other_source, otherwise
from unveil.cli import main
from unveil.settings import Settings


def made(out: Path, source: Path, settings: Settings | None = None, **other) -> Path:
    """A result as a batch of one image folder leaves it."""
    span = {"start": None, "end": None, "stride": 1}
    video = {"source": str(source.absolute()), "frames": 6, "height": 61, "width": 83, **span}
    run = {"video": video | other, "warnings": [], "settings": (settings or Settings()).plain()}
    frames, labels = scene()
    return write_result(out, labels, frames, run=run)


@pytest.fixture
def dog(tmp_path, monkeypatch) -> Path:
    """A folder with the result of in/dog, and that video."""
    monkeypatch.chdir(tmp_path)
    image_folder(tmp_path / "in/dog", t=2)
    made(tmp_path / "out/dog", tmp_path / "in/dog")
    return tmp_path


def test_what_is_done_is_skipped_and_nothing_else_is_said(dog, monkeypatch, capsys):
    (dog / "link").symlink_to(dog / "in")
    for place in ("in", str(dog / "in"), "link", "in/../in"):
        assert main(["segment", place, "--out", "out"]) == 0
        said = capsys.readouterr()
        assert "out/dog: has a result already, skipped" in said.out and not said.err
    monkeypatch.chdir(dog / "in")
    assert main(["segment", "../in", "--out", "../out"]) == 0
    assert not capsys.readouterr().err


def test_the_result_of_another_video_of_that_name_is_no_result_of_this_one(dog, capsys):
    image_folder(dog / "other/dog", t=3)
    assert main(["segment", "other", "--out", "out"]) == 2
    said = capsys.readouterr()
    assert f"{dog}/out/dog holds the result of {dog}/in/dog, and not of other/dog" in said.err
    assert "choose another --out, or replace it with --again" in said.err
    assert "1 of 1 failed: dog" in said.err and "skipped" not in said.out
    assert not read(dog / "out").failed  # the result of the other one is as it was


def test_a_video_that_was_moved_is_in_doubt(dog, capsys):
    shutil.move(dog / "in", dog / "moved")
    assert main(["segment", "moved", "--out", "out"]) == 0
    said = capsys.readouterr()
    assert f"the result of dog is of {dog}/in/dog, not of moved/dog: --again redoes" in said.err
    assert "has a result already" in said.out


def test_a_result_with_other_settings_or_another_span_is_skipped_and_said(dog, capsys):
    command = ["segment", "in", "--out", "out", "--size", "40", "--start", "1", "--objects", "2"]
    assert main(command) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "unveil: warning: the result of dog has start unset, not 1.0, was made with objects unset, "
        "not 2, was made with size 336, not 40: --again redoes it"
    )


@pytest.mark.parametrize(
    ("run", "job", "settings"),
    [
        ({}, {}, {"size": 40}),
        ({"video": {}}, {"start": 1.0}, {"size": 40}),
        ({"video": {"source": None}}, {}, {}),
        ({"video": {"start": None}}, {"start": 0.0}, {}),
        ({"settings": Settings(device="cuda:1", chunk=4).plain()}, {}, {"device": "cpu"}),
        ({"settings": {"size": [20, 30]}}, {}, {"size": (20, 30)}),
        ({"settings": Settings(objects=3).plain(), "recut": True}, {}, {}),
        ({"settings": Settings(objects=3).plain()}, {"options": {"objects": 3}}, {}),
        ({"settings": {"tau": 0.7}}, {}, {"mode": "paper", "tau": "calibrated"}),
        ({"settings": {"model": "m", "backbone": "x", "size": [9, 9]}}, {}, {"model": Path("m")}),
        ({"settings": "old"}, {}, {}),
    ],
)
def test_what_is_not_otherwise(run, job, settings):
    job = Job("dog", "in/dog.mp4", **job)
    assert not list(otherwise(job, run, Settings(**settings))) and other_source(job, run) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("s3://a/dog.mp4", "s3://a/dog.mp4", True),
        ("s3://a/dog.mp4", "s3://b/dog.mp4", False),
        ("s3://a/dog.mp4", "https://a/dog.mp4", None),
        ("https://a/dog.mp4?key=1", "https://a/dog.mp4?key=2", None),
        ("s3://a/dog.mp4", "/a/dog.mp4", None),
        ("/a/gone/dog.mp4", "/b/gone/dog.mp4", None),
    ],
)
def test_addresses_and_what_is_gone(one, other, same):
    run, job = {"video": {"source": one}}, Job("dog", other)
    assert (other_source(job, run) == one) == (same is False)
    words = [] if same is not None else [f"is of {one}, not of {other}"]
    if same is not False:
        assert list(otherwise(job, run, Settings())) == words


def test_files_of_other_lengths_are_other_videos(tmp_path):
    for folder, size in (("a", 5), ("b", 5), ("c", 6)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "dog.mp4").write_bytes(b"0" * size)
    run = {"video": {"source": str(tmp_path / "a/dog.mp4")}}
    assert other_source(Job("dog", str(tmp_path / "b/dog.mp4")), run) is None  # it may be a copy
    assert other_source(Job("dog", str(tmp_path / "c/dog.mp4")), run) == run["video"]["source"]


def test_of_folders_the_images_count(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "0.png").write_bytes(b"0" * 5)
    (tmp_path / "b" / ".DS_Store").write_bytes(b"of the Finder")
    run = {"video": {"source": str(tmp_path / "a")}}
    assert other_source(Job("dog", str(tmp_path / "b")), run) is None
    (tmp_path / "b" / "1.png").write_bytes(b"0" * 5)
    assert other_source(Job("dog", str(tmp_path / "b")), run) == run["video"]["source"]


def test_at_an_address_the_ledger_tells_of_which_video_a_result_is(tmp_path):
    job = Job("dog", "s3://a/dog.mp4")
    with Ledger(tmp_path) as ledger:
        ledger.begin([job], {})
        ledger.ended(job, 1, Outcome(frames=3))
        assert not look_through([job], ledger, Settings(), "s3://out").refused
        other = Job("dog", "s3://b/dog.mp4")
        refused = look_through([other], ledger, Settings(), "s3://out").refused
    assert "s3://out/dog holds the result of s3://a/dog.mp4" in refused["dog"]


def test_what_failed_in_a_batch_and_was_done_by_itself_is_done(dog, capsys):
    job = Job("dog", "in/dog")
    with Ledger(dog / "out") as ledger:
        ledger.begin([job], {})
        ledger.ended(job, 1, Outcome(error="out of patience", seconds=1.0))
    before = read(dog / "out")
    assert main(["status", "out"]) == 1
    assert main(["segment", "in", "--out", "out", "--resume"]) == 0
    capsys.readouterr()
    assert main(["status", "out"]) == 0
    assert "1 of 1 video done\n" in capsys.readouterr().out
    after = read(dog / "out")
    scores = [
        o["score"] for o in json.loads(Path("out/dog/objects.json").read_text())["annotations"]
    ]
    entry = after.videos["dog"]
    assert (entry.state, entry.error, entry.frames) == ("done", "", 6)
    assert list(entry.scores) == scores
    assert (after.fresh, after.last, after.left) == (before.fresh, before.last, 0)
    assert "out of patience" not in (dog / "out/index.html").read_text()
    written = (dog / "out/ledger.jsonl").read_bytes()
    assert main(["segment", "in", "--out", "out"]) == 0
    assert (dog / "out/ledger.jsonl").read_bytes() == written


def test_results_that_say_little_are_skipped_as_they_are(dog, capsys):
    for text in ("{}", "no json", '{"imported": {}, "video": {"source": "/x"}}', "[]"):
        (dog / "out/dog/run.json").write_text(text)
        assert main(["segment", "in", "--out", "out"]) == 0
        assert not capsys.readouterr().err
