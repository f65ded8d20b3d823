"""Which protocols a dataset is scored by, and how their records become the rows of a report."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from unveil.errors import InputError
from unveil.metrics import PROTOCOLS, Measured

_ANY = ("foreground", "fg-ari", "miou", "solv", "steadiness")
_DEFAULTS = {
    "davis2016": ("davis2016", "foreground"),
    "davis2017": ("davis2017", "davis2017-per-frame", *_ANY),
    "folder": ("davis2017", "davis2017-per-frame", "video-ap", *_ANY),
    "ytvis2019": ("miou", "fg-ari", "solv", "video-ap", "davis2017", "foreground", "steadiness"),
    "ytvis2021": (
        *("miou", "fg-ari", "solv", "videosaur", "video-ap"),
        *("davis2017", "foreground", "steadiness"),
    ),
    "movi": ("fg-ari", "miou", "solv", "videosaur", "davis2017", "steadiness"),
}


def defaults(dataset: str) -> tuple[str, ...]:
    """The protocols that fit a dataset, the main one first."""
    return _DEFAULTS[dataset.partition("-")[0]]


def check(names: Iterable[str]) -> None:
    """Raise InputError for a protocol that does not exist, or where there is none."""
    names = list(names)
    strange = [name for name in names if name not in PROTOCOLS]
    if strange or not names:
        what = f"no protocol {', '.join(strange)}" if strange else "no protocol given"
        raise InputError(f"{what}; there are {', '.join(PROTOCOLS)}")


def score_all(names: Sequence[str], measured: Measured, *, drop: bool) -> dict[str, Any]:
    """The records of one sequence by protocol.

    drop: where there are more proposals than a protocol allows, keep those with the highest
    scores and say so in the record; otherwise that is a DataError. What protocols share is
    computed once.
    """
    limited: dict[int | None, Measured] = {None: measured}
    records = {}
    for name in names:
        protocol = PROTOCOLS[name]
        limit = protocol.limit if drop and len(measured.ids) > (protocol.limit or np.inf) else None
        if limit is not None and limit not in limited:
            limited[limit] = best_scored(measured, limit)
        records[name] = protocol.score(limited[limit])
        if limit is not None:
            dropped = len(measured.ids) - limit
            records[name]["note"] = f"best {limit} proposals by score, {dropped} dropped"
    return records


def best_scored(measured: Measured, count: int) -> Measured:
    """Only the proposals with the highest scores; the others become background."""
    ids = sorted((int(i) for i in measured.ids), key=lambda i: (-measured.scores.get(i, 0.0), i))
    kept = np.isin(measured.labels, ids[:count])
    labels = np.where(kept, measured.labels, 0).astype(measured.labels.dtype)
    return Measured(labels, measured.truth, {i: measured.scores.get(i, 0.0) for i in ids[:count]})


def summary(name: str, results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A protocol's part of the report: means over all results, and a row for each.

    results: as `unveil.evaluate.run.score` gives them, without failures.
    """
    protocol = PROTOCOLS[name]
    records = [r["scores"][name] for r in results]
    return {
        "title": protocol.title,
        "about": protocol.about,
        "columns": list(protocol.columns),
        "percent": sorted(protocol.percent),
        "mean": protocol.mean(records),
        "rows": [
            {
                "sequence": result["sequence"],
                "values": record["values"],
                "note": "; ".join(n for n in (result["note"], record.get("note")) if n),
                "detail": {k: v for k, v in record.items() if k not in ("values", "note")},
            }
            for result, record in zip(results, records, strict=True)
        ],
    }
