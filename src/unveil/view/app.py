"""What the page asks for, and who may ask.

Only the address with the token is answered, only under the names of this machine (so that no other
page can reach it by pointing its name here), and the files of the page are read once, when the
program starts: no path of a request reaches the file system.
"""

import base64
import contextlib
import ipaddress
import json
from collections.abc import AsyncIterator, Callable
from importlib.resources import files
from typing import Any

from anyio.to_thread import current_default_thread_limiter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from unveil.editing.edits import Point, parse
from unveil.errors import UnveilError
from unveil.view.desk import Desk

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_LONGEST = 1 << 20  # bytes of a request's body
_AT_ONCE = 4
"""Threads that answer: more would wait for each other, and each keeps memory of its own."""
_SAFE = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
_FOREVER = {"cache-control": "private, max-age=31536000, immutable"}
_NEVER = {"cache-control": "no-store"}


def make_app(desk: Desk, token: str, hosts: frozenset[str]) -> ASGIApp:
    """The app of one viewer. token: of its address. hosts: names it answers to, beside numbers."""
    page = {f.name: f.read_bytes() for f in files("unveil.view").joinpath("page").iterdir()}

    def asset(request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        kind = _KINDS.get("." + name.rpartition(".")[2])
        if name not in page or kind is None:
            return _refused(404, "there is no such page")
        return Response(page[name], media_type=kind, headers=_NEVER)

    def state(request: Request) -> Response:
        return _json(desk.state())

    def about(request: Request) -> Response:
        return _json(desk.session.about())

    def panels(request: Request) -> Response:
        attention = desk.session.attention
        found = [
            {"name": name, "title": panel.title, "about": panel.about, "heads": panel.heads}
            for name, panel in attention.panels().items()
        ]
        return _json({"panels": found, "lacks": attention.lacks})

    def scene(request: Request) -> Response:
        return _json(desk.session.scene())

    def frame(request: Request) -> Response:
        content = desk.session.film.picture(request.path_params["frame"])
        return Response(content, media_type="image/jpeg", headers=_FOREVER)

    def mask(request: Request) -> Response:
        return _words(desk.session.mask(**request.path_params))

    def clusters(request: Request) -> Response:
        return _words(desk.session.clusters(**request.path_params))

    def heat(request: Request) -> Response:
        content = desk.session.attention.picture(*_pressed(request))
        return Response(content, media_type="image/png", headers=_FOREVER)

    def edit(request: Request, said: Any) -> Response:
        session, asked = desk.session, request.query_params
        frame, version = (int(asked[x]) if x in asked else None for x in ("frame", "version"))
        after = session.edit(parse(said), frame, version)
        if frame is not None:
            # What is done is done: where its mask cannot be painted, it is asked for and said then.
            with contextlib.suppress(KeyError, UnveilError):
                mask = session.mask(after["version"], frame)
                after["mask"] = base64.b64encode(mask).decode()
        return _json(after)

    def preview(request: Request, said: Any) -> Response:
        return _words(desk.session.preview(parse(said["edit"]), int(said["frame"])))

    def save(request: Request, said: Any) -> Response:
        desk.save()
        return _json(desk.state())

    def source(request: Request, said: Any) -> Response:
        desk.find_source(said["source"])
        return _json(desk.state())

    at = "/{token}/api"
    routes = [
        Route("/{token}/", asset),
        Route("/{token}/{name:str}", asset),
        Route(f"{at}/state", state),
        Route(f"{at}/about", _told(about)),
        Route(f"{at}/panels", _told(panels)),
        Route(f"{at}/scene", _told(scene)),
        Route(f"{at}/frame/{{frame:int}}.jpg", _told(frame)),
        Route(f"{at}/mask/{{version:int}}/{{frame:int}}", _told(mask)),
        Route(f"{at}/clusters/{{version:int}}/{{frame:int}}", _told(clusters)),
        Route(f"{at}/heat/{{panel:str}}/{{frame:int}}.png", _told(heat)),
        Route(f"{at}/edit", _posted(edit), methods=["POST"]),
        Route(f"{at}/preview", _posted(preview), methods=["POST"]),
        Route(f"{at}/save", _posted(save), methods=["POST"]),
        Route(f"{at}/source", _posted(source), methods=["POST"]),
    ]
    return Guard(Starlette(routes=routes, lifespan=_few_threads), token, hosts)


@contextlib.asynccontextmanager
async def _few_threads(app: Starlette) -> AsyncIterator[None]:
    current_default_thread_limiter().total_tokens = _AT_ONCE
    yield


class Guard:
    """Lets through what carries the token and was sent to a name of this machine."""

    def __init__(self, app: ASGIApp, token: str, hosts: frozenset[str]) -> None:
        self._app, self._token, self._hosts = app, token, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        if scope["type"] != "http":
            return
        request = Request(scope)
        host = request.headers.get("host", "")
        origin = request.headers.get("origin")
        refused = None
        if not self._is_ours(host):
            refused = _refused(421, "this name is not of this machine")
        elif origin is not None and origin.partition("://")[2] != host:
            refused = _refused(403, "another page may not ask")
        elif not _same(request.url.path.split("/")[1], self._token):
            refused = _refused(403, "open the address that 'unveil view' printed")
        if refused is not None:
            await refused(scope, receive, send)
            return

        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                safe = [(k.encode(), v.encode()) for k, v in _SAFE.items()]
                message = {**message, "headers": [*message.get("headers", []), *safe]}
            await send(message)

        await self._app(scope, receive, answer)

    def _is_ours(self, host: str) -> bool:
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if name in self._hosts:
            return True
        try:  # a number cannot be pointed elsewhere, as a name can
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True


def _same(a: str, b: str) -> bool:
    import hmac

    return hmac.compare_digest(a.encode(), b.encode())


def _told(answer: Callable[[Request], Response]) -> Callable[[Request], Response]:
    """The answer, or in words why there is none."""

    def told(request: Request) -> Response:
        request.path_params.pop("token", None)
        try:
            return answer(request)
        except KeyError:
            return _refused(410, "that is out of date: ask again")
        except UnveilError as error:
            return _refused(409, str(error))

    return told


def _posted(answer: Callable[[Request, Any], Response]) -> Any:
    """The answer to JSON that was sent, or in words why there is none."""
    from starlette.concurrency import run_in_threadpool

    async def posted(request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _LONGEST:
                return _refused(413, "too long")
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            return _refused(415, "expected JSON")
        try:
            return await run_in_threadpool(answer, request, json.loads(body))
        except (ValueError, KeyError, TypeError) as error:
            return _refused(400, f"expected JSON as the page sends it: {error}")
        except UnveilError as error:
            return _refused(409, str(error))

    return posted


def _pressed(request: Request) -> tuple[str, Point, int, int | None]:
    """The panel, the point that was pressed, the frame that is looked at and the head if any."""
    of = request.query_params
    panel, frame = request.path_params["panel"], request.path_params["frame"]
    try:
        x, y = (min(max(float(of[name]), 0.0), 1.0) for name in ("x", "y"))
        head = int(of["head"]) if "head" in of else None
        return panel, (int(of["at"]), x, y), frame, head
    except ValueError:
        raise KeyError("point") from None


def _json(content: Any) -> Response:
    return JSONResponse(content, headers=_NEVER)


def _words(content: bytes) -> Response:
    return Response(content, media_type="application/octet-stream", headers=_NEVER)


def _refused(status: int, why: str) -> Response:
    return JSONResponse({"error": why}, status, headers=_NEVER)
