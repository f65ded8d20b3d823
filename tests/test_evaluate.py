"""unveil evaluate: what it writes, what it keeps, and that one broken sequence does not end it."""

import base64
import io
import json
import os
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarking import benchmark
from conftest import make_tiny_backbone
from unveil.attention.block import Block
from unveil.attention.block_file import save_block
from unveil.batch.ledger import read
from unveil.batch.workers import Workers
from unveil.cli.data import Check, Make
from unveil.cli.evaluate import Evaluate
from unveil.datasets import open_dataset
from unveil.errors import DataError, InputError, OutputError
from unveil.evaluate import cache, protocols, run, scoring
from unveil.metrics import PROTOCOLS, Measured
from unveil.settings import Settings
from unveil.synthetic.layouts import write_masks

HERE = Workers(jobs=1)
"""This process itself."""
SIZE, FRAMES, COUNT = (48, 64), 5, 3
LAYOUTS = ["davis2016", "davis2017", "ytvis2019", "ytvis2021", "movi", "folder"]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Path]:
    """Layout → the same three synthetic clips, as `unveil data make` writes them."""
    roots = {}
    for layout in ("davis2017", "ytvis2019", "movi", "folder"):
        roots[layout] = tmp_path_factory.mktemp("made") / layout
        make = Make(roots[layout], layout, sequences=COUNT, frames=FRAMES, size=SIZE, seed=1)
        assert make.run() == 0
    return {**roots, "davis2016": roots["davis2017"], "ytvis2021": roots["ytvis2019"]}


@pytest.fixture
def perfect(made, tmp_path):
    """A function that writes the ground truth of a layout as a prediction."""

    def write(layout: str, shift: int = 0) -> Path:
        folder = tmp_path / f"masks-{layout}"
        for sequence in open_dataset(layout, made[layout]).sequences:
            write_masks(folder / sequence.name, np.roll(sequence.truth(), shift, axis=2))
        return folder

    return write


def evaluated(command: Evaluate, code: int = 0) -> dict:
    assert command.run() == code
    return json.loads(command.json.read_text())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_perfect_masks_are_perfect_in_every_layout(layout, made, perfect, tmp_path):
    assert Check(layout, made[layout]).run() == 0
    command = Evaluate(
        layout, made[layout], perfect(layout), json=tmp_path / "o.json", workers=HERE
    )
    record = evaluated(command)
    assert set(record["protocols"]) == set(protocols.defaults(layout))
    for protocol in record["protocols"].values():
        shares = [c for c in protocol["columns"] if c in protocol["percent"]]
        for column in shares:
            best = 0.0 if "decay" in column or column == "flicker" else 1.0
            # Objects of a clip may be away for a while, which costs nobody anything.
            assert protocol["mean"][column] == pytest.approx(best, abs=1e-9), column
        assert len(protocol["rows"]) == COUNT


def test_layouts_agree_on_the_same_imperfect_masks(made, perfect, tmp_path):
    figures = {}
    for layout in ("davis2017", "ytvis2019", "folder", "movi"):
        masks = perfect(layout, shift=3)
        command = Evaluate(layout, made[layout], masks, json=tmp_path / "o.json", workers=HERE)
        record = evaluated(replace(command, protocol="davis2017, miou,fg-ari"))
        figures[layout] = [p["mean"] for p in record["protocols"].values()]
    first = figures.pop("davis2017")
    assert first[0]["J&F"] < 0.95
    for other in figures.values():
        for mine, theirs in zip(first, other, strict=True):
            assert theirs == pytest.approx(mine, abs=1e-12)


@pytest.mark.slow
def test_the_oracle_is_met_through_the_command(shared, tmp_path):
    command = Evaluate(
        "davis2016",
        shared / "davis",
        shared / "oracle" / "masks",
        sequences="dog",
        json=tmp_path / "out.json",
        workers=HERE,
    )
    mean = evaluated(command)["protocols"]["davis2016"]["mean"]
    expected = json.loads((shared / "oracle/expected_jf.json").read_text())["dog"]
    for measure in "JF":
        scored = [x for x in expected[measure] if x is not None]
        assert mean[measure] == pytest.approx(np.mean(scored), abs=1e-9)


def test_the_page_names_protocols_settings_published_rows_and_shows_pictures(
    made, perfect, tmp_path
):
    out, real = tmp_path / "out", tmp_path / "as-if-real"
    shutil.copytree(made["davis2017"], real)
    (real / "run.json").unlink()  # what tells our clips from those of DAVIS
    command = Evaluate("davis2017", real, perfect("davis2017", 2), out=out, workers=HERE)
    assert command.run() == 0
    page, table = (out / "index.html").read_text(), (out / "results.md").read_text()
    record = json.loads((out / "results.json").read_text())
    for text in (page, table):
        for name in protocols.defaults("davis2017"):
            assert PROTOCOLS[name].title in text and name in text
        assert "calm-0" in text and "measured here" in text
        assert "Betrayed by Attention" in text and "not measured here" in text
        assert record["versions"]["metrics"] in text
    assert page.count("data:image/jpeg;base64,") == COUNT
    rows = record["protocols"]["davis2017"]["rows"]
    objects = rows[0]["detail"]["objects"]
    assert len(objects[0]["J"]) == FRAMES


def test_published_rows_do_not_stand_beside_synthetic_clips(made, perfect, tmp_path):
    out = tmp_path / "out"
    Evaluate("davis2017", made["davis2017"], perfect("davis2017"), out=out, workers=HERE).run()
    table = (out / "results.md").read_text()
    assert "Published by others" not in table and "Betrayed" not in table
    assert "(synthetic, ImageSets/2017/val.txt)" in table


def test_a_broken_sequence_is_reported_and_the_others_finish(made, perfect, tmp_path, capsys):
    masks = perfect("davis2017")
    broken = masks / "occlusion-1" / "00002.png"
    Image.fromarray(np.zeros((7, 9), np.uint8)).save(broken)
    shutil.rmtree(masks / "return-2")
    command = Evaluate("davis2017", made["davis2017"], masks, out=tmp_path / "out", workers=HERE)
    assert command.run() == 1
    said = capsys.readouterr()
    assert "1 of 3 sequences" in said.out
    assert str(broken) in said.err and "no masks of return-2" in said.err
    record = json.loads((tmp_path / "out/results.json").read_text())
    assert [f["sequence"] for f in record["failures"]] == ["occlusion-1", "return-2"]
    assert record["protocols"]["davis2017"]["mean"]["J"] == 1
    assert str(broken) in (tmp_path / "out/index.html").read_text()


def test_frames_of_another_size_than_the_annotation_are_shown_at_its_size(tmp_path):
    truth = np.pad(np.ones((3, 8, 8), np.uint8), ((0, 0), (4, 4), (6, 6)))
    for folder in ("masks", "theirs"):
        write_masks(tmp_path / folder / "dog", truth)
    for i in range(3):
        place = tmp_path / "frames/dog" / f"{i:05d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((32, 40, 3), 200, np.uint8)).save(place)
    command = Evaluate(
        "folder", tmp_path, tmp_path / "theirs", protocol="miou", out=tmp_path / "o", workers=HERE
    )
    assert command.run() == 0
    page = (tmp_path / "o/index.html").read_text()
    strip = Image.open(io.BytesIO(base64.b64decode(re.search('base64,([^"]+)', page)[1])))
    assert strip.size == (3 * 24 - 4, 3 * 20 - 4)


def test_a_surprise_inside_is_a_failure_of_its_sequence_only(made, perfect, tmp_path, monkeypatch):
    honest = protocols.score_all

    def failing(names, measured, *, drop):
        if len(measured.objects) == 3:
            raise RuntimeError("surprise")
        return honest(names, measured, drop=drop)

    monkeypatch.setattr(protocols, "score_all", failing)
    dataset = open_dataset("folder", made["folder"])
    objects = [len(np.unique(s.truth())) - 1 for s in dataset.sequences]
    assert 0 < objects.count(3) < COUNT
    record = run.evaluate(dataset, ["miou"], predictions=perfect("folder"), out=tmp_path / "o")
    assert len(record["failures"]) == objects.count(3)
    assert "RuntimeError: surprise" in record["failures"][0]["error"]


def test_what_is_scored_is_not_scored_again_until_something_changes(
    made, perfect, tmp_path, monkeypatch
):
    masks, scored = perfect("folder", 1), []
    honest = scoring.read
    monkeypatch.setattr(scoring, "read", lambda s, *of: scored.append(s.name) or honest(s, *of))
    dataset = open_dataset("folder", made["folder"])

    def again(*names):
        scored.clear()
        record = run.evaluate(dataset, names, predictions=masks, out=tmp_path / "out")
        return [p["mean"] for p in record["protocols"].values()], len(scored)

    first, count = again("miou")
    assert count == COUNT
    assert again("miou") == (first, 0)
    assert again("miou", "fg-ari")[1] == COUNT
    (tmp_path / "out/sequences/calm-0.json").write_text('{"key": "cut o')
    assert again("miou", "fg-ari")[1] == 1
    truth = dataset.sequences[1].truth()
    shutil.rmtree(masks / "occlusion-1")
    write_masks(masks / "occlusion-1", truth)
    changed, count = again("miou", "fg-ari")
    assert count == 1 and changed[0]["mIoU"] > first[0]["mIoU"]


@pytest.mark.slow
def test_several_processes_give_the_same_as_one(made, perfect, tmp_path):
    dataset, masks = open_dataset("movi", made["movi"]), perfect("movi", 2)
    records = [
        run.evaluate(
            dataset,
            ["davis2017"],
            predictions=masks,
            out=tmp_path / f"{n}",
            workers=Workers(jobs=n),
        )
        for n in (1, 2)
    ]
    assert records[0] == records[1]


@dataclass(frozen=True)
class Deadly:
    """A sequence that takes the process that reads it with it."""

    name: str
    origin: Path
    note: str = ""
    video_id: None = None

    def frame_names(self):
        return ("00000",)

    def frame_files(self):
        return ()

    def frames(self):
        raise NotImplementedError

    def truth(self):
        os._exit(3)


@pytest.mark.slow
def test_a_process_that_dies_takes_only_its_own_sequence_with_it(made, perfect, tmp_path):
    masks = perfect("folder")
    dataset = open_dataset("folder", made["folder"])
    shutil.copytree(masks / "calm-0", masks / "deadly")
    deadly = Deadly("deadly", tmp_path)
    dataset = replace(dataset, sequences=(deadly, *dataset.sequences))
    record = run.evaluate(
        dataset, ["miou"], predictions=masks, out=tmp_path / "out", workers=Workers(jobs=2)
    )
    assert [f["sequence"] for f in record["failures"]] == ["deadly"]
    assert "its process ended with code 3" in record["failures"][0]["error"]
    assert "deadly" in read(tmp_path / "out").failed
    assert record["protocols"]["miou"]["mean"]["mIoU"] == 1


@pytest.mark.slow
def test_unveil_itself_is_run_once_and_scored(made, tiny_backbone, tmp_path, monkeypatch):
    from unveil.segmentation import segmenter

    loaded = []
    honest = segmenter.Segmenter.__init__
    monkeypatch.setattr(
        segmenter.Segmenter, "__init__", lambda *a, **k: loaded.append(1) or honest(*a, **k)
    )
    settings = Settings(
        backbone=tiny_backbone, attention="cosine", size=32, precision="fp32", device="cpu"
    )
    out = tmp_path / "out"
    command = Evaluate("davis2017", made["davis2017"], out=out, settings=settings, workers=HERE)
    assert command.run() == 0
    record = json.loads((out / "results.json").read_text())
    assert record["method"]["settings"]["attention"] == "cosine"
    assert 0 <= record["protocols"]["davis2017"]["mean"]["J&F"] <= 1
    assert (out / "predictions/calm-0/objects.json").is_file()
    assert command.run() == 0 and len(loaded) == 1
    changed = replace(command, settings=replace(settings, size=40))
    assert changed.run() == 0 and len(loaded) == 2


@pytest.mark.slow
def test_a_block_trained_anew_under_the_same_name_is_run_anew(made, tiny_backbone, tmp_path):
    path, out = tmp_path / "block.safetensors", tmp_path / "out"
    settings = Settings(backbone=tiny_backbone, block=path, size=32, device="cpu")
    command = Evaluate("davis2017", made["davis2017"], out=out, settings=settings, workers=HERE)
    run_of = out / "predictions/calm-0/run.json"
    times = []
    for new in (True, False, True):
        if new:
            save_block(Block(16, 2), path, backbone=tiny_backbone)
        assert command.run() == 0
        times.append(run_of.stat().st_mtime_ns)
    assert times[0] == times[1] < times[2]


def test_other_frames_and_other_weights_under_the_same_names_are_run_anew(
    made, tiny_backbone, tmp_path
):
    root, model = tmp_path / "data", tmp_path / "model"
    shutil.copytree(made["davis2017"], root)
    shutil.copytree(tiny_backbone, model)
    settings = Settings(backbone=str(model), attention="cosine", size=32, device="cpu")
    command = Evaluate(
        "davis2017", root, out=tmp_path / "out", settings=settings, sequences="calm-0", workers=HERE
    )
    run_of = tmp_path / "out/predictions/calm-0/run.json"

    def ran() -> bool:
        before = run_of.stat().st_mtime_ns if run_of.exists() else 0
        assert command.run() == 0
        return run_of.stat().st_mtime_ns != before

    assert ran() and not ran()
    for frame in (root / "JPEGImages/480p/calm-0").iterdir():
        Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(frame)
    assert ran() and not ran()
    shutil.copytree(make_tiny_backbone(tmp_path / "other", seed=1), model, dirs_exist_ok=True)
    assert ran() and not ran()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_frame_files_are_those_that_frames_are_read_from(layout, made):
    for sequence in open_dataset(layout, made[layout]).sequences:
        assert all(file.is_file() for file in sequence.frame_files())
        assert len(sequence.frame_files()) == (1 if layout == "movi" else FRAMES)


def test_one_list_of_results_for_all_videos_as_the_server_takes_it(made, tmp_path, capsys):
    root = tmp_path / "theirs"
    root.mkdir()
    truth = json.loads((made["ytvis2019"] / "train.json").read_text())
    kept = ("video_id", "category_id", "segmentations")
    results = [{"score": 0.5, **{k: a[k] for k in kept}} for a in truth["annotations"]]
    (root / "results.json").write_text(json.dumps(results))
    command = Evaluate("ytvis2019", made["ytvis2019"], root, json=tmp_path / "o.json", workers=HERE)
    assert evaluated(command)["protocols"]["video-ap"]["mean"]["AP"] == pytest.approx(1)
    other = replace(command, dataset="folder", root=made["folder"])
    assert other.run() == 2 and "only those of YouTube-VIS" in capsys.readouterr().err
    (root / "results.json").write_text('{"videos": []}')
    assert (
        command.run() == 2 and "expected a list of YouTube-VIS results" in capsys.readouterr().err
    )


def test_a_model_that_is_not_there_ends_it_and_a_sequence_that_fails_does_not(
    made, tiny_backbone, tmp_path, monkeypatch
):
    from unveil.errors import WeightsError
    from unveil.segmentation.segmenter import Segmenter

    command = Evaluate("davis2017", made["davis2017"], json=tmp_path / "o.json", workers=HERE)
    with pytest.raises(WeightsError, match="no backbone is called 'none'"):
        replace(command, settings=Settings(backbone="none")).run()
    honest = Segmenter.segment_to

    def failing(self, clip, out):
        if clip.name == "calm-0":
            raise RuntimeError("surprise")
        return honest(self, clip, out)

    monkeypatch.setattr(Segmenter, "segment_to", failing)
    own = Settings(backbone=tiny_backbone, size=32, precision="fp32", device="cpu")
    record = evaluated(replace(command, settings=own), code=1)
    (failed,) = record["failures"]
    assert failed["sequence"] == "calm-0" and failed["error"].startswith("RuntimeError: surprise;")


def test_own_proposals_beyond_the_limit_are_dropped_by_score_and_others_refused():
    truth = np.zeros((3, 6, 30), np.uint8)
    truth[:, 2:4, 4:6] = 1
    labels = np.tile(np.arange(1, 31, dtype=np.uint8), (3, 6, 1))
    scores = {i: i / 30 for i in range(1, 31)}
    measured = Measured(labels, truth, scores)
    records = protocols.score_all(["davis2017", "miou"], measured, drop=True)
    assert records["davis2017"]["note"] == "best 20 proposals by score, 10 dropped"
    # Proposals 5 and 6 cover the object, and are not among the best twenty.
    assert records["davis2017"]["values"]["J"] == 0 and records["miou"]["values"]["mBO"] > 0
    with pytest.raises(DataError, match=r"30 proposals, .* allows 20"):
        protocols.score_all(["davis2017"], measured, drop=False)


def test_more_proposals_than_allowed_name_the_file(made, perfect, tmp_path, capsys):
    masks = perfect("davis2017")
    many = np.tile(np.arange(SIZE[1], dtype=np.uint8), (FRAMES, SIZE[0], 1))
    shutil.rmtree(masks / "calm-0")
    write_masks(masks / "calm-0", many)
    command = Evaluate(
        "davis2017", made["davis2017"], masks, json=tmp_path / "o.json", workers=HERE
    )
    assert command.run() == 1
    assert f"{masks / 'calm-0'}: 63 proposals" in capsys.readouterr().err
    only = replace(command, sequences="calm-0")
    assert only.run() == 2
    assert capsys.readouterr().out.splitlines()[0] == "masks-davis2017 on 0 of 1 sequences"


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        ({"protocol": "davis2018"}, InputError, "no protocol davis2018; there are davis2016"),
        ({"protocol": ","}, InputError, "no protocol given"),
        ({"sequences": "cat"}, DataError, "no sequence cat"),
        ({"settings": Settings(size=224)}, InputError, "leave out the settings of Unveil"),
        ({"predictions": Path("nowhere")}, InputError, "no folder of predictions at nowhere"),
        ({"root": Path("nowhere")}, DataError, "nowhere is no folder"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(wrong, error, says, made, tmp_path):
    given = {"dataset": "davis2017", "root": made["davis2017"], "predictions": tmp_path, **wrong}
    with pytest.raises(error, match=says):
        Evaluate(**given).run()


def test_a_place_that_cannot_be_written_is_said_before_the_work(made, tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "read", lambda *a: pytest.fail("work was done"))
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder").mkdir()
    for wrong in ({"out": tmp_path / "file"}, {"json": tmp_path / "folder"}):
        with pytest.raises(OutputError, match="cannot write the result to"):
            Evaluate("davis2017", made["davis2017"], tmp_path, **wrong, workers=HERE).run()
    assert (tmp_path / "file").read_text() == "in the way"


def test_making_again_replaces_only_what_was_made(made, tmp_path):
    out = tmp_path / "data"
    for _ in range(2):
        assert Make(out, "folder", sequences=1, frames=1, size=(33, 35)).run() == 0
    (out / "mine.txt").write_text("kept")
    with pytest.raises(OutputError, match="not from Unveil"):
        Make(out, "folder", sequences=1, frames=1, size=(33, 35)).run()
    with pytest.raises(InputError, match="seed: expected a number from 0 on, got -1"):
        Make(tmp_path / "new", "folder", sequences=1, seed=-1).run()


def test_a_process_that_only_scores_does_without_torch():
    import subprocess
    import sys

    code = "import sys, unveil.evaluate.scoring; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.slow
def test_the_page_of_results_is_made_by_one_command(tiny_backbone, tmp_path, monkeypatch):
    results = benchmark("results")
    monkeypatch.setattr(results, "CLIPS", 1)
    settings = Settings(
        backbone=tiny_backbone, attention="cosine", size=32, precision="fp32", device="cpu"
    )
    command = results.Results(
        shared=tmp_path / "nothing",
        page=tmp_path / "results.md",
        work=tmp_path / "work",
        jobs=1,
        settings=settings,
    )
    assert command.run() == 0
    page = (tmp_path / "results.md").read_text()
    assert "only the synthetic benchmark" in page and "calm-0" in page
    assert re.search(r"\| Synthetic benchmark \| \d+\.\d \| \d+\.\d \|  \| \d", page)
    assert "attention cosine" in page and "cores" in page


def test_a_digest_of_code_that_is_not_there_is_an_error():
    assert cache.code_digest("errors") != cache.code_digest("settings")
    with pytest.raises(ValueError, match=r"no module or package unveil\.nowhere"):
        cache.code_digest("errors", "nowhere")
