"""HTML and Word: what is kept, where it lies, and what damage looks like."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import docx
import pytest

from ragkit.errors import (
    EncryptedFile,
    FileTooLarge,
    MislabelledFile,
    NoText,
    TruncatedFile,
)
from ragkit.readers import read
from ragkit.schema import Parsed
from tests.fakes_documents import handbook, headings, of_kind, read_bytes, slices, word, write

# ── HTML ────────────────────────────────────────────────────────────────────────────────────────────


def html_of(folder: Path, page: str) -> Parsed:
    return read_bytes(folder, "a.html", page.encode())


def test_a_page_gives_its_text_and_leaves_out_its_machinery(tmp_path: Path) -> None:
    page = (
        "<head><title> The\n title </title><style>p{}</style></head><body><nav>Menu</nav>"
        "<script>steal()</script><p>Hello <b>wor</b>ld,<br>again.</p>tail<noscript>x</noscript>"
        "<template><p>no</p></template><!-- no --></body>"
    )
    parsed = html_of(tmp_path, page)
    assert (parsed.title, slices(parsed)) == ("The title", ["Hello world,\nagain.", "tail"])


def test_headings_lists_tables_and_listings_of_a_page_are_kept(tmp_path: Path) -> None:
    page = (
        "<h1>A <em>b</em></h1><ul><li>one<li>two<ul><li>deep</ul></ul><h2>C</h2><pre>x\n  y</pre>"
        "<table><tr><th>a<th>b</tr><tr><td><p>1</p><p>2</p><td>3</table>"
    )
    parsed = html_of(tmp_path, page)
    assert headings(parsed) == [("A b",), ("A b", "C")]
    assert of_kind(parsed, "table") == ["a | b\n1 2 | 3"]
    assert of_kind(parsed, "code") == ["x\n  y"]
    assert "- one\n- two\n- deep" in parsed.text
    assert parsed.title == "A b"


def test_a_table_that_lays_out_the_page_is_no_table(tmp_path: Path) -> None:
    page = "<table><tr><td><h2>News</h2><p>Words.</p><table><tr><td>1<td>2</table></table>"
    parsed = html_of(tmp_path, page)
    assert of_kind(parsed, "table") == ["1 | 2"]
    assert headings(parsed) == [("News",)]


@pytest.mark.parametrize(
    ("page", "encoding"),
    [
        ('<meta charset="gb2312"><p>中文</p>'.encode("gb18030"), "gb18030"),
        ("<meta charset=big5><p>中文</p>".encode("big5"), "big5hkscs"),
        ("<p>中文</p>".encode("gb18030"), "gb18030"),
        ("<p>中文</p>".encode("utf-16"), "utf-16"),
        ("<meta charset=gbk><p>中文</p>".encode("utf-8-sig"), "utf-8-sig"),
        ("<meta charset=unicode_escape><p>中文</p>".encode(), "utf-8"),
        ('<?xml version="1.0" encoding="gbk"?><html><p>中文</p></html>'.encode("gbk"), "gb18030"),
    ],
)
def test_the_charset_of_a_page_is_found(tmp_path: Path, page: bytes, encoding: str) -> None:
    parsed = read_bytes(tmp_path, "a.htm", page)
    assert (parsed.text, parsed.encoding) == ("中文", encoding)


def test_a_page_that_scripts_build_has_no_text_and_says_why(tmp_path: Path) -> None:
    with pytest.raises(NoText) as caught:
        read(write(tmp_path, "a.html", b"<title>App</title><div id=root></div><script>run()</script>"))
    assert "JavaScript" in caught.value.hint


def test_a_page_nested_thousands_deep_is_read(tmp_path: Path) -> None:
    assert html_of(tmp_path, "<div>" * 1900 + "<p>deep</p>").text == "deep"


# ── DOCX ────────────────────────────────────────────────────────────────────────────────────────────


def test_headings_and_tables_come_in_document_order(tmp_path: Path) -> None:
    parsed = read_bytes(tmp_path, "a.docx", word(handbook()))
    assert slices(parsed) == [
        "员工手册", "本手册适用于全体员工。", "年休假", "年休假按工龄计算。", "工龄 | 天数\n满 1 年 | 5 天", "Contact",
        "Write to the office.",
    ]  # fmt: skip
    assert headings(parsed) == [("员工手册",), ("员工手册", "年休假"), ("Contact",)]
    assert [block.kind for block in parsed.blocks][4] == "table"
    assert parsed.title == "员工手册"


def test_styles_are_known_by_name_by_outline_level_and_by_what_they_build_on(tmp_path: Path) -> None:
    from docx.enum.style import WD_STYLE_TYPE
    from docx.oxml import parse_xml
    from docx.oxml.ns import nsdecls

    document = docx.Document()
    styles = document.styles
    localised = styles.add_style("标题 2", WD_STYLE_TYPE.PARAGRAPH)
    derived = styles.add_style("House chapter", WD_STYLE_TYPE.PARAGRAPH)
    derived.base_style = styles["Heading 1"]
    outlined = styles.add_style("Numbered", WD_STYLE_TYPE.PARAGRAPH)
    outlined.element.get_or_add_pPr().append(parse_xml(f'<w:outlineLvl {nsdecls("w")} w:val="2"/>'))
    document.add_paragraph("The whole", style="Title")
    for text, style in (("One", derived), ("Two", localised), ("Three", outlined), ("toc", "Normal")):
        document.add_paragraph(text, style=style)
    parsed = read_bytes(tmp_path, "a.docx", word(document))
    assert headings(parsed)[-1] == ("The whole", "One", "Two", "Three")
    assert parsed.title == "The whole"


def test_text_in_controls_insertions_and_boxes_is_not_lost(tmp_path: Path) -> None:
    """python-docx's own `paragraphs` leaves all of these out."""
    from docx.oxml import parse_xml
    from docx.oxml.ns import nsdecls

    def run(text: str) -> str:
        return f"<w:r><w:t>{text}</w:t></w:r>"

    document = docx.Document()
    for xml in (
        f"<w:sdt><w:sdtContent><w:p>{run('control')}</w:p></w:sdtContent></w:sdt>",
        f"<w:p><w:ins>{run('inserted')}</w:ins><w:del><w:r><w:delText>gone</w:delText></w:r></w:del></w:p>",
        f"<w:p>{run('host')}<w:r><w:pict><w:txbxContent><w:p>{run('box')}</w:p></w:txbxContent></w:pict></w:r></w:p>",
        f"<w:p><w:moveFrom>{run('moved away')}</w:moveFrom><w:r><w:tab/><w:t>a</w:t><w:br/><w:t>b</w:t></w:r></w:p>",
    ):
        element = parse_xml(xml.replace(">", f" {nsdecls('w')}>", 1))
        document.element.body.insert(len(document.element.body) - 1, element)
    parsed = read_bytes(tmp_path, "a.docx", word(document))
    assert slices(parsed) == ["control", "inserted", "host", "box", "\ta\nb"]


def test_the_title_of_the_properties_comes_first(tmp_path: Path) -> None:
    document = handbook()
    document.core_properties.title = "Handbook\n2026"
    assert read_bytes(tmp_path, "a.docx", word(document)).title == "Handbook 2026"


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr("word/document.xml", bytes(60_000_000))
    with pytest.raises(FileTooLarge, match="60 MB"):
        read(write(tmp_path, "a.docx", file.getvalue()))


def test_a_locked_word_file_is_encrypted(tmp_path: Path) -> None:
    content = b"\xd0\xcf\x11\xe0" + bytes(600) + "EncryptedPackage".encode("utf-16-le")
    with pytest.raises(EncryptedFile):
        read(write(tmp_path, "a.docx", content))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_word_file_is_told_as_such(tmp_path: Path, share: float) -> None:
    content = word(handbook())
    with pytest.raises(TruncatedFile):
        read(write(tmp_path, "a.docx", content[: int(len(content) * share)]))


def test_another_kind_of_office_file_is_no_word_document(tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as package:
        package.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(MislabelledFile, match=r"Excel workbook \(\.xlsx\)"):
        read(write(tmp_path, "a.docx", file.getvalue()))
