"""Many videos: none lost, none twice, whatever becomes of the processes that segment them."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from batchwork import Sabotaged, do_all, named
from test_cli import image_folder, options  # noqa: F401
from unveil.batch.job import Job, Limits, Outcome
from unveil.batch.ledger import LEDGER, Book, Ledger, is_running, read
from unveil.batch.page import write_index
from unveil.batch.sources import BYTES_A_FRAME, is_many, list_jobs
from unveil.cli import main
from unveil.errors import InputError, OutputError, UnveilError
from unveil.segmentation.segmenter import Segmenter
from unveil.settings import Settings


@pytest.mark.slow
def test_videos_that_kill_hang_and_eat_are_named_and_the_rest_is_done(tmp_path):
    jobs = named("a", "crash", "b", "hang", "once", "broken", "hungry", "c")
    do_all(tmp_path, jobs, count=3, seconds=5.0, memory=400, tries=2)
    book = read(tmp_path)
    assert {n for n, e in book.videos.items() if e.state == "done"} == {"a", "b", "c", "once"}
    assert "SIGSEGV" in book.failed["crash"]
    assert "not done after 5 s" in book.failed["hang"]
    assert "at its limit of 400" in book.failed["hungry"]
    assert book.failed["broken"] == "no frame could be decoded"
    tries = {name: entry.tries for name, entry in book.videos.items()}
    assert tries == {n: 2 for n in ("crash", "hang", "hungry", "once")} | {
        n: 1 for n in ("a", "b", "c", "broken")
    }
    assert len((tmp_path / "once.tried").read_text().splitlines()) == 2
    assert "seen once" in (tmp_path / "logs/once.log").read_text()
    assert "Segmentation fault" in (tmp_path / "logs/crash.log").read_text()
    assert do_all(tmp_path, jobs) == []  # nothing is missing


def test_one_process_does_many_videos_and_the_longest_comes_first(tmp_path):
    jobs = [
        Job(name, "x", frames=n) for name, n in (("short", 1.0), ("long", 9.0), ("middle", 5.0))
    ]
    assert do_all(tmp_path, jobs, count=1) == ["long", "middle", "short"]
    made = {(tmp_path / j.name / "run.json").read_text() for j in jobs}
    assert len(made) == 1


DRIVER = """
import sys
from pathlib import Path
from batchwork import Toy, do_all, named
if __name__ == "__main__":
    do_all(Path(sys.argv[1]), named(*"abcdefgh"), work=Toy(Path(sys.argv[1]), seconds=0.3))
"""


@pytest.mark.slow
def test_a_driver_killed_with_9_loses_nothing(tmp_path):
    out = tmp_path / "out"
    (tmp_path / "driver.py").write_text(DRIVER)
    here = os.pathsep.join((str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")))
    driver = subprocess.Popen(
        [sys.executable, str(tmp_path / "driver.py"), str(out)],
        env={**os.environ, "PYTHONPATH": here},
    )
    deadline = time.monotonic() + 180
    try:
        while read(out).states["done"] < 3:
            assert driver.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        assert is_running(out)
    finally:
        driver.kill()
        driver.wait()
    assert not is_running(out)
    with (out / LEDGER).open("a") as file:
        file.write('{"at": 1, "video": "a", "sta')  # as a full disk would leave it
    done = {p.parent.name for p in out.glob("*/run.json")}
    time.sleep(0.2)  # its workers end with it
    ended = do_all(out, named(*"abcdefgh"))
    assert set(ended) == set("abcdefgh") - done - {"logs"}
    assert read(out).states["done"] >= len(ended)
    assert sorted(p.parent.name for p in out.glob("*/run.json")) == list("abcdefgh")


def test_two_drivers_do_not_share_a_folder(tmp_path):
    with Ledger(tmp_path), pytest.raises(OutputError, match="unveil status"):
        Ledger(tmp_path)
    with Ledger(tmp_path):
        pass


def test_what_the_ledger_says_is_what_was_written(tmp_path):
    a, b, c = named("a", "b", "c")
    with Ledger(tmp_path) as ledger:
        ledger.begin([a, b, c], {"jobs": 2})
        ledger.running(a, 1)
        ledger.ended(a, 1, Outcome(frames=7, scores=(0.5,), seconds=2.0))
        ledger.running(b, 1)
        ledger.ended(b, 1, Outcome(error="it died"), again=True)
        ledger.running(b, 2)
        written = ledger.book
    book = read(tmp_path)
    assert book == written
    assert +book.states == {"done": 1, "running": 1, "waiting": 1}
    assert book.videos["b"].tries == 2 and book.videos["b"].error == "it died"
    assert book.seconds_left(book.began + 7) == pytest.approx(10 * 7 / 5)
    with Ledger(tmp_path) as ledger:  # the driver was killed
        ledger.begin([b, c], {"jobs": 1})
        assert +ledger.book.states == {"done": 1, "waiting": 2}
    assert Book().seconds_left(1.0) is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lists_and_tables_as_other_programs_write_them(tmp_path, encoding):
    (tmp_path / "list.txt").write_bytes("ä.mp4\r\nb.mp4\r\n".encode(encoding))
    assert [j.source for j in list_jobs([str(tmp_path / "list.txt")])] == [
        str(tmp_path / name) for name in ("ä.mp4", "b.mp4")
    ]
    for mark in ",;\t":
        table = f'source{mark}start\r\n"ä, b.mp4"{mark}2\r\n'
        (tmp_path / "t.csv").write_bytes(table.encode(encoding))
        (job,) = list_jobs([str(tmp_path / "t.csv")])
        assert (job.source, job.start) == (str(tmp_path / "ä, b.mp4"), 2.0)


@pytest.mark.parametrize("content", [b"", b"# nothing yet\n", b"\xff\xfe\xff"])
def test_a_list_of_nothing_is_said(tmp_path, content):
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(UnveilError, match=r"list\.txt.*(got none|is no text)"):
        list_jobs([str(tmp_path / "list.txt")])


def test_a_list_that_names_itself_is_said(tmp_path):
    (tmp_path / "list.txt").write_text("list.txt\n")
    with pytest.raises(InputError, match="names itself"):
        list_jobs([str(tmp_path / "list.txt")])


def test_a_folder_a_list_a_pattern_and_tables_are_sources(tmp_path):
    for name in ("b10.mp4", "b9.mp4", "notes.md"):
        (tmp_path / name).write_bytes(b"0" * BYTES_A_FRAME)
    image_folder(tmp_path / "pictures", t=3)
    (tmp_path / "list.txt").write_text("# mine\nb9.mp4\n\npictures\n")
    (tmp_path / "t.csv").write_text("source,name,start,objects\nb9.mp4,nine,2.5,3\nb10.mp4,,,\n")

    def names(source: str) -> list[str]:
        return [job.name for job in list_jobs([source])]

    assert names(str(tmp_path)) == ["b9", "b10"]
    assert names(str(tmp_path / "*.mp4")) == ["b9", "b10"]
    assert names(str(tmp_path / "list.txt")) == ["b9", "pictures"]
    nine, ten = list_jobs([str(tmp_path / "t.csv")], start=1.0)
    assert (nine.name, nine.start, nine.options) == ("nine", 2.5, {"objects": 3})
    assert (ten.name, ten.start, ten.source) == ("b10", 1.0, str(tmp_path / "b10.mp4"))
    assert [j.frames for j in list_jobs([str(tmp_path / "list.txt")])] == [1, 3]
    assert is_many(str(tmp_path)) and is_many(str(tmp_path / "*.mp4"))
    assert not is_many(str(tmp_path / "pictures" / "*.png"))
    assert not is_many(str(tmp_path / "pictures"))


def test_a_pattern_of_two_stars_reaches_every_level(tmp_path):
    for name in ("one.mp4", "a/two.mp4", "a/b/three.mp4"):
        (tmp_path / "clips" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "clips" / name).write_bytes(b"0")
    image_folder(tmp_path / "clips/a/pictures", t=2)

    def names(pattern: str) -> set[str]:
        return {job.name for job in list_jobs([str(tmp_path / pattern)])}

    assert names("clips/**/*.mp4") == {"one", "two", "three"}
    assert names("clips/**") == {"one", "two", "three", "pictures"}
    assert names("clips/*") == {"one", "a"}


def test_a_folder_of_folders_of_images_is_many_videos(tmp_path, caplog):
    for name in ("b10", "b9", "a video, 2"):
        image_folder(tmp_path / "all" / name, t=2)
    (tmp_path / "all" / "empty").mkdir()
    (tmp_path / "all" / "notes.md").write_text("mine")
    assert is_many(str(tmp_path / "all"))
    jobs = list_jobs([str(tmp_path / "all")])
    assert [job.name for job in jobs] == ["a video, 2", "b9", "b10"]
    assert [job.frames for job in jobs] == [2, 2, 2] and not caplog.text
    assert [j.name for j in list_jobs([str(tmp_path / "all" / "b*/")])] == ["b9", "b10"]


def test_a_folder_of_several_kinds_says_what_is_taken(tmp_path, caplog, capsys):
    image_folder(tmp_path / "mixed", t=2)
    for name in ("one", "two"):
        image_folder(tmp_path / "mixed" / name, t=2)
    said = r"mixed holds 2 folders of images too \(one, two\): {} taken; .* give '.*mixed/\*/'"
    assert not is_many(str(tmp_path / "mixed"))
    command = ["segment", str(tmp_path / "mixed"), "--out", str(tmp_path / "out"), "--start", "9"]
    assert main(command) == 2  # it goes on to its images, which last a twelfth of a second
    assert re.search(said.format("its own images, one video, are"), caplog.text)
    caplog.clear()
    (tmp_path / "mixed" / "dog.mp4").write_bytes(b"0")
    assert [j.name for j in list_jobs([str(tmp_path / "mixed")])] == ["dog"]
    assert re.search(said.format("its video files are"), caplog.text)


@pytest.mark.slow
def test_folders_of_images_become_a_result_each(tmp_path, tiny_backbone):
    for name in ("one", "two"):
        image_folder(tmp_path / "all" / name, t=2)
    command = ["segment", str(tmp_path / "all"), "--out", str(tmp_path / "out")]
    assert main([*command, "--backbone", tiny_backbone, "--size", "16"]) == 0
    assert {p.parent.name for p in (tmp_path / "out").glob("*/run.json")} == {"one", "two"}


def test_a_parquet_table_is_a_source(tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pa.table(
        {"source": ["a.mp4", "b.mp4"], "frames": [3, None], "keep_background": [True, None]}
    )
    parquet.write_table(table, tmp_path / "t.parquet")
    a, b = list_jobs([str(tmp_path / "t.parquet")])
    assert (a.frames, a.options) == (3, {"keep_background": True})
    assert (b.frames, b.options) == (0, {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path\na.mp4\n", "expected a column 'source'"),
        ("source,colour\na.mp4,red\n", "no meaning for column"),
        ("source,objects\na.mp4,many\n", "line 2"),
        ("source,stride\na.mp4,1.5\n", "whole number"),
        ("source,name\n,a\n", "line 2: no source"),
        ("source,name\na.mp4,x\nb.mp4,x\n", "several videos are called"),
        ("source,name\na.mp4,logs\n", "may be called 'logs'"),
        ("source,name\na.mp4,../up\n", "may be called"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, text, said):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        list_jobs([str(tmp_path / "t.csv")])


@pytest.mark.parametrize("wrong", [{"seconds": 0.0}, {"memory": -1}, {"tries": 0}])
def test_limits_that_make_no_sense(wrong):
    with pytest.raises(InputError, match="expected"):
        Limits(**wrong)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--jobs", "0"], "jobs: expected a whole number of at least 1, got 0"),
        (["--resume"], "--resume is for several videos, or for the stretches of one with --jobs 2"),
        (["--tries", "2"], "--tries is for several videos, or for the stretches of one"),
        (["--timeout", "9"], "--timeout is for several videos, or for the stretches of one"),
    ],
)
def test_options_of_a_batch_mean_nothing_for_one_video(tmp_path, capsys, wrong, said):
    command = ["segment", str(image_folder(tmp_path / "in")), "--out", str(tmp_path / "out")]
    assert main([*command, *wrong]) == 2
    assert said in capsys.readouterr().err


def test_status_and_the_page_say_what_is_done_and_what_failed(tmp_path, capsys):
    jobs = named("dog", "cat <1>", "owl")
    with Ledger(tmp_path) as ledger:
        ledger.begin(jobs, {})
        ledger.running(jobs[0], 1)
        ledger.ended(jobs[0], 1, Outcome(frames=7, scores=(0.5, 0.25), seconds=2.0))
        ledger.ended(jobs[1], 3, Outcome(error="not done after <2> s"))
        ledger.running(jobs[2], 1, "node3")
        assert main(["status", str(tmp_path)]) == 1
        page = write_index(tmp_path, ledger.book).read_text()
    said = capsys.readouterr().out
    assert "1 of 3 videos done, 1 running, 1 failed" in said
    assert "owl: try 1 on node3" in said and "cat <1> failed: not done" in said
    assert "at work since" in said
    assert main(["status", str(tmp_path)]) == 1
    assert "the same command with --resume does the rest" in capsys.readouterr().out
    assert "0.50, 0.25" in page and "dog/contact.png" in page
    assert "cat &lt;1&gt;" in page and "not done after &lt;2&gt; s" in page
    assert page.index("cat &lt;1&gt;") < page.index("dog/")  # failures first
    assert main(["status", str(tmp_path / "nowhere")]) == 2


NO_TEXT = os.fsdecode(b"no\xe9l")
"""The name of a file as a system of another encoding left it."""


def test_names_that_are_no_text_are_told_and_linked(tmp_path, capsys):
    with Ledger(tmp_path) as ledger:
        ledger.begin(named(NO_TEXT), {})
        ledger.ended(*named(NO_TEXT), 1, Outcome(error=f"{NO_TEXT} is no video"))
        page = write_index(tmp_path, ledger.book).read_text()
    assert main(["status", str(tmp_path)]) == 1
    assert "no\\udce9l failed: no\\udce9l is no video" in capsys.readouterr().out
    assert "/videos/no\\udce9l.mp4" in page and "logs/no%E9l.log" in page


@pytest.mark.slow
def test_names_that_are_no_text_end_no_batch(tmp_path, tiny_backbone, capsys):
    image_folder(tmp_path / "in" / NO_TEXT, t=2)
    image_folder(tmp_path / "in" / "plain", t=2)
    (tmp_path / "in" / NO_TEXT / "3.png").write_bytes(b"no picture")
    command = ["segment", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--size", "16"]
    command += ["--backbone", tiny_backbone]
    assert main(command) == 2
    assert "1 of 2 failed: no\\udce9l" in capsys.readouterr().err
    assert "no\\udce9l" in (tmp_path / "out/logs" / f"{NO_TEXT}.log").read_text()
    (tmp_path / "in" / NO_TEXT / "3.png").unlink()
    assert main(command) == 0
    assert "no\\udce9l: " in capsys.readouterr().out
    assert 'href="no%E9l/"' in (tmp_path / "out/index.html").read_text()
    assert main(["export", str(tmp_path / "out" / NO_TEXT), "--to", "davis", "--to", "mot"]) == 0


def test_a_page_of_very_many_is_several(tmp_path, monkeypatch):
    monkeypatch.setattr("unveil.batch.page.A_PAGE", 2)
    with Ledger(tmp_path) as ledger:
        ledger.begin(named("a", "b", "c"), {})
        write_index(tmp_path, ledger.book)
    assert 'href="index-2.html"' in (tmp_path / "index.html").read_text()
    assert "/videos/c.mp4" in (tmp_path / "index-2.html").read_text()


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a result; of run.json what is no time, no memory and no process."""
    files = {str(p.relative_to(folder)): p for p in sorted(folder.rglob("*")) if p.is_file()}
    run = json.loads(files.pop("run.json").read_text())
    for volatile in ("seconds", "peak_memory_mb"):
        run.pop(volatile)
    return {n: p.read_bytes() for n, p in files.items()} | {"run": json.dumps(run).encode()}


@pytest.mark.slow
def test_a_batch_gives_what_plain_runs_give(tmp_path, tiny_backbone):
    """Twelve videos by two processes, some of which ruin theirs, against one process."""
    names = [f"v{i:02d}" for i in range(8)] + ["bad0", "bad1", "hang", "hungry"]
    for i, name in enumerate(names):
        if "bad" in name:
            (tmp_path / f"{name}.mp4").write_bytes(b"\0" * 100)
        else:
            image_folder(tmp_path / name, t=3 + i % 3)
    sources = [str(tmp_path / (f"{n}.mp4" if "bad" in n else n)) for n in names]
    settings = Settings(backbone=tiny_backbone, attention="cosine", size=16)
    out = tmp_path / "out"
    jobs = list_jobs(sources)
    do_all(out, jobs, work=Sabotaged(out, settings, threads=1), seconds=3.0, memory=1500, tries=2)
    book = read(out)
    assert set(book.failed) == {"bad0", "bad1", "hang", "hungry"}
    segmenter = Segmenter(settings)
    for name in names[:8]:
        segmenter.segment_to(str(tmp_path / name), tmp_path / "plain")
        assert contents(out / name) == contents(tmp_path / "plain")
    assert do_all(out, jobs) == []
