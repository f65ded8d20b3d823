"""What a lab runs for MOVi-E and YouTube-VIS, end to end on a few made-up files: train, segment,
evaluate.
"""

import json
from pathlib import Path

import pytest

from unveil.cli import main
from unveil.slots.model_file import model_metadata
from unveil.synthetic.layouts import Annotated, write_layout
from unveil.synthetic.render import render
from unveil.training.monitor import read_log

CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.fixture(scope="module")
def clips():
    kinds = ("calm", "crowd", "calm")
    return [Annotated(f"c{i}", *render(i, 6, 32, 40, scenario=k)) for i, k in enumerate(kinds)]


def made(layout: str, root: Path, clips: list[Annotated]) -> Path:
    """A dataset of three clips; of MOVi the training shards too."""
    write_layout(layout, root, clips)
    for shard in list(root.rglob("movi_*.tfrecord-*")):
        shard.with_name(shard.name.replace("validation", "train")).write_bytes(shard.read_bytes())
    return root


LABS = {
    "videosaur-movi-e": ("movi-e", "movi", ".", ("--dataset", "movi-e")),
    "videosaur": ("ytvis2019", "ytvis2019", "train/JPEGImages", ()),
    "slotcontrast": ("ytvis2021", "ytvis2019", ".", ("--dataset", "ytvis2021")),
    "timet": ("davis2017", "davis2017", "JPEGImages/480p", ()),
    "smtc": ("davis2017", "davis2017", "JPEGImages/480p", ()),
}
SMALL = ("--steps", "2", "--batch", "2", "--size", "20", "--windows", "1", "--accelerator", "cpu")


@pytest.mark.slow
@pytest.mark.parametrize("recipe", LABS)
def test_a_dataset_as_it_comes_is_trained_on_segmented_and_scored(
    recipe, clips, tiny_backbone, tmp_path, capsys
):
    name, layout, videos, more = LABS[recipe]
    root, run = made(layout, tmp_path / "data", clips), tmp_path / "run"
    kept = ["--cache", str(tmp_path / "cache"), "--backbone", tiny_backbone, *SMALL]
    line = [str(root / videos), *more, "--out", str(run), *kept]
    line += ["--recipe", str(CONFIGS / f"{recipe}.toml")]
    assert main(["train", *line]) == 0
    model = run / "model.safetensors"
    about = model_metadata(model)
    assert (about["steps"], about["clips"], about["size"]) == (2, 1, [20, 20])
    start = next(r for r in read_log(run) if r["kind"] == "start")
    assert not start["skipped"] and len(start["train"] + start["held"]) == 3

    frames = tmp_path / "frames"
    write_layout("folder", frames, clips[:1])
    source = next(p for p in frames.rglob("*.jpg")).parent
    assert main(["segment", str(source), "--model", str(model), "-o", str(tmp_path / "out")]) == 0
    settings = json.loads((tmp_path / "out/run.json").read_text())["settings"]
    assert settings["model"] == str(model) and tuple(settings["size"]) == (20, 20)

    out = tmp_path / "scores"
    where = ["--root", str(root), "--model", str(model), "--out", str(out)]
    assert main(["evaluate", name, *where]) == 0
    record = json.loads((out / "results.json").read_text())
    assert not record["failures"] and len(record["dataset"]["sequences"]) == 3
    assert 0 <= record["protocols"]["miou"]["mean"]["mBO"] <= 1
    if name == "ytvis2021":
        chunks = [*where[:-1], str(tmp_path / "chunks"), "--protocol", "videosaur"]
        assert main(["evaluate", name, *chunks, "--in-chunks", "3", "--crop", "32"]) == 0
        record = json.loads((tmp_path / "chunks/results.json").read_text())
        assert len(record["dataset"]["sequences"]) == 6 and not record["failures"]
        assert 0 <= record["protocols"]["videosaur"]["mean"]["mBO"] <= 1


@pytest.mark.slow
def test_a_run_on_shards_goes_on_and_says_what_it_lacks(clips, tiny_backbone, tmp_path, capsys):
    root = made("movi", tmp_path / "data", clips[:2])
    recipe = ["--recipe", str(CONFIGS / "videosaur-movi-e.toml"), "--backbone", tiny_backbone]
    line = [str(root), *recipe, *SMALL, "--cache", str(tmp_path / "cache"), "--out"]
    data = ["--dataset", "movi-e"]
    assert main(["train", *line, str(tmp_path / "run"), *data]) == 0
    # The same videos elsewhere are the same videos: the run has nothing left to do.
    moved = root.rename(tmp_path / "moved")
    assert main(["train", str(moved), *line[1:], str(tmp_path / "run"), *data]) == 0
    capsys.readouterr()
    for wrong, said in (
        (["--split", "train"], "--split is of a dataset"),
        ([*data, "--split", "test"], "no movi_e-test.tfrecord"),
        ([*data, "--cache-limit", "inf"], "--cache-limit: expected GB from 0 on, got inf"),
    ):
        assert main(["train", str(moved), *line[1:], str(tmp_path / "new"), *wrong]) != 0
        assert said in capsys.readouterr().err


@pytest.mark.slow
def test_two_plain_folders_are_a_dataset_without_splits(clips, tiny_backbone, tmp_path):
    root = made("folder", tmp_path / "data", clips[:2])
    recipe = ["--recipe", str(CONFIGS / "videosaur-movi-e.toml"), "--backbone", tiny_backbone]
    line = [str(root), *recipe, *SMALL, "--cache", str(tmp_path / "cache")]
    assert main(["train", *line, "--dataset", "folder", "--out", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run/model.safetensors").is_file()
