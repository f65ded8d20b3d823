"""`unveil weights list | pull | path`."""

from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Annotated

import tyro


@dataclass(frozen=True)
class List:
    """List the named backbones: source, licence, and whether they are here."""

    def run(self) -> int:
        """Print the table."""
        from unveil.features import weights

        for row in weights.TABLE.values():
            here = (weights.cached(row.name) / "model.safetensors").is_file()
            print(f"{row.name}{' (here)' if here else ''}")
            print(f"  source   {row.source}")
            print(f"  SHA-256  {row.sha256}")
            print(f"  licence  {row.licence}")
            print(f"  patch    {row.patch} px; RGB mean {row.mean}, std {row.std}")
            if row.note:
                print(f"  note     {row.note}")
        return 0


@dataclass(frozen=True)
class Pull:
    """Fetch weights into the cache, checked against their digest."""

    name: tyro.conf.Positional[str]
    """A name of `unveil weights list`, or a hub id (owner/model)."""
    source: FilePath | None = None
    """Take them from this local file or folder instead of the network."""

    def run(self) -> int:
        """Fetch and print the folder."""
        from unveil.features import weights

        print(weights.pull(self.name, self.source))
        return 0


@dataclass(frozen=True)
class Path:
    """Print the folder of weights that are here."""

    name: tyro.conf.Positional[str]
    """A name of `unveil weights list`, a hub id or a local folder."""

    def run(self) -> int:
        """Print the folder."""
        from unveil.features import weights

        print(weights.path(self.name))
        return 0


@dataclass(frozen=True)
class Weights:
    """Backbone weights by name."""

    command: (
        Annotated[List, tyro.conf.subcommand("list")]
        | Annotated[Pull, tyro.conf.subcommand("pull")]
        | Annotated[Path, tyro.conf.subcommand("path")]
    )
    """What to do."""

    def run(self) -> int:
        """Do it."""
        return self.command.run()
