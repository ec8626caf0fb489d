"""HTML of cards, top bar and tables: everything that came from outside is escaped, every mark sits right."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from ragkit.schema import Answer, Citation, Conflict, Coverage, Document, Failure, Hit, Progress, SyncReport
from ragkit.ui import render, render_folders, render_library, render_viewer
from ragkit.ui.strings import Strings
from ragkit.ui.table import View as TableView
from ragkit.viewing import View

EN, ZH = Strings("en"), Strings("zh")
HOSTILE = "<script>alert('${document.title}')</script>\"&{{value}}"
DOCUMENT = "前言。XTuner 是一个微调工具。它支持 QLoRA。"


def hit(number: int = 1, text: str = DOCUMENT, source: str = "uploads/指南.md", start: int = 100) -> Hit:
    return Hit(number, 1, source, 3, ("第一章", "简介"), start, start + len(text), text, 0.5, 1.0, None)


def citing(number: int, start: int, end: int) -> Citation:
    return Citation(number, 1, "uploads/指南.md", 3, (), start, end, "")


def panel(answer: Answer, *, done: bool = True, semantic: bool = False) -> str:
    return render.sources("t1", answer, ZH, done=done, semantic=semantic)


ANSWER = Answer("XTuner 是什么？", "…", "quotes", hits=(hit(1), hit(2)), citations=(citing(1, 103, 118),))


def test_the_words_an_answer_rests_on_are_marked_in_its_card() -> None:
    assert '<mark class="cited">XTuner 是一个微调工具。</mark>' in panel(ANSWER)


def test_cited_cards_come_first_and_the_others_are_dashed() -> None:
    html = panel(replace(ANSWER, citations=(citing(2, 103, 118),)))
    cards = re.findall(r'<li class="src-card( uncited)?" id="src-t1-(\d)"', html)
    assert cards == [("", "2"), (" uncited", "1")]
    assert "未被引用" in html


def test_before_the_answer_is_done_no_card_is_dashed() -> None:
    assert "uncited" not in panel(replace(ANSWER, citations=()), done=False)


def test_a_passage_that_is_not_cited_shows_the_words_of_the_question() -> None:
    assert '<mark class="term">XTuner</mark>' in panel(replace(ANSWER, citations=()))


def test_a_card_says_where_its_passage_stands() -> None:
    assert "第 3 页 · 第一章 › 简介" in panel(ANSWER)


def score_rows(**scores: float | None) -> list[tuple[str, str]]:
    html = panel(replace(ANSWER, hits=(replace(hit(), **scores),)))  # type: ignore[arg-type]
    rows = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", html)
    assert len(rows) == 5
    return [(re.sub(r"（.*", "", name), told) for name, told in rows]


def test_the_parts_of_a_score_are_there_but_closed() -> None:
    html = panel(ANSWER)
    assert html.count('<dl class="score-parts" hidden>') == html.count('aria-expanded="false"') == 2


def test_a_score_is_told_by_its_parts_with_a_bar_where_the_range_has_an_end() -> None:
    rows = score_rows(score=0.876, lexical=12.345, dense=-0.2, fused=0.5, rerank=3.25)
    bars = ['<span class="bar" style="--v:88%"></span>', "", '<span class="bar" style="--v:0%"></span>']
    bars += ['<span class="bar" style="--v:50%"></span>', ""]
    numbers = ["0.88", "12.35", "-0.20", "0.50", "3.25"]
    assert [told for _, told in rows] == [bar + number for bar, number in zip(bars, numbers, strict=True)]
    assert [name for name, _ in rows] == ["相关度", "关键词", "语义", "关键词与语义融合", "重排模型"]


def test_a_leg_that_was_off_is_told_as_such() -> None:
    off = '–<span class="hidden-text">未启用，或未列出该段落</span>'
    rows = dict(score_rows(score=0.9, lexical=1.0, dense=None, fused=None, rerank=None))
    assert [rows[name] for name in ("语义", "关键词与语义融合", "重排模型")] == [off] * 3


@pytest.mark.parametrize("field", ["text", "source", "question", "heading"])
def test_text_from_outside_is_escaped_in_the_cards(field: str) -> None:
    answer = ANSWER
    if field == "question":
        answer = replace(ANSWER, question=HOSTILE)
    elif field == "heading":
        answer = replace(ANSWER, hits=(replace(hit(), heading=(HOSTILE,)),))
    else:
        answer = replace(ANSWER, hits=(replace(hit(), **{field: HOSTILE}),))  # type: ignore[arg-type]
    html = panel(replace(answer, citations=()))
    assert "<script" not in html and "&lt;" in html


def test_marks_cut_across_escaped_characters_in_the_right_place() -> None:
    assert render.passage("a<b>c", [render.Mark(1, 4)], "cited") == (
        '<div class="src-text">a<mark class="cited">&lt;b&gt;</mark>c</div>'
    )


def test_a_mark_knows_the_sentences_and_the_words_that_it_is_for() -> None:
    first = replace(citing(1, 103, 118), at=(0, 9), words=((103, 109),))
    second = replace(citing(1, 109, 130), at=(10, 20))
    html = panel(replace(ANSWER, citations=(first, second)))
    assert '<mark class="cited" data-at="0"><b>XTuner</b></mark>' in html
    assert (
        '<mark class="cited" data-at="0 10"> 是一个微调工具。</mark><mark class="cited" data-at="10">它'
        in html
    )
    assert render.cited_spans(replace(ANSWER, citations=(first, second)), 1) == [(3, len(DOCUMENT))]


def test_sources_that_an_answer_does_not_cite_say_so() -> None:
    html = panel(replace(ANSWER, citations=()))
    assert "但回答没有引用" in html and html.count('class="src-card uncited"') == 2
    assert "但回答没有引用" not in panel(replace(ANSWER, citations=()), done=False)


def test_overlapping_and_empty_spans_become_one_mark() -> None:
    assert render.merge([(5, 9), (1, 3), (3, 4), (7, 8), (2, 2)]) == [(1, 4), (5, 9)]


def test_spans_outside_the_passage_are_clipped() -> None:
    answer = replace(ANSWER, citations=(citing(1, 90, 103), citing(1, 120, 900), citing(1, 0, 50)))
    assert render.cited_spans(answer, 1) == [(0, 3), (20, len(DOCUMENT))]


def test_a_mark_far_down_a_passage_is_in_sight_before_the_card_is_opened() -> None:
    text = "很长的开头。" * 40 + "关键的一句。"
    html = render.passage(text, [render.Mark(240, 246)], "cited")
    lead = re.search(r'<span class="src-lead">(.*?)</span>', html)
    assert lead and len(lead[1]) > 190 and "关键" not in lead[1]
    assert re.sub(r"<[^>]+>", "", html) == text


def test_a_refusal_says_that_nothing_fits_and_what_to_do() -> None:
    html = panel(Answer("?", "", "quotes", refused=True, coverage=Coverage(2, 9, 9)))
    assert "文档中没有合适的内容" in html and html.count("<li>") == 3


def test_an_empty_library_is_told_apart_from_a_refusal() -> None:
    assert "知识库还是空的" in panel(Answer("?", "", "quotes", refused=True))


def test_a_weak_match_is_marked_as_one() -> None:
    assert "弱匹配" in panel(replace(ANSWER, weak=True))


def test_small_talk_needs_no_sources() -> None:
    assert "无需来源" in panel(Answer("你好", "你好！", "quotes", kind="small_talk"))


def test_an_unfinished_semantic_index_is_told_only_while_it_grows() -> None:
    answer = replace(ANSWER, coverage=Coverage(2, 40, 25))
    assert "语义索引目前覆盖 62 % 的段落" in panel(answer, semantic=True)
    assert "语义索引" not in panel(answer, semantic=False)


def test_an_answer_says_how_many_files_it_could_rest_on() -> None:
    answer = replace(ANSWER, coverage=Coverage(37, 40, 40, waiting=13))
    assert "50 份文件中的 37 份" in panel(answer, semantic=False)
    assert "份文件" not in panel(replace(answer, coverage=Coverage(37, 40, 40)), semantic=True)


def test_a_source_that_was_deleted_keeps_its_number_and_nothing_else() -> None:
    gone = replace(ANSWER.hits[0], source="", title="", text="", heading=(), page=None)
    html = panel(replace(ANSWER, hits=(gone, *ANSWER.hits[1:]), citations=()))
    assert "已从知识库中删除" in html and ANSWER.hits[0].text not in html


@pytest.mark.parametrize(
    ("source", "told"), [("uploads/a.pdf", "第 2 页"), ("a/b.pptx", "幻灯片"), ("x.xlsx", "工作表")]
)
def test_page_numbers_say_what_they_count(source: str, told: str) -> None:
    hit = replace(ANSWER.hits[0], source=source, page=2)
    assert told in panel(replace(ANSWER, hits=(hit, *ANSWER.hits[1:])))


def test_the_top_bar_shows_an_error_with_its_cause() -> None:
    html = render.top_bar(render.Status("bad", "Cannot start", "x", error="x", cause=HOSTILE), EN)
    assert 'role="alert"' in html and "<script" not in html


# ── Knowledge base ──


def row(**changes: object) -> Document:
    base = Document(7, "uploads", "a.md", "uploads/a.md", "ready", 2048, 4, None, "utf-8", "", 0.2, 0.0)
    return replace(base, **changes)  # type: ignore[arg-type]


def test_a_failed_document_says_why_in_the_language_of_the_page() -> None:
    broken = row(state="failed", error_code="encrypted_file", error="needs a password", chunks=0)
    assert "文件有密码保护" in render_library.documents([broken], ZH, semantic=False)
    assert "protected by a password" in render_library.documents([broken], EN, semantic=False)


def test_what_could_not_be_read_can_be_removed_in_one_go() -> None:
    failed = [row(id=n, state="failed", error_code="broken_file", chunks=0) for n in (1, 2)]
    still_answers = row(id=3, state="failed", error_code="broken_file", chunks=4)
    html = render_library.documents([*failed, still_answers, row()], EN, semantic=False)
    assert "2 documents could not be read." in html and 'data-confirm="Remove the 2 documents' in html
    assert "移除无法读取的 1 份文档" in render_library.documents(failed[:1], ZH, semantic=False)
    assert "could not be read" not in render_library.documents([still_answers, row()], EN, semantic=False)


def test_a_document_is_named_to_the_server_by_its_id_only() -> None:
    html = render_library.documents([row()], EN, semantic=False)
    assert set(re.findall(r'class="row-action[^>]* data-id="([^"]*)"', html)) == {"7"}


def test_two_files_of_one_name_are_told_apart_by_their_folders() -> None:
    rows = [
        row(id=1, path="a.md", source="uploads/a.md"),
        row(id=2, path="2025/<b>/a.md", source="uploads/2025/<b>/a.md"),
        row(id=3, root="r1", path="a.md", source="notes/a.md"),
    ]
    html = render_library.documents(rows, EN, semantic=False)
    named = re.findall(r'<td class="doc-name"><div[^>]*>(.*?)</div>', html)
    assert sorted(named) == [
        '<span class="doc-folder">2025/&lt;b&gt;/</span>a.md',
        '<span class="doc-folder">notes/</span>a.md',
        "a.md",
    ]
    assert 'aria-label="Delete 2025/&lt;b&gt;/a.md"' in html and "“notes/a.md”" in html
    only = render_library.documents(rows, EN, TableView(words="2025"), semantic=False)
    assert only.count("<tr>") == 2  # with the head


def test_a_renamed_file_is_told_with_both_names() -> None:
    """The preview of changes had one name only, and the user had to guess of which file it was."""
    report = SyncReport(moved=("docs/new<.md",), moved_from=("docs/sub/old.md",), added=("docs/b.md",))
    html = render_folders.changes(report, "docs", EN, mostly_gone=False)
    assert "<li>sub/old.md → new&lt;.md</li>" in html and "<li>b.md</li>" in html


def test_a_passage_of_a_renamed_file_is_shown_under_the_new_name() -> None:
    document = row(path="new.md", source="docs/new.md")
    hit = Hit(1, 7, "docs/old.md", None, (), 0, 4, "Text", 1.0, None, None)
    html = render_viewer.document("t-1", hit, View(document, 1, 1, 0, "Text", ((0, 4),)), EN)
    assert ">new.md</h2>" in html and "old.md" not in html


def test_a_hostile_file_name_is_escaped_in_text_and_attributes() -> None:
    html = render_library.documents([row(source=f"uploads/{HOSTILE}")], EN, semantic=False)
    assert "<script" not in html and '"&{{' not in html


def test_a_document_whose_vectors_are_missing_is_being_indexed() -> None:
    waiting = row(embedded=1)
    assert "索引中" in render_library.documents([waiting], ZH, semantic=True)
    assert "就绪" in render_library.documents([waiting], ZH, semantic=False)


@pytest.mark.parametrize(
    ("state", "told"),
    [("queued", "等待中"), ("parsing", "读取中"), ("stale", "更新中"), ("embedding", "索引中")],
)
def test_every_state_has_its_word(state: str, told: str) -> None:
    assert told in render_library.documents([row(state=state)], ZH, semantic=True)


def test_what_waits_can_be_held_gone_on_with_and_dropped() -> None:
    waiting = [row(state="queued", id=n) for n in range(3)]
    html = render_library.documents(waiting, ZH, semantic=False)
    assert "等待读取的文件：3" in html and {"pause", "abandon"} <= set(
        re.findall(r'data-action="(\w+)"', html)
    )
    html = render_library.documents(waiting, ZH, semantic=False, paused=True)
    assert "已暂停" in html and "resume" in set(re.findall(r'data-action="(\w+)"', html))
    assert "queue" not in render_library.documents([row()], ZH, semantic=False)


def test_ready_means_readable_with_numbers() -> None:
    scan = row(
        chars=12345,
        encoding="gb18030",
        pages=12,
        pages_without_text=(1, 2, 3, 7),
        ocr_pages=(9, 10),
        ocr_state="missing",
    )
    html = render_library.documents([scan], ZH, semantic=False)
    assert (
        "12,345 字 · GB18030" in html
        and "第 1-3, 7 页是扫描件，没有文字" in html
        and "有 2 页的文字由图片识别" in html
    )


def test_a_failed_file_says_whether_its_old_version_answers() -> None:
    failed = row(state="failed", error_code="broken_file", error="x")
    assert "之前的版本仍可回答问题" in render_library.documents([failed], ZH, semantic=False)
    html = render_library.documents([replace(failed, chunks=0)], ZH, semantic=False)
    assert "之前的版本" not in html.partition("<table")[2]


def test_the_facts_tell_disk_replacement_and_mirrored_folders() -> None:
    facts = render_library.About(
        documents=[row()],
        coverage=Coverage(1, 4, 4, waiting=2),
        disk_bytes=5 << 20,
        command="sync",
        privacy="here",
        semantic=True,
        replacement=("bge-m3", 0.62),
        folders=[render_folders.Row("7f", "docs", "/home/<b>/docs", "up to date", there=True)],
    )
    html = render_library.about(facts, EN)
    assert (
        "5.0 MB" in html
        and "bge-m3" in html
        and "62%" in html
        and "up to date" in html
        and "&lt;b&gt;" in html
    )


def test_vectors_that_are_missing_are_told_with_the_time_that_they_take() -> None:
    facts = render_library.About([row()], Coverage(1, 900, 120), 0, "sync", "here", True)
    assert "120 / 900 · about 2 min left" in render_library.about(replace(facts, vectors_per_second=6.5), EN)
    assert "left" not in render_library.about(facts, EN)
    assert 'value="13"' in render_library.about(facts, EN)
    begins = render_library.about(replace(facts, loading=True), EN)
    assert "120 / 900 · the model is loading" in begins and 'value="13"' in begins
    whole = replace(facts, coverage=Coverage(1, 900, 900), vectors_per_second=6.5)
    assert "left" not in render_library.about(whole, EN) and "<progress" not in render_library.about(
        whole, EN
    )


def test_a_job_tells_its_rate_and_the_time_that_is_left() -> None:
    progress = Progress("read", 12, 200, "uploads/a.md")
    assert ">12 / 200 · 3.1 files/s · about 1 min left<" in render_library.job_running(
        progress, EN, per_second=3.1
    )
    assert ">12 / 200 · 每秒 3.1 个 · 约剩 1 分钟<" in render_library.job_running(
        progress, ZH, per_second=3.1
    )
    assert ">12 / 200<" in render_library.job_running(progress, EN)
    assert ">12 / 200<" in render_library.job_running(progress, EN, cancelling=True, per_second=3.1)


def test_an_empty_library_calls_to_action() -> None:
    assert "Drop files" in render_library.documents([], EN, semantic=False)


def test_progress_names_the_file_in_hand_without_its_root() -> None:
    html = render_library.job_running(Progress("read", 1, 5, "uploads/年假.pdf"), ZH)
    assert "正在读取 年假.pdf" in html and 'max="5" value="1"' in html and 'data-action="cancel"' in html


def test_a_report_counts_what_was_done_and_explains_what_failed() -> None:
    failure = Failure("uploads/坏.pdf", "broken", "", "broken_file")
    html = render_library.job_report(SyncReport(added=("uploads/a.md",), failed=(failure,)), ZH)
    assert "新增 1" in html and "失败 1" in html and "文件已损坏" in html


def test_conflicts_are_asked_about_by_name() -> None:
    html = render_library.job_report(SyncReport(conflicts=(Conflict("a<b>.md", Path("/tmp/x")),)), EN)
    assert re.findall(r'data-action="(\w+)"', html) == ["replace", "keep_both", "skip"]
    assert "a&lt;b&gt;.md" in html and "/tmp/x" not in html


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1536, "1.5 KB"), (5 << 20, "5.0 MB"), (3 << 30, "3.0 GB")]
)
def test_sizes_are_readable(size: int, text: str) -> None:
    assert render_library.size(size) == text
