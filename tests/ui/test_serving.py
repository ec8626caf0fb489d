"""Ports, logins and names."""

from __future__ import annotations

import socket

import pytest

from ragkit.errors import UsageError
from ragkit.ui import serving


def test_a_page_for_this_computer_needs_no_login() -> None:
    assert serving.login("", public=False) is None


def test_a_public_page_gets_a_password_that_cannot_be_guessed() -> None:
    made = {serving.login("", public=True) for _ in range(20)}
    assert len(made) == 20 and all(one and len(one.password) >= 16 for one in made)


def test_a_given_login_is_taken_as_it_is() -> None:
    assert serving.login("me:a:b c", public=True) == ("me", "a:b c")


@pytest.mark.parametrize("auth", ["me", "me:", ":secret", " :x"])
def test_a_login_that_is_none_is_refused_with_an_example(auth: str) -> None:
    with pytest.raises(UsageError) as refused:
        serving.login(auth, public=False)
    assert "--auth" in refused.value.hint


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.5", False),
        ("box.example", False),
    ],
)
def test_loopback_is_told_from_addresses_that_others_reach(host: str, own: bool) -> None:
    assert serving.is_loopback(host) is own


def test_a_busy_port_is_passed_over() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        taken = busy.getsockname()[1]
        assert serving.free_port("127.0.0.1", taken) > taken


def test_an_address_of_another_computer_is_refused() -> None:
    with pytest.raises(UsageError):
        serving.free_port("192.0.2.1", 7860)
