"""The Knowledge base tab in a browser: files go in, the table says what became of them, the queue is held."""

from __future__ import annotations

import re
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.ui.conftest import Serve, Site, Visit
from tests.ui.steps import ask, delete, drop, open_library, row

pytestmark = pytest.mark.browser


def test_a_dropped_file_is_asked_about_survives_a_reload_and_is_deleted(visit: Visit, site: Site) -> None:
    page = visit(site)
    open_library(page)
    before = page.locator("#documents tbody tr").count()
    drop(
        page,
        ("海豚计划.md", "# 海豚计划\n\n海豚计划的负责人是欧阳青。\n".encode()),
        ("penguin.txt", b"The penguin budget is 4711 euros.\n"),
    )
    expect(row(page, "海豚计划.md")).to_be_visible()
    expect(page.locator("#documents tbody tr")).to_have_count(before + 2)
    page.get_by_role("tab").first.click()
    expect(ask(page, "海豚计划的负责人是谁？")).to_contain_text("欧阳青")
    expect(page.locator("#sources .src-doc").first).to_have_text("海豚计划.md")
    open_library(page)
    delete(page, "海豚计划.md")
    page.reload()
    open_library(page)
    expect(row(page, "penguin.txt")).to_be_visible()
    expect(row(page, "海豚计划.md")).to_have_count(0)
    delete(page, "penguin.txt")


def test_a_deletion_that_is_not_confirmed_deletes_nothing(visit: Visit, site: Site) -> None:
    page = visit(site)
    open_library(page)
    row(page, "faq_en.md").locator("[data-action=delete]").click()
    expect(page.locator("#confirm")).to_contain_text("faq_en.md")
    page.locator("#confirm button").first.click()
    expect(row(page, "faq_en.md")).to_be_visible()


def test_a_long_job_shows_where_it_is_and_can_be_cancelled(
    visit: Visit, serve: Serve, tmp_path: Path
) -> None:
    page = visit(serve(kb=tmp_path / "kb"))
    open_library(page)
    # Long enough that reading them all would take seconds.
    sentences = "".join(f"第{number}句话说的是另一件事情。" for number in range(2500))
    files = [(f"file{number}.txt", f"第{number}份。{sentences}".encode()) for number in range(60)]
    page.locator("#drop input[type=file]").set_input_files(
        [{"name": name, "mimeType": "text/plain", "buffer": content} for name, content in files]
    )
    expect(page.locator("#job .running .job-count")).to_contain_text("/ 60")
    page.locator("#job [data-action=cancel]").click()
    expect(page.locator("#job .job:not(.running)")).to_contain_text("已取消")
    assert 0 < page.locator("#documents tbody tr").count() < 60


def test_a_long_job_tells_how_fast_it_goes_and_how_long_it_takes(
    visit: Visit, serve: Serve, tmp_path: Path
) -> None:
    page = visit(serve(kb=tmp_path / "kb"))
    open_library(page)
    sentences = "".join(f"第{number}句话说的是另一件事情。" for number in range(2500))
    files = [(f"file{number}.txt", f"第{number}份。{sentences}".encode()) for number in range(60)]
    page.locator("#drop input[type=file]").set_input_files(
        [{"name": name, "mimeType": "text/plain", "buffer": content} for name, content in files]
    )
    told = re.compile(r"^\d+ / 60 · 每(秒|分钟) \d+\.\d 个 · 约剩 \d+ (秒|分钟)$")
    expect(page.locator("#job .running .job-count")).to_have_text(told)
    page.locator("#job [data-action=cancel]").click()
    expect(page.locator("#job .job:not(.running)")).to_contain_text("已取消")


def test_a_document_is_read_again_by_keyboard_too(visit: Visit, site: Site) -> None:
    page = visit(site)
    open_library(page)
    row(page, "faq_en.md").locator("[data-action=reread]").click()
    expect(page.locator("#job .job.done")).to_be_visible()
    page.locator("#job [data-close]").click()
    row(page, "faq_en.md").locator("[data-action=reread]").press("Enter")
    expect(page.locator("#job .job.done")).to_be_visible()
    expect(row(page, "faq_en.md").locator(".pill.ready")).to_be_visible()


def test_a_broken_file_says_what_is_wrong_and_harms_nothing(visit: Visit, site: Site) -> None:
    page = visit(site)
    open_library(page)
    drop(page, ("坏文件.pdf", b"%PDF-1.4 not really"), ("good.md", b"# Good\n\nThe zebra code is 815.\n"))
    expect(page.locator("#job .job.partly")).to_contain_text("坏文件.pdf")
    expect(row(page, "坏文件.pdf").locator(".pill.failed")).to_be_visible()
    expect(row(page, "坏文件.pdf").locator(".doc-error")).to_contain_text("缺少末尾")
    expect(row(page, "good.md").locator(".pill.failed")).to_have_count(0)
    page.locator("#documents [data-id=unread]").click()
    expect(page.locator("#confirm-text")).to_contain_text("无法读取的 1 份文档")
    page.locator("#confirm button[value=yes]").click()
    expect(row(page, "坏文件.pdf")).to_have_count(0)
    expect(page.locator("#documents [data-id=unread]")).to_have_count(0)
    delete(page, "good.md")


def test_a_name_that_is_taken_by_other_content_is_asked_about(visit: Visit, site: Site) -> None:
    page = visit(site)
    open_library(page)
    drop(page, ("plan.md", b"The first plan mentions walrus.\n"))
    expect(row(page, "plan.md")).to_have_count(1)
    page.locator("#job [data-close]").click()
    drop(page, ("plan.md", b"The second plan mentions narwhal.\n"))
    expect(page.locator("#job .conflict")).to_contain_text("plan.md")
    page.locator("#job [data-action=keep_both]").click()
    expect(page.locator("#documents tbody tr", has_text="plan")).to_have_count(2)
    expect(page.locator("#job .conflict")).to_have_count(0)
    for _ in range(2):
        last = page.locator("#documents tbody tr", has_text="plan").count()
        page.locator("#documents tbody tr", has_text="plan").first.locator("[data-action=delete]").click()
        page.locator("#confirm button[value=yes]").click()
        expect(page.locator("#documents tbody tr", has_text="plan")).to_have_count(last - 1)


def test_what_the_command_line_added_meanwhile_is_shown(visit: Visit, site: Site, tmp_path: Path) -> None:
    page = visit(site)
    (tmp_path / "meanwhile.md").write_text("# Meanwhile\n\nThe gecko arrived.\n", encoding="utf-8")
    site.boot.engine().sync(tmp_path)
    open_library(page)
    expect(row(page, "meanwhile.md")).to_be_visible()


def test_an_empty_library_invites_to_add_documents(visit: Visit, serve: Serve, tmp_path: Path) -> None:
    page = visit(serve(kb=tmp_path / "kb"))
    ask(page, "xtuner是什么？")
    expect(page.locator("#sources .verdict")).to_contain_text("知识库还是空的")
    open_library(page)
    expect(page.locator("#documents .docs-empty")).to_be_visible()


# ── The queue ──


def test_what_waits_is_paused_resumed_and_cancelled(visit: Visit, serve: Serve, tmp_path: Path) -> None:
    site = serve(kb=tmp_path / "kb")
    page = visit(site)
    open_library(page)
    drop(page, ("first.md", "第一份文件。".encode()))
    site.boot.engine().pause()
    page.locator("#drop input[type=file]").set_input_files(
        [{"name": f"{n}.md", "mimeType": "text/plain", "buffer": f"第{n}份。".encode()} for n in range(3)]
    )
    expect(page.locator("#documents .queue")).to_contain_text("已暂停。等待读取的文件：3")
    expect(page.locator("#documents .pill.queued")).to_have_count(3)
    page.locator("#documents [data-action=resume]").click()
    expect(page.locator("#documents .pill:not(.queued)")).to_have_count(4)
    expect(page.locator("#documents .queue")).to_have_count(0)
    site.boot.engine().pause()
    page.locator("#drop input[type=file]").set_input_files(
        [{"name": "never.md", "mimeType": "text/plain", "buffer": b"Not to be read."}]
    )
    expect(page.locator("#documents .pill.queued")).to_have_count(1)
    page.locator("#documents [data-action=abandon]").click()
    expect(row(page, "never.md")).to_have_count(0)
    page.locator("#documents [data-action=resume]").click()
    expect(page.locator("#documents tbody tr")).to_have_count(4)


def test_a_dropped_archive_is_unpacked_and_cited(visit: Visit, site: Site) -> None:
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("会议/一月.md", "# 一月会议\n\n河马项目的预算是七百元。\n")
    page = visit(site)
    open_library(page)
    drop(page, ("归档.zip", packed.getvalue()))
    expect(row(page, "一月.md")).to_be_visible()
    page.get_by_role("tab").first.click()
    expect(ask(page, "河马项目的预算是多少？")).to_contain_text("七百元")
    open_library(page)
    delete(page, "一月.md")


def test_the_sources_of_a_deleted_document_are_not_shown_any_more(visit: Visit, site: Site) -> None:
    page = visit(site)
    open_library(page)
    drop(page, ("貘.md", "貘的门牌号是四百一十二号。".encode()))
    page.get_by_role("tab").first.click()
    answer = ask(page, "貘的门牌号是多少？")
    expect(page.locator("#sources")).to_contain_text("四百一十二号")
    open_library(page)
    delete(page, "貘.md")
    page.get_by_role("tab").first.click()
    answer.locator("a.cite-all").click()
    expect(page.locator("#sources")).to_contain_text("已从知识库中删除")
    expect(page.locator("#sources")).not_to_contain_text("四百一十二号")


def test_a_watched_folder_is_followed_on_the_page(visit: Visit, serve: Serve, tmp_path: Path) -> None:
    docs = tmp_path / "监控"
    docs.mkdir()
    (docs / "a.md").write_text("打印机在三楼。", encoding="utf-8")
    page = visit(serve(kb=tmp_path / "kb", watch=[docs]))
    open_library(page)
    expect(page.locator("#about")).to_contain_text("监控")
    expect(row(page, "a.md")).to_be_visible()
    (docs / "b.md").write_text("食堂在二楼。", encoding="utf-8")
    expect(row(page, "b.md")).to_be_visible()
    (docs / "a.md").unlink()
    expect(row(page, "a.md")).to_have_count(0)


def test_the_table_is_filtered_sorted_and_turned(visit: Visit, serve: Serve, tmp_path: Path) -> None:
    site = serve(kb=tmp_path / "kb")
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(130):
        (folder / f"note{number:03}.txt").write_text(f"note {number} " * (number + 1), encoding="utf-8")
    site.boot.engine(60).sync(folder)
    page = visit(site, locale="en-US")
    open_library(page)
    names = page.locator("#documents .doc-name > div:first-child")
    expect(names).to_have_count(100)
    page.locator("#documents [data-action=turn]").last.click()
    expect(names).to_have_count(30)
    page.locator("#documents [data-action=sort][data-id=name]").click()
    expect(names.first).to_have_text("many/note000.txt")
    page.locator("#documents [data-action=sort][data-id=name]").click()
    expect(names.first).to_have_text("many/note129.txt")
    page.locator("#docs-filter").locator("input, textarea").fill("note01")
    expect(names).to_have_count(10)
    expect(page.locator("#documents caption")).to_contain_text("shown: 10")
    page.wait_for_timeout(6000)  # the page paints itself anew: the filter stays
    expect(names).to_have_count(10)
