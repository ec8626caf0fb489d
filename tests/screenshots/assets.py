"""The README's pictures: three of the page as a newcomer has it, and a short animation of the main job.

What answers in them is what answers without a model: the quotes. Nothing is made up for them.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Final

from PIL import Image
from playwright.sync_api import Browser, Page, expect

from ragkit.config import ASSETS
from tests.screenshots.chat_states import cite
from tests.screenshots.sites import Sites
from tests.screenshots.windows import SIZES, Window, settle, window
from tests.ui.steps import ask, open_library, row, send

DEMO_SIZE: Final = (1280, 800)
DEMO_SHOWN: Final = (960, 600)
COLOURS: Final = 256
WEBP_QUALITY: Final = 80
NOTE: Final = (
    "office-move.md",
    b"# Office move\n\nWe move to the new office at 18 Harbour Street on 2 March. "
    b"Pack your desk by noon on 27 February; boxes stand by the lifts.\n\n"
    b"## Parking\n\nThe garage has room for 40 cars. Bicycles are kept in the yard.\n",
)
QUESTION: Final = "When do we move to the new office?"

# A hand that is seen: a screenshot holds no pointer.
_POINTER: Final = """() => {
    const hand = document.createElement("div");
    hand.id = "demo-hand";
    hand.style.cssText = "position:fixed;z-index:9999;left:900px;top:700px;pointer-events:none";
    hand.innerHTML = '<svg width="22" height="26" viewBox="0 0 22 26"><path d="M2 1v19l5-4 3 8 4-2-3-7h7z"' +
        ' fill="#111" stroke="#fff" stroke-width="1.6"/></svg><b></b>';
    hand.lastChild.style.cssText = "position:absolute;left:18px;top:20px;padding:5px 10px;border-radius:8px;" +
        "white-space:nowrap;font:15px system-ui;background:#0f766e;color:#fff;display:none";
    document.body.append(hand);
}"""


def write_assets(browser: Browser, sites: Sites, folder: Path = ASSETS) -> None:
    """Write the pictures that README.md and README_zh-CN.md show."""
    folder.mkdir(parents=True, exist_ok=True)
    site, size = sites("quotes"), SIZES[1440]
    with window(browser, site, "en", "light", size) as at:
        ask(at.page, "How soon must I report a lost laptop?")
        ask(at.page, "When should I take the train?")
        cite(at)
        keep(at.page, folder / "screenshot.png")
    with window(browser, site, "zh", "dark", size) as at:
        ask(at.page, "XTuner 支持哪些微调方式？")
        ask(at.page, "没有休完的年休假最晚什么时候要休完？")
        cite(at)
        keep(at.page, folder / "screenshot-zh.png")
    with window(browser, site, "en", "light", size) as at:
        open_library(at.page)
        expect(row(at.page, "faq_en.md")).to_be_visible()
        keep(at.page, folder / "library.png")
    with window(browser, sites("demo"), "en", "light", DEMO_SIZE) as at:
        Film(at).play(folder / "demo.webp")


def keep(page: Page, path: Path) -> None:
    """A picture of the page in few colours: a third of the bytes, and no eye sees it."""
    settle(page)
    picture = Image.open(BytesIO(page.screenshot(animations="disabled"))).convert("RGB")
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(path)


class Film:
    """Frames of the page and how long each is shown, joined to an animation."""

    def __init__(self, at: Window) -> None:
        self._page = at.page
        self._frames: list[tuple[Image.Image, int]] = []

    def play(self, path: Path) -> None:
        """A file is dropped, a question is asked, and its number is clicked."""
        page = self._page
        open_library(page)
        expect(row(page, "faq_en.md")).to_be_visible()
        page.evaluate(_POINTER)
        self._carry(NOTE[0])
        self._shoot(900)
        self._go_to("#drop", steps=6)
        self._shoot(400)
        self._carry("")
        page.locator("#drop input[type=file]").set_input_files(
            [{"name": NOTE[0], "mimeType": "text/markdown", "buffer": NOTE[1]}]
        )
        self._shoot(150)
        expect(row(page, NOTE[0])).to_be_visible()
        expect(page.locator("#job .job:not(.running)").first).to_be_visible()
        self._shoot(1300)
        self._go_to("[role=tab]", steps=4)
        page.get_by_role("tab").first.click()
        expect(page.locator("#chatbot .example").first).to_be_visible()
        self._shoot(400)
        for end in range(4, len(QUESTION) + 4, 4):
            page.fill("#ask textarea", QUESTION[:end])
            self._shoot(90)
        self._shoot(500)
        answer = send(page, QUESTION)
        for _ in range(40):
            self._shoot(110)
            if page.locator("#ask .submit-button").is_visible() and answer.locator("a.cite").count():
                break
        settle(page)
        self._shoot(1300)
        self._go_to("#chatbot a.cite", steps=5)
        answer.locator("a.cite").first.click()
        expect(page.locator("#sources mark.lit").first).to_be_visible()
        settle(page)
        self._shoot(3200)
        first, *others = [frame for frame, _ in self._frames]
        durations = [duration for _, duration in self._frames]
        first.save(
            path,
            save_all=True,
            append_images=others,
            duration=durations,
            loop=0,
            quality=WEBP_QUALITY,
            method=6,
            minimize_size=True,
        )
        print(f"{path}: {len(durations)} frames, {sum(durations) / 1000:.1f} s")

    def _shoot(self, duration_ms: int) -> None:
        picture = Image.open(BytesIO(self._page.screenshot())).convert("RGB")
        picture = picture.resize(DEMO_SHOWN, Image.Resampling.LANCZOS)
        if self._frames and self._frames[-1][0] == picture:
            duration_ms += self._frames.pop()[1]
        self._frames.append((picture, duration_ms))

    def _carry(self, name: str) -> None:
        self._page.evaluate(
            """(name) => {
                const label = document.querySelector("#demo-hand b");
                label.textContent = name;
                label.style.display = name ? "block" : "none";
            }""",
            name,
        )

    def _go_to(self, selector: str, *, steps: int) -> None:
        """Move the hand in a few frames, slower towards the end."""
        hand = self._page.locator("#demo-hand").bounding_box()
        target = self._page.locator(selector).first.bounding_box()
        assert hand and target
        start = (hand["x"], hand["y"])
        end = (target["x"] + target["width"] / 2, target["y"] + target["height"] / 2)
        for step in range(1, steps + 1):
            way = 1 - (1 - step / steps) ** 2
            x, y = (a + (b - a) * way for a, b in zip(start, end, strict=True))
            self._page.evaluate(
                """([x, y]) => {
                    const hand = document.querySelector("#demo-hand");
                    hand.style.left = x + "px";
                    hand.style.top = y + "px";
                }""",
                [x, y],
            )
            self._shoot(70)
