"""All results of a batch at a glance: index.html, with contact sheets, scores and failures."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from unveil.batch.ledger import Book, Entry
from unveil.files import output_errors, written_whole

A_PAGE = 500
"""Videos on one page; the next are on index-2.html and so on."""


def write_index(out: Path, book: Book) -> Path:
    """Write the pages for what the ledger holds; return the first. Failures come first."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("unveil.batch", ""), autoescape=True, undefined=StrictUndefined
    )
    template = environment.get_template("index.html")
    entries = sorted(book.videos.items(), key=lambda item: (item[1].state != "failed", item[0]))
    pages = max(1, -(-len(entries) // A_PAGE))
    with output_errors(out):
        for number in range(1, pages + 1):
            part = entries[(number - 1) * A_PAGE : number * A_PAGE]
            text = template.render(
                title=out.absolute().name,
                states=book.states,
                total=len(entries),
                frames=int(book.frames),
                videos=list(_shown(out, part)),
                number=number,
                pages=[(n, _file(n)) for n in range(1, pages + 1)],
            )
            with written_whole(out / _file(number)) as partial:
                partial.write_text(text, encoding="utf-8", errors="backslashreplace")
    return out / _file(1)


def _file(number: int) -> str:
    return "index.html" if number == 1 else f"index-{number}.html"


def _shown(out: Path, entries: Sequence[tuple[str, Entry]]) -> Iterator[dict[str, Any]]:
    for name, entry in entries:
        yield {
            "name": name,
            "at": quote(os.fsencode(name)),
            "folder": str(out.absolute() / name),
            "source": entry.source,
            "state": entry.state,
            "done": entry.state == "done",
            "tries": entry.tries,
            "seconds": entry.seconds,
            "frames": int(entry.frames),
            "scores": [f"{score:.2f}" for score in entry.scores],
            "error": entry.error,
        }
