"""Administration over HTTP: a resource that lets in who may, and bounds what they send."""

from __future__ import annotations

import json
from importlib.resources import files
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote

import msgspec
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from veltix_tx.app.auth import Identity, TokenFile
from veltix_tx.net.addresses import shown, source_of
from veltix_tx.net.shared.authentication import Credentials, SourceBackoff
from veltix_tx.net.shared.turn_queue import TurnQueue
from veltix_tx.ops.admin_api import ApiError, Call, Text, Watch
from veltix_tx.ops.event_stream import EventStream
from veltix_tx.ops.interface import Administered
from veltix_tx.ops.logins import Logins

__all__ = ["MOST_BODY", "AdminResource"]

MOST_BODY = 64 * 1024
"""Bytes of a request's body."""

_OPEN = ("healthz", "readyz")
"""Paths that need no token: probes have none, and they tell nothing else."""

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

_PAGE = {
    "": ("index.html", "text/html; charset=utf-8"),
    "style.css": ("style.css", "text/css; charset=utf-8"),
    "app.js": ("app.js", "text/javascript; charset=utf-8"),
}
"""The operator's page: paths, files of the package, types. It is open to everybody: there is nothing in it but how to ask."""

_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_FORGIVEN = 10
"""Wrong tokens of one source in a minute; beyond it the source waits. This machine's own addresses do not."""

_log = Logger()


class AdminResource(Resource):
    """Resource of a server's administration, for a site of its own or one that exists.

    Nothing but JSON is taken for a change, from no page of another origin, and, without tokens, under no name but this machine's: a
    page in a browser on this machine can neither read nor change anything.

    Args:
        api: what answers.
        stream: who reads snapshots.
        tokens: lets in who presents one of its tokens, ``Authorization: Bearer ...`` or the cookie of a login with one; without
            it everybody who reaches it.
    """

    isLeaf = True  # noqa: N815 (Twisted's name)

    def __init__(self, api: Administered, stream: EventStream, tokens: TokenFile | None = None) -> None:
        super().__init__()
        self._api = api
        self._stream = stream
        self._tokens = tokens
        self._logins = Logins(self._uptime)
        self._page = {path: Text((files(__package__) / "page" / name).read_bytes(), kind) for path, (name, kind) in _PAGE.items()}
        self._backoff = SourceBackoff(self._uptime, _FORGIVEN)
        self._turns: TurnQueue | None = None  # answers, so that many requests hold up nobody else; made of the clocks of the first

    def _uptime(self) -> float:
        """Return the server's uptime, by the clock that it has by now."""
        return self._api.clocks.uptime()

    def render(self, request: Request) -> int:
        """Answer a request, now or later."""
        gone: list[Failure] = []
        request.notifyFinish().addErrback(gone.append)

        def done(result: object) -> None:
            if not gone and result is not NOT_DONE_YET:
                _write(request, result)

        def answer() -> None:
            if not gone:
                maybeDeferred(self._answer, request).addErrback(_as_answer).addCallback(done).addErrback(
                    lambda failure: _log.failure("an answer could not be written", failure)
                )

        if self._turns is None:
            self._turns = TurnQueue(self._api.clocks.reactor, self._api.clocks.uptime)
        self._turns.add(answer)
        return NOT_DONE_YET

    def _answer(self, request: Request) -> object:
        path = "/".join(part.decode("utf-8", "replace") for part in request.postpath or ())
        method = request.method.decode("ascii", "replace")
        _check_headers(request)
        if path in self._page:
            self._check_host(request)
            return self._show_page(request, path, method)
        self._check_origin(request)
        if path in ("login", "logout"):
            if method != "POST":
                raise ApiError(405, "it takes POST only")
            return self._login(request) if path == "login" else self._logout(request)
        who = "somebody" if path in _OPEN else self._let_in(request)
        body: Any = {}
        if method == "POST":
            body = _body(request)
        query = {name.decode("utf-8", "replace"): values[-1].decode("utf-8", "replace") for name, values in request.args.items()}
        answer = self._api.answer("GET" if method == "HEAD" else method, path, Call(query, body, who))
        return self._watch(request, answer) if isinstance(answer, Watch) else answer

    def _show_page(self, request: Request, path: str, method: str) -> Text:
        """Return a file of the operator's page, whoever asks for it and from wherever: links to it work."""
        if method not in ("GET", "HEAD"):
            raise ApiError(405, "it takes GET only")
        if not path and not request.path.endswith(b"/"):  # its own links go from there
            request.setHeader("Location", request.path + b"/")
            return Text(b"", status=301)
        return self._page[path]

    def _watch(self, request: Request, watch: Watch) -> object:
        if request.method == b"HEAD":
            return Text(b"", "text/event-stream")
        _set_headers(request, "text/event-stream")
        request.setHeader("X-Accel-Buffering", "no")  # a proxy is not to collect them
        self._stream.add(request, watch, lambda: self._tokens is None or self._identify(request, self._token(request)) is not None)
        return NOT_DONE_YET

    def _login(self, request: Request) -> object:
        """Set a cookie for who presents a token."""
        token = _body(request).get("token")
        if not isinstance(token, str):
            raise ApiError(400, "token must be given in the body, a str")
        if self._tokens is None:
            return {"name": ""}
        identity = self._check_token(request, token)
        _log.warn("{name} at {peer} logged in to the administration", name=identity.name, peer=shown(request.getClientAddress()))
        self._set_cookie(request, self._logins.begin(token))
        return {"name": identity.name}

    def _logout(self, request: Request) -> object:
        """End the login of a cookie, and with it what it reads."""
        _body(request)
        self._logins.end(self._key(request))
        self._set_cookie(request, "", max_age="0")
        return {}

    def _set_cookie(self, request: Request, key: str, **more: Any) -> None:
        # No script can read it, and no page of another site has it sent. Its name has the port, which cookies do not tell apart.
        secure = request.isSecure() or (request.getHeader("origin") or "").startswith("https://")  # to a proxy with TLS
        path = quote("/" + "/".join(part.decode("utf-8", "replace") for part in request.prepath or ()))
        request.addCookie(_cookie_name(request), key, path=path, secure=secure, httpOnly=True, sameSite="strict", **more)

    def _key(self, request: Request) -> str:
        key = request.getCookie(_cookie_name(request).encode())
        return "" if key is None else key.decode("ascii", "replace")

    def _check_origin(self, request: Request) -> None:
        """Refuse what a page of somebody else's has a browser send."""
        origin = request.getHeader("origin")
        host = request.getHeader("host")
        if origin is not None and (not host or origin.partition("://")[2] != host):
            raise ApiError(403, "requests of another origin are refused")
        if request.getHeader("sec-fetch-site") not in (None, "none", "same-origin"):
            raise ApiError(403, "requests of another site are refused")
        self._check_host(request)

    def _check_host(self, request: Request) -> None:
        if self._tokens is None and not _is_address(request.getHeader("host") or ""):
            raise ApiError(403, "without tokens it is asked by address or as localhost only")

    def _let_in(self, request: Request) -> str:
        """Return who asks; raises ApiError for one who may not."""
        peer = shown(request.getClientAddress())
        if self._tokens is None:
            return f"the operator at {peer}"
        return f"{self._check_token(request, self._token(request)).name} at {peer}"

    def _token(self, request: Request) -> str:
        """Return the token that a request presents, itself or by a login's cookie; empty for none."""
        kind, _, token = (request.getHeader("authorization") or "").partition(" ")
        if kind:
            return token if kind.lower() == "bearer" else ""
        return self._logins.token(self._key(request)) or ""

    def _check_token(self, request: Request, token: str) -> Identity:
        """Return whose token it is; raises ApiError for none, and for everything of a source that has tried too many."""
        source = source_of(request.getClientAddress())
        wait = self._backoff.remaining(source)
        if wait > 0:
            raise ApiError(429, f"too many wrong tokens: wait {wait:.0f} s")
        identity = self._identify(request, token)
        if identity is None:
            if token:
                self._backoff.count(source)
            needed = "a token is needed: Authorization: Bearer TOKEN, or a login"
            raise ApiError(401, "the token is not known" if token else needed)
        return identity

    def _identify(self, request: Request, token: str) -> Identity | None:
        if self._tokens is None or not token:
            return None
        address, encrypted = request.getClientAddress(), request.isSecure()
        return self._tokens(
            Credentials(address=address, encrypted=encrypted, certificate=None, wire="http", version="", token=token)
        )


def _cookie_name(request: Request) -> str:
    host = request.getHost()
    return f"veltix_admin_{host.port if isinstance(host, (IPv4Address, IPv6Address)) else 0}"


def _check_headers(request: Request) -> None:
    """Raise ApiError for headers that could be read in two ways: no text, or one of those that decide given twice."""
    for name, values in request.requestHeaders.getAllRawHeaders():
        if name.lower() in (b"host", b"origin", b"authorization") and len(values) > 1:
            raise ApiError(400, f"the header {name.decode('ascii', 'replace')} is given {len(values)} times")
        try:
            b"".join(values).decode()
        except UnicodeDecodeError:
            raise ApiError(400, f"the header {name.decode('ascii', 'replace')} is no text of UTF-8") from None


def _body(request: Request) -> dict[str, Any]:
    """Return the JSON object of a request's body; raises ApiError."""
    if (request.getHeader("content-type") or "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError(415, "the body must be JSON, with Content-Type: application/json")
    assert request.content is not None
    content = request.content.read(MOST_BODY + 1)
    if len(content) > MOST_BODY:
        raise ApiError(413, f"the body must have at most {MOST_BODY} bytes")
    try:
        body = json.loads(content or b"{}")
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise ApiError(400, "the body must be a JSON object")
    return body


def _is_address(host: str) -> bool:
    """Return True if a Host header names an address, or this machine: no name that somebody else's DNS could point here."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() and not host.endswith("]") else host
    if name.lower() == "localhost" or not host:
        return True
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _as_answer(failure: Failure) -> Text:
    error = failure.value
    if not isinstance(error, ApiError):
        _log.failure("a request to the administration failed", failure)
        error = ApiError(500, "it failed; the log has more")
    return Text(msgspec.json.encode({"error": error.said}), "application/json", error.status)


def _set_headers(request: Request, content_type: str, policy: str = _HEADERS["Content-Security-Policy"]) -> None:
    for name, value in _HEADERS.items():
        request.setHeader(name, value)
    request.setHeader("Content-Security-Policy", policy)
    request.setHeader("Content-Type", content_type)


def _write(request: Request, result: object) -> None:
    answer = result if isinstance(result, Text) else Text(msgspec.json.encode(result), "application/json")
    request.setResponseCode(answer.status)
    _set_headers(request, answer.content_type, *([_PAGE_POLICY] if answer.content_type.startswith("text/html") else []))
    request.setHeader("Content-Length", str(len(answer.content)))
    if answer.status == 401:
        request.setHeader("WWW-Authenticate", "Bearer")
    if answer.status == 503:
        request.setHeader("Retry-After", "5")
    if request.method != b"HEAD":
        request.write(answer.content)
    request.finish()
