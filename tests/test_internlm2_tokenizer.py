"""InternLM2's tokenizer against the ids and texts of the original (transformers 4.41.1), and on broken files."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from ragkit.errors import ModelError
from ragkit.internlm2_tokenizer import load_tokenizer, read_sentencepiece, stop_ids
from tests.tiny import GOLDEN

FOLDER = GOLDEN / "tokenizer"
CHAT_TOKENS = {
    "<|plugin|>": 1504,
    "<|interpreter|>": 1505,
    "<|action_end|>": 1506,
    "<|action_start|>": 1507,
    "<|im_end|>": 1508,
    "<|im_start|>": 1509,
}


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    return json.loads((FOLDER.parent / "tokenizer_reference.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return load_tokenizer(FOLDER)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FOLDER, tmp_path / "model"))


# Equality with the original


def test_every_string_gets_the_ids_of_the_original(tokenizer, reference):
    assert len(reference["strings"]) == 482
    ids = tokenizer(reference["strings"]).input_ids
    assert _different(reference["strings"], ids, reference["input_ids"]) == []


def test_every_string_gets_the_ids_of_the_original_without_special_tokens(tokenizer, reference):
    ids = tokenizer(reference["strings"], add_special_tokens=False).input_ids
    assert _different(reference["strings"], ids, reference["input_ids_no_special"]) == []


def test_every_string_decodes_as_in_the_original(tokenizer, reference):
    texts = tokenizer.batch_decode(reference["input_ids"], skip_special_tokens=True)
    assert _different(reference["strings"], texts, reference["decoded_skip_special"]) == []


def test_chats_are_rendered_and_encoded_as_in_the_original(tokenizer, reference):
    for chat, text, ids in zip(
        reference["chats"], reference["chat_text"], reference["chat_ids"], strict=True
    ):
        assert tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) == text
        assert tokenizer.apply_chat_template(chat, add_generation_prompt=True).input_ids == ids


def test_a_rendered_chat_is_encoded_without_a_second_bos(tokenizer, reference):
    ids = tokenizer(reference["chat_text"][0], add_special_tokens=False).input_ids
    assert ids == reference["chat_ids"][0]


# Special tokens


def test_special_tokens_take_the_ids_of_unused_pieces(tokenizer):
    assert {name: tokenizer.convert_tokens_to_ids(name) for name in CHAT_TOKENS} == CHAT_TOKENS
    assert len(tokenizer) == len(read_sentencepiece(FOLDER / "tokenizer.model").pieces) == 1510


def test_special_tokens_are_left_out_of_decoded_text(tokenizer):
    assert set(CHAT_TOKENS) <= set(tokenizer.all_special_tokens)
    assert tokenizer.decode([1, 1509, *CHAT_TOKENS.values(), 2], skip_special_tokens=True) == ""


def test_stop_ids_are_end_of_text_and_end_of_turn(tokenizer):
    assert stop_ids(tokenizer) == [2, 1508]


def test_a_base_model_stops_at_end_of_text_alone(folder):
    _edit_config(folder, lambda config: config["added_tokens_decoder"].pop("1508"))
    assert stop_ids(load_tokenizer(folder)) == [2]


def test_batches_are_padded_on_the_left_with_end_of_text(tokenizer):
    batch = tokenizer(["你好，世界！", "你好"], padding=True)
    short, width = batch.input_ids[1], len(batch.input_ids[0])
    n_pads = width - len(tokenizer("你好").input_ids)
    assert n_pads > 0
    assert short == [2] * n_pads + tokenizer("你好").input_ids
    assert batch.attention_mask[1] == [0] * n_pads + [1] * (width - n_pads)


def test_a_template_beside_the_config_is_used(folder):
    """transformers 5 saves the template as a file of its own: a fine-tuned model's one was lost otherwise."""
    _edit_config(folder, lambda config: config.pop("chat_template"))
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'] }}！", encoding="utf-8")
    rendered = load_tokenizer(folder).apply_chat_template([{"role": "user", "content": "好"}], tokenize=False)
    assert rendered == "好！"


def test_a_folder_without_tokenizer_config_gets_the_published_tokens(tmp_path, reference):
    pieces = [*_base_pieces(), *((f"[UNUSED_TOKEN_{i}]", 0.0) for i in range(147))]
    (tmp_path / "tokenizer.model").write_bytes(_sentencepiece(pieces))
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.convert_tokens_to_ids(["<|plugin|>", "<|im_end|>", "<|im_start|>"]) == [
        len(pieces) - 6,
        len(pieces) - 2,
        len(pieces) - 1,
    ]
    assert stop_ids(tokenizer) == [2, len(pieces) - 2]
    for chat, text in zip(reference["chats"], reference["chat_text"], strict=True):
        assert tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) == text


# Conversion


def test_merges_follow_the_score_of_the_piece(tmp_path):
    pieces = [*_base_pieces(), ("b", -9.0), ("c", -9.0), ("a", -9.0), ("ab", -2.0), ("bc", -1.0)]
    (tmp_path / "tokenizer.model").write_bytes(_sentencepiece(pieces))
    assert load_tokenizer(tmp_path).tokenize("abc") == ["a", "bc"]


def test_characters_without_a_piece_become_their_bytes(tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(_sentencepiece(_base_pieces()))
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.tokenize("书") == ["<0xE4>", "<0xB9>", "<0xA6>"]
    assert tokenizer.decode(tokenizer("书").input_ids, skip_special_tokens=True) == "书"


@pytest.mark.parametrize(("dummy_prefix", "tokens"), [(True, ["▁", "a"]), (False, ["a"])])
def test_a_space_in_front_is_the_files_own_choice(tmp_path, dummy_prefix, tokens):
    pieces = [*_base_pieces(), ("a", -1.0), ("▁", -2.0)]
    (tmp_path / "tokenizer.model").write_bytes(_sentencepiece(pieces, dummy_prefix=dummy_prefix))
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.tokenize("a") == tokens
    assert tokenizer.decode(tokenizer("a").input_ids, skip_special_tokens=True) == "a"


# Broken files


def test_a_missing_tokenizer_model_is_named(folder):
    (folder / "tokenizer.model").unlink()
    with pytest.raises(ModelError, match=r"tokenizer\.model cannot be read: No such file") as caught:
        load_tokenizer(folder)
    assert "whole model repository" in caught.value.hint


def test_a_git_lfs_pointer_is_told_from_a_broken_file(folder):
    (folder / "tokenizer.model").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(ModelError, match="Git LFS pointer") as caught:
        load_tokenizer(folder)
    assert caught.value.hint == "git lfs pull"


def test_a_file_cut_off_anywhere_is_refused(tmp_path):
    whole = (FOLDER / "tokenizer.model").read_bytes()
    path = tmp_path / "tokenizer.model"
    between_pieces = _piece_ends(whole)[::100]  # such a cut leaves valid protobuf
    before_normalizer = whole.index(b"\x1a\x10\n\x08identity")  # so does this one: add_dummy_prefix is lost
    for cut in [*between_pieces, before_normalizer, *range(1, len(whole), 397), len(whole) - 1]:
        path.write_bytes(whole[:cut])
        with pytest.raises(ModelError, match="not a complete sentencepiece BPE model") as caught:
            read_sentencepiece(path)
        assert "Download" in caught.value.hint


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b'{"model": {"type": "BPE"}}',
        "你好，世界".encode(),
        b"PK\x03\x04" + bytes(40),
        b"\xff" * 40,
        b"\x0a\x03\x0a\x01\xff",  # a piece that is not UTF-8
        b"\x08\x01",  # a number where the pieces are
    ],
    ids=["empty", "json", "text", "zip", "ones", "not utf-8", "number"],
)
def test_a_file_of_another_kind_is_refused(tmp_path, data):
    path = tmp_path / "tokenizer.model"
    path.write_bytes(data)
    with pytest.raises(ModelError, match="not a complete sentencepiece BPE model"):
        read_sentencepiece(path)


def test_a_unigram_model_is_refused(tmp_path):
    path = tmp_path / "tokenizer.model"
    path.write_bytes(_sentencepiece(_base_pieces(), model_type=1))
    with pytest.raises(ModelError, match="its model type is 1, not 2"):
        read_sentencepiece(path)


def test_a_special_token_outside_the_pieces_is_refused(folder):
    def move(config: dict[str, Any]) -> None:
        tokens = config["added_tokens_decoder"]
        tokens["92542"] = tokens.pop("1508")

    _edit_config(folder, move)
    with pytest.raises(ModelError, match=r"<\|im_end\|> should have id 92542"):
        load_tokenizer(folder)


@pytest.mark.parametrize("text", ["{", "[]", '{"added_tokens_decoder": {"x": {}}}', "\x00"])
def test_a_broken_tokenizer_config_is_refused(folder, text):
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=r"tokenizer_config\.json") as caught:
        load_tokenizer(folder)
    assert "Download" in caught.value.hint


# Helpers


def _different(strings: list[str], got: list[Any], expected: list[Any]) -> list[str]:
    return [s for s, g, e in zip(strings, got, expected, strict=True) if g != e]


def _edit_config(folder: Path, edit: Any) -> None:
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    edit(config)
    path.write_text(json.dumps(config), encoding="utf-8")


def _base_pieces() -> list[tuple[str, float]]:
    control = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0)]
    return [*control, *((f"<0x{byte:02X}>", 0.0) for byte in range(256))]


def _sentencepiece(
    pieces: list[tuple[str, float]], *, model_type: int = 2, dummy_prefix: bool = False
) -> bytes:
    """Write a minimal ModelProto: pieces, trainer_spec.model_type, normalizer_spec.add_dummy_prefix."""
    body = b"".join(_piece(text, score) for text, score in pieces)
    return body + _message(2, bytes([3 << 3, model_type])) + _message(3, bytes([3 << 3, dummy_prefix]))


def _piece(text: str, score: float) -> bytes:
    return _message(1, _message(1, text.encode()) + bytes([2 << 3 | 5]) + struct.pack("<f", score))


def _piece_ends(data: bytes) -> list[int]:
    """Return where each piece of a ModelProto ends; all are shorter than 128 bytes."""
    ends, at = [], 0
    while data[at] == (1 << 3 | 2):
        at += 2 + data[at + 1]
        ends.append(at)
    return ends


def _message(number: int, content: bytes) -> bytes:
    assert len(content) < 128  # one byte holds the length
    return bytes([number << 3 | 2, len(content)]) + content
