"""Recognised pages: in reading order, within their time, and named where nothing can be recognised.

Whether rapidocr is installed is not left to chance: a package that stands in for it says what it is given.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from ragkit.readers.ocr_layout import Line, arranged
from tests.fakes_documents import picture_pdf, write

ROOT = Path(__file__).parents[1]
CJK_FONT = Path("/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc")

# ── Reading order ───────────────────────────────────────────────────────────────────────────────────


def column(left: float, top: float, *texts: str, width: float = 400, step: float = 30) -> list[Line]:
    """Lines of 20 pixels, one below the other."""
    return [
        Line(text, left, top + step * at, left + width, top + step * at + 20) for at, text in enumerate(texts)
    ]


def test_lines_come_from_the_top_to_the_bottom() -> None:
    assert arranged(column(0, 0, "一", "二", "三")[::-1]) == "一\n二\n三"


def test_a_wide_space_begins_a_paragraph() -> None:
    assert arranged(column(0, 0, "a", "b") + column(0, 100, "c")) == "a\nb\n\nc"


def test_pieces_side_by_side_are_one_row() -> None:
    assert arranged([*column(200, 3, "年", width=60), *column(0, 0, "2026", width=80)]) == "2026 年"


@pytest.mark.parametrize("shift", [0, 9, 15])
def test_columns_are_read_one_after_the_other(shift: float) -> None:
    """With their lines on one level or not; read by rows they were garbage."""
    title = [Line("Title", 0, 0, 900, 20)]
    left, right = column(0, 60, "a1", "a2", "a3", "a4"), column(480, 60 + shift, "b1", "b2", "b3", "b4")
    below = [Line("Foot", 0, 260, 900, 280)]
    text = arranged([*title, *right, *left, *below])
    assert text.split() == ["Title", "a1", "a2", "a3", "a4", "b1", "b2", "b3", "b4", "Foot"]


def test_a_table_below_two_columns_is_no_part_of_them() -> None:
    prose = column(0, 0, "a1", "a2", "a3") + column(480, 0, "b1", "b2", "b3")
    table = column(0, 150, "c1", "c2", width=60) + column(520, 150, "d1", "d2", width=60)
    assert arranged(prose + table) == "a1\na2\na3\n\nb1\nb2\nb3\n\nc1 d1\nc2 d2"


def test_tilted_lines_of_two_columns_stay_apart() -> None:
    """A line of the right column lay on a level with two of the left one, and made them a single row."""
    left, right = column(0, 0, "a1", "a2", "a3", step=24), column(480, 9, "b1", "b2", "b3", step=24)
    tall = [Line(x.text, x.left, x.top - 4, x.right, x.bottom + 4) for x in left + right]
    assert arranged(tall).split() == ["a1", "a2", "a3", "b1", "b2", "b3"]


def test_three_columns_are_read_one_after_the_other() -> None:
    columns = [column(480.0 * at, 0, *(f"{name}{row}" for row in range(4))) for at, name in enumerate("abc")]
    words = arranged([line for lines in columns for line in lines]).split()
    assert words == [f"{name}{row}" for name in "abc" for row in range(4)]


def test_a_table_is_read_by_its_rows() -> None:
    names, marks = (
        column(0, 0, "姓名", "张三", "李四", width=60),
        column(300, 0, "数学", "95", "88", width=60),
    )
    assert arranged(names + marks) == "姓名 数学\n张三 95\n李四 88"


def test_a_page_with_nothing_on_it_is_empty() -> None:
    assert arranged([]) == arranged(column(0, 0, " ")) == ""


# ── What becomes of scans ───────────────────────────────────────────────────────────────────────────

FAKE = {
    "onnxruntime/__init__.py": "",
    "cv2/__init__.py": "def setNumThreads(count): pass",
    "rapidocr/models/a_det_b.onnx": "",
    "rapidocr/models/a_cls_b.onnx": "",
    "rapidocr/models/a_rec_b.onnx": "",
    "rapidocr/__init__.py": """
from types import SimpleNamespace
made = []
class RapidOCR:
    def __init__(self, params):
        assert params["Det.model_path"].endswith("a_det_b.onnx")
        made.append(self)
    def __call__(self, image):
        height, width, channels = image.shape
        assert channels == 3 and max(height, width) <= 2000
        if image.min() > 250:
            return SimpleNamespace(boxes=None, txts=None)
        if image[height // 2, width // 2, 2] > 200 > image[height // 2, width // 2, 0]:
            raise RuntimeError("a red page breaks it")
        box = [[0, 0], [9, 0], [9, 9], [0, 9]]
        return SimpleNamespace(boxes=[box], txts=[f"recognised by engine {len(made)}"])
""",
}

READ = """
import json, sys, time
from pathlib import Path
from ragkit.errors import ReadError
from ragkit.readers import ocr, pace, read
ocr.BUDGET_S = float(sys.argv[2])
signs = []
try:
    with pace.heard_by(lambda: signs.append(1)):
        parsed = read(Path(sys.argv[1]))
    print(json.dumps([parsed.text, parsed.ocr_pages, parsed.pages_without_text, parsed.ocr_state, len(signs)]))
except ReadError as error:
    print(json.dumps([error.code, error.message, error.hint]))
"""


def read_beside(folder: Path, content: bytes, *, budget_s: float = 60) -> list[object]:
    """What reading a PDF gives in a process that finds the stand-in, with its signs of life."""
    for name, text in FAKE.items():
        file = folder / "packages" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    code = f"import sys; sys.path[:0] = [{str(folder / 'packages')!r}, {str(ROOT)!r}]\n{READ}"
    file = write(folder, "scan.pdf", content)
    done = subprocess.run(
        [sys.executable, "-c", code, str(file), str(budget_s)], capture_output=True, text=True, check=True
    )
    result: list[object] = json.loads(done.stdout)
    return result


def test_scans_are_recognised_with_one_engine_and_signs_of_life(tmp_path: Path) -> None:
    text, recognised, unread, state, signs = read_beside(tmp_path, picture_pdf("gray", "gray"))
    assert text == "recognised by engine 1\n\nrecognised by engine 1"
    assert (recognised, unread, state, signs) == ([1, 2], [], "", 2)


def test_a_page_that_breaks_the_recogniser_or_holds_nothing_is_named(tmp_path: Path) -> None:
    text, recognised, unread, _, _ = read_beside(tmp_path, picture_pdf("red", "gray", "white"))
    assert text == "\n\nrecognised by engine 1\n\n"
    assert (recognised, unread) == ([2], [1, 3])


def test_a_scan_on_which_nothing_is_recognised_has_no_text(tmp_path: Path) -> None:
    code, message, hint = read_beside(tmp_path, picture_pdf("white"))
    assert code == "no_text" and "no text was recognised" in str(message) and "dpi" in str(hint)


def test_when_the_time_is_over_the_rest_is_named_with_the_reason(tmp_path: Path) -> None:
    text, recognised, unread, state, _ = read_beside(
        tmp_path, picture_pdf("gray", "gray", first="A page of text that was never a scan."), budget_s=0
    )
    assert text == "A page of text that was never a scan.\n\n\n\n"
    assert (recognised, unread, state) == ([], [2, 3], "stopped")


# ── For real ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(
    not (find_spec("rapidocr") and find_spec("onnxruntime")), reason="rapidocr and onnxruntime are optional"
)
@pytest.mark.skipif(not CJK_FONT.exists(), reason="no Noto CJK font to draw a page with")
def test_a_real_scan_in_chinese_and_english_is_read(tmp_path: Path) -> None:
    from ragkit.readers.client import ReaderProcess

    image = Image.new("RGB", (1240, 1754), "white")
    font = ImageFont.truetype(str(CJK_FONT), 36, index=2)
    draw = ImageDraw.Draw(image)
    lines = ["员工手册", "年休假按工龄计算，满一年可休五天。", "Write to the office before Friday."]
    for number, line in enumerate(lines):
        draw.text((120, 150 + 150 * number), line, font=font, fill="black")
    file = io.BytesIO()
    image.save(file, "PDF", resolution=150)
    with ReaderProcess() as reader:
        parsed = reader.read(write(tmp_path, "scan.pdf", file.getvalue()))
    assert parsed.text == "\n\n".join(lines)
    assert (parsed.ocr_pages, parsed.pages_without_text) == ((1,), ())
