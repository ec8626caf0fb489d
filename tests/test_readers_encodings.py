"""Every encoding at every length, decoded by rule and without a character lost."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragkit.errors import BrokenFile, EmptyFile, ReadError, TruncatedFile
from ragkit.readers import encodings, plain, read
from ragkit.readers.base import decode
from tests.fakes_documents import assert_sound, read_bytes, slices, write

SIMPLIFIED = (
    "书生·浦语是上海人工智能实验室开源的大语言模型。检索增强生成先从知识库里找出与问题有关的段落，再让模型根据这些段落回答，"
    "所以答案有据可查。下雨天留客，天留我不留！他们在会议上讨论了年度预算、人员安排和项目进度，并决定下个月举行第二次会议。"
    "请先安装依赖，然后运行示例；如果遇到错误，可以查看日志或者在论坛提问。\n"
)
TRADITIONAL = (
    "書生·浦語是上海人工智慧實驗室開源的大語言模型。檢索增強生成先從知識庫裡找出與問題有關的段落，再讓模型根據這些段落回答，"
    "所以答案有據可查。下雨天留客，天留我不留！他們在會議上討論了年度預算、人員安排和專案進度，並決定下個月舉行第二次會議。"
    "請先安裝相依套件，然後執行範例；如果遇到錯誤，可以查看記錄檔或者在論壇提問。\n"
)
ENGLISH = "Retrieval comes first: the passages are found, then the model answers.\nNothing else is used.\n"
JAPANESE = "これは日本語の文章です。検索した段落をもとに、モデルが質問に答えます。東京都は日本の首都です。\n"
KOREAN = "모든 국민은 법 앞에 평등하다. 대한민국의 주권은 국민에게 있고 모든 권력은 국민으로부터 나온다.\n"
RUSSIAN = "Все люди рождаются свободными и равными в своём достоинстве и правах.\n"
FRENCH = "Une région élégante où l’été est très long : naïveté, façade, cœur.\n"

LENGTHS = (10, 14, 20, 40, 90, 400, 5000, 40_000)


def pieces(text: str, length: int, count: int = 40) -> list[str]:
    """Windows of that many characters, from everywhere in the text repeated."""
    chance = random.Random(length)
    source = text * (2 + length // len(text))
    count = count if length < 1000 else 2
    return [source[at : at + length] for at in (chance.randrange(len(text)) for _ in range(count))]


# ── Round trips ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize(
    ("text", "written", "told"),
    [
        (SIMPLIFIED, "utf-8", "utf-8"),
        (SIMPLIFIED, "utf-8-sig", "utf-8-sig"),
        (SIMPLIFIED, "utf-16", "utf-16"),
        (SIMPLIFIED, "utf-16-le", "utf-16-le"),
        (SIMPLIFIED, "utf-16-be", "utf-16-be"),
        (SIMPLIFIED, "gb18030", "gb18030"),
        (TRADITIONAL, "utf-8", "utf-8"),
        (TRADITIONAL, "utf-16", "utf-16"),
        (TRADITIONAL, "utf-16-le", "utf-16-le"),
        (TRADITIONAL, "utf-16-be", "utf-16-be"),
        (TRADITIONAL, "gbk", "gb18030"),
        (TRADITIONAL, "big5", "big5hkscs"),
        (ENGLISH, "utf-8", "utf-8"),
        (ENGLISH, "utf-16", "utf-16"),
        (ENGLISH, "utf-16-le", "utf-16-le"),
        (ENGLISH, "utf-16-be", "utf-16-be"),
    ],
)
def test_a_text_of_any_length_comes_back(text: str, written: str, told: str, length: int) -> None:
    for piece in pieces(text, length):
        assert decode(piece.encode(written)) == (piece, told)


@pytest.mark.parametrize("written", ["gbk", "big5"])
@pytest.mark.parametrize("length", [4, 5, 6, 8, 10, 13, 16, 20])
def test_eight_to_forty_bytes_of_chinese_are_told_apart(written: str, length: int) -> None:
    """Each decodes as the other's rubbish without an error; so short, statistics over bytes say nothing."""
    texts = (SIMPLIFIED, TRADITIONAL) if written == "gbk" else (TRADITIONAL,)
    for text in texts:
        tried = [piece for piece in pieces(text, length, count=120) if "\n" not in piece]
        wrong = [piece for piece in tried if decode(piece.encode(written))[0] != piece]
        assert len(wrong) <= len(tried) // 100, wrong


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_four_common_characters_of_gb18030_are_never_taken_for_korean_or_japanese(
    data: st.DataObject,
) -> None:
    """charset-normalizer took 8 bytes of GB18030 for cp949."""
    pair = st.tuples(st.integers(0xB0, 0xD7), st.integers(0xA1, 0xF9)).map(bytes)
    content = b"".join(data.draw(st.lists(pair, min_size=4, max_size=4)))
    assert decode(content)[1] not in ("cp949", "cp932", "euc_jp")


def test_what_is_utf16_but_for_its_end_may_be_chinese() -> None:
    assert decode("瘫瘫瘫柏".encode("gb18030")) == ("瘫瘫瘫柏", "gb18030")
    assert decode(b"\xcc\xb1\xcc\xb1\xcc\xb1\xb0\xd8")[1] == "gb18030"


@settings(deadline=None, max_examples=100)
@given(st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FA5), min_size=1, max_size=30))
def test_any_chinese_in_utf8_with_or_without_a_mark_comes_back(text: str) -> None:
    assert decode(text.encode()) == (text, "utf-8")
    assert decode(text.encode("utf-8-sig")) == (text, "utf-8-sig")
    assert decode(text.encode("utf-16")) == (text, "utf-16")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (JAPANESE, "cp932"),
        (JAPANESE, "euc_jp"),
        (KOREAN, "cp949"),
        (RUSSIAN, "koi8_r"),
        (RUSSIAN, "cp1251"),
        (FRENCH, "cp1252"),
        ("Müller", "cp1252"),
        ("café", "cp1252"),
        ("région", "cp1252"),
        ("ÉTÉ", "cp1252"),
        ("Zażółć gęślą jaźń. Wszyscy ludzie rodzą się wolni i równi.", "cp1250"),
    ],
)
def test_other_languages_are_found_as_well(text: str, written: str) -> None:
    assert decode(text.encode(written)) == (text, written)


@pytest.mark.parametrize("text", [RUSSIAN, KOREAN, JAPANESE, FRENCH])
def test_utf16_without_a_mark_is_found_in_any_language(text: str) -> None:
    assert decode(text.encode("utf-16-le")) == (text, "utf-16-le")
    assert decode(text.encode("utf-16-be")) == (text, "utf-16-be")


@pytest.mark.parametrize("written", ["gb18030", "big5"])
def test_chinese_between_much_ascii_is_found(written: str) -> None:
    text = "print('hello')  # comment\n" * 3000 + "# 說明文字\n" + "x = 1\n" * 3000
    assert decode(text.encode(written))[0] == text


def test_one_line_of_megabytes_is_read() -> None:
    """A pattern that looks back 200 characters from every place of it takes minutes."""
    text = "x" * 3_000_000 + "说明文字"
    assert decode(text.encode("gb18030")) == (text, "gb18030")
    with pytest.raises(BrokenFile, match="control characters"):
        decode(b"\0\1\2\3" * 1_000_000)


def test_chinese_words_within_english_are_chinese() -> None:
    text = "用Python的list和dict写程序\n"
    assert decode(text.encode("gb18030")) == (text, "gb18030")


# ── What a document declares ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("declared", "written", "told"),
    [
        ("Shift_JIS", "cp932", "cp932"),
        ("euc-kr", "cp949", "cp949"),
        ("big5", "big5", "big5hkscs"),
        ("GB2312", "gbk", "gb18030"),
    ],
)
def test_what_a_document_declares_comes_before_guessing(declared: str, written: str, told: str) -> None:
    assert decode("文字".encode(written), declared=declared) == ("文字", told)


@pytest.mark.parametrize("declared", ["us-ascii", "iso-8859-1", "windows-1252"])
@pytest.mark.parametrize(("written", "told"), [("utf-8", "utf-8"), ("gbk", "gb18030")])
def test_chinese_that_is_declared_latin_is_chinese_all_the_same(
    declared: str, written: str, told: str
) -> None:
    assert decode("检索增强生成".encode(written), declared=declared) == ("检索增强生成", told)


def test_latin_that_is_declared_latin_is_latin() -> None:
    assert decode("région".encode("cp1252"), declared="ISO-8859-1") == ("région", "cp1252")


@pytest.mark.parametrize("label", ["unicode_escape", "idna", "rot13", "utf-7", "base64", ""])
def test_codecs_that_are_no_encodings_of_documents_are_not_believed(label: str) -> None:
    assert encodings.known(label) == ""
    assert decode(b"\\u0041+ADw-", declared=label) == ("\\u0041+ADw-", "utf-8")


# ── Damage ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (SIMPLIFIED, "utf-8"),
        (SIMPLIFIED, "gb18030"),
        (TRADITIONAL, "big5"),
        (SIMPLIFIED, "utf-16"),
        (SIMPLIFIED, "utf-16-le"),
        (JAPANESE, "cp932"),
    ],
)
def test_a_text_that_ends_within_a_character_is_cut_off(tmp_path: Path, text: str, written: str) -> None:
    """The half character was dropped, or the whole file taken for another encoding."""
    with pytest.raises(TruncatedFile, match="cut off") as caught:
        read(write(tmp_path, "a.txt", text.strip().rstrip("。").encode(written)[:-1]))
    assert caught.value.hint


def test_the_place_of_the_damage_is_told(tmp_path: Path) -> None:
    content = SIMPLIFIED.encode("utf-8")
    with pytest.raises(BrokenFile, match="utf-8, but not at byte 59"):
        read(write(tmp_path, "a.txt", content[:60] + b"\xff" + content[60:]))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"\xef\xbb\xbf", " \u3000\n".encode("utf-16")])
def test_nothing_but_white_space_or_a_mark_is_an_empty_file(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(EmptyFile) as caught:
        read(write(tmp_path, "a.txt", content))
    assert caught.value.hint


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(["utf-8", "gb18030", "big5", "utf-16-le", "utf-16"]),
    st.integers(0, 400),
    st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=4),
)
def test_damaged_text_is_read_or_refused_and_nothing_else(
    written: str, cut: int, flips: list[tuple[int, int]]
) -> None:
    content = bytearray(TRADITIONAL.encode(written)[: cut or None])
    for place, value in flips:
        content[place % len(content)] = value
    try:
        parsed = plain.parse(bytes(content))
    except ReadError as error:
        assert error.message and error.hint
    else:
        assert_sound(parsed)
        assert "\ufffd" not in parsed.text


def test_a_file_says_which_encoding_was_found(tmp_path: Path) -> None:
    parsed = read_bytes(tmp_path, "a.txt", TRADITIONAL.encode("big5"))
    assert parsed.encoding == "big5hkscs"
    assert slices(parsed) == [TRADITIONAL.strip()]
