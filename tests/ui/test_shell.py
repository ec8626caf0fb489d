"""The ASGI layer: who may ask, what every response carries, what is put into the page."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from ragkit.ui.shell import LOOPBACK, Shell


async def _page(_: Request) -> Response:
    return HTMLResponse("<html><head><title>x</title></head></html>")


async def _action(_: Request) -> Response:
    return PlainTextResponse("<head>done")


ROUTES = [Route("/", _page), Route("/act", _action, methods=["GET", "POST"])]
LOCAL = TestClient(
    Shell(Starlette(routes=ROUTES), hosts=LOOPBACK, language="zh"), base_url="http://127.0.0.1:7860"
)


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost", "LOCALHOST:1", "[::1]:7860"])
def test_this_computers_own_names_are_served(host: str) -> None:
    assert LOCAL.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example:1", "", "[::1"]
)
def test_a_name_that_was_rebound_to_this_computer_is_refused(host: str) -> None:
    shell = Shell(Starlette(), hosts=LOOPBACK)
    assert shell.refusal("GET", Headers({"host": host}))


def test_a_rebound_name_gets_a_403_and_nothing_of_the_page() -> None:
    response = LOCAL.get("/", headers={"Host": "evil.example"})
    assert response.status_code == 403 and "<html" not in response.text


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "http://localhost:7860"]
)
def test_another_pages_request_that_changes_something_is_refused(origin: str) -> None:
    assert LOCAL.post("/act", headers={"Origin": origin}).status_code == 403


def test_the_pages_own_requests_pass_and_so_do_programs() -> None:
    assert LOCAL.post("/act", headers={"Origin": "http://127.0.0.1:7860"}).status_code == 200
    assert LOCAL.post("/act").status_code == 200


def test_behind_a_login_any_name_is_served_but_origins_still_count() -> None:
    shell = Shell(Starlette(), hosts=None)
    tunnel = {"host": "abc.gradio.live", "origin": "https://abc.gradio.live"}
    assert not shell.refusal("POST", Headers(tunnel))
    assert shell.refusal("POST", Headers({**tunnel, "origin": "https://evil.example"}))
    assert not shell.refusal(
        "POST", Headers({**tunnel, "host": "127.0.0.1", "x-forwarded-host": "abc.gradio.live"})
    )


def test_without_a_login_a_forwarded_name_counts_for_nothing() -> None:
    forged = {"host": "localhost", "origin": "http://evil.example", "x-forwarded-host": "evil.example"}
    assert Shell(Starlette(), hosts=LOOPBACK).refusal("POST", Headers(forged))


def test_every_response_forbids_what_the_page_does_not_need() -> None:
    headers = LOCAL.get("/act").headers
    assert "img-src 'self'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"


def test_the_script_comes_first_in_the_page_and_knows_the_forced_language() -> None:
    response = LOCAL.get("/")
    assert response.text.startswith("<html><head><script>") and '|| "zh" ||' in response.text
    assert int(response.headers["content-length"]) == len(response.content)


def test_nothing_but_the_page_is_rewritten() -> None:
    assert LOCAL.get("/act").text == "<head>done"
