"""Every reader gives back what was written in its layout, and names the file that is wrong."""

import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from unveil.datasets import check_dataset, open_dataset
from unveil.datasets.example import encode_example
from unveil.datasets.tfrecord import write_records
from unveil.errors import DataError
from unveil.synthetic.layouts import Annotated, write_layout, write_masks
from unveil.synthetic.render import render

LAYOUTS = ["davis2016", "davis2017", "ytvis2019", "ytvis2021", "movi", "movi-e", "folder"]


@pytest.fixture(scope="module")
def clips() -> list[Annotated]:
    """Three small clips: one whose first object comes late, one whose object leaves for a while."""
    recipes = [("late", 1, 7), ("return", 2, 5), ("crowd", 4, 3)]
    made = []
    for i, (scenario, objects, frames) in enumerate(recipes):
        clip = render(i, frames, 41, 59, objects=objects, scenario=scenario)
        made.append(Annotated(f"clip-{i}", *clip))
    return made


@pytest.fixture(scope="module")
def written(clips, tmp_path_factory):
    """Layout → folder with the clips in it."""
    folders = {}
    for layout in ("davis2017", "ytvis2019", "movi", "folder"):
        folders[layout] = tmp_path_factory.mktemp(layout)
        write_layout(layout, folders[layout], clips)
    folders["davis2016"] = folders["davis2017"]
    folders["ytvis2021"] = folders["ytvis2019"]
    folders["movi-e"] = folders["movi"]
    return folders


@pytest.fixture
def copy(written, tmp_path):
    """A function that copies a layout's folder, to be broken."""

    def make(layout: str):
        return shutil.copytree(written[layout], tmp_path / layout)

    return make


def renumbered(labels: np.ndarray) -> np.ndarray:
    """Ids in the order in which they first occur, which is how a layout may write them."""
    ids = [i for i in dict.fromkeys(labels.ravel().tolist()) if i]
    return sum(np.where(labels == i, k, 0) for k, i in enumerate(ids, 1))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_was_written_is_read_back(layout, written, clips):
    dataset = open_dataset(layout, written[layout])
    assert len(dataset.sequences) == 3
    for i, (sequence, clip) in enumerate(zip(dataset.sequences, clips, strict=True)):
        truth, frames = sequence.truth(), sequence.frames()
        expected = (clip.labels > 0) if layout == "davis2016" else clip.labels
        assert truth.dtype == np.uint8 and truth.shape == clip.labels.shape
        assert np.array_equal(renumbered(truth), renumbered(expected.astype(int)))
        assert np.abs(frames.astype(int) - clip.frames).mean() < (0.1 if "movi" in layout else 6)
        assert sequence.frame_names() == tuple(f"{t:05d}" for t in range(len(clip.labels)))
        assert sequence.name == (f"{i:05d}" if "movi" in layout else clip.name)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_check_of_what_is_complete_finds_nothing_missing(layout, written):
    findings = check_dataset(layout, written[layout])
    assert findings and all(f.ok for f in findings)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_check_of_an_empty_folder_says_where_to_get_the_data(layout, tmp_path):
    findings = check_dataset(layout, tmp_path)
    assert not all(f.ok for f in findings)
    assert any(f.advice for f in findings)


def test_selected_sequences_come_in_the_order_asked_for(written):
    dataset = open_dataset("davis2017", written["davis2017"])
    assert [s.name for s in dataset.select(["clip-2", "clip-0"]).sequences] == ["clip-2", "clip-0"]
    with pytest.raises(DataError, match=r"no sequence dog .* has clip-0"):
        dataset.select(["dog"])


def test_opening_reads_no_pictures(copy):
    root = copy("davis2017")
    for file in root.rglob("*.png"):
        file.write_bytes(b"broken")
    assert len(open_dataset("davis2017", root).sequences) == 3


def test_the_pair_lists_of_davis_2016_name_sequences_once(copy):
    root = copy("davis2017")
    lines = [
        f"/JPEGImages/480p/clip-1/{t:05d}.jpg /Annotations/480p/clip-1/{t:05d}.png"
        for t in range(5)
    ]
    shutil.rmtree(root / "ImageSets/2016")
    (root / "ImageSets/480p").mkdir()
    (root / "ImageSets/480p/val.txt").write_text("\n".join(lines))
    assert [s.name for s in open_dataset("davis2016", root).sequences] == ["clip-1"]


def test_the_shared_folder_is_davis(shared):
    for name in ("davis2016", "davis2017"):
        dataset = open_dataset(name, shared / "davis")
        assert len(dataset.sequences) == 10 and dataset.split == "ImageSets/dev.txt"
    truth = dataset.select(["soapbox"]).sequences[0].truth()
    assert truth.shape == (99, 480, 854) and np.unique(truth).tolist() == [0, 1, 2, 3]


def test_davis_keeps_void_and_a_missing_sequence_is_found_when_it_is_read(copy):
    root = copy("davis2017")
    folder = root / "Annotations_unsupervised/480p"
    labels = np.zeros((7, 41, 59), np.uint8)
    labels[:, :5], labels[:, 10:15] = 255, 3
    shutil.rmtree(folder / "clip-0")
    write_masks(folder / "clip-0", labels)
    shutil.rmtree(folder / "clip-1")
    dataset = open_dataset("davis2017", root)
    assert np.array_equal(dataset.sequences[0].truth(), labels)
    with pytest.raises(DataError, match=r"clip-1.*without ground truth"):
        dataset.sequences[1].truth()
    assert sum(not f.ok for f in check_dataset("davis2017", root)) == 1


def test_missing_frames_and_masks_of_another_size_are_named(copy):
    root = copy("davis2017")
    (root / "JPEGImages/480p/clip-0/00003.jpg").unlink()
    mask = root / "Annotations_unsupervised/480p/clip-1/00002.png"
    Image.fromarray(np.zeros((7, 9), np.uint8)).save(mask)
    first, second, _ = open_dataset("davis2017", root).sequences
    with pytest.raises(DataError, match=r"clip-0/00003.jpg: this frame is missing"):
        first.frames()
    with pytest.raises(DataError, match=r"00002.png is 9x7, but 00000.png is 59x41"):
        second.truth()


def rewrite(root, change):
    file = root / "train.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_the_300_videos_are_those_that_the_field_scores(copy):
    root = copy("ytvis2019")

    def grow(content):
        video = content["videos"][0]
        content["videos"] = [
            {**video, "id": n, "file_names": [f"v{n:04d}/00000.jpg"]} for n in range(905)
        ]

    rewrite(root, grow)

    def names(year, split=None):
        return [s.name for s in open_dataset(f"ytvis{year}", root, split=split).sequences]

    entries = [f"v{n:04d}" for n in range(600, 900)]
    last = [f"v{n:04d}" for n in range(605, 905)]
    assert names(2019) == names(2019, "300") == names(2021, "300") == entries
    assert names(2021) == names(2021, "last300") == names(2019, "last300") == last
    every = names(2019, "train")
    assert len(every) == 905
    for year, scored in ((2019, entries), (2021, last)):
        assert names(year, "rest") == [name for name in every if name not in scored]
    assert "the last 300 entries" in open_dataset("ytvis2021", root).split
    assert "all but the 300" in open_dataset("ytvis2019", root, split="rest").split


@pytest.mark.parametrize("split", ["300", "last300", "rest"])
def test_a_file_of_few_videos_has_no_split_of_300(copy, split):
    root = copy("ytvis2019")
    assert "all 3 videos" in open_dataset("ytvis2021", root).split
    with pytest.raises(DataError, match=f"has 3 videos, the split {split} needs 900"):
        open_dataset("ytvis2021", root, split=split)


def test_absent_objects_and_uncompressed_run_lengths_are_read(copy):
    root = copy("ytvis2019")

    def change(content):
        video = content["videos"][2]
        mine = [a for a in content["annotations"] if a["video_id"] == video["id"]]
        size = [video["height"], video["width"]]
        # Columns are counted first: 41 + 2 pixels off, then 3 on, all in the second column.
        counts = [43, 3, size[0] * size[1] - 46]
        mine[0]["segmentations"] = [None, {"size": size, "counts": counts}, None]
        content["annotations"] = mine[:1]

    rewrite(root, change)
    sequences = open_dataset("ytvis2019", root).sequences
    expected = np.zeros((3, 41, 59), np.uint8)
    expected[1, 2:5, 1] = 1
    assert np.array_equal(sequences[2].truth(), expected)
    with pytest.raises(DataError, match=r"train.json: video 'clip-0': a sequence without"):
        sequences[0].truth()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.pop("annotations"), "the file: annotations: expected a list.*, got None"),
        (lambda c: c.update(annotations=None), "the file: annotations: expected a list.* got None"),
        (lambda c: c["annotations"][0]["segmentations"].pop(), "expected 7, one a frame.*got 6"),
        (lambda c: c["videos"][0].update(height=40), r"size: expected \[40, 59\].*got \[41, 59\]"),
    ],
)
def test_broken_youtube_vis_files_are_named(copy, change, says):
    root = copy("ytvis2019")
    rewrite(root, change)
    with pytest.raises(DataError, match=says):
        open_dataset("ytvis2019", root).sequences[0].truth()


def test_a_truncated_json_is_named(copy):
    root = copy("ytvis2019")
    (root / "train.json").write_text('{"videos": [')
    with pytest.raises(DataError, match=r"train.json is not JSON"):
        open_dataset("ytvis2019", root)


def shards(root):
    return sorted(root.rglob("*.tfrecord-*"))


def test_a_missing_shard_is_named(copy):
    root = copy("movi")
    shards(root)[1].unlink()
    with pytest.raises(DataError, match="1 of 2 shards, first missing 00001"):
        open_dataset("movi", root)
    with pytest.raises(DataError, match="no movi_a-validation"):
        open_dataset("movi-a", root)


def test_an_empty_shard_does_not_shift_the_names_of_the_others(copy):
    root = copy("movi")
    shards(root)[0].write_bytes(b"")
    with pytest.raises(DataError, match=r"00000-of-00002: the shard: .* got none, 0 bytes; get"):
        open_dataset("movi", root)
    assert not all(f.ok for f in check_dataset("movi", root))


def test_shards_of_two_copies_are_told_apart(copy):
    root = copy("movi")
    first = shards(root)[0]
    shutil.copy(first, first.with_name(first.name.replace("of-00002", "of-00001")))
    with pytest.raises(DataError, match="in 00001 and in 00002 shards: keep one"):
        open_dataset("movi", root)


def test_a_single_clip_is_written_without_an_empty_shard(clips, tmp_path):
    write_layout("movi", tmp_path, clips[:1])
    assert len(shards(tmp_path)) == len(open_dataset("movi", tmp_path).sequences) == 1


def test_a_record_without_its_features_is_named(copy):
    root = copy("movi")
    shards(root)[0].unlink()
    shards(root)[0].unlink()
    folder = root / "movi_e/41x59/1.0.0"
    file = io.BytesIO()
    Image.new("RGB", (3, 2)).save(file, "PNG")
    painted = file.getvalue()
    for features, says in (
        (
            {"video": [b"png"]},
            r"video 00000: feature 'segmentations': expected .* got nothing; get",
        ),
        ({"video": [3], "segmentations": [3]}, r"feature 'video': expected a list of PNG.*got \[3"),
        ({"video": [b"a", b"b"], "segmentations": [b"c"]}, "expected 2 masks, .*got 1; get"),
        ({"video": [b"a"], "segmentations": [b"b"]}, "expected pictures that can be read"),
        ({"video": [b"a"], "segmentations": [painted]}, r"masks \[H, W\] .*got uint8 \[2, 3, 3\]"),
    ):
        write_records(
            folder / "movi_e-validation.tfrecord-00000-of-00001", [encode_example(features)]
        )
        with pytest.raises(DataError, match=says):
            open_dataset("movi", root).sequences[0].truth()


def test_a_flipped_bit_and_a_cut_file_are_named(copy):
    root = copy("movi")
    first = shards(root)[0]
    whole = first.read_bytes()
    broken = bytearray(whole)
    broken[5000] ^= 4
    first.write_bytes(broken)
    with pytest.raises(DataError, match=r"00000-of-00002: the record at byte 12 fails its check"):
        open_dataset("movi", root).sequences[0].truth()
    first.write_bytes(whole[:-9])
    with pytest.raises(DataError, match=r"00000-of-00002: record 1 is corrupt .* ends within it"):
        open_dataset("movi", root)
    broken = bytearray(whole)
    broken[3] ^= 1
    first.write_bytes(broken)
    with pytest.raises(DataError, match="its length fails the check"):
        open_dataset("movi", root)


def test_videos_of_a_folder_are_found_whatever_their_suffix(tmp_path):
    for name in ("IMG_1.MOV", "dog.m4v", "dog.txt"):
        (tmp_path / "frames").mkdir(exist_ok=True)
        (tmp_path / "frames" / name).write_bytes(b"")
    for name in ("IMG_1", "dog", "gone"):
        write_masks(tmp_path / "masks" / name, np.ones((1, 4, 4), np.uint8))
    found = {s.name: s.images.name for s in open_dataset("folder", tmp_path).sequences}
    assert found == {"IMG_1": "IMG_1.MOV", "dog": "dog.m4v", "gone": "gone"}


def test_one_sequence_in_plain_folders_may_be_a_video(tmp_path, clips):
    from fractions import Fraction

    from unveil.results.movie import Movie

    labels = np.pad(clips[0].labels, ((0, 0), (0, 1), (0, 1)))
    frames = np.pad(clips[0].frames, ((0, 0), (0, 1), (0, 1), (0, 0)), mode="edge")
    movie = Movie(tmp_path / "girls.mp4", Fraction(24), 42, 60)
    for frame in frames:
        movie.write(frame, np.zeros((42, 60), np.uint8))
    movie.close()
    write_masks(tmp_path / "girls_mask", labels)
    places = {"frames": "girls.mp4", "masks": "girls_mask"}
    (sequence,) = open_dataset("folder", tmp_path, **places).sequences
    assert sequence.name == "girls"
    assert np.array_equal(sequence.truth(), labels)
    assert np.abs(sequence.frames().astype(int) - frames).mean() < 12
    (tmp_path / "girls_mask/00006.png").unlink()
    with pytest.raises(DataError, match=r"girls.mp4 has 7 frames, .*girls_mask 6 masks"):
        sequence.frames()


def test_masks_of_0_and_255_show_one_object(tmp_path):
    for folder, name in (("frames", "a"), ("masks", "a")):
        (tmp_path / folder).mkdir()
        mask = np.zeros((5, 7), np.uint8)
        mask[1:3] = 255
        Image.fromarray(mask).save(tmp_path / folder / f"{name}.png")
    (sequence,) = open_dataset("folder", tmp_path).sequences
    assert np.unique(sequence.truth()).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"name": "coco"}, "no dataset 'coco'"),
        ({"name": "davis2017", "root": "nowhere"}, "is no folder"),
        ({"name": "davis2017", "masks": "m"}, "belong to the dataset 'folder'"),
        ({"name": "folder", "split": "val"}, "no meaning"),
        ({"name": "ytvis2019", "split": "val"}, "no split 'val'"),
        ({"name": "folder"}, "no folder of masks"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments, says, tmp_path):
    arguments = {"root": tmp_path, **arguments}
    with pytest.raises(DataError, match=says):
        open_dataset(arguments.pop("name"), arguments.pop("root"), **arguments)
