"""Folders on the Knowledge base tab in a browser: dropped ones keep what lies where, others are mirrored on demand."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.ui.conftest import Serve, Site, Visit
from tests.ui.steps import ask, drop, open_library, row

pytestmark = pytest.mark.browser

# A stand-in for what a browser gives for dropped files and folders: entries, the files of a folder in parts.
DROP = """(dropped) => {
    const entryOf = (name, inside) => typeof inside === "string"
        ? { name, isFile: true, isDirectory: false, file: (ok) => ok(new File([inside], name)) }
        : { name, isFile: false, isDirectory: true, createReader: () => {
            const left = Object.entries(inside).map(([name, inside]) => entryOf(name, inside));
            return { readEntries: (ok, no) => inside["unreadable"] ? no(new Error()) : ok(left.splice(0, 100)) };
        } };
    const items = Object.entries(dropped).map(([name, inside]) => ({ webkitGetAsEntry: () => entryOf(name, inside) }));
    const drop = new Event("drop", { bubbles: true, cancelable: true });
    drop.dataTransfer = { items, files: [] };
    document.querySelector("#drop button").dispatchEvent(drop);
}"""


def sources(site: Site) -> set[str]:
    return {document.source for document in site.boot.engine().documents()}


def finished(page: Page) -> None:
    expect(page.locator("#job .job:not(.running)").first).to_be_visible()


def test_a_dropped_folder_keeps_its_sub_folders(visit: Visit, serve: Serve, tmp_path: Path) -> None:
    site = serve(kb=tmp_path / "kb")
    page = visit(site)
    open_library(page)
    inside = {
        "一月": {"说明.md": "树懒项目的预算是九百元。", ".git": {"config.md": "hidden"}},
        "二月": {"说明.md": "树懒项目的负责人是上官云。", "same.md": "相同的内容。"},
        "same.md": "相同的内容。",
        ".hidden.md": "hidden",
        "picture.xyz": "no text",
        "长" * 80 + ".md": "名字很长的文件。",
    }
    page.evaluate(DROP, {"项目 <b>": inside, "单个.md": "单个文件。"})
    expect(page.locator("#job .job.partly")).to_contain_text("picture.xyz")
    there = {"一月/说明.md", "二月/说明.md", "二月/same.md", "same.md", "长" * 80 + ".md"}
    assert sources(site) == {f"uploads/项目 <b>/{name}" for name in there} | {"uploads/单个.md"}
    expect(page.locator("#drop-folder")).to_be_hidden()
    page.get_by_role("tab").first.click()
    expect(ask(page, "树懒项目的负责人是谁？")).to_contain_text("上官云")


def test_a_folder_of_more_files_than_a_request_takes_comes_in_batches(
    visit: Visit, serve: Serve, tmp_path: Path
) -> None:
    site = serve(kb=tmp_path / "kb")
    page = visit(site, locale="en-US")
    open_library(page)
    page.evaluate(DROP, {"many": {f"{n}": {"note.txt": f"Note number {n}."} for n in range(1050)}})
    expect(page.locator("#job .job.done")).to_contain_text("added: 1050", timeout=300_000)
    assert len(sources(site)) == 1050
    drop(page, ("many/plain.md", b"A plain file, dropped afterwards."))
    expect(row(page, "plain.md")).to_be_visible()
    assert "uploads/plain.md" in sources(site)


def test_a_folder_is_chosen_with_the_button(visit: Visit, serve: Serve, tmp_path: Path) -> None:
    for name in ("a/note.md", "b/note.md", "b/.secret/key.md"):
        (tmp_path / "docs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "docs" / name).write_text(f"What is said in {name}.", encoding="utf-8")
    site = serve(kb=tmp_path / "kb")
    page = visit(site, locale="en-US")
    open_library(page)
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose folder").click()
    chooser.value.set_files(tmp_path / "docs")
    finished(page)
    assert sources(site) == {"uploads/docs/a/note.md", "uploads/docs/b/note.md"}


def test_a_conflict_in_a_dropped_folder_stays_in_its_folder(visit: Visit, site: Site) -> None:
    page = visit(site)
    open_library(page)
    page.evaluate(DROP, {"冲突": {"子": {"a.md": "第一版。"}}})
    expect(row(page, "a.md")).to_be_visible()
    page.locator("#job [data-close]").click()
    page.evaluate(DROP, {"冲突": {"子": {"a.md": "第二版。"}}})
    expect(page.locator("#job .conflict")).to_contain_text("冲突/子/a.md")
    page.locator("#job [data-action=keep_both]").click()
    expect(page.locator("#job .conflict")).to_have_count(0)
    finished(page)
    assert {"uploads/冲突/子/a.md", "uploads/冲突/子/a (2).md"} <= sources(site)


def test_what_the_browser_cannot_read_in_a_folder_is_told_with_the_command_that_can(
    visit: Visit, serve: Serve, tmp_path: Path
) -> None:
    site = serve(kb=tmp_path / "kb")
    page = visit(site)
    open_library(page)
    page.evaluate(DROP, {"docs": {"good.md": "读得到。", "locked": {"unreadable": "yes"}}})
    expect(page.locator("#drop-folder")).to_contain_text("python -m ragkit sync FOLDER")
    expect(row(page, "good.md")).to_be_visible()
    assert sources(site) == {"uploads/docs/good.md"}


def test_a_folder_is_checked_and_its_changes_applied(visit: Visit, serve: Serve, tmp_path: Path) -> None:
    docs = tmp_path / "资料"
    docs.mkdir()
    for n in range(12):
        (docs / f"{n}.md").write_text(f"第{n}份资料。", encoding="utf-8")
    site = serve(kb=tmp_path / "kb", folders=[docs])
    page = visit(site)
    open_library(page)
    expect(page.locator("#about .folders")).to_contain_text("尚未加入知识库")
    check, changes = page.locator("#about [data-action=check]"), page.locator("#changes")
    check.click()
    expect(changes).to_contain_text("新增 12")
    expect(changes.locator("li")).to_have_count(9)  # eight names, and how many more
    changes.locator("[data-action=leave]").click()
    expect(changes.locator(".job")).to_have_count(0)
    assert sources(site) == set()
    check.click()
    changes.locator("[data-action=apply]").click()
    expect(page.locator("#job .job.done")).to_contain_text("新增 12")
    expect(changes.locator(".job")).to_have_count(0)
    expect(page.locator("#about .folders")).to_contain_text("已在知识库中")
    for n in range(11):
        (docs / f"{n}.md").unlink()
    check.click()
    expect(changes).to_contain_text("少了大半")
    changes.locator("[data-action=apply]").click()
    page.locator("#confirm button").first.click()
    assert len(sources(site)) == 12
    changes.locator("[data-action=apply]").click()
    page.locator("#confirm button[value=yes]").click()
    expect(page.locator("#documents tbody tr")).to_have_count(1)


def test_what_is_gone_from_a_watched_folder_is_removed_when_that_is_confirmed(
    visit: Visit, serve: Serve, tmp_path: Path
) -> None:
    docs = tmp_path / "监控"
    docs.mkdir()
    for n in range(12):
        (docs / f"{n}.md").write_text(f"第{n}份资料。", encoding="utf-8")
    site = serve(kb=tmp_path / "kb", watch=[docs])
    page = visit(site)
    open_library(page)
    expect(page.locator("#documents tbody tr")).to_have_count(12)
    for n in range(11):
        (docs / f"{n}.md").unlink()
    expect(page.locator("#about .folders")).to_contain_text("一次少了 11 个文件")
    page.locator("#about [data-action=forget]").click()
    page.wait_for_timeout(2000)  # the list is painted anew behind the dialog
    page.locator("#confirm button[value=yes]").click()
    expect(page.locator("#documents tbody tr")).to_have_count(1)
