"""The README does what it says: its commands and its Python run, its links lead somewhere."""

import re
import shlex
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from unveil.cli import main
from unveil.results.movie import Movie
from unveil.synthetic.render import render

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def write_video(path: Path, seed: int = 0, frames: int = 6) -> np.ndarray:
    """A rendered clip as an mp4; returns its frames."""
    clip = render(seed=seed, frames=frames, height=96, width=160, objects=2).frames
    movie = Movie(path, Fraction(24), 96, 160)
    for frame in clip:
        movie.write(frame, np.zeros((96, 160), np.uint8))
    movie.close()
    return clip


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder that holds what the README's commands name."""
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "dog.mp4")
    (tmp_path / "clips").mkdir()
    for seed in (1, 2):
        write_video(tmp_path / "clips" / f"{seed}.mp4", seed)
    made = "data make --out DAVIS --layout davis2017 --sequences 1 --frames 4 --size 96 160"
    assert main(made.split()) == 0
    return tmp_path


@pytest.mark.slow
def test_the_commands_run_one_after_the_other(place, tiny_backbone, capsys):
    small = ["--backbone", tiny_backbone, "--size", "32"]
    of = {
        "segment": small,
        "recut": [],
        "train": [*small, "--steps", "2", "--windows", "1"],
        "evaluate": small,
    }
    seen = set()
    for name, *arguments in (shlex.split(x) for b in blocks("sh") for x in b.strip().splitlines()):
        if name == "make":
            assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        else:
            assert name == "unveil"
            assert main([*arguments, *of[arguments[0]]]) == 0, capsys.readouterr().err
        seen.add(arguments[0])
    assert seen == {"demo", "test", *of}
    files = {p.name for p in (place / "out/dog").iterdir()}
    listed = re.findall(r"^\| `([a-z]+[./][^`]*)`", TEXT, re.MULTILINE)
    assert files == {name.split("/")[0] for name in listed}


def test_the_python_runs(place, default_backbone, capsys):
    shown = []
    frames = render(seed=0, frames=9, height=96, width=160, objects=2).frames
    names = {"camera": iter(frames), "show": lambda frames, labels: shown.append(len(labels))}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    assert "(6, 96, 160)" in capsys.readouterr().out
    assert sum(shown) == 9
    assert (place / "out/dog/contact.png").is_file()


def test_links_and_pictures_are_there():
    local = [x for x in re.findall(r"\]\(([^)]+)\)", TEXT) if not x.startswith("http")]
    assert len(local) > 5
    assert not [x for x in local if not (ROOT / x).exists()]
