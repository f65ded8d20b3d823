"""The report of an evaluation: numbers as they are meant, colours that can be compared."""

import io

import numpy as np
from PIL import Image

from unveil.evaluate.page import best_and_worst, markdown, page, recoloured, strip
from unveil.evaluate.published import published
from unveil.results.palette import vivid_palette


def record(**changes) -> dict:
    rows = [
        {"sequence": name, "values": {"J": j, "flips": flips}, "note": note}
        for name, j, flips, note in (
            ("ape", 0.25, 3, ""),
            ("bee", 1.0, 0, "approximate"),
            ("cow", None, 2, ""),
            ("<dog>", 0.5, 1, ""),
        )
    ]
    protocol = {
        "title": "A protocol",
        "about": "What it means & how.",
        "columns": ["J", "flips"],
        "percent": ["J"],
        "mean": {"J": 0.58333, "flips": 1.5},
        "rows": rows,
        "published": [{"model": "Theirs", "values": {"J": 40.16}, "note": "published"}],
    }
    return {
        "dataset": {"name": "toy", "root": "/toy", "split": "all", "sequences": ["ape"] * 5},
        "method": {"name": "ours", "predictions": "masks", "settings": {}},
        "protocols": {"p": protocol},
        "failures": [{"sequence": "eel", "error": "gone"}],
        "versions": {"numpy": "2"},
        **changes,
    }


def test_shares_are_percent_counts_are_counts_and_nothing_is_a_dash():
    lines = markdown(record()).splitlines()
    assert "| ours | 58.3 | 1.50 | measured here |" in lines
    assert "| Theirs | 40.2 |  | published |" in lines
    assert "| ape | 25.0 | 3 |  |" in lines
    assert "| bee | 100.0 | 0 | approximate |" in lines
    assert "| cow | – | 2 |  |" in lines
    assert "- **eel**: gone" in lines


def test_the_page_escapes_what_it_shows():
    text = page(record(), {"<dog>": b"jpeg"})
    assert "&lt;dog&gt;" in text and "<dog>" not in text
    assert "What it means &amp; how." in text
    assert text.count("<figure>") == 1


def test_best_and_worst_share_no_sequence():
    assert best_and_worst(record()) == (["bee", "<dog>"], ["ape"])
    assert best_and_worst(record(protocols={})) == ([], [])


def test_a_proposal_has_the_colour_of_the_object_it_covers():
    truth = np.array([[[1, 1, 4, 4, 0, 0, 0]]], np.uint8)
    labels = np.array([[[9, 9, 3, 3, 3, 7, 0]]], np.uint16)
    assert recoloured(labels, truth).tolist() == [[[1, 1, 4, 4, 4, 5, 0]]]
    assert recoloured(np.zeros_like(labels), truth).max() == 0


def test_a_strip_has_three_rows_and_no_colour_for_void():
    frames = np.full((9, 60, 80, 3), 100, np.uint8)
    truth, labels = np.zeros((2, 9, 60, 80), np.uint8)
    truth[:, :20], truth[:, 40:], labels[:, :20] = 1, 255, 5
    picture = np.array(Image.open(io.BytesIO(strip(frames, truth, labels))).convert("RGB"))
    assert picture.shape == (3 * 64 - 4, 6 * 84 - 4, 3)
    in_truth, in_void, in_mask = (picture[y, 40].astype(int) for y in (74, 114, 138))
    red = vivid_palette()[1].astype(int)
    assert np.abs(in_truth - in_mask).max() < 12
    assert np.argmax(in_truth) == np.argmax(red) and np.ptp(in_truth) > 60
    assert np.ptp(in_void) < 12


def test_a_zero_has_no_sign():
    wanted = record()
    (protocol,) = wanted["protocols"].values()
    protocol["mean"] = {"J": -1e-9, "flips": 1}
    assert "-0.0" not in markdown(wanted) and "| 0.0 |" in markdown(wanted)


def test_published_rows_are_those_of_the_table():
    ours = {r["model"]: r["values"] for r in published("davis2017", "davis2017-per-frame")}
    assert ours["Betrayed by Attention"] == {"J&F": 43.9, "J": 39.2, "F": 48.6}
    assert ours["SOLV"] == {"J": 30.2}
    assert {r["model"] for r in published("ytvis2019", "miou")} > {"SAVi", "TimeT*"}
    assert published("davis2017", "davis2017") == published("folder", "miou") == []
