"""E-mails and e-books; files without an ending; what damage looks like."""

from __future__ import annotations

import base64
import quopri
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragkit.errors import (
    BrokenFile,
    EmptyFile,
    EncryptedFile,
    FileTooLarge,
    MislabelledFile,
    NoText,
    ReadError,
    TruncatedFile,
    UnsupportedFile,
)
from ragkit.readers import FORMATS, NAMES, eml, epub, read, shown_formats, supported
from ragkit.schema import Parsed
from tests.fakes_documents import assert_sound, headings, of_kind, pdf, read_bytes, slices, write
from tests.fakes_packages import CONTAINER, PAGES, XHTML, book, mail, multipart, package

# ── Names ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "name", ["README", "LICENSE", "Makefile", "Dockerfile", "说明", "a.PY", "b.epub", "c.eml"]
)
def test_a_scan_takes_known_endings_and_well_known_names_without_one(name: str) -> None:
    assert supported(name)


@pytest.mark.parametrize(
    "name", ["notes", "core", ".env", ".bashrc", ".hidden.md", ".~lock.a.md#", "~$a.docx"]
)
def test_a_scan_leaves_out_other_names_without_ending_and_hidden_files(name: str) -> None:
    """It would have to open every file to know what is in it."""
    assert not supported(name)


@pytest.mark.parametrize("name", ["notes", "README", "Dockerfile"])
def test_a_file_without_ending_is_read_if_it_holds_text(tmp_path: Path, name: str) -> None:
    assert read_bytes(tmp_path, name, "一段文字。".encode("gb18030")).text == "一段文字。"


def test_a_file_without_ending_that_is_no_text_is_told_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(MislabelledFile, match=r"a PDF \(\.pdf\)") as caught:
        read(write(tmp_path, "report", pdf("x")))
    assert ".pdf" in caught.value.hint


def test_the_list_of_formats_for_people_is_short_and_complete() -> None:
    shown = shown_formats()
    assert {FORMATS[ending] for ending in shown} == set(FORMATS.values())
    assert len(shown) == len(set(FORMATS.values()))
    assert shown[0] == ".md" and ".py" in shown


def test_an_unknown_ending_is_refused_with_that_list(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFile, match=r"\.xyz") as caught:
        read(write(tmp_path, "a.xyz", b"text"))
    assert ".epub" in caught.value.hint and len(caught.value.hint) < 200


# ── E-mails ─────────────────────────────────────────────────────────────────────────────────────────


def mail_of(folder: Path, content: bytes) -> Parsed:
    return read_bytes(folder, "a.eml", content)


def test_a_mail_gives_its_subject_its_people_and_its_text(tmp_path: Path) -> None:
    content = mail(
        "Dear Bob,\r\n\r\nsee you.", Date="Tue, 24 Nov 2026 10:00:00 +0800", Received="from x by y"
    )
    parsed = mail_of(tmp_path, content)
    assert parsed.title == "Greetings"
    assert slices(parsed) == [
        "Greetings",
        "From: Ann <ann@example.org>\nTo: bob@example.org\nDate: Tue, 24 Nov 2026 10:00:00 +0800",
        "Dear Bob,",
        "see you.",
    ]
    assert {block.heading for block in parsed.blocks} == {("Greetings",)}


@pytest.mark.parametrize(
    ("subject", "shown"),
    [
        ("=?gb2312?B?xOO6w8rAvec=?=", "你好世界"),
        ("=?utf-8?q?caf=C3=A9?= au =?utf-8?q?lait?=", "café au lait"),
        ("=?Big5?B?wcLBwg==?=\r\n =?Big5?B?wcLBwg==?=", "謝謝謝謝"),
        ("=?utf-8?B?5L2g5aW9?=\r\n =?utf-8?B?5LiW55WM?=", "你好世界"),
        ("=?x-unheard-of?B?xOO6w8rAvec=?=", "你好世界"),
        ("=?utf-8?B?!?=", "=?utf-8?B?!?="),
        ("你好世界", "你好世界"),
    ],
)
def test_encoded_subjects_are_readable_and_broken_ones_are_kept(
    tmp_path: Path, subject: str, shown: str
) -> None:
    assert mail_of(tmp_path, mail(subject=subject)).title == shown


def test_a_subject_in_bare_gb18030_is_readable(tmp_path: Path) -> None:
    content = mail(subject="SUBJECT").replace(b"SUBJECT", "会议通知".encode("gbk"))
    assert mail_of(tmp_path, content).title == "会议通知"


@pytest.mark.parametrize(
    ("charset", "written", "told"),
    [
        ("gb2312", "gbk", "gb18030"),
        ("big5", "big5", "big5hkscs"),
        ("utf-8", "utf-8", "utf-8"),
        ("us-ascii", "utf-8", "utf-8"),
        ("iso-8859-1", "gbk", "gb18030"),
        ("no-such-charset", "big5", "big5hkscs"),
    ],
)
@pytest.mark.parametrize("transfer", ["8bit", "base64", "quoted-printable"])
def test_bodies_in_chinese_charsets_come_out_right_even_if_the_label_is_wrong(
    tmp_path: Path, charset: str, written: str, told: str, transfer: str
) -> None:
    text = "檢索增強生成先找出有關的段落。"
    body = text.encode(written)
    body = {"8bit": body, "base64": base64.encodebytes(body), "quoted-printable": quopri.encodestring(body)}[
        transfer
    ]
    content = mail(body, Content_Type=f'text/plain; charset="{charset}"', Content_Transfer_Encoding=transfer)
    parsed = mail_of(tmp_path, content)
    assert (slices(parsed)[-1], parsed.encoding) == (text, told)


PLAIN, HTML = (
    ("Content-Type: text/plain", "plain words"),
    ("Content-Type: text/html", "<h2>Head</h2><p>rich <b>words</b></p>"),
)


def test_the_plain_form_of_a_text_is_preferred(tmp_path: Path) -> None:
    parsed = mail_of(tmp_path, mail(**multipart(PLAIN, HTML, kind="alternative")))
    assert slices(parsed)[2:] == ["plain words"]


def test_the_html_form_is_read_where_the_plain_one_is_blank(tmp_path: Path) -> None:
    parsed = mail_of(tmp_path, mail(**multipart(("Content-Type: text/plain", " "), HTML, kind="alternative")))
    assert slices(parsed)[2:] == ["Head", "rich words"]
    assert parsed.blocks[-1].heading == ("Greetings", "Head")


def test_attachments_are_named_and_not_read(tmp_path: Path) -> None:
    attached = (
        "Content-Type: application/pdf\r\nContent-Disposition: attachment; filename*=utf-8''%E6%8A%A5%E5%91%8A.pdf",
        "%PDF-1.7",
    )
    text = ('Content-Type: text/plain; name="log.txt"\r\nContent-Disposition: attachment', "not read")
    quoted = ('Content-Type: image/png; name="=?gb2312?B?xOO6ww==?=.png"', "x")
    parsed = mail_of(tmp_path, mail(**multipart(PLAIN, attached, text, quoted)))
    assert "Attachments: 报告.pdf, log.txt, 你好.png" in parsed.text
    assert "not read" not in parsed.text and "%PDF" not in parsed.text


def test_a_forwarded_mail_lies_under_the_one_that_brings_it(tmp_path: Path) -> None:
    inner = mail("Inner text.", subject="=?utf-8?B?5YaF5bGC?=")
    parsed = mail_of(tmp_path, mail(**multipart(PLAIN, ("Content-Type: message/rfc822", inner))))
    assert headings(parsed) == [("Greetings",), ("Greetings", "内层")]
    assert slices(parsed)[-1] == "Inner text."


def test_mails_within_mails_without_end_are_refused(tmp_path: Path) -> None:
    content = mail("end")
    for number in range(60):
        content = mail(**multipart(("Content-Type: message/rfc822", content), boundary=f"B{number}"))
    with pytest.raises(FileTooLarge, match="nested"):
        read(write(tmp_path, "a.eml", content))


def test_parts_nested_thousands_deep_are_refused(tmp_path: Path) -> None:
    body = b"".join(
        b'--%d\r\nContent-Type: multipart/mixed; boundary="%d"\r\n\r\n' % (n, n + 1) for n in range(3000)
    )
    with pytest.raises(FileTooLarge, match="nested"):
        read(write(tmp_path, "a.eml", mail(body, Content_Type='multipart/mixed; boundary="0"')))


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", EmptyFile),
        (b"Just a text: no mail.\n\nAt all.", MislabelledFile),
        (b"<!DOCTYPE html><p>From: x</p>", MislabelledFile),
        (pdf("x"), MislabelledFile),
        (mail("", subject=""), NoText),
        (mail("x", Content_Type="multipart/encrypted; boundary=B"), EncryptedFile),
        (mail("x", Content_Type="application/pkcs7-mime; smime-type=enveloped-data"), EncryptedFile),
        (mail("x", Content_Type="multipart/mixed; boundary=B"), TruncatedFile),
        (mail("5L2g5", Content_Type="text/plain; charset=utf-8", Content_Transfer_Encoding="base64"), TruncatedFile),
        (mail(**multipart(PLAIN, ("Content-Type: text/html", "<p>half"))).rpartition(b"f\r\n--B--")[0], TruncatedFile),
        (mail(bytes(range(1, 32)) * 9), BrokenFile),
    ],
)  # fmt: skip
def test_each_kind_of_broken_mail_has_its_own_error(
    tmp_path: Path, content: bytes, error: type[ReadError]
) -> None:
    with pytest.raises(error) as caught:
        read(write(tmp_path, "a.eml", content))
    assert type(caught.value) is error and caught.value.hint


def test_a_mail_that_is_cut_off_within_an_attachment_is_read(tmp_path: Path) -> None:
    attached = (
        "Content-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64",
        "JVBERi0xLjcK",
    )
    content = mail(**multipart(PLAIN, attached))
    assert slices(mail_of(tmp_path, content[:-12]))[2:] == ["plain words"]


# ── E-books ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("contents", ["nav", "ncx"])
def test_a_book_is_read_in_order_under_the_titles_of_its_contents(tmp_path: Path, contents: str) -> None:
    parsed = read_bytes(tmp_path, "a.epub", book(contents=contents))
    assert parsed.title == "远行"
    assert slices(parsed) == [
        "第一章 出发", "他出发了。", "天很冷。", "The chapter goes on.", "Two of them", "They met."
    ]  # fmt: skip
    assert [block.heading for block in parsed.blocks] == [("上卷", "第一章 出发")] * 4 + [
        ("Two of them",)
    ] * 2


def test_a_page_that_closes_an_empty_title_is_not_swallowed_by_it(tmp_path: Path) -> None:
    """HTML takes <title/> and <a id="x"/> for beginnings: the page was empty, or one long link."""
    page = XHTML.format('<a id="top"/><h1>Head</h1><p>Words<br/>on<span class="x"/> two lines.</p>')
    assert slices(read_bytes(tmp_path, "a.xhtml", page.encode())) == ["Head", "Words\non two lines."]


def test_a_book_in_another_encoding_is_read(tmp_path: Path) -> None:
    page = XHTML.replace("utf-8", "gb2312").format("<p>第一页。</p>").encode("gbk")
    parsed = read_bytes(tmp_path, "a.epub", book(extra={"OEBPS/c1.xhtml": page}))
    assert "第一页。" in parsed.text and parsed.encoding == "gb18030"


def test_pictures_are_not_unpacked_and_pages_only_within_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epub, "_MAX_UNPACKED_BYTES", 20_000)
    assert read_bytes(tmp_path, "a.epub", book(extra={"OEBPS/cover.png": bytes(50_000)})).text
    with pytest.raises(FileTooLarge) as caught:
        read(write(tmp_path, "a.epub", book({"c1.xhtml": "<p>" + "a" * 30_000 + "</p>"})))
    assert caught.value.hint


def drm(algorithm: str, uri: str) -> dict[str, str | bytes]:
    return {
        "META-INF/encryption.xml": '<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container" '
        'xmlns:enc="http://www.w3.org/2001/04/xmlenc#"><enc:EncryptedData>'
        f'<enc:EncryptionMethod Algorithm="{algorithm}"/><enc:CipherData><enc:CipherReference URI="{uri}"/>'
        "</enc:CipherData></enc:EncryptedData></encryption>"
    }


def test_scrambled_fonts_are_no_copy_protection(tmp_path: Path) -> None:
    extra = drm("http://www.idpf.org/2008/embedding", "OEBPS/font.otf")
    assert read_bytes(tmp_path, "a.epub", book(extra=extra)).title == "远行"


AES = "http://www.w3.org/2001/04/xmlenc#aes256-cbc"


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", EmptyFile),
        (b"just text", MislabelledFile),
        (package({"word/document.xml": "<w/>"}), MislabelledFile),
        (package({"a.txt": "x"}), MislabelledFile),
        (book(extra=drm(AES, "OEBPS/c%202.xhtml")), EncryptedFile),
        (book()[:-40], TruncatedFile),
        (book()[:300], TruncatedFile),
        (book({"c1.xhtml": '<img src="1.png" alt="x"/>'}), NoText),
        (package({"META-INF/container.xml": "<container/>"}), BrokenFile),
        (package({"META-INF/container.xml": CONTAINER, "OEBPS/book.opf": ""}), BrokenFile),
        (book().replace(b"OEBPS/book.opf", b"OEBPS/boot.opf"), BrokenFile),
    ],
)  # fmt: skip
def test_each_kind_of_broken_book_has_its_own_error(
    tmp_path: Path, content: bytes, error: type[ReadError]
) -> None:
    with pytest.raises(error) as caught:
        read(write(tmp_path, "a.epub", content))
    assert type(caught.value) is error and caught.value.hint


def test_entities_in_a_book_are_not_expanded_and_no_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("SECRET", encoding="utf-8")
    opf = (
        f'<!DOCTYPE package [<!ENTITY x SYSTEM "file://{tmp_path}/secret.txt"><!ENTITY a "{"b" * 99}">]>'
        '<package xmlns="http://www.idpf.org/2007/opf"><metadata><title>T&x;&a;</title></metadata><manifest>'
        '<item id="p" href="c1.xhtml" media-type="application/xhtml+xml"/></manifest><spine><itemref idref="p"/></spine></package>'
    )
    parsed = read_bytes(tmp_path, "a.epub", book(extra={"OEBPS/book.opf": opf}))
    assert "SECRET" not in parsed.title + parsed.text and "bbb" not in parsed.title


# ── Whatever comes in ───────────────────────────────────────────────────────────────────────────────

INNER = mail("深层。", subject="=?gb2312?B?xOO6ww==?=")
ORIGINALS = {
    "a.eml": mail(**multipart(PLAIN, HTML, ("Content-Type: message/rfc822", INNER))),
    "a.epub": book(extra=drm(AES, "OEBPS/none.xhtml")),
    "stored.epub": book({name: PAGES[name] * 3 for name in PAGES}, contents="ncx"),
    "a.rst": "标题\n====\n\ntext\n\nmore\n----\n".encode(),
    "a.tex": "\\title{标题}\n\\section{a}\ntext\n".encode(),
    "a.org": "#+title: 标题\n* a\ntext\n".encode(),
    "a.py": b"class A:\n    def b(self):\n        return 1\n\n\ndef c():\n    pass\n",
    "README": "一段文字。\n".encode("gb18030"),
}


@pytest.mark.parametrize("name", ORIGINALS)
@settings(deadline=None, max_examples=60)
@given(
    cut=st.integers(0, 1 << 16),
    places=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=12),
)
def test_damage_gives_text_or_a_read_error_and_nothing_else(
    name: str, cut: int, places: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(ORIGINALS[name])
    if cut % 2:
        content = content[: cut % len(content)]
    for place, value in places if content else []:
        content[place % len(content)] = value
    file = write(tmp_path_factory.getbasetemp(), name, bytes(content))
    try:
        parsed = read(file)
    except ReadError as error:
        assert error.message and error.hint
    else:
        assert_sound(parsed)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=300), st.sampled_from(["Subject", "From", "Content-Type", "Content-Disposition"]))
def test_any_bytes_in_a_header_give_a_mail_or_a_read_error(value: bytes, name: str) -> None:
    try:
        assert_sound(eml.parse(b"To: x\r\n" + name.encode() + b": " + value + b"\r\n\r\nbody\r\n"))
    except ReadError as error:
        assert error.hint


def test_every_name_and_ending_leads_to_a_reader() -> None:
    for module in {*FORMATS.values(), *NAMES.values()}:
        assert callable(import_module(f"ragkit.readers.{module}").parse)


def test_kinds_of_blocks_of_a_book_are_kept(tmp_path: Path) -> None:
    page = "<pre>x = 1</pre><table><tr><td>a</td><td>b</td></tr></table>"
    parsed = read_bytes(tmp_path, "a.epub", book({"c1.xhtml": page}))
    assert of_kind(parsed, "code") == ["x = 1"] and of_kind(parsed, "table") == ["a | b"]
