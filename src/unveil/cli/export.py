"""`unveil export`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from unveil.errors import InputError

_Repeated = tyro.conf.UseAppendAction


@dataclass(frozen=True)
class Export:
    """Write a result in the forms of other tools: COCO, YOLO, CVAT, alpha video, CSV and more."""

    folder: tyro.conf.Positional[Path]
    """A result of `unveil segment`."""
    to: Annotated[tuple[str, ...], _Repeated] = ()
    """A form; may be given several times. Without any, all forms are listed."""
    out: Path | None = None
    """The folder that the exports are put in; FOLDER-export by default."""
    objects: str | None = None
    """Only these ids: 1,3."""
    every: int = 1
    """Every so many frames one."""
    name: Annotated[tuple[str, ...], _Repeated] = ()
    """A name for an object, which becomes its class: 1=dog; may be given several times."""
    source: Path | None = None
    """The video, where it is no longer where it was."""
    again: bool = False
    """Replace what an earlier export wrote."""
    no_images: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Write no pictures beside the annotations."""
    val: float | None = None
    """Share of the frames that YOLO keeps for validation, the last ones; 0.2 by default."""
    hard_edges: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Cut objects out at the borders of their masks, not softly."""
    colour: str | None = None
    """Of the green screen: #00b140 by default."""
    blur: float | None = None
    """How far a background is blurred, as a part of the longer side; 0.02 by default."""

    def run(self) -> int:
        """Export to every form, and say where it lies."""
        from unveil.cli.progress import progress
        from unveil.exports.formats import FORMATS, check_options, export, find_format
        from unveil.exports.place import check_place
        from unveil.exports.result import open_result

        if not self.to:
            for name, form in FORMATS.items():
                print(f"{name:14} {form.about}")
            raise InputError("nothing to export to: choose one of these with --to")
        forms = {name: find_format(name) for name in self.to}
        options = self._options()
        check_options(list(forms), options)
        result = open_result(self.folder, self.source)
        if not self.hard_edges and any("soft" in form.options for form in forms.values()):
            from unveil.segmentation.soft_edges import with_soft_edges

            result = with_soft_edges(result, self.folder)
        result = result.select(ids(self.objects), self.every, names(self.name))
        folder = self.folder.expanduser().absolute()
        out = (self.out or folder.with_name(f"{folder.name}-export")).expanduser().absolute()
        for form in forms.values():
            check_place(out / form.file, self.again)
        for name, form in forms.items():
            taken = {k: v for k, v in options.items() if k in form.options}
            with progress(f"{self.folder.name} to {name}") as show:
                place = export(
                    result, out / form.file, name, again=self.again, on_progress=show, **taken
                )
            print(f"{name:14} {place}")
        return 0

    def _options(self) -> dict[str, Any]:
        every = {
            "images": False if self.no_images else None,
            "val": self.val,
            "soft": False if self.hard_edges else None,
            "colour": self.colour,
            "blur": self.blur,
        }
        return {name: value for name, value in every.items() if value is not None}


def ids(text: str | None) -> list[int] | None:
    """Ids as `1,3`. Raises InputError for anything else."""
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"objects: expected ids such as 1,3, got {text!r}") from None


def names(pairs: tuple[str, ...]) -> dict[int, str]:
    """Names as `1=dog`. Raises InputError for anything else."""
    found = {}
    for pair in pairs:
        id, equals, name = pair.partition("=")
        if not equals or not id.strip().isdecimal() or not name.strip():
            raise InputError(f"name: expected an id and its name such as 1=dog, got {pair!r}")
        found[int(id)] = name.strip()
    return found
