"""Where the page listens and who may come in: ports, logins, names. Knows no Gradio."""

from __future__ import annotations

import ipaddress
import secrets
import socket
import webbrowser
from typing import Final, NamedTuple

from ragkit.errors import UsageError

DEFAULT_PORT: Final = 7860
_PORTS_TRIED: Final = 100


class Login(NamedTuple):
    user: str
    password: str


def login(auth: str, *, public: bool) -> Login | None:
    """The login that guards the page. A public page gets one made when none is given.

    Raises UsageError for `auth` that is not USER:PASSWORD.
    """
    if auth:
        user, colon, password = auth.partition(":")
        if not (user.strip() and colon and password):
            raise UsageError("the login must be USER:PASSWORD", "For example: --auth me:a-long-password")
        return Login(user.strip(), password)
    return Login("ragkit", secrets.token_urlsafe(12)) if public else None


def is_loopback(host: str) -> bool:
    """Tell whether only this computer can reach a page that listens on `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def free_port(host: str, wanted: int) -> int:
    """The first free port from `wanted` on. Raises UsageError when there is none, or `host` is not ours."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, wanted, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise UsageError(
            f"cannot listen on {host!r}: {error}", "Give an address of this computer."
        ) from error
    for port in range(wanted, min(wanted + _PORTS_TRIED, 65536)):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address[0], port))
            except OSError:
                continue
            return port
    raise UsageError(f"no free port on {host} from {wanted} on", "Give another one with --port.")


def open_browser(url: str) -> None:
    """Show the page, unless the only browser here would take over the terminal."""
    try:
        controller = webbrowser.get()
    except webbrowser.Error:
        return
    if type(controller) is not webbrowser.GenericBrowser:  # lynx, w3m and the like; subclasses are windows
        controller.open(url)
