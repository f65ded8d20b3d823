"""Places given as file://, and addresses where only a path can be: everywhere the same."""

from pathlib import Path

import pytest

import unveil
from exported import scene, write_result
from test_cli import image_folder
from unveil.address import as_address, as_path, out_path, plain_place
from unveil.batch.sources import list_jobs
from unveil.cli import main
from unveil.errors import InputError, OutputError
from unveil.exports.formats import export
from unveil.exports.result import open_result
from unveil.results.folder import ResultFolder
from unveil.settings import Settings


@pytest.mark.parametrize(
    ("place", "path"),
    [
        ("file:///clips/my%20dog.mp4", "/clips/my dog.mp4"),
        ("file://localhost/clips", "/clips"),
        ("FILE:/clips", "/clips"),  # what a Path leaves of file:///clips
        ("clips/file:x", "clips/file:x"),
        ("file:x", "file:x"),
        ("/clips/100%25", "/clips/100%25"),
    ],
)
def test_a_file_address_is_a_path(place, path):
    assert plain_place(place) == path and as_path(place) == Path(path)
    assert as_address(place) is None and out_path(place) == Path(path)


def test_home_is_written_out_and_nobodys_is_a_name(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert as_path("~/dog.mp4") == tmp_path / "dog.mp4"
    assert as_path("~nobody-here.mp4") == Path("~nobody-here.mp4")


@pytest.mark.parametrize("line", [["import"], ["export", "--to", "csv"]])
def test_nobodys_home_is_said_to_be_no_file(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*line, "~nobody-here"]) == 2
    said = capsys.readouterr()
    assert "Traceback" not in said.err + said.out and "nobody-here" in said.err + said.out


def test_a_file_of_another_machine_is_none():
    with pytest.raises(InputError, match="file://nas/clips is of another machine"):
        as_path("file://nas/clips")


def test_addresses_are_told_from_paths():
    assert (
        as_address(Path("s3://bucket/dog")) == as_address("s3://bucket/dog/") == "s3://bucket/dog"
    )
    assert as_address("C:/clips") is None and as_address("clips/a:b") is None
    with pytest.raises(OutputError, match="s3://bucket/dog is an address"):
        out_path("s3://bucket/dog")


def test_results_and_exports_are_put_where_file_says_and_never_into_a_folder_s3(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    here = tmp_path.as_uri()
    frames, labels = scene()
    write_result(tmp_path / "dog", labels, frames)
    with ResultFolder(f"{here}/a%20b") as folder:
        folder.commit()
    assert (tmp_path / "a b").is_dir()
    result = open_result(f"{here}/dog")
    export(result, f"{here}/x.csv", "csv")
    assert (tmp_path / "x.csv").is_file()
    for place in ("s3://bucket/x", Path("s3://bucket/x")):
        with pytest.raises(OutputError, match="s3://bucket/x is an address"):
            ResultFolder(place)
        with pytest.raises(OutputError, match="s3://bucket/x is an address"):
            export(result, place, "csv")
    assert {p.name for p in tmp_path.iterdir()} == {"dog", "dog-frames", "a b", "x.csv"}


def test_sources_may_be_given_as_file(tmp_path):
    video = image_folder(tmp_path / "my dog", t=2)
    (tmp_path / "list.txt").write_text(f"{video.as_uri()}\n")
    assert unveil.open_video(video.as_uri()).name == "my dog"
    for source in (
        video.as_uri(),
        f"{tmp_path.as_uri()}/my%20d*",
        (tmp_path / "list.txt").as_uri(),
    ):
        (job,) = list_jobs([source])
        assert (job.source, job.name) == (str(video), "my dog")
    assert Settings(block=Path("file:///no/block"), mode="paper").block == Path("/no/block")


def commands(place: str) -> list[list[str]]:
    """Every command with a path of this machine, given so."""
    return [
        ["recut", place],
        ["recut", "x", "-o", place],
        ["export", "x", "--to", "csv", "-o", place],
        ["export", "x", "--to", "csv", "--source", place],
        ["import", place],
        ["import", "x", "-o", place],
        ["train", place, "-o", "x"],
        ["train", "x", "-o", place],
        ["train", "x", "-o", "x", "--cache", place],
        ["evaluate", "folder", "--root", place],
        ["evaluate", "folder", "--root", "x", "-o", place],
        ["evaluate", "folder", "--root", "x", "--json", place],
        ["view", place],
        ["data", "make", "--out", place],
        ["attention", "x", "--at", "1,1", "-o", place],
        ["segment", "x", "-o", "x", "--block", place],
    ]


@pytest.mark.parametrize("command", commands("gs://bucket/x"), ids=" ".join)
def test_an_address_is_refused_where_a_path_is_expected(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(command) == 2
    assert "gs://bucket/x is an address, and a path of this machine" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_result_lies_where_file_says(tmp_path, tiny_backbone, monkeypatch):
    monkeypatch.chdir(tmp_path)
    video = image_folder(tmp_path / "in", t=2)
    command = ["segment", video.as_uri(), "-o", f"{tmp_path.as_uri()}/out/dog"]
    assert main([*command, "--backbone", tiny_backbone, "--size", "16"]) == 0
    assert (tmp_path / "out/dog/run.json").is_file() and not (tmp_path / "file:").exists()
    assert main(["status", f"{tmp_path.as_uri()}/out"]) == 2
    assert main(["recut", f"{tmp_path.as_uri()}/out/dog", "--objects", "1"]) == 0


@pytest.mark.parametrize("many", [False, True])
def test_results_lie_at_home_where_the_shell_leaves_that_to_be_written_out(
    many, tmp_path, tiny_backbone, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    image_folder(tmp_path / "in/dog", t=2)
    command = ["segment", "in" if many else "in/dog", "--out=~/out"]
    assert main([*command, "--backbone", tiny_backbone, "--size", "16"]) == 0
    place = tmp_path / "home/out" / ("dog" if many else "")
    assert (place / "run.json").is_file() and not (tmp_path / "~").exists()
    assert main(["recut", f"{'~/out/dog' if many else '~/out'}", "--objects", "1"]) == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--size", "5"], "size 5 px leaves no whole patch of 8 px"),
        (["--device", "cuda:77"], "device 'cuda:77' cannot be used here"),
        (["--block", "none"], "no block file none"),
        (["--head", "none"], "no objects' head none"),
        (["--model", "none"], "none"),
        (["--mode", "paper"], "no block was trained for backbone 'dino-s8'"),
        (["--precision", "int8", "--device", "cpu"], "precision int8"),
        (["--backbone", "nothing"], "no backbone is called 'nothing'"),
    ],
)
@pytest.mark.parametrize("what", ["file", "demo", "camera", "evaluate"])
def test_settings_that_cannot_be_are_said_before_anything_is_fetched(
    what, options, said, tmp_path, monkeypatch, capsys
):
    def fail(*_: object, **__: object) -> None:
        pytest.fail("something was fetched, recorded or loaded")

    monkeypatch.setattr("unveil.features.weights._fetch", fail)
    monkeypatch.setattr("unveil.features.demo_clips.fetch_clip", fail)
    monkeypatch.setattr("unveil.video.recording.record", fail)
    monkeypatch.setattr("unveil.features.weights.cached", lambda name: tmp_path / "none" / name)
    source = {"file": str(image_folder(tmp_path / "in")), "camera": "camera:0"}.get(what)
    command = ["segment", str(source), "-o", str(tmp_path / "out")]
    if what == "demo":
        command = ["demo"]
    if what == "evaluate":
        from unveil.cli.data import Make

        root = tmp_path / "data"
        Make(root, "folder", sequences=1, frames=1, size=(33, 35)).run()
        command = ["evaluate", "folder", "--root", str(root)]
    assert main([*command, "--backbone", "dino-s8", *options]) == 2
    assert said in capsys.readouterr().err
