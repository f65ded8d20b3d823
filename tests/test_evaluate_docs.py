"""docs/evaluation.md does what it says: its commands run, its Python gives what it prints."""

import doctest
import json
import re
import shlex
from pathlib import Path

import pytest

from unveil.cli import main
from unveil.evaluate import predictions
from unveil.metrics import PROTOCOLS

PAGE = Path(__file__).parent.parent / "docs" / "evaluation.md"


@pytest.mark.slow
def test_the_commands_run_one_after_the_other(tmp_path, monkeypatch, tiny_backbone, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    commands = [shlex.split(line) for block in blocks for line in block.strip().splitlines()]
    assert len(commands) == 6
    for name, *arguments in commands:
        assert name == "unveil"
        if arguments[0] == "evaluate" and "--predictions" not in arguments:
            # The same by a backbone that is there at once.
            arguments += ["--backbone", tiny_backbone, "--size", "32"]
        assert main(arguments) == 0, capsys.readouterr().err
    own = json.loads((tmp_path / "results/results.json").read_text())
    again = json.loads((tmp_path / "scores.json").read_text())
    assert {p["mean"].get("J&F") for p in own["protocols"].values()} == {
        p["mean"].get("J&F") for p in again["protocols"].values()
    }
    chunks = json.loads((tmp_path / "chunks/results.json").read_text())
    assert len(chunks["dataset"]["sequences"]) == 4 and not chunks["failures"]


def test_every_protocol_and_every_form_of_a_prediction_is_described():
    text = PAGE.read_text()
    assert all(f"**`{name}`" in text for name in PROTOCOLS)
    assert all(f"`{form}`" in text for form in ("dog.npz", "dog.json", predictions.RESULTS))


def test_the_python_gives_what_it_prints():
    failed, tried = doctest.testfile(str(PAGE), module_relative=False)
    assert tried > 3 and failed == 0
