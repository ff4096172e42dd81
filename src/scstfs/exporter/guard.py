"""What stands before every request: the name of this machine, a password, and strict headers."""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scstfs.exporter.listening import Protection, is_own_name

_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_ALLOWED: Final = ("GET", "HEAD")
_REALM: Final = {"WWW-Authenticate": 'Basic realm="scstfs", charset="UTF-8"'}


class Guard:
    """An ASGI application around another one."""

    def __init__(self, app: ASGIApp, protection: Protection) -> None:
        self._app = app
        self._protection = protection

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_strictly(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        answer = self._refusal(scope) or self._app
        await answer(scope, receive, send_strictly)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        if not is_own_name(headers.get("host", ""), self._protection.names):
            text = "This is not the name of this machine (see --name of scstfs exporter)\n"
            return PlainTextResponse(text, 421)
        if scope["method"] not in _ALLOWED:
            return PlainTextResponse("Nothing can be changed here\n", 405, {"Allow": "GET, HEAD"})
        if self._protection.users and not self._is_user(headers.get("authorization", "")):
            return PlainTextResponse("A user and a password are needed\n", 401, _REALM)
        return None

    def _is_user(self, given: str) -> bool:
        scheme, _, encoded = given.partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            decoded = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            return False
        name, _, password = decoded.partition(b":")
        found = False
        # All are compared, so that the time tells nothing.
        for user, secret in self._protection.users.items():
            is_name = hmac.compare_digest(user.encode(), name)
            is_password = hmac.compare_digest(secret.encode(), password)
            found = found or (is_name and is_password)
        return found
