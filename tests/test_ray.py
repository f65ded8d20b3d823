"""The same batch on a Ray cluster of several nodes: lost workers, a lost node, no shared disk."""

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from batchwork import Sabotaged, Stored, Toy, named
from test_batch import contents
from test_cli import image_folder
from test_segmenter import digests
from test_stretches import film, walk
from test_training import write_clip
from unveil.batch.job import Job, Limits
from unveil.batch.ledger import Ledger, is_running, read
from unveil.batch.run import clear, missing, place_of_logs, run
from unveil.batch.sources import list_jobs
from unveil.batch.worker import DoesWork
from unveil.batch.workers import Workers
from unveil.cli import main
from unveil.cli.data import Make
from unveil.datasets import open_dataset
from unveil.errors import InputError
from unveil.evaluate.run import evaluate
from unveil.segmentation.segmenter import Segmenter
from unveil.settings import Settings
from unveil.training.clips import find_clips
from unveil.training.recipe import Recipe
from unveil.training.work import FeatureWork, fill, job_of

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # Ray's own
    pytest.mark.xdist_group("ray"),  # one cluster at a time
]
HERE = os.pathsep.join((str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")))
SMALL = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}


class Nodes:
    """Three nodes of one core, all on this machine."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster()
        try:
            _, *self._added = [self._cluster.add_node(**SMALL) for _ in range(3)]
        except Exception:
            self.close()
            raise
        self.address = self._cluster.address

    def lose(self) -> None:
        """One is gone, with all its processes."""
        self._cluster.remove_node(self._added.pop(), allow_graceful=False)

    def close(self) -> None:
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Nodes]:
    pytest.importorskip("ray", reason="needs unveil[ray]")
    own = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "PYTHONPATH": HERE}
    own["RAY_worker_niceness"] = "0"  # 15 otherwise, which on a busy machine is never its turn
    with pytest.MonkeyPatch.context() as patch:
        for name, value in own.items():
            patch.setenv(name, value)
        for _ in range(3):  # a node has 15 seconds to start, however busy the machine is
            try:
                nodes = Nodes()
                break
            except Exception as error:
                why = error
        else:
            pytest.skip(f"this machine is too busy to start a Ray cluster: {why}")
        yield nodes
        nodes.close()


def do_all(
    nodes: Nodes, out: Path, jobs: list[Job], limits: Limits, work: DoesWork, **options
) -> list[str]:
    """Run jobs on the cluster to their end; the names in the order in which they ended."""
    from unveil.batch.actors import Actors, joined

    order: list[str] = []
    with joined(nodes.address), Ledger(out) as ledger:
        todo, _ = missing(jobs, ledger, resume=True)
        ledger.begin(todo, {})
        crew = Actors(work, limits, place_of_logs(out), most=max(1, len(todo)), **options)
        try:
            run(todo, crew, ledger, limits, lambda j, o: order.append(j.name), id)
        finally:
            crew.close()
            clear(out, jobs)
    return order


def processes(name: str) -> list[psutil.Process]:
    """The processes of this test, and of its cluster, that have a word in how they were called."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if name in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def until(what: Callable[[], object], seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not what() and time.monotonic() < deadline:
        time.sleep(0.05)


@pytest.mark.slow
def test_videos_that_kill_and_hang_are_named_and_a_lost_actor_is_replaced(tmp_path, cluster):
    jobs = named("a", "crash", "b", "hang", "once", "broken", "orphan", "c")
    ended = do_all(cluster, tmp_path, jobs, Limits(4.0, 400, 2), Toy(tmp_path))
    book = read(tmp_path)
    assert sorted(ended) == sorted(job.name for job in jobs)
    assert set(book.failed) == {"crash", "hang", "broken"}
    assert "SIGSEGV" in book.failed["crash"] and "not done after 4 s" in book.failed["hang"]
    assert book.videos["orphan"].tries == 2
    assert "was lost" in (tmp_path / "ledger.jsonl").read_text()
    assert "seen once" in (tmp_path / "logs/once.log").read_text()
    assert book.videos["a"].worker == os.uname().nodename
    assert do_all(cluster, tmp_path, jobs, Limits(), Toy(tmp_path)) == []


@pytest.mark.slow
def test_what_a_node_does_not_see_is_said(tmp_path, cluster):
    with pytest.raises(InputError, match=r"does not see .*/only-here.mp4: .* at addresses"):
        do_all(
            cluster,
            tmp_path,
            named("a"),
            Limits(),
            Toy(tmp_path),
            sources=[tmp_path / "only-here.mp4"],
        )


@pytest.mark.slow
def test_results_at_an_address_need_no_shared_disk(tmp_path, tiny_backbone, cluster):
    (tmp_path / "in").mkdir()
    for name in ("one", "two"):
        film(tmp_path / "in" / f"{name}.mp4", walk(9))
    here = tmp_path / "of the driver"
    settings = Settings(backbone=tiny_backbone, attention="cosine", size=16)
    work = Stored(here, settings, address=f"disk:/{tmp_path}/out")
    jobs = list_jobs([f"disk:/{tmp_path}/in/"])
    assert sorted(do_all(cluster, here, jobs, Limits(), work)) == ["one", "two"]
    assert {p.parent.name for p in (tmp_path / "out").glob("*/run.json")} == {"one", "two"}
    assert "one.mp4, process" in (here / "logs/one.log").read_text()
    assert not (here / "one").exists()


@pytest.mark.slow
def test_stretches_of_one_video_on_nodes_are_those_of_one_piece(tmp_path, tiny_backbone, cluster):
    source = film(tmp_path / "clip.mp4", walk(43))
    command = ["segment", str(source), "--backbone", tiny_backbone, "--attention", "cosine"]
    command += ["--size", "16"]
    assert main([*command, "-o", str(tmp_path / "one")]) == 0
    assert main([*command, "-o", str(tmp_path / "three"), "--ray", cluster.address]) == 0
    assert digests(tmp_path / "one") == digests(tmp_path / "three")


@pytest.mark.slow
def test_scores_exports_and_features_on_nodes_are_those_of_one_process(
    tmp_path, tiny_backbone, cluster
):
    for i in range(3):
        write_clip(tmp_path / "in" / f"clip{i}", i)
    assert Make(tmp_path / "data", "folder", sequences=2, frames=3, size=(33, 35)).run() == 0
    dataset = open_dataset("folder", tmp_path / "data")
    settings = Settings(backbone=tiny_backbone, attention="cosine", size=16, device="cpu")
    recipe = Recipe(backbone=tiny_backbone, heads=2, size=16, windows=2)
    jobs = [job_of(clip) for clip in find_clips(tmp_path / "in")]
    made: dict[str, dict[str, bytes]] = {}
    records = []
    for name, workers in (("one", Workers()), ("nodes", Workers(ray=cluster.address))):
        out = tmp_path / name
        with workers.gathered():
            records.append(
                evaluate(dataset, ["miou"], settings=settings, out=out / "s", workers=workers)
            )
            work = FeatureWork(out / "features", recipe=recipe, on="cpu")
            told: list[str] = []
            fill(jobs, work, workers, lambda job, outcome, told=told: told.append(outcome.error))
            assert told == ["", "", ""]
            call = ["export", str(tmp_path / "one/s/predictions"), "--to", "csv", "--to", "mots"]
            ray = ["--ray", cluster.address] if name == "nodes" else []
            assert main([*call, "--out", str(out / "x"), *ray]) == 0
        files = [*out.glob("x/*/tracks.csv"), *out.glob("x/*/*.txt"), *out.glob("features/*s")]
        files += out.glob("s/predictions/*/masks/*")
        made[name] = {str(p.relative_to(out)): p.read_bytes() for p in files}
    assert records[0] == records[1] and not records[0]["failures"]
    assert made["one"] == made["nodes"] and len(made["one"]) == 2 * 2 + 3 + 2 * 3


DRIVER = """
import sys
from pathlib import Path
from batchwork import Toy, named
from test_ray import do_all
from unveil.batch.job import Limits
class Nodes:
    address = sys.argv[2]
if __name__ == "__main__":
    out = Path(sys.argv[1])
    do_all(Nodes, out, named(*"abcdefgh"), Limits(), Toy(out, seconds=0.5))
"""


@pytest.mark.slow
def test_a_driver_killed_with_9_loses_nothing_on_a_cluster(tmp_path, cluster):
    out = tmp_path / "out"
    (tmp_path / "driver.py").write_text(DRIVER)
    command = [sys.executable, str(tmp_path / "driver.py"), str(out), cluster.address]
    driver = subprocess.Popen(command)
    try:
        until(lambda: read(out).states["done"] >= 3 or driver.poll() is not None)
        assert driver.poll() is None and is_running(out)
    finally:
        driver.kill()
        driver.wait()
    until(lambda: not processes("ray::Foreman"), 60)
    assert not processes("ray::Foreman")
    done = {p.parent.name for p in out.glob("*/run.json")}
    ended = do_all(cluster, out, named(*"abcdefgh"), Limits(), Toy(out))
    assert set(ended) == set("abcdefgh") - done
    assert sorted(p.parent.name for p in out.glob("*/run.json")) == list("abcdefgh")


@pytest.mark.slow
def test_forty_videos_a_killed_worker_and_a_lost_node(tmp_path, tiny_backbone, cluster):
    bad = ["bad0", "bad1", "hang", "hungry"]
    good = [f"v{i:02d}" for i in range(36)]
    for i, name in enumerate(good):
        image_folder(tmp_path / name, t=3 + i % 3)
    for name in ("bad0", "bad1"):
        (tmp_path / f"{name}.mp4").write_bytes(b"\0" * 100)
    for name in ("hang", "hungry"):
        image_folder(tmp_path / name, t=3)
    sources = [str(tmp_path / (f"{n}.mp4" if "bad" in n else n)) for n in (*good, *bad)]
    jobs, out = list_jobs(sources), tmp_path / "out"
    settings = Settings(backbone=tiny_backbone, attention="cosine", size=16)

    def disturb() -> None:
        until(lambda: read(out).states["done"] >= 6)
        processes("ray::Foreman")[0].send_signal(signal.SIGKILL)
        until(lambda: read(out).states["done"] >= 14)
        cluster.lose()

    trouble = threading.Thread(target=disturb)
    trouble.start()
    ended = do_all(cluster, out, jobs, Limits(20.0, 1500, 3), Sabotaged(out, settings))
    trouble.join()
    book = read(out)
    assert sorted(ended) == sorted((*good, *bad))  # each once
    assert set(book.failed) == set(bad)
    assert "not done after 20 s" in book.failed["hang"]
    assert "at its limit of 1500" in book.failed["hungry"]
    assert (out / "ledger.jsonl").read_text().count("was lost") >= 1
    assert not list(out.glob(".*.partial-*"))
    segmenter = Segmenter(settings)
    for name in good:
        segmenter.segment_to(str(tmp_path / name), tmp_path / "plain")
        assert contents(out / name) == contents(tmp_path / "plain")
    assert do_all(cluster, out, jobs, Limits(), Sabotaged(out, settings)) == []


@pytest.mark.slow
def test_addresses_that_are_none(tmp_path, capsys, monkeypatch):
    image_folder(tmp_path / "in")
    command = ["segment", str(tmp_path / "in"), "x.mp4", "--out", str(tmp_path / "out")]
    assert main([*command, "--ray", "holiday.mp4"]) == 2
    assert "expected host:port" in capsys.readouterr().err
    if importlib.util.find_spec("ray") is not None:
        assert main([*command, "--ray", "127.0.0.1:1"]) == 2
        assert "--ray 127.0.0.1:1: no cluster there" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main([*command, "--ray"]) == 2
    assert "pip install 'unveil[ray]'" in capsys.readouterr().err
    assert main([*command, "--ray", "auto", "--live"]) == 2
