"""The protocols by name: what each one measures, in its own words, and how scores become means.

Sequences are scored one by one into plain records, so that they can be kept and joined later:

    records = [PROTOCOLS["davis2017"].score(Measured(labels, truth)) for labels, truth in videos]
    PROTOCOLS["davis2017"].mean(records)["J&F"]
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unveil.errors import DataError
from unveil.metrics import clustering, davis, detection, steadiness
from unveil.metrics.overlap import Measured

Record = dict[str, Any]
"""What a protocol says of one sequence, as JSON can hold it: `values` by column, and details."""


@dataclass(frozen=True)
class Protocol:
    """One way of scoring.

    title, about: what a reader of its figures has to know. columns: names of the figures, the
    main one first; percent: those that are shares. limit: how many proposals it allows.
    """

    name: str
    title: str
    about: str
    columns: tuple[str, ...]
    percent: frozenset[str]
    limit: int | None
    _score: Callable[[Measured], Record]
    _mean: Callable[[Sequence[Record]], dict[str, float]]

    def score(self, m: Measured) -> Record:
        """Score one sequence. Raises DataError where it has more proposals than are allowed."""
        if self.limit is not None and len(m.ids) > self.limit:
            raise DataError(
                f"{len(m.ids)} proposals, {self.title} allows {self.limit}: keep the best ones, "
                "or choose other protocols with --protocol"
            )
        return self._score(m)

    def mean(self, records: Sequence[Record]) -> dict[str, float]:
        """The figures of all sequences together, by column; empty where there are none."""
        return self._mean(records) if records else {}


def _jf_record(j: np.ndarray, f: np.ndarray, names: Sequence[int], matched: list) -> Record:
    """A record from J and F [T, O] of the matched pairs."""
    objects = [
        {"id": int(name), "matched": match, "J": j[:, o].tolist(), "F": f[:, o].tolist()}
        for o, (name, match) in enumerate(zip(names, matched, strict=True))
    ]
    record = {"objects": objects}
    return {"values": _jf_mean([record]), **record}


def _jf_mean(records: Sequence[Record]) -> dict[str, float]:
    """Means over all objects of all sequences, each with the same weight."""
    objects = [o for r in records for o in r["objects"]]
    j = np.mean([davis.statistics(np.array(o["J"])) for o in objects], axis=0)
    f = np.mean([davis.statistics(np.array(o["F"])) for o in objects], axis=0)
    names = ("J", "J recall", "J decay", "F", "F recall", "F decay")
    values = dict(zip(names, [float(x) for x in (*j, *f)], strict=True))
    return {"J&F": (values["J"] + values["F"]) / 2, **values}


def _davis2016(m: Measured) -> Record:
    """The object without its first and last frame, and the proposal that fits it best there."""
    inner = m.labels[1:-1], m.truth[1:-1]
    if len(inner[0]) == 0:
        raise DataError("DAVIS-2016 leaves out the first and last frame: needs at least 3 frames")
    one = np.where((inner[1] != 0) & (inner[1] != 255), 1, inner[1])
    j, f, matched = davis.match_sequence(Measured(inner[0], one))
    return _jf_record(j, f, [1], matched)


def _davis2017(m: Measured) -> Record:
    j, f, matched = davis.match_sequence(m)
    return _jf_record(j, f, m.objects.tolist(), matched)


def _per_frame(m: Measured) -> Record:
    j, f, ids = davis.match_frames(m)
    return _jf_record(j, f, m.objects.tolist(), [list(x) for x in zip(*ids, strict=True)])


def _released(m: Measured) -> Record:
    return _per_frame(davis.as_released(m))


def _foreground(m: Measured) -> Record:
    whole = m.foreground()
    j, f, _ = davis.match_sequence(whole)
    return _jf_record(j, f, [1], [None])


def _fg_ari(m: Measured) -> Record:
    video, frames = clustering.fg_ari(m)
    seen = [x for x in frames if x is not None]
    return {
        "values": {"FG-ARI per frame": float(np.mean(seen)), "FG-ARI per video": video},
        "frames": frames,
    }


def _solv(m: Measured) -> Record:
    frames = clustering.matched_fg_ari(m)
    miou = clustering.video_miou(m)
    return {
        "values": {
            "mIoU": float(miou.mean()),
            "FG-ARI of matched": float(np.mean([x for x in frames if x is not None])),
        },
        "objects": [{"id": int(i), "mIoU": float(x)} for i, x in zip(m.objects, miou, strict=True)],
        "frames": frames,
    }


def _solv_mean(records: Sequence[Record]) -> dict[str, float]:
    """mIoU over all objects, FG-ARI over all videos."""
    objects = [o["mIoU"] for r in records for o in r["objects"]]
    return {**_column_mean(records), "mIoU": float(np.mean(objects))}


def _videosaur(m: Measured) -> Record:
    ari, ari_frames = clustering.fg_ari(m)
    best, frames = clustering.slot_overlap(m)
    record = {"ari frames": ari_frames, "overlap frames": frames}
    values = {"FG-ARI": ari, "mBO": float(best.mean())}
    return {"values": {**values, **_image_means([record])}, **record}


def _image_means(records: Sequence[Record]) -> dict[str, float]:
    """Means over all frames of all videos that show an object, each with the same weight."""
    columns = {"image FG-ARI": "ari frames", "image mBO": "overlap frames"}
    return {
        column: float(np.mean([x for r in records for x in r[frames] if x is not None]))
        for column, frames in columns.items()
    }


def _videosaur_mean(records: Sequence[Record]) -> dict[str, float]:
    """Those of videos over videos, those of images over frames."""
    return {**_column_mean(records), **_image_means(records)}


def _overlap(m: Measured) -> Record:
    miou, best = clustering.video_miou(m), clustering.best_overlap(m)
    return {
        "values": {"mIoU": float(miou.mean()), "mBO": float(best.mean())},
        "objects": [
            {"id": int(i), "mIoU": float(a), "mBO": float(b)}
            for i, a, b in zip(m.objects, miou, best, strict=True)
        ],
    }


def _overlap_mean(records: Sequence[Record]) -> dict[str, float]:
    objects = [o for r in records for o in r["objects"]]
    return {c: float(np.mean([o[c] for o in objects])) for c in ("mIoU", "mBO")}


def _video_ap(m: Measured) -> Record:
    ids, iou = m.overlapping
    scores = [float(m.scores.get(int(i), 1.0)) for i in ids]
    record = {"scores": scores, "iou": iou.tolist(), "objects": len(m.objects)}
    return {"values": _video_ap_mean([record]), **record}


def _video_ap_mean(records: Sequence[Record]) -> dict[str, float]:
    videos = [
        detection.Detections(
            np.array(r["scores"], float), np.array(r["iou"], float).reshape(-1, r["objects"])
        )
        for r in records
    ]
    return dict(zip(("AP", "AP50", "AR10"), _reordered(videos), strict=True))


def _reordered(videos: list[detection.Detections]) -> tuple[float, float, float]:
    ap50, ap, ar10 = detection.average_precision(videos)
    return ap, ap50, ar10


def _steadiness(m: Measured) -> Record:
    _, f, _ = davis.match_sequence(m)
    return {
        "values": {
            "id switches": steadiness.id_switches(m),
            "flicker": steadiness.flicker(f, m.present),
            "proposals": len(m.ids),
        }
    }


def _column_mean(records: Sequence[Record]) -> dict[str, float]:
    """The mean of every column over the sequences that have it."""
    columns: dict[str, list[float]] = {}
    for record in records:
        for column, value in record["values"].items():
            if value is not None:
                columns.setdefault(column, []).append(value)
    return {column: float(np.mean(values)) for column, values in columns.items()}


_JF = ("J&F", "J", "J recall", "J decay", "F", "F recall", "F decay")
_ARI = ("FG-ARI per frame", "FG-ARI per video")
_ALL = [
    Protocol(
        "davis2016",
        "DAVIS-2016",
        "One object, first and last frame not scored. Of several proposals the one counts that "
        "fits best over the sequence. Decay is a loss: lower is better.",
        _JF,
        frozenset(_JF),
        None,
        _davis2016,
        _jf_mean,
    ),
    Protocol(
        "davis2017",
        "DAVIS-2017 Unsupervised, standard",
        "At most 20 proposals that do not overlap; void removed; one Hungarian match a sequence "
        "on (mean J + mean F) / 2; J is 1 where both are empty; mean over all objects. Decay is a "
        "loss: lower is better.",
        _JF,
        frozenset(_JF),
        20,
        _davis2017,
        _jf_mean,
    ),
    Protocol(
        "davis2017-per-frame",
        "DAVIS-2017 Unsupervised, matched per frame",
        "As the standard one, but up to 300 proposals and a Hungarian match on J + F in each "
        "frame: an id may change from frame to frame at no cost, so J&F is never lower than by the "
        "standard one, and the two do not compare.",
        _JF,
        frozenset(_JF),
        300,
        _per_frame,
        _jf_mean,
    ),
    Protocol(
        "davis2017-released",
        "DAVIS-2017 Unsupervised, as the released code evaluates",
        "Matched per frame, with what the released evaluation of the method does besides: objects "
        "counted in frame 0 (those with higher ids are not scored), the last frame replaced by a "
        "copy of the mask before it, and an error above 300 proposals, also for Unveil's own.",
        _JF,
        frozenset(_JF),
        None,
        _released,
        _jf_mean,
    ),
    Protocol(
        "foreground",
        "Foreground",
        "All objects against the background, nothing matched; every frame scored.",
        _JF,
        frozenset(_JF),
        None,
        _foreground,
        _jf_mean,
    ),
    Protocol(
        "fg-ari",
        "FG-ARI",
        "Adjusted Rand index over the pixels of true objects, once a frame (mean over the frames "
        "of a video that show an object) and once a video; mean over videos. An object alone "
        "scores 1 where one label covers it whole, else 0.",
        _ARI,
        frozenset(_ARI),
        None,
        _fg_ari,
        _column_mean,
    ),
    Protocol(
        "miou",
        "mIoU and mBO",
        "mIoU: one Hungarian match a video on the mean IoU of its frames; mBO: the best volume "
        "IoU of any proposal; both mean over all objects.",
        ("mIoU", "mBO"),
        frozenset(("mIoU", "mBO")),
        None,
        _overlap,
        _overlap_mean,
    ),
    Protocol(
        "solv",
        "mIoU and FG-ARI as SOLV evaluates",
        "mIoU: one Hungarian match a video, as by miou. FG-ARI: once a frame after proposals "
        "without a match in the video became background, which forgives what is cut too fine; mean "
        "over the frames of a video that show an object, then over videos.",
        ("mIoU", "FG-ARI of matched"),
        frozenset(("mIoU", "FG-ARI of matched")),
        None,
        _solv,
        _solv_mean,
    ),
    Protocol(
        "videosaur",
        "FG-ARI and mBO as VideoSAUR evaluates",
        "FG-ARI once a video, mBO the best volume IoU of any cluster, mean over the objects of a "
        "video; both mean over videos. Of images: the same of every frame that shows an object, "
        "mean over all frames of all videos. What is predicted as background is a cluster as any.",
        ("FG-ARI", "mBO", "image FG-ARI", "image mBO"),
        frozenset(("FG-ARI", "mBO", "image FG-ARI", "image mBO")),
        None,
        _videosaur,
        _videosaur_mean,
    ),
    Protocol(
        "video-ap",
        "Class-agnostic video AP",
        "Average precision on volume IoU in the way of YouTube-VIS, all objects one class, over "
        "all videos together; at most 100 proposals a video, 10 for AR10. Proposals may overlap; "
        "those without a score count alike.",
        ("AP50", "AP", "AR10"),
        frozenset(("AP50", "AP", "AR10")),
        None,
        _video_ap,
        _video_ap_mean,
    ),
    Protocol(
        "steadiness",
        "Steadiness",
        "Id switches: how often an object (IoU from 0.5) is followed by another proposal than "
        "before. Flicker: mean change of the matched F between neighbouring frames. Proposals: "
        "how many. Means over sequences.",
        ("id switches", "flicker", "proposals"),
        frozenset(("flicker",)),
        None,
        _steadiness,
        _column_mean,
    ),
]
PROTOCOLS: dict[str, Protocol] = {p.name: p for p in _ALL}
"""All protocols by name."""
