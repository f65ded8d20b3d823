"""The report of an evaluation: numbers as they are meant, colours that can be compared."""

import io

import numpy as np
from PIL import Image

from unveil.datasets import NAMES
from unveil.evaluate.page import best_and_worst, markdown, page, recoloured, strip
from unveil.evaluate.published import ROWS, published
from unveil.metrics import PROTOCOLS
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
    }
    theirs = {
        "model": "Theirs",
        "data": "all of it",
        "figures": {"J": 40.16, "F": 7.0},
        "protocol": "by eye",
        "same_as": "",
        "source": "a paper",
        "not_stated": "size & seed",
    }
    return {
        "dataset": {"name": "toy", "root": "/toy", "split": "all", "sequences": ["ape"] * 5},
        "method": {"name": "ours", "predictions": "masks", "settings": {}},
        "protocols": {"p": protocol},
        "published": [theirs],
        "failures": [{"sequence": "eel", "error": "gone"}],
        "versions": {"numpy": "2"},
        **changes,
    }


def test_shares_are_percent_counts_are_counts_and_nothing_is_a_dash():
    lines = markdown(record()).splitlines()
    assert "| ours | 58.3 | 1.50 | measured here |" in lines
    assert "| ape | 25.0 | 3 |  |" in lines
    assert "| bee | 100.0 | 0 | approximate |" in lines
    assert "| cow | – | 2 |  |" in lines
    assert "- **eel**: gone" in lines


def test_rows_of_others_stand_apart_with_their_protocol():
    lines = markdown(record()).splitlines()
    row = "| Theirs | J 40.2, F 7.0 | all of it | by eye | none | a paper | size & seed |"
    assert lines.index(row) > lines.index("## Published by others, not measured here")
    assert all("Theirs" not in line for line in lines if line != row)
    html = page(record(), {})
    assert html.index("not measured here</h2>") < html.index("<td>Theirs</td>")
    assert "size &amp; seed" in html
    assert "Published" not in markdown(record(published=[])) + page(record(published=[]), {})


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


def test_published_rows_are_those_of_the_papers_with_their_protocols():
    def rows(dataset):
        return {r["model"].split(",")[0]: r for r in published(dataset) if "HQ" not in r["data"]}

    davis = rows("davis2017")
    ours = davis["Betrayed by Attention"]
    assert ours["figures"] == {"FG-ARI": 40.1, "J&F": 43.9, "J": 39.2, "F": 48.6}
    assert "matched per frame" in ours["protocol"] and "300 proposals" in ours["protocol"]
    assert ours["same_as"].startswith("davis2017-released")
    assert davis["SOLV"]["figures"] == {"FG-ARI": 32.2, "mIoU": 30.2}
    assert davis["OCLR (with optical flow)"]["source"].startswith("SOLV")
    assert "may overlap" in davis["SMTC"]["protocol"]
    movi, ytvis = rows("movi-e"), rows("ytvis2021")
    for row, figures in ((movi["VideoSAUR"], (73.9, 35.6)), (ytvis["SAVi"], (11.1, 12.7))):
        assert tuple(row["figures"]) == ("FG-ARI", "mBO")
        assert tuple(row["figures"].values()) == figures
        assert row["protocol"].startswith("a video")
        assert row["same_as"].startswith("videosaur: FG-ARI, mBO")
    assert "--in-chunks 6 --crop 224" in ytvis["SAVi"]["same_as"]
    assert "YouTube-VIS 2021, the last 300" in ytvis["STEVE"]["data"]
    assert "mIoU" in rows("ytvis2019")["SOLV"]["figures"]
    targets = [r for r in published("ytvis2019") if "ViT-S/14" in r["model"]]
    assert [r["figures"]["FG-ARI"] for r in targets] == [49.2, 49.4, 58.0, 63.0]
    assert published("folder") == []


def test_every_published_row_says_all_there_is_to_know():
    for row in ROWS:
        assert row.figures and all(0 < x < 100 for x in row.figures.values())
        assert row.model and row.data and row.protocol and row.source and row.beside
        assert set(row.beside) <= set(NAMES)
        for part in row.same_as.split(";") if row.same_as else ():
            name, _, columns = part.partition(": ")
            known = PROTOCOLS[name.strip()].columns
            assert all(c in known for c in columns.partition(" (")[0].split(", ")), row
