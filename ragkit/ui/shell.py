"""ASGI layer around Gradio: who may ask, security headers, and a script that runs before Gradio boots.

launch(head=...) arrives inside Gradio's configuration and is added by JavaScript, after Gradio has
chosen its language; so what decides language and theme is written into the served page itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragkit.ui.strings import COOKIE

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

# Gradio's own page needs 'unsafe-inline' and 'unsafe-eval'. What matters here is the rest: no image,
# request, form or frame of a poisoned document reaches another host.
CSP: Final = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' blob:",
        "font-src 'self' data:",
        "connect-src 'self' blob: data:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
_HEADERS: Final = (
    (b"content-security-policy", CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})

# Gradio reads navigator.language and ?__theme= while it boots. app.js takes the parameter away again.
_BEFORE_GRADIO: Final = """<script>(() => {
const kept = (key) => { try { return localStorage.getItem(key) } catch { return null } };
const language = (kept("ragkit-language") || FORCED || navigator.language).startsWith("zh") ? "zh-CN" : "en";
Object.defineProperty(navigator, "language", { get: () => language, configurable: true });
document.documentElement.lang = language;
document.cookie = "COOKIE=" + language + ";path=/;max-age=31536000;SameSite=Lax";
const theme = kept("ragkit-theme");
const dark = theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
document.documentElement.style.background = dark ? "#101416" : "#f6f8f8";
if (theme) {
  const address = new URL(location);
  address.searchParams.set("__theme", theme);
  history.replaceState(null, "", address);
}
})()</script><style>.wrap.min-h-screen { background: none !important }</style>"""  # the login's white box


class Shell:
    """Middleware: refuse foreign hosts and origins, add headers, put the script into the page.

    `hosts` are the names under which the page may be reached; None when a login guards it, which a
    page under a foreign name cannot borrow, because its cookies belong to our name.
    """

    def __init__(self, app: ASGIApp, *, hosts: Iterable[str] | None, language: str = "") -> None:
        self._app = app
        self._hosts = None if hosts is None else frozenset(host.lower() for host in hosts)
        script = _BEFORE_GRADIO.replace("FORCED", json.dumps(language)).replace("COOKIE", COOKIE)
        self._script = script.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self.refusal(scope["method"], Headers(scope=scope))
        if refusal:
            await PlainTextResponse(refusal + "\n", status_code=403)(scope, receive, send)
            return
        await self._app(scope, receive, self._rewriting(send, page=scope["path"] in ("", "/")))

    def refusal(self, method: str, headers: Headers) -> str:
        """Say why a request is refused; "" lets it pass.

        A foreign Host is DNS rebinding: a page elsewhere whose name was pointed at this machine. A
        foreign Origin on a request that changes something is another page using this browser's login.
        """
        host = headers.get("host", "")
        if self._hosts is not None and hostname(host) not in self._hosts:
            return "ragkit: this name is not served here (RAGKIT_ALLOWED_HOSTS adds one)"
        origin = headers.get("origin")
        if origin is None or method in _READING:  # no browser sends a foreign POST without Origin
            return ""
        own = {host.lower()}
        if self._hosts is None:  # behind a tunnel; another site cannot set this header
            own.add(headers.get("x-forwarded-host", "").lower())
        return "" if urlsplit(origin).netloc.lower() in own - {""} else "ragkit: foreign origin"

    def _rewriting(self, send: Send, *, page: bool) -> Send:
        start: Message | None = None  # held until its length is known

        async def rewritten(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *_HEADERS]}
                if page and (b"content-type", b"text/html; charset=utf-8") in message["headers"]:
                    start = message
                    return
            elif start is not None and message["type"] == "http.response.body":
                body = message.get("body", b"").replace(b"<head>", b"<head>" + self._script, 1)
                headers = [pair for pair in start["headers"] if pair[0] != b"content-length"]
                if not message.get("more_body"):
                    headers.append((b"content-length", str(len(body)).encode()))
                await send({**start, "headers": headers})
                start, message = None, {**message, "body": body}
            await send(message)

        return rewritten


def hostname(host: str) -> str:
    """'[::1]:7860' -> '::1', 'Localhost:7860' -> 'localhost'."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
