"""What an objects' head says of real sequences that it never saw, on the grid of patches.

    python benchmarks/objects_head.py runs/objects/head.safetensors runs/other/head.safetensors

Every `--stride`-th frame of DAVIS sequences and of schoolgirls (UNVEIL_SHARED, or ../shared beside
the repository) at the default size. One table of objectness: AUC of patches of the foreground
against patches with none of it, IoU with the foreground at each sequence's best threshold, and at
0.5 for all. One of instances, the true foreground given: patches are joined by average linkage of
the probability that two are of one object, cut at a half; IoU with each object's mask, one to one,
the mean over objects and frames. Beside it connected components, cosine of centred keys at the
best of seven thresholds a sequence, and the truth itself a patch. Means over sequences with their
standard errors; further heads, with the mean of the differences to the first one and its error.

Features are kept in `--features`, one file a sequence.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from PIL import Image
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.ndimage import label
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import squareform
from scipy.stats import rankdata
from torch.nn import functional as F

from unveil.attention.objects_file import head_metadata, load_head
from unveil.attention.objects_head import ObjectsHead, look
from unveil.errors import UnveilError
from unveil.features.backbone import Backbone
from unveil.settings import SIZE
from unveil.video.source import open_video

ROOT = Path(os.environ.get("UNVEIL_SHARED", Path(__file__).parents[2] / "shared")) / "data"
SETS = ("davis", "davis-train", "schoolgirls")
THRESHOLDS = np.linspace(0.02, 0.98, 33)
COSINES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
INSIDE, OUTSIDE = 0.5, 0.05
"""Share of the truth above which a patch is of the foreground, and below which it is not."""


@dataclass(frozen=True)
class ObjectsHeads:
    """Hold heads against the truth of real sequences."""

    heads: tyro.conf.Positional[tuple[Path, ...]]
    """Files of heads; the first is the one that others are compared with."""
    stride: int = 8
    """Of the frames."""
    sequences: str = ""
    """Names, comma-separated; all that are there by default."""
    features: Path = Path("runs/features")
    """Where the features of the sequences are kept."""
    each: bool = False
    """Every sequence too."""
    out: Path | None = None
    """A Markdown file to write the tables to."""


@dataclass(frozen=True)
class Sequence:
    """Keys of some frames, and the shares of each patch: the foreground's and each object's."""

    set: str
    name: str
    keys: torch.Tensor
    front: np.ndarray
    objects: list[dict[int, np.ndarray]]

    @property
    def several(self) -> bool:
        """Whether some frame shows two objects or more."""
        return max(map(len, self.objects), default=0) > 1


def main() -> int:
    args = tyro.cli(ObjectsHeads)
    try:
        return run(args)
    except UnveilError as error:
        print(f"objects_head.py: {error}", file=sys.stderr)
        return 2


def run(args: ObjectsHeads) -> int:
    about = head_metadata(args.heads[0])
    channels = about["head"]["channels"]
    names = [f"{path.parent.name}/{path.stem}" for path in args.heads]
    heads = [load_head(path, about["backbone"], channels) for path in args.heads]
    chosen = args.sequences.split(",") if args.sequences else None
    sequences = read_sequences(about["backbone"], args.stride, args.features, chosen)
    if not sequences:
        raise UnveilError(f"no sequences below {ROOT}: set UNVEIL_SHARED")
    said = [[look(head, s.keys) for s in sequences] for head in heads]
    text = objectness_table(names, sequences, said, args.each)
    text += "\n" + instances_table(names, heads, sequences, said, args.each)
    print(text)
    if args.out is not None:
        args.out.write_text(text)
    return 0


@dataclass(frozen=True)
class Place:
    """Where a sequence lies: its frames, and masks of the foreground and of objects by index."""

    set: str
    name: str
    source: Path
    front: list[Path]
    parts: list[Path]


def find_places() -> list[Place]:
    places = []
    for kind in SETS[:2]:
        for frames in sorted((ROOT / kind / "JPEGImages/480p").glob("*")):
            front, parts = (
                sorted((ROOT / kind / folder / "480p" / frames.name).glob("*.png"))
                for folder in ("Annotations", "Annotations_unsupervised")
            )
            places.append(Place(kind, frames.name, frames, front, parts))
    for video in sorted((ROOT / SETS[2]).glob("*.mp4")):
        masks = sorted((video.parent / f"{video.stem}_mask").glob("*.png"))
        places.append(Place(SETS[2], video.stem, video, [], masks))
    return places


def read_sequences(
    backbone: str, stride: int, folder: Path, chosen: list[str] | None
) -> list[Sequence]:
    loaded: list[Backbone] = []
    found = []
    for place in find_places():
        if chosen and place.name not in chosen:
            continue
        keys = read_features(place, backbone, folder, loaded)[0][::stride]
        masks = [truth(place, i) for i in range(0, len(keys) * stride, stride)]
        known = [i for i, m in enumerate(masks) if m is not None]
        grid = keys.shape[1:3]
        front = np.stack([shares(masks[i][0], grid) for i in known])
        objects = [{k: shares(masks[i][1] == k, grid) for k in ids(masks[i][1])} for i in known]
        found.append(Sequence(place.set, place.name, keys[known], front, objects))
    return found


def read_features(
    place: Place, backbone: str, folder: Path, loaded: list[Backbone], size: int = SIZE
) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and saliency of all frames, fp32, from a file where they are kept.

    loaded: the backbone once it had to be, for the next sequence.
    """
    kept = folder / f"{place.set}_{place.name}{f'_{size}' if size != SIZE else ''}.npz"
    if not kept.is_file():
        loaded[:] = loaded or [Backbone(backbone)]
        folder.mkdir(parents=True, exist_ok=True)
        parts = list(loaded[0].encode_chunks(open_video(place.source).chunks(8), size))
        np.savez(
            kept,
            keys=torch.cat([part.keys.half().cpu() for part in parts]).numpy(),
            saliency=torch.cat([part.saliency.float().cpu() for part in parts]).numpy(),
        )
    with np.load(kept) as arrays:
        if "saliency" not in arrays:
            raise UnveilError(f"{kept} is of an older benchmark, without saliency: remove it")
        return tuple(torch.from_numpy(arrays[k]).float() for k in ("keys", "saliency"))


def truth(place: Place, index: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Foreground and ids of a frame; None where it has neither."""
    front = parts = None
    if index < len(place.front):
        front = np.array(Image.open(place.front[index]).convert("L")) > 127
    if index < len(place.parts):
        parts = np.array(Image.open(place.parts[index]))
        parts = np.where(parts == 255, 0, parts)
    if front is None and parts is None:
        return None
    front = parts > 0 if front is None else front
    return front, front.astype(np.uint8) if parts is None else parts


def ids(mask: np.ndarray) -> list[int]:
    return [int(i) for i in np.unique(mask) if i]


def shares(mask: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    x = torch.from_numpy(mask.astype(np.float32))[None, None]
    return F.adaptive_avg_pool2d(x, grid)[0, 0].numpy()


def objectness_table(names: list[str], sequences: list[Sequence], said: list, each: bool) -> str:
    lines = ["| head | sequences | AUC | IoU, best threshold | IoU at 0.5 | ahead at 0.5 |"]
    lines += ["|---|---|---|---|---|---|"]
    first: dict[str, np.ndarray] = {}
    for name, looks in zip(names, said, strict=True):
        rows = [
            objectness(s, torch.sigmoid(x).numpy())
            for s, (x, _) in zip(sequences, looks, strict=True)
        ]
        for kind in SETS:
            these = np.array([r for s, r in zip(sequences, rows, strict=True) if s.set == kind])
            if not len(these):
                continue
            start = first.setdefault(kind, these)
            ahead = "" if start is these else mean_error(these[:, 2] - start[:, 2], "+")
            auc, best, half = (mean_error(x) for x in these.T)
            lines.append(f"| {name} | {kind}, {len(these)} | {auc} | {best} | {half} | {ahead} |")
        if each:
            lines += [
                f"| {name} | {s.name} | {a:.3f} | {b:.3f} | {h:.3f} | |"
                for s, (a, b, h) in zip(sequences, rows, strict=True)
            ]
    return "\n".join(lines) + "\n"


def objectness(sequence: Sequence, prob: np.ndarray) -> tuple[float, float, float]:
    """AUC, IoU at the best threshold, IoU at 0.5; frames without foreground count nowhere."""
    front = sequence.front
    there = front.max((1, 2)) > INSIDE
    known = (front > INSIDE) | (front < OUTSIDE)
    area = auc(prob[known], front[known] > INSIDE)
    curve = [
        np.mean([iou(p > t, f) for p, f in zip(prob[there], front[there], strict=True)])
        for t in (*THRESHOLDS, 0.5)
    ]
    return area, float(max(curve)), float(curve[-1])


def auc(score: np.ndarray, positive: np.ndarray) -> float:
    ranks, count = rankdata(score), positive.sum()
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (~positive).sum()))


def iou(inside: np.ndarray, share: np.ndarray) -> float:
    """IoU of whole patches with what the truth has of each."""
    return float((share * inside).sum() / np.maximum(share, inside).sum())


def instances_table(
    names: list[str], heads: list[ObjectsHead], sequences: list[Sequence], said: list, each: bool
) -> str:
    several = [i for i, s in enumerate(sequences) if s.several]
    if not several:
        return ""
    rows: dict[str, np.ndarray] = {
        "the truth a patch": score(
            sequences, several, lambda i, f, m: truth_labels(sequences[i], f, m)
        ),
        "connected components": score(
            sequences, several, lambda i, f, m: label(m, np.ones((3, 3)))[0][m]
        ),
    }
    cosine = [
        score(sequences, several, lambda i, f, m, t=t: join(cosines(sequences[i].keys[f], m), t))
        for t in COSINES
    ]
    rows["cosine of keys, best threshold"] = np.max(cosine, 0)
    for name, head, looks in zip(names, heads, said, strict=True):
        rows[name] = score(
            sequences,
            several,
            lambda i, f, m, h=head, k=looks: join(apart(h, k[i][1][f], m), 0.5),
        )
    lines = ["| instances, foreground given | " + " | ".join(sequences[i].name for i in several)]
    lines[0] += " | mean | ahead of the first head |"
    lines += ["|---" * (len(several) + 3) + "|"]
    for name, values in rows.items():
        ahead = "" if name == names[0] else mean_error(values - rows[names[0]], "+")
        cells = " | ".join(f"{v:.3f}" for v in values)
        lines.append(f"| {name} | {cells} | {values.mean():.3f} | {ahead} |")
    return "\n".join(lines) + "\n"


Label = Callable[[int, int, np.ndarray], np.ndarray]


def score(sequences: list[Sequence], several: list[int], label_of: Label) -> np.ndarray:
    """Matched IoU of each sequence with more than one object."""
    means = []
    for i in several:
        values = []
        for f, objects in enumerate(sequences[i].objects):
            mask = sequences[i].front[f] > INSIDE
            if objects and mask.sum() > 1:
                values.append(matched(objects, mask, label_of(i, f, mask)))
        means.append(np.mean(values))
    return np.array(means)


def truth_labels(sequence: Sequence, frame: int, mask: np.ndarray) -> np.ndarray:
    return 1 + np.stack(list(sequence.objects[frame].values())).argmax(0)[mask]


def apart(head: ObjectsHead, embedding: torch.Tensor, mask: np.ndarray) -> np.ndarray:
    """Probability that two patches are of two objects."""
    e = embedding[torch.from_numpy(mask)]
    return torch.sigmoid(-head.affinity(e[:, None], e[None])).numpy()


def cosines(keys: torch.Tensor, mask: np.ndarray) -> np.ndarray:
    x = F.normalize(keys - keys.mean((0, 1)), dim=-1)[torch.from_numpy(mask)]
    return (1 - x @ x.T).clamp_min(0).numpy()


def join(distance: np.ndarray, height: float) -> np.ndarray:
    distance = (distance + distance.T) / 2
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average")
    return fcluster(tree, height, "distance")


def matched(objects: dict[int, np.ndarray], mask: np.ndarray, labels: np.ndarray) -> float:
    """Mean over objects of the IoU with the segment that is matched to each, 0 where none is."""
    table = np.zeros((len(objects), labels.max()))
    for j in range(labels.max()):
        inside = np.zeros(mask.shape, bool)
        inside[mask] = labels == j + 1
        table[:, j] = [iou(inside, share) for share in objects.values()]
    rows, columns = linear_sum_assignment(-table)
    return float(table[rows, columns].sum() / len(objects))


def mean_error(values: np.ndarray, sign: str = "", digits: int = 3) -> str:
    """A mean and its standard error over sequences."""
    error = np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return f"{np.mean(values):{sign}.{digits}f} ± {error:.{digits}f}"


if __name__ == "__main__":
    sys.exit(main())
