"""HTML of the explain table and of the marked questions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ragkit.calibration import MarkedQuestion
from ragkit.engine import Engine
from ragkit.gate import Calibration, Fit, Thresholds
from ragkit.ui import render_tester
from ragkit.ui.strings import Strings

EN, ZH = Strings("en"), Strings("zh")
HOSTILE = '<script>alert(1)</script>"'


def test_what_a_document_or_a_question_says_stays_text(engine: Engine, folder: Callable[..., Path]) -> None:
    engine.sync(folder(**{"a.md": f"# {HOSTILE}\n\nThe script {HOSTILE} is here.\n"}))
    html = render_tester.explanation(engine.explain(f"Which script {HOSTILE}?"), EN)
    assert "<script" not in html and "&lt;script&gt;" in html
    assert 'class="used"' in html and "as [1]" in html and "Ranked by words alone." in html


def test_a_question_without_any_passage_is_a_refusal(engine: Engine, folder: Callable[..., Path]) -> None:
    engine.sync(folder(**{"a.md": "食堂在二楼。"}))
    html = render_tester.explanation(engine.explain("Where is Mars?"), ZH)
    assert "没有段落包含这些词" in html and "不作答" in html and "<table" not in html


def test_the_thresholds_and_what_they_tell_are_shown() -> None:
    marked = [
        MarkedQuestion(HOSTILE, True, Fit(0.2), "refuse"),
        MarkedQuestion("Mars?", False, Fit(0.1), "refuse"),
    ]
    chosen = Calibration(Thresholds(0.4, 0.6), good=1, bad=1, good_kept=0, bad_refused=1)
    html = render_tester.marked(marked, chosen.thresholds, chosen, EN, stale=True)
    assert "they tell 1 of 2 right" in html and "<dd>0.40</dd>" in html and "<script" not in html
    assert html.count('class="wrong"') == html.count('class="right"') == 1
    assert 'data-action="again"' in html and "changed a good deal" in html


def test_a_passage_of_several_lines_is_told_without_the_signs_of_its_markdown(
    engine: Engine, folder: Callable[..., Path]
) -> None:
    """They were left out of passages of one line only."""
    text = (
        "# Leave\n\n## Days of `leave`\n\nTen **whole** days.\n\n| Kind | Days |\n|---|---|\n| sick | 3 |\n"
    )
    engine.sync(folder(**{"a.md": text}))
    html = render_tester.explanation(engine.explain("How many whole days of leave?"), EN)
    passage = html.partition('class="try-passage"')[2]
    assert '<mark class="term">whole</mark> <mark class="term">days</mark>.' in passage
    assert "Kind · <mark" in passage and not any(sign in passage for sign in ("**", "`", "|", "##"))
