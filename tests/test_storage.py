"""Sources and results at addresses: fetched on where it broke off, stored whole or not at all."""

import io
import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from unveil.batch import storage
from unveil.batch.job import Job, Limits
from unveil.batch.ledger import LEDGER, Ledger
from unveil.batch.mirror import Mirror, place_of
from unveil.batch.segment_work import SegmentWork
from unveil.batch.sources import is_many, list_jobs
from unveil.batch.workers import Workers
from unveil.cli import main
from unveil.errors import InputError, OutputError
from unveil.progress import silent
from unveil.settings import Settings


class Flaky(MemoryFileSystem):
    """Memory that fails every so many calls, a read in the middle of a file too."""

    protocol = "flaky"
    cachable = False
    every, calls = 10, 0
    never: str | None = None
    log: ClassVar[list[str]] = []

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.replace("flaky://", "memory://"))

    @classmethod
    def may_fail(cls, what: str) -> None:
        cls.calls += 1
        cls.log.append(what)
        if cls.every and cls.calls % cls.every == 0:
            raise OSError("the storage is tired")
        if cls.never and cls.never in what:
            raise OSError("full")

    def _open(self, path, mode="rb", **more):
        self.may_fail(f"open {path}")
        if mode != "rb":
            return super()._open(path, mode, **more)
        file, may_fail = io.BytesIO(self.store[path].getvalue()), self.may_fail

        class Reader(io.RawIOBase):
            def seek(self, *where):
                return file.seek(*where)

            def read(self, size=-1):
                may_fail(f"read {path} {file.tell()}")
                return file.read(size)

        return Reader()

    def info(self, path, **more):
        self.may_fail(f"info {path}")
        return super().info(path, **more)

    def pipe_file(self, path, value, mode="overwrite", **more):
        self.may_fail(f"put {path}")
        return super().pipe_file(path, value, mode, **more)


@pytest.fixture
def flaky(monkeypatch) -> Iterator[type[Flaky]]:
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    monkeypatch.setattr(storage, "WAIT", 0.0)
    monkeypatch.setattr(storage, "BLOCK", 10)
    Flaky.every, Flaky.calls, Flaky.never, Flaky.log = 10, 0, None, []
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]
    yield Flaky
    MemoryFileSystem.store.clear()


def result(folder: Path) -> Path:
    (folder / "masks").mkdir(parents=True)
    for name in ("masks/00000.png", "masks/00001.png", "objects.json"):
        (folder / name).write_bytes(os.urandom(7))
    (folder / "run.json").write_text(
        '{"video": {"frames": 2, "height": 4, "width": 6}, "warnings": []}'
    )
    return folder


def test_what_is_an_address():
    assert storage.as_address(Path("s3://bucket/out/")) == "s3://bucket/out"
    assert storage.as_address("https://a.b/c?d=1") == "https://a.b/c?d=1"
    assert storage.as_address("out/dog") is storage.as_address("C:/videos/dog.mp4") is None
    with pytest.raises(InputError, match="nosuch"):
        storage.open_storage("nosuch://a/b")


@pytest.mark.parametrize(
    ("place", "stored"),
    [("s3://a/b.mp4", True), ("https://a/b.mp4", False), ("rtsp://a/b", False), ("b.mp4", False)],
)
def test_what_is_fetched_and_what_is_recorded(place, stored):
    assert storage.is_stored(place) is stored


@pytest.mark.slow
def test_a_single_video_of_a_storage_is_fetched(flaky, tmp_path, tiny_backbone):
    from test_readme import write_video

    write_video(tmp_path / "dog.mp4")
    fsspec.filesystem("memory").pipe_file("/v/dog.mp4", (tmp_path / "dog.mp4").read_bytes())
    command = ["segment", "flaky://v/dog.mp4", "--out", str(tmp_path / "out"), "--size", "16"]
    assert main([*command, "--backbone", tiny_backbone, "--attention", "cosine"]) == 0
    run = json.loads((tmp_path / "out/run.json").read_text())
    assert run["video"]["source"] == "flaky://v/dog.mp4"


def test_a_fetch_goes_on_where_it_broke_off(flaky, tmp_path):
    content = os.urandom(505)
    fsspec.filesystem("memory").pipe_file("/v/dog.mp4", content)
    with storage.fetched("flaky://v/dog.mp4", tmp_path) as file:
        assert file.name == "dog.mp4" and file.read_bytes() == content
    assert not list(tmp_path.iterdir())
    reads = [line for line in flaky.log if line.startswith("read")]
    assert len(reads) < 51 + 51 // 10 + 3  # no byte twice, save those of a call that failed


def test_a_fetch_by_the_next_process_goes_on_too_unless_the_file_changed(flaky, tmp_path):
    flaky.every = 0
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/v/dog.mp4", b"a" * 100)
    flaky.never = "read /v/dog.mp4 50"
    for _ in range(2):
        with (
            pytest.raises(InputError, match="full, 6 times"),
            storage.fetched("flaky://v/dog.mp4", tmp_path),
        ):
            pass
    (part,) = tmp_path.rglob(".part")
    assert part.stat().st_size == 50
    memory.pipe_file("/v/dog.mp4", b"b" * 100)
    flaky.never = None
    with storage.fetched("flaky://v/dog.mp4", tmp_path) as file:
        assert file.read_bytes() == b"b" * 100


def test_what_a_process_that_was_killed_had_fetched_is_not_fetched_again(flaky, tmp_path):
    flaky.every = 0
    fsspec.filesystem("memory").pipe_file("/v/dog.mp4", b"a" * 100)
    with storage.fetched("flaky://v/dog.mp4", tmp_path) as file:
        shutil.copytree(file.parent, tmp_path / "kept")
        folder = file.parent
    (tmp_path / "kept").rename(folder)  # as kill -9 leaves it
    flaky.never = "read /v/dog.mp4 0"
    with storage.fetched("flaky://v/dog.mp4", tmp_path) as file:
        assert file.read_bytes() == b"a" * 100
    assert not list(tmp_path.iterdir())


def test_two_jobs_of_one_address_do_not_take_each_others_file(flaky, tmp_path):
    flaky.every = 0
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/v/dog.mp4", b"a" * 100)
    with storage.fetched("flaky://v/dog.mp4", tmp_path) as one:
        with storage.fetched("flaky://v/dog.mp4", tmp_path) as other:
            assert one != other and one.read_bytes() == other.read_bytes() == b"a" * 100
        assert one.exists() and not other.exists()
    assert not list(tmp_path.iterdir())


def test_stretches_of_a_video_at_an_address_go_on_with_another_copy(
    flaky, tmp_path, tiny_backbone, monkeypatch, caplog
):
    from test_stretches import Fakes, film, walk

    monkeypatch.setattr(storage, "BLOCK", 1 << 20)
    flaky.every = 0
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/v/dog.mp4", film(tmp_path / "dog.mp4", walk(43)).read_bytes())
    monkeypatch.setattr(
        Workers, "crew", lambda self, tasks, work, logs, sources: Fakes(tasks, work, Limits(), logs)
    )
    command = ["segment", "flaky://v/dog.mp4", "--out", str(tmp_path / "out"), "--jobs", "3"]
    command += ["--backbone", tiny_backbone, "--size", "16"]
    assert main(command) == 130
    assert "kept in" in caplog.text
    caplog.clear()
    assert main(command) == 130
    assert "1 of 3 stretches were looked at by an earlier run" in caplog.text
    memory.pipe_file("/v/dog.mp4", film(tmp_path / "dog.mp4", walk(40)).read_bytes())
    assert main(command) == 130
    assert "is of another video, or other settings: begun anew" in caplog.text


def test_a_result_is_stored_whole_or_there_is_no_run_json(flaky, tmp_path):
    folder = result(tmp_path / "dog")
    storage.store(folder, "flaky://out/dog")
    memory = fsspec.filesystem("memory")
    for file in (p for p in folder.rglob("*") if p.is_file()):
        assert memory.cat_file(f"/out/dog/{file.relative_to(folder)}") == file.read_bytes()
    puts = [line.split("/")[-1] for line in flaky.log if line.startswith("put")]
    assert puts[-1] == "run.json"
    assert storage.exists("flaky://out/dog")
    flaky.never = "put /out/dog/objects.json"
    with pytest.raises(OutputError, match="full"):
        storage.store(folder, "flaky://out/dog")
    assert not storage.exists("flaky://out/dog")  # nor is there the earlier one


def test_what_is_not_there_or_forbidden_is_not_tried_again(flaky, tmp_path):
    flaky.every = 0
    with (
        pytest.raises(InputError, match="no such file"),
        storage.fetched("flaky://v/x.mp4", tmp_path),
    ):
        pass
    assert len(flaky.log) == 1


def test_folders_and_patterns_at_addresses_are_sources(flaky):
    memory = fsspec.filesystem("memory")
    for name in ("a.mp4", "b.mp4", "notes.md"):
        memory.pipe_file(f"/v/{name}", b"0" * 40_000)
    for source in ("flaky://v/", "flaky://v/*.mp4"):
        assert is_many(source)
        assert [(j.name, j.frames) for j in list_jobs([source])] == [("a", 2.0), ("b", 2.0)]
    assert not is_many("flaky://v/a.mp4")
    with pytest.raises(InputError, match="no videos at"):
        list_jobs(["flaky://v/*.mkv"])


def test_a_video_at_an_address_gives_a_result_at_another(flaky, tmp_path, tiny_backbone):
    from test_readme import write_video

    write_video(tmp_path / "dog.mp4")
    fsspec.filesystem("memory").pipe_file("/v/dog.mp4", (tmp_path / "dog.mp4").read_bytes())
    settings = Settings(backbone=tiny_backbone, attention="cosine", size=16)
    work = SegmentWork(
        tmp_path / "here", settings, address="flaky://out", scratch=tmp_path / "scratch"
    )
    job = Job("dog", "flaky://v/dog.mp4")
    first = work(job, silent)
    assert not first.error and first.frames == 6
    run = json.loads(fsspec.filesystem("memory").cat_file("/out/dog/run.json"))
    assert run["video"]["source"] == "flaky://v/dog.mp4" and run["video"]["name"] == "dog"
    assert not list((tmp_path / "here").iterdir())
    flaky.log.clear()
    assert work(job, silent).frames == 6
    assert not [line for line in flaky.log if line.startswith("put")]  # it was there
    other = work(Job("dog", "flaky://w/dog.mp4"), silent)
    assert "flaky://out/dog holds the result of flaky://v/dog.mp4" in other.error


def test_a_ledger_is_copied_and_found_by_another_machine(flaky, tmp_path, monkeypatch, capsys):
    flaky.every = 0
    monkeypatch.setenv("UNVEIL_HOME", str(tmp_path / "one"))
    place = place_of("flaky://out")
    with Ledger(place) as ledger:
        ledger.begin([Job("dog", "x")], {})
        Mirror(place, "flaky://out").finish(ledger.book)
    monkeypatch.setenv("UNVEIL_HOME", str(tmp_path / "two"))
    assert main(["status", "flaky://out"]) == 0
    assert "0 of 1 video done, 1 waiting" in capsys.readouterr().out
    assert (place_of("flaky://out") / LEDGER).read_bytes() == (place / LEDGER).read_bytes()


@pytest.mark.slow
def test_a_local_s3_server(tmp_path, monkeypatch):
    """The same against S3 itself, where moto and s3fs are installed."""
    server = pytest.importorskip("moto.server", reason="needs moto[server]").ThreadedMotoServer(
        port=0
    )
    pytest.importorskip("s3fs", reason="needs unveil[storage]")
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in (("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "x")):
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("FSSPEC_S3_ENDPOINT_URL", f"http://{host}:{port}")
        monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": f"http://{host}:{port}"})
        fsspec.filesystem("s3").mkdir("bucket")
        folder = result(tmp_path / "dog")
        storage.store(folder, "s3://bucket/out/dog")
        storage.store(folder, "s3://bucket/out/dog")
        assert storage.exists("s3://bucket/out/dog")
        (tmp_path / "big.mp4").write_bytes(os.urandom(9 << 20))
        storage.put(tmp_path / "big.mp4", "s3://bucket/v/big.mp4")
        assert [j.name for j in list_jobs(["s3://bucket/v/"])] == ["big"]
        with storage.fetched("s3://bucket/v/big.mp4", tmp_path / "scratch") as file:
            assert file.read_bytes() == (tmp_path / "big.mp4").read_bytes()
    finally:
        server.stop()
    assert not [t for t in threading.enumerate() if "moto" in t.name.lower()]
