"""The shell's manners: versions, help, mistyped commands, and how far the work is."""

import importlib.metadata
import itertools
import time

import pytest

import unveil
from unveil.cli import main
from unveil.cli.options import _metavar
from unveil.cli.progress import Stage, lines, progress
from unveil.progress import Progress


def test_the_version_is_said_by_the_command_and_by_the_package(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"unveil {importlib.metadata.version('unveil')}\n"
    assert unveil.__version__ == importlib.metadata.version("unveil")


@pytest.mark.parametrize(
    ("typed", "said"), [("segmnt", "did you mean 'segment'?"), ("xyz", "there are segment, demo")]
)
def test_a_mistyped_command(typed, said, capsys):
    assert main([typed, "dog.mp4"]) == 2
    assert f"no command '{typed}': {said}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    ["segment", "demo", "recut", "train", "evaluate", "data check", "data make", "weights pull"],
)
def test_help_says_what_an_option_takes_and_no_none(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([*command.split(), "--help"])
    said = capsys.readouterr().out
    assert end.value.code == 0 and f"usage: unveil {command}" in said
    assert "None" not in said and "default: )" not in said and "[[" not in said


def test_help_keeps_what_matters(capsys):
    with pytest.raises(SystemExit):
        main(["segment", "--help"])
    said = " ".join(capsys.readouterr().out.replace("│", "").split())
    assert "-o PATH, --out PATH The folder of the result" in said
    assert "--granularity FLOAT 0, all foreground is one object" in said
    assert "--attention {cosine,block} Rows of the cosine" in said
    assert "--tau FLOAT|{calibrated} Distance" in said
    assert "(default: 336)" in said and "(default: fast)" in said and "(required)" in said


def test_what_an_option_takes():
    assert _metavar(int | None) == "INT"
    assert _metavar(tuple) == "TUPLE"


def test_the_short_name_of_out(tmp_path, capsys):
    assert main(["segment", str(tmp_path / "gone.mp4"), "-o", str(tmp_path / "out")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_times_are_true_and_what_is_left_follows_from_them():
    stage = Stage("backbone", began=100.0, done=16, total=48)
    assert stage.times(now=130.0) == "0:30 gone, about 1:00 left"
    assert stage.line("dog.mp4", 130.0) == "dog.mp4: backbone 16 of 48, 0:30 gone, about 1:00 left"
    stage.done = 0
    assert stage.times(now=3830.0) == "1:02:10 gone"
    assert Stage("loading", 0.0, words="a").line("x", 2.0) == "x: loading, 0:02 gone, a"
    assert Stage("reading", 0.0, done=7).line("x", 2.0) == "x: reading 7, 0:02 gone"
    stage.done = 48
    assert "left" not in stage.times(now=200.0)


def test_what_was_done_before_says_nothing_of_the_pace():
    stage = Stage("steps", began=100.0, before=900, done=910, total=1000)
    assert stage.times(now=110.0) == "0:10 gone, about 1:30 left"
    stage.done = 900
    assert stage.times(now=110.0) == "0:10 gone"


def test_work_that_goes_on_is_timed_from_where_it_went_on(capsys):
    clock = itertools.chain([100.0], itertools.repeat(110.0))
    with lines("run", every=0.01, now=lambda: next(clock)) as show:
        show("steps", 900, 1000)
        show("steps", 910, 1000)
        deadline = time.monotonic() + 20
        said = ""
        while "steps 910" not in said:
            assert time.monotonic() < deadline
            said += capsys.readouterr().err
            time.sleep(0.01)
    assert "run: steps 910 of 1000, 0:10 gone, about 1:30 left\n" in said


def test_without_a_terminal_there_is_a_line_at_once_and_one_every_so_often(capsys):
    show: Progress
    with lines("dog.mp4", every=0.05) as show:
        show("loading the backbone", 0, None)
        assert capsys.readouterr().err == "dog.mp4: loading the backbone\n"
        show("backbone", 4, 12)
        deadline = time.monotonic() + 20
        said = ""
        while said.count("dog.mp4: backbone 4 of 12, ") < 2:  # though nothing new is reported
            assert time.monotonic() < deadline, said
            said += capsys.readouterr().err
            time.sleep(0.01)


def test_a_short_stage_says_no_more_than_that_it_began(capsys):
    with progress("dog.mp4") as show:
        for i in range(5):
            show("backbone", i, 4)
    assert capsys.readouterr().err == "dog.mp4: backbone\n"


def test_on_a_terminal_there_are_bars(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with progress("dog.mp4") as show:
        show("loading [the] backbone", 0, None)
        show("backbone", 2, 4, "loss 0.5")
        show("backbone", 4, 4, "loss 0.5")
        time.sleep(0.2)
    said = capsys.readouterr().err
    assert "loading [the] backbone" in said and "4/4" in said and "gone" in said
