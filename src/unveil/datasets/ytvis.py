"""YouTube-VIS 2019 and 2021 in their official layout.

    train.json (or train/instances.json)   videos; annotations with run lengths, null where absent
    train/JPEGImages/<video>/00000.jpg

The masks of the official validation videos are not public. The field scores 300 videos of the
train file instead, of 2019 entries 600 … 899 (SOLV), of 2021 the last 300 (VideoSAUR, whose code
takes ids in the file's order); so does this reader, unless told otherwise.

Source: https://youtube-vos.org/dataset/vis
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from unveil.datasets.masks import as_truth, read_frames
from unveil.datasets.records import Source, Track, Video, read_tracks, read_videos
from unveil.datasets.run_lengths import Said
from unveil.datasets.sequence import Dataset, Finding
from unveil.errors import DataError
from unveil.metrics.overlap import VOID
from unveil.text import read_json

WHERE = "https://youtube-vos.org/dataset/vis (train split: train.json and train/JPEGImages)"
ENTRIES = {"300": slice(600, 900), "last300": slice(-300, None), "train": slice(None)}
"""Of the train file, by split."""
USUAL = {2019: "300", 2021: "last300"}
FEWEST = 900  # videos of a file that has splits
_FILES = ("train.json", "train/instances.json", "instances_train.json", "annotations/train.json")
_FRAMES = ("train/JPEGImages", "JPEGImages", "train_all_frames/JPEGImages")


@dataclass(frozen=True)
class YtvisSequence:
    """One video of a YouTube-VIS file. video, tracks: its records."""

    name: str
    file: Path
    images: Path
    video: Video = field(repr=False)
    tracks: tuple[Track, ...] = field(repr=False)
    note: str = ""

    @property
    def video_id(self) -> int:
        """Its number in the file."""
        return self.video.id

    @property
    def origin(self) -> Path:
        """The annotation file."""
        return self.file

    def frame_names(self) -> tuple[str, ...]:
        """The stems of its frames."""
        return tuple(Path(name).stem for name in self.video.file_names)

    def frame_files(self) -> tuple[Path, ...]:
        """Its pictures."""
        return tuple(self.images / name for name in self.video.file_names)

    def frames(self) -> np.ndarray:
        """The pictures, uint8 [T, H, W, 3] RGB."""
        return read_frames(self.frame_files())

    def truth(self) -> np.ndarray:
        """The labels, uint8 [T, H, W]; where masks overlap, the smaller one is seen."""
        self._check_count()
        labels = np.zeros(self.video.shape, np.uint8)
        tracks = [list(track.masks(self.video.shape)) for track in self.tracks]
        sizes = [sum(int(mask.sum()) for _, mask in track) for track in tracks]
        for i in sorted(range(len(tracks)), key=lambda i: -sizes[i]):
            for frame, mask in tracks[i]:
                labels[frame][mask] = i + 1
        return as_truth(labels, self.file)

    def check(self) -> None:
        """Raise the DataError that `truth` would, without decoding masks."""
        self._check_count()
        for track in self.tracks:
            for _ in track.checked(self.video.shape):
                pass

    def _check_count(self) -> None:
        if not self.tracks:
            raise DataError(
                f"{self.file}: video {self.name!r}: a sequence without ground truth, no annotation "
                "names it"
            )
        if len(self.tracks) >= VOID:
            raise self.video.record.fault(
                "annotations", f"at most {VOID - 1} objects", Said(len(self.tracks))
            )


def open_ytvis(root: Path, year: int, split: str | None = None) -> Dataset[YtvisSequence]:
    """The videos of YouTube-VIS, 2019 or 2021.

    split: `300` for entries 600 … 899 of the train file, `last300` for its last 300, `train` for
    all. By default 300 of 2019 and last300 of 2021 where the file has 900 videos, all where it has
    fewer; `rest` is what the default leaves, to train on.
    """
    if split not in (None, "rest", *ENTRIES):
        raise DataError(f"no split {split!r} of YouTube-VIS; there are {', '.join(ENTRIES)}, rest")
    file = _file(root)
    source = Source(file, f"put it right, or get the file again from {WHERE}")
    content = read_json(file)
    videos = read_videos(source, content)
    if split is None:
        split = "train" if len(videos) < FEWEST else USUAL[year]
    if split != "train" and len(videos) < FEWEST:
        raise DataError(f"{file} has {len(videos)} videos, the split {split} needs {FEWEST}")
    if split == "rest":
        scored = {v.id for v in videos[ENTRIES[USUAL[year]]]}
        chosen = [v for v in videos if v.id not in scored]
    else:
        chosen = videos[ENTRIES[split]]
    for nameless in (v for v in videos if not v.name):
        raise nameless.record.fault("file_names", "FOLDER/FRAME.jpg", nameless.file_names[0])
    of_video = _by_video(videos, _tracks(source, content))
    images = next((root / f for f in _FRAMES if (root / f).is_dir()), root / _FRAMES[0])
    sequences = [YtvisSequence(v.name, file, images, v, tuple(of_video[v.id])) for v in chosen]
    about = {
        "300": "entries 600 to 900",
        "last300": "the last 300 entries",
        "train": f"all {len(videos)} videos",
        "rest": f"all but the {USUAL[year]}",
    }
    return Dataset(f"ytvis{year}", root, f"{file.name}, {about[split]}", tuple(sequences))


def check_ytvis(root: Path, year: int, split: str | None = None) -> list[Finding]:
    """What of YouTube-VIS is at root."""
    try:
        dataset = open_ytvis(root, year, split)
    except DataError as error:
        return [Finding("annotations", root, False, f"{error}")]
    s = dataset.sequences
    findings = [Finding(f"annotations: {dataset.split}", s[0].file, True)]
    for sequence in s:
        try:
            sequence.check()
        except DataError as error:
            findings.append(Finding(f"{sequence.name}: masks", sequence.file, False, str(error)))
    lost = [x.name for x in s if not all(f.is_file() for f in x.frame_files())]
    found = f"frames of {len(s) - len(lost)} of {len(s)} videos"
    advice = f"missing: {', '.join(lost[:5])}{' …' if len(lost) > 5 else ''}; get {WHERE}"
    return [*findings, Finding(found, s[0].images, not lost, advice if lost else "")]


def _file(root: Path) -> Path:
    for name in _FILES:
        if (root / name).is_file():
            return root / name
    raise DataError(
        f"no YouTube-VIS annotations at {root}: looked for {', '.join(_FILES)}; {WHERE}"
    )


def _tracks(source: Source, content: Mapping[str, Any]) -> list[Track]:
    if content.get("annotations") is None:  # null in the official files of the other splits
        raise source.fault(
            "the file",
            "annotations",
            "a list, as the train split has one",
            content.get("annotations"),
        )
    return read_tracks(source, content, ids=True)


def _by_video(videos: Iterable[Video], tracks: Iterable[Track]) -> Mapping[int, list[Track]]:
    of_video: dict[int, list[Track]] = {video.id: [] for video in videos}
    for track in tracks:
        if track.video_id not in of_video:
            raise track.record.fault("video_id", "the id of a video of the file", track.video_id)
        of_video[track.video_id].append(track)
    return of_video
