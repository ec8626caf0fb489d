"""PowerPoint and Excel: what is shown of them, where it lies, and what hostile ones cost."""

from __future__ import annotations

import io
import re
import zipfile
from datetime import date, datetime, timedelta
from pathlib import Path

import openpyxl
import pytest

from ragkit.chunking import chunk
from ragkit.errors import (
    BrokenFile,
    FileTooLarge,
)
from ragkit.readers import base, number_format, read
from ragkit.schema import Parsed
from tests.fakes_documents import (
    headings,
    of_kind,
    read_bytes,
    repacked,
    saved,
    slices,
    slides,
    workbook,
    write,
)

ORIGINALS = {
    "a.pptx": saved(slides()),
    "a.xlsx": saved(workbook(("a", "b"), ("北京", 3.0))),
}
MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'


def table_of(folder: Path, book: openpyxl.Workbook) -> list[str]:
    """The lines of the first table."""
    return of_kind(read_bytes(folder, "a.xlsx", saved(book)), "table")[0].split("\n")


def sheet(folder: Path, xml: str) -> Parsed:
    """What is read of a workbook whose first sheet is this XML."""
    part = f'<?xml version="1.0"?><worksheet {MAIN}>{xml}</worksheet>'
    content = repacked(ORIGINALS["a.xlsx"], {"xl/worksheets/sheet1.xml": part})
    return read_bytes(folder, "a.xlsx", content)


def with_strings(strings: str, cells: str) -> bytes:
    """A workbook that holds its strings in a part of their own, as Excel writes it and openpyxl does not."""
    with zipfile.ZipFile(io.BytesIO(ORIGINALS["a.xlsx"])) as package:
        relations = package.read("xl/_rels/workbook.xml.rels").decode()
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/sharedStrings"
    end = "</Relationships>"
    relation = f'<Relationship Id="strings" Type="{kind}" Target="/xl/sharedStrings.xml"/>{end}'
    return repacked(
        ORIGINALS["a.xlsx"],
        {
            "xl/_rels/workbook.xml.rels": relations.replace(end, relation),
            "xl/sharedStrings.xml": f"<sst {MAIN}>{strings}</sst>",
            "xl/worksheets/sheet1.xml": f"<worksheet {MAIN}><sheetData><row>{cells}</row></sheetData></worksheet>",
        },
    )


# ── PowerPoint ──────────────────────────────────────────────────────────────────────────────────────


def test_a_slide_is_a_page_under_its_title_with_groups_tables_and_notes(tmp_path: Path) -> None:
    parsed = read_bytes(tmp_path, "a.pptx", ORIGINALS["a.pptx"])
    assert slices(parsed) == [
        "年休假", "满一年\n五天", "in a group", "工龄 | 天数\n10 年 | 10 天", "Say this slowly.", "Hidden",
    ]  # fmt: skip
    assert [block.page for block in parsed.blocks] == [1, 1, 1, 1, 1, 2]
    assert headings(parsed) == [("年休假",), ("Hidden",)]
    assert parsed.blocks[4].heading == ("年休假", "Notes")
    assert (parsed.title, parsed.pages, parsed.pages_without_text) == ("年休假", 3, (3,))


def test_charts_and_their_numbers_are_read(tmp_path: Path) -> None:
    from pptx.chart.data import CategoryChartData
    from pptx.enum.chart import XL_CHART_TYPE

    data = CategoryChartData()
    data.categories = ["Q1", "Q2"]
    data.add_series("收入", (1.5, 2))
    data.add_series("支出", (3, None))
    presentation = slides()
    chart = presentation.slides[2].shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, 0, 0, 9, 9, data).chart
    chart.has_title = True
    chart.chart_title.text_frame.text = "预算"
    parsed = read_bytes(tmp_path, "a.pptx", saved(presentation))
    assert slices(parsed)[-2:] == ["预算", "| 收入 | 支出\nQ1 | 1.5 | 3\nQ2 | 2"]


def test_diagrams_alternate_content_and_equations_of_a_slide_are_read(tmp_path: Path) -> None:
    """python-pptx's own `shapes` leaves all of these out."""
    from pptx.opc.constants import RELATIONSHIP_TYPE
    from pptx.opc.package import Part
    from pptx.opc.packuri import PackURI
    from pptx.oxml import parse_xml
    from pptx.oxml.ns import nsdecls

    drawing = "http://schemas.openxmlformats.org/drawingml/2006"
    presentation = slides()
    slide = presentation.slides[2]
    data = f'<d:dataModel xmlns:d="{drawing}/diagram" {nsdecls("a")}><a:p><a:r><a:t>步骤</a:t></a:r></a:p></d:dataModel>'
    part = Part(PackURI("/ppt/diagrams/data1.xml"), "application/xml", slide.part.package, data.encode())
    relation = slide.part.relate_to(part, RELATIONSHIP_TYPE.DIAGRAM_DATA)
    shape = "<p:sp><p:nvSpPr/><p:txBody><a:p>{}</a:p></p:txBody></p:sp>"
    compatible = 'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
    math = 'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'
    for xml in (
        f'<p:graphicFrame><d:relIds xmlns:d="{drawing}/diagram" r:dm="{relation}"/></p:graphicFrame>',
        f"<mc:AlternateContent {compatible}><mc:Choice>{shape.format('<a:r><a:t>new</a:t></a:r>')}</mc:Choice>"
        f"<mc:Fallback>{shape.format('<a:r><a:t>old</a:t></a:r>')}</mc:Fallback></mc:AlternateContent>",
        shape.format(f"<m:t {math}>E=mc²</m:t><a:br/><a:r><a:t>below</a:t></a:r>"),
    ):
        slide.shapes._spTree.append(
            parse_xml(xml.replace(">", f" {nsdecls('p', 'a', 'r')}>", 1).replace("/ xmlns", " xmlns"))
        )
    assert slices(read_bytes(tmp_path, "a.pptx", saved(presentation)))[-3:] == ["步骤", "new", "E=mc²\nbelow"]


@pytest.mark.parametrize("title", ["PowerPoint Presentation", "PowerPoint 演示文稿", "幻灯片 1", ""])
def test_a_title_that_the_program_wrote_is_not_believed(tmp_path: Path, title: str) -> None:
    presentation = slides()
    presentation.core_properties.title = title
    assert read_bytes(tmp_path, "a.pptx", saved(presentation)).title == "年休假"


def test_slide_numbers_dates_and_footers_are_left_out(tmp_path: Path) -> None:
    presentation = slides()
    shape = presentation.slides[2].shapes.add_textbox(0, 0, 9, 9)
    shape.text_frame.text = "17"
    shape._element.nvSpPr.nvPr.append(presentation.slides[0].shapes.title._element.nvSpPr.nvPr.ph.__copy__())
    shape._element.nvSpPr.nvPr.ph.set("type", "sldNum")
    assert "17" not in read_bytes(tmp_path, "a.pptx", saved(presentation)).text


# ── Excel ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_sheet_is_a_page_under_its_name_and_a_table_with_its_header(tmp_path: Path) -> None:
    book = workbook(
        (), (None, "城市", None, "人口"), (None, "北京\n市", None, 3.0), (), (None, "上海", None, 2)
    )
    hidden = book.create_sheet("隐藏")
    hidden.sheet_state = "hidden"
    hidden["C3"] = "secret"
    book.create_sheet("空")
    book.properties.title = "Cities"
    parsed = read_bytes(tmp_path, "a.xlsx", saved(book))
    assert slices(parsed) == ["销售", "城市 | 人口\n北京 市 | 3\n上海 | 2", "隐藏", "secret"]
    assert [(block.page, block.heading) for block in parsed.blocks[1:3]] == [(1, ("销售",)), (2, ("隐藏",))]
    assert (parsed.title, parsed.pages, parsed.pages_without_text) == ("Cities", 3, (3,))


@pytest.mark.parametrize(
    ("value", "code", "shown"),
    [
        (3.0, "General", "3"), (0.1 + 0.2, "General", "0.3"), (-0.0, "General", "0"), (1e-9, "General", "1E-9"),
        (110101199003071, "General", "110101199003071"), (1234567.5, "#,##0.00", "1,234,567.50"),
        (0.125, "0%", "13%"), (0.1256, "0.0%", "12.6%"), (7, "00000", "00007"), (1.005, "0.00", "1.01"),
        (1234.5, '"¥"#,##0.00', "¥1,234.50"), (1234.5, "[$€-407]#,##0", "€1,235"), (-5, "0.0;(0.0)", "(5.0)"),
        (-5, "0.0;[Red]-0.0", "-5.0"), (0, '0;-0;"-"', "-"), (2500000, '0.0,,"M"', "2.5M"), (5, '0" 天"', "5 天"),
        (0.5, "# ?/?", "0.5"), (12, ";;;", "12"), (1.5, "0.##", "1.5"), (2, "0.##", "2"), (-0.001, "0.0", "0.0"),
        (True, "General", "TRUE"), (False, "General", "FALSE"), ("0123", "@", "0123"), (1e300, "0.00", None),
        (date(2026, 1, 31), "yyyy-mm-dd", "2026-01-31"), (date(2026, 1, 31), 'yyyy"年"m"月"d"日"', "2026年1月31日"),
        (date(2026, 1, 1), "mmm-yy", "2026-01"), (date(2026, 1, 1), 'yyyy"年"m"月"', "2026年1月"),
        (datetime(2026, 1, 31, 9, 5), "m/d/yy h:mm", "2026-01-31 09:05"),
        (datetime(2026, 1, 31, 9, 5, 7), "yyyy-mm-dd hh:mm:ss", "2026-01-31 09:05:07"),
        (timedelta(hours=30, minutes=5), "[h]:mm:ss", "30:05:00"), (0.5, "h:mm AM/PM", "12:00"),
        ("#N/A", "General", "#N/A"), (-7.0, "yyyy-mm-dd", "1899-12-23"), (9e9, "yyyy-mm-dd", "9000000000"),
    ],
)  # fmt: skip
def test_a_value_is_shown_as_a_person_sees_it(
    tmp_path: Path, value: object, code: str, shown: str | None
) -> None:
    book = workbook(("name", "value"), ("x", value))
    book.active["B2"].number_format = code
    line = table_of(tmp_path, book)[1]
    if shown is None:
        assert line.startswith("x | 1000000")
    else:
        assert line == f"x | {shown}"


@pytest.mark.parametrize(("number", "shown"), [(31, "2026年1月31日"), (57, "2026年1月"), (14, "2026-01-31")])
def test_the_date_formats_that_have_only_numbers_are_known(number: int, shown: str) -> None:
    """Chinese Excel stores its dates under numbers that no table of English Excel holds: 46053 was shown."""
    code = number_format.format_code(number, {})
    assert number_format.show("46053", code, datetime(1899, 12, 30)) == shown


def test_dates_count_from_1904_where_the_workbook_says_so(tmp_path: Path) -> None:
    from openpyxl.utils.datetime import CALENDAR_MAC_1904

    book = workbook(("day",), (date(2026, 1, 31),))
    book.epoch = CALENDAR_MAC_1904
    assert table_of(tmp_path, book) == ["day", "2026-01-31"]


def test_a_formula_without_a_stored_result_is_shown_and_counted(tmp_path: Path) -> None:
    parsed = read_bytes(tmp_path, "a.xlsx", saved(workbook(("a", "b"), (2, "=A2*2"), (3, "=A3*2"))))
    assert of_kind(parsed, "table") == ["a | b\n2 | =A2*2\n3 | =A3*2"]
    assert "Formulas without a stored result on this sheet: 2" in parsed.text


def test_a_stored_result_is_shown_without_its_formula(tmp_path: Path) -> None:
    rows = (
        '<row r="1"><c r="A1" t="str"><f>"x"&amp;"y"</f><v>xy</v></c><c r="B1"><f>1+1</f><v>2</v></c>'
        '<c r="C1" t="str"><f>""</f><v></v></c><c r="D1" t="e"><f>1/0</f><v>#DIV/0!</v></c></row>'
    )
    assert sheet(tmp_path, f"<sheetData>{rows}</sheetData>").text == "销售\n\nxy | 2 | #DIV/0!"


def test_a_merged_cell_holds_for_all_its_rows(tmp_path: Path) -> None:
    book = workbook(("地区", "城市"), ("华东", "上海"), (None, "杭州"), (None, "南京"))
    book.active.merge_cells("A2:A4")
    assert table_of(tmp_path, book)[1:] == ["华东 | 上海", "华东 | 杭州", "华东 | 南京"]


def test_titles_above_a_table_are_not_its_header(tmp_path: Path) -> None:
    book = workbook(("2026 年度销售表",), ("单位：万元",), ("地区", "额"), ("华东", 1))
    book.active.merge_cells("A1:B1")
    parsed = read_bytes(tmp_path, "a.xlsx", saved(book))
    assert slices(parsed)[1:] == ["2026 年度销售表\n单位：万元", "地区 | 额\n华东 | 1"]


def test_a_second_table_below_a_blank_row_keeps_its_own_header(tmp_path: Path) -> None:
    book = workbook(("a", "b"), ("x", 1), (), ("y", 2), (), ("Other",), ("c", "d"), ("z", 3))
    parsed = read_bytes(tmp_path, "a.xlsx", saved(book))
    assert slices(parsed)[1:] == ["a | b\nx | 1\ny | 2", "Other", "c | d\nz | 3"]


def test_rich_text_is_whole_and_without_pronunciation(tmp_path: Path) -> None:
    rows = (
        '<row><c t="inlineStr"><is><r><t>北</t></r><r><t>京_x000D_市</t></r>'
        '<rPh sb="0" eb="1"><t>ほく</t></rPh></is></c></row>'
    )
    assert sheet(tmp_path, f"<sheetData>{rows}</sheetData>").text == "销售\n\n北京 市"


def test_shared_strings_are_found_by_their_number(tmp_path: Path) -> None:
    strings = "<si><t>one</t></si><si><r><t>t</t></r><r><t xml:space='preserve'>wo </t></r></si><si/>"
    cells = "".join(f'<c t="s"><v>{n}</v></c>' for n in (1, 0, 2, 0))
    parsed = read_bytes(tmp_path, "a.xlsx", with_strings(strings, cells))
    assert parsed.text == "销售\n\ntwo | one | one"
    with pytest.raises(BrokenFile):
        read(write(tmp_path, "a.xlsx", with_strings(strings, '<c t="s"><v>3</v></c>')))


def test_the_strict_form_of_a_workbook_is_read(tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(ORIGINALS["a.xlsx"])) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            part = old.read(name).replace(
                b"http://schemas.openxmlformats.org/spreadsheetml/2006/main",
                b"http://purl.oclc.org/ooxml/spreadsheetml/main",
            )
            if not name.startswith("["):
                part = part.replace(
                    b"http://schemas.openxmlformats.org/officeDocument/2006",
                    b"http://purl.oclc.org/ooxml/officeDocument",
                )
            new.writestr(name, part)
    assert read_bytes(tmp_path, "a.xlsx", file.getvalue()).text == "销售\n\na | b\n北京 | 3"


# ── Hostile workbooks ───────────────────────────────────────────────────────────────────────────────


def test_formatted_but_empty_rows_cost_little(tmp_path: Path) -> None:
    rows = "".join(f'<row r="{n}"><c r="A{n}" s="1"/></row>' for n in range(1, 300_001))
    last = '<row r="1048576"><c r="XFD1048576" t="str"><v>end</v></c></row>'
    parsed = sheet(tmp_path, f'<dimension ref="A1:XFD1048576"/><sheetData>{rows}{last}</sheetData>')
    assert parsed.text == "销售\n\nend"


def test_sixteen_thousand_columns_are_read_and_cut(tmp_path: Path) -> None:
    book = workbook(tuple(f"c{n}" for n in range(16_384)), tuple(range(16_384)))
    parsed = read_bytes(tmp_path, "a.xlsx", saved(book))
    assert of_kind(parsed, "table")[0].endswith("16382 | 16383")
    last = chunk(parsed)[-1]
    assert last.lead.startswith("c16") and last.lead.endswith("c16383\n")


@pytest.mark.parametrize("sparse", [False, True])
def test_a_sheet_over_the_limit_is_refused_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sparse: bool
) -> None:
    monkeypatch.setattr(base, "MAX_CHARS", 50_000)
    cells = [{1: "x", n * 100: "x"} if sparse else {1: "words " * 100} for n in range(1, 160)]
    book = openpyxl.Workbook()
    for row, one in enumerate(cells, 1):
        for column, value in one.items():
            book.active.cell(row, column, value)
    for column in range(1, 1000 * sparse):
        book.active.cell(200, column, "y")
    with pytest.raises(FileTooLarge):
        read(write(tmp_path, "a.xlsx", saved(book)))


def test_a_cell_of_ten_megabytes_is_refused_or_cut(tmp_path: Path) -> None:
    cell = '<row><c t="inlineStr"><is><t>{}</t></is></c></row>'
    assert len(sheet(tmp_path, f"<sheetData>{cell.format('x' * 5_000_000)}</sheetData>").text) > 5_000_000
    with pytest.raises(FileTooLarge, match="cell"):
        sheet(tmp_path, f"<sheetData>{cell.format(''.join(map(str, range(2_000_000))))}</sheetData>")


@pytest.mark.parametrize("part", ["xl/worksheets/sheet1.xml", "xl/sharedStrings.xml", "xl/workbook.xml"])
def test_entities_in_a_workbook_are_refused(tmp_path: Path, part: str) -> None:
    content = with_strings("<si><t>x</t></si>", '<c t="s"><v>0</v></c>')
    with zipfile.ZipFile(io.BytesIO(content)) as package:
        xml = re.sub(r"^<\?xml[^>]*\?>", "", package.read(part).decode())
    with pytest.raises(BrokenFile, match="entities"):
        read(write(tmp_path, "a.xlsx", repacked(content, {part: LAUGHS + xml})))


def test_entities_in_a_slide_are_not_expanded(tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(ORIGINALS["a.pptx"])) as package:
        xml = re.sub(r"^<\?xml[^>]*\?>", "", package.read("ppt/slides/slide1.xml").decode())
    bomb = LAUGHS + xml.replace("in a group", "&b;")
    file = write(tmp_path, "a.pptx", repacked(ORIGINALS["a.pptx"], {"ppt/slides/slide1.xml": bomb}))
    assert "haha" not in read(file).text


def test_external_links_are_not_followed(tmp_path: Path) -> None:
    book = workbook(("a", "b"), ("x", "=[1]Sheet1!A1"))
    book.active["A2"].hyperlink = "file:///etc/passwd"
    parsed = read_bytes(tmp_path, "a.xlsx", saved(book))
    assert "=[1]Sheet1!A1" in parsed.text and "root:" not in parsed.text


def test_control_characters_in_a_sheet_are_dropped(tmp_path: Path) -> None:
    rows = '<row><c t="inlineStr"><is><t>a_x0007_b_xD800_c</t></is></c></row>'
    assert sheet(tmp_path, f"<sheetData>{rows}</sheetData>").text == "销售\n\nabc"
