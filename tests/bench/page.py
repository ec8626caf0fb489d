"""The page in a browser, against a bare Gradio page and against itself at rest: `python -m tests.bench.page [--rounds N]`.

Prints one JSON document. `start`: first contentful paint, and the time until the text box takes what is typed,
of both pages in alternating rounds. `streaming`: frames a second and the longest task while an answer of 2,000
tokens comes in, as a ratio to the page at rest; in an empty conversation, and in one of 200 messages, of which the
page shows the last 40 (`messages` is what was mounted). Server and browser share the machine here, as they do at home.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

from playwright.sync_api import Browser, CDPSession, Page, expect

from ragkit.ui import serving
from tests.bench.bars import bar
from tests.screenshots.sites import FIRST_PORT, Sites
from tests.screenshots.windows import chromium
from tests.ui.steps import send

SIZE: Final = {"width": 1440, "height": 900}
ANSWER_TOKENS: Final = 2000
PAUSE_S: Final = 0.01  # a token: about 90 a second come of it
IDLE_S: Final = 8.0
CONVERSATION: Final = 200  # messages
TYPED: Final = "hello"
LATE_MS: Final = 1500  # what comes in after the first typing is counted too
WAIT_MS: Final = 240_000

# Told by the page itself, so that no way from here to there is in it.
_READY: Final = """
addEventListener("DOMContentLoaded", () => {
  const look = () => {
    const box = document.querySelector("BOX");
    if (box && !box.disabled && box.checkVisibility()) window.readyMs = performance.now();
    else requestAnimationFrame(look);
  };
  look();
});"""

_WATCH: Final = """() => {
  const seen = { frames: 0, began: performance.now(), longest: 0, tasks: 0, blocked: 0, repaints: 0, gap: 0 };
  let last = seen.began;
  const frame = (now) => { seen.frames++; seen.gap = Math.max(seen.gap, now - last); last = now; seen.next = requestAnimationFrame(frame) };
  seen.next = requestAnimationFrame(frame);
  seen.tasksObserver = new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) {
      seen.longest = Math.max(seen.longest, duration);
      seen.tasks++;
      seen.blocked += duration;
    }
  });
  seen.tasksObserver.observe({ entryTypes: ["longtask"] });
  seen.changes = new MutationObserver(() => seen.repaints++);
  seen.changes.observe(document.querySelector("#chatbot"), { childList: true, subtree: true, characterData: true });
  window.seen = seen;
}"""

_TOLD: Final = """() => {
  const { frames, began, longest, tasks, blocked, repaints, gap, next, tasksObserver, changes } = window.seen;
  cancelAnimationFrame(next);
  tasksObserver.disconnect();
  changes.disconnect();
  const seconds = (performance.now() - began) / 1000;
  return {
    seconds, frames, fps: frames / seconds, longest_gap_ms: gap, longest_task_ms: longest, long_tasks: tasks,
    long_tasks_ms: blocked, repaints, messages: document.querySelectorAll("#chatbot .message.bot, #chatbot .message.user").length,
    nodes: document.querySelectorAll("*").length,
  };
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--messages", type=int, default=CONVERSATION)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ragkit-page-", ignore_cleanup_errors=True) as data:
        sites = Sites(Path(data))
        try:
            with chromium() as browser:
                start = measure_start(browser, sites, flags.rounds)
                streaming = measure_streaming(browser, sites, flags.messages)
                told = browser.version
        finally:
            sites.close()
    slowest = min(one["fps_ratio"] for one in streaming.values())
    result = {
        "benchmark": "page",
        "start": start,
        "streaming": streaming,
        "bars": [bar("frames a second while an answer streams, against rest", slowest, at_least=0.8)],
        "machine": {
            "python": platform.python_version(),
            "gradio": version("gradio"),
            "chromium": told,
            "cpu_count": os.cpu_count(),
            "load": round(os.getloadavg()[0], 2),
        },
    }
    print(json.dumps(result, indent=2))


# ── Until it can be used ──


def measure_start(browser: Browser, sites: Sites, rounds: int) -> dict[str, Any]:
    """Both pages in turn, a fresh cache each time; round 0 warms the servers and counts in nothing."""
    import gradio as gr

    with gr.Blocks(analytics_enabled=False) as bare:
        gr.Textbox(label="bare")
    port = serving.free_port("127.0.0.1", FIRST_PORT)
    bare.launch(server_port=port, prevent_thread_lock=True, quiet=True, inbrowser=False)
    pages = {
        "bare_gradio": (bare.local_url, "textarea, input[type=text]"),
        "ragkit": (sites("library").url, "#ask textarea"),
    }
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in pages}
    for turn in range(rounds + 1):
        for name in pages if turn % 2 else reversed(pages):
            seen[name].append(open_once(browser, *pages[name]))
    bare.close(verbose=False)
    told: dict[str, Any] = {
        name: {
            key: {
                "median": round(statistics.median(one[key] for one in found[1:])),
                "best": round(min(one[key] for one in found[1:])),
            }
            for key in found[0]
        }
        for name, found in seen.items()
    }
    for key in ("first_paint_ms", "interactive_ms"):
        told[f"{key.removesuffix('_ms')}_ratio"] = round(
            told["ragkit"][key]["median"] / told["bare_gradio"][key]["median"], 2
        )
    return {"rounds": rounds, **told}


def open_once(browser: Browser, url: str, box: str) -> dict[str, float]:
    """Milliseconds from the navigation on; and that the box does take what is typed."""
    context = browser.new_context(viewport=SIZE)
    page = context.new_page()
    page.add_init_script(_READY.replace("BOX", box))
    received = Received(page)
    page.goto(url)
    page.wait_for_function("window.readyMs", timeout=WAIT_MS)
    page.locator(box).first.click()
    page.keyboard.type(TYPED)
    if page.locator(box).first.input_value() != TYPED:
        sys.exit(f"{url}: the box took no text")
    page.wait_for_timeout(LATE_MS)  # never idle: the page looks after its engine now and then
    told: dict[str, float] = page.evaluate(
        """() => ({
            first_paint_ms: performance.getEntriesByName("first-contentful-paint")[0].startTime,
            interactive_ms: window.readyMs,
            requests: performance.getEntriesByType("resource").length + 1,
        })"""
    )
    told["bytes_received"] = received.bytes
    context.close()
    return told


class Received:
    """The bytes that a page has received since."""

    def __init__(self, page: Page) -> None:
        self.bytes = 0
        session: CDPSession = page.context.new_cdp_session(page)
        session.on("Network.dataReceived", self._count)
        session.send("Network.enable")

    def _count(self, event: dict[str, int]) -> None:
        self.bytes += event["dataLength"]


# ── While an answer streams ──


def measure_streaming(browser: Browser, sites: Sites, messages: int) -> dict[str, Any]:
    """One page: at rest and streaming, with no conversation yet; then the same after `messages` of one."""
    site = sites("model")
    assert site.llm is not None
    context = browser.new_context(locale="en-GB", viewport=SIZE)
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto(site.url)
    page.wait_for_selector("#top .badge.ok")
    received = Received(page)

    def streamed() -> dict[str, Any]:
        page.wait_for_timeout(2000)
        idle = watched(page, lambda: page.wait_for_timeout(IDLE_S * 1000))
        assert site.llm is not None
        site.llm.pause_s = PAUSE_S
        site.llm.enqueue(answer_of(ANSWER_TOKENS))
        before = received.bytes

        def follow() -> None:
            send(page, "Which fine-tuning methods does XTuner support?")
            page.wait_for_selector("#ask .stop-button")
            page.wait_for_selector("#ask .submit-button")

        streaming = watched(page, follow)
        return {
            "idle": idle,
            "streaming": streaming,
            "fps_ratio": round(streaming["fps"] / idle["fps"], 3),
            "tokens": ANSWER_TOKENS,
            "tokens_a_second": round(ANSWER_TOKENS / streaming["seconds"], 1),
            "bytes_received": received.bytes - before,
        }

    empty = streamed()
    site.llm.pause_s = 0.0
    began = time.monotonic()
    for number in range((messages - 2) // 2):
        site.llm.enqueue("XTuner supports QLoRA, LoRA and full-parameter fine-tuning [1].")
        answered(page, f"Question {number}: which fine-tuning methods does XTuner support?")
    print(f"{messages} messages in {time.monotonic() - began:.0f} s", file=sys.stderr)
    long = streamed()
    context.close()
    return {"empty_conversation": empty, f"conversation_of_{messages}": long}


def answered(page: Page, question: str) -> None:
    """Ask and wait; not by counting messages, of which the page shows the last ones only."""
    page.fill("#ask textarea", question)
    page.press("#ask textarea", "Enter")
    expect(page.locator("#sources .src-question")).to_have_text(question)
    expect(page.locator("#ask .submit-button")).to_be_visible()
    expect(page.locator("#ask textarea")).to_be_enabled()


def watched(page: Page, act: Any) -> dict[str, Any]:
    """What the page's own clock and observers say of it while `act` goes on."""
    page.evaluate(_WATCH)
    act()
    told: dict[str, float] = page.evaluate(_TOLD)
    return {key: round(value, 1) for key, value in told.items()}


def answer_of(tokens: int) -> list[str]:
    """Sentences, paragraphs, a list now and then; no two sentences alike."""
    words = "the model keeps its base weights and trains a small adapter beside them".split()
    pieces: list[str] = []
    for number in range(tokens):
        word = words[(number * 7 + number // 13) % len(words)]
        if number % 15 == 14:
            end = "\n\n- " if number % 60 == 59 else "\n\n" if number % 120 == 14 else " "
            pieces.append(f" {word} {number}.{end}")
        else:
            pieces.append(f" {word}")
    return pieces


if __name__ == "__main__":
    main()
