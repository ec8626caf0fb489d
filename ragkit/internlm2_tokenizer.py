"""InternLM2's tokenizer read from tokenizer.model: no remote code, no sentencepiece, no protobuf.

Owns the file format (sentencepiece_model.proto), the conversion to a `tokenizers` BPE, the chat template and the
stop ids. It reproduces tokenization_internlm2_fast.py of the hub's repository as it ran under transformers 4.41.1;
under transformers 5.23 that file loads without an error and gives other ids. Knows nothing of the model.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tokenizers import AddedToken, Tokenizer, decoders, normalizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ragkit.errors import ModelError

# The hub's own template. It begins with <s>: a rendered prompt is encoded with add_special_tokens=False, or the
# model sees two. It adds no system message; the InternLM persona of `model.chat` was added by the remote code.
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
END_OF_TURN = "<|im_end|>"

# The chat tokens are no pieces of their own: they take the ids of unused pieces. Folders from January 2024 have no
# added_tokens_decoder that says so (InternLM/InternLM#662: "[UNUSED_TOKEN_145]" printed after every answer).
_CHAT_PIECES = {
    "[UNUSED_TOKEN_141]": "<|plugin|>",
    "[UNUSED_TOKEN_142]": "<|interpreter|>",
    "[UNUSED_TOKEN_143]": "<|action_end|>",
    "[UNUSED_TOKEN_144]": "<|action_start|>",
    "[UNUSED_TOKEN_145]": END_OF_TURN,
    "[UNUSED_TOKEN_146]": "<|im_start|>",
}
_CONTROL_TOKENS = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
_LFS_POINTER = b"version https://git-lfs"
_BPE = 2  # TrainerSpec.ModelType
_AGAIN_HINT = "Download all files of the model again; tokenizer.model of InternLM2 has about 1.5 MB."
_Value = TypeVar("_Value", bytes, float)


class _NotSentencePiece(ValueError):
    """The bytes are no complete sentencepiece model; the text says where they break."""


@dataclass(frozen=True, slots=True)
class SentencePieceModel:
    """What InternLM2 needs of a tokenizer.model."""

    pieces: tuple[str, ...]
    scores: tuple[float, ...]
    add_dummy_prefix: bool


def load_tokenizer(directory: Path | str) -> PreTrainedTokenizerFast:
    """Build the tokenizer of an InternLM2 folder from its tokenizer.model; pads on the left, as generation needs."""
    folder = Path(directory)
    config = _read_config(folder / "tokenizer_config.json")
    model = read_sentencepiece(folder / "tokenizer.model")
    added = _added_tokens(config, model)
    named = {name: _content(config.get(name), default) for name, default in _CONTROL_TOKENS.items()}
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=build_tokenizer(model, added),
        **named,
        additional_special_tokens=[t.content for t in added.values() if t.content not in named.values()],
        add_bos_token=config.get("add_bos_token", True),
        add_eos_token=config.get("add_eos_token", False),
        # "a != b" must not come back as "a!= b", which the hub's slow tokenizer does.
        clean_up_tokenization_spaces=False,
        padding_side="left",
        chat_template=config.get("chat_template") or _read_template(folder) or CHAT_TEMPLATE,
        name_or_path=str(folder),
    )


def stop_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the ids that end an answer: </s> and, where the tokenizer has it, <|im_end|>.

    generation_config.json of InternLM2 names only </s>; a chat model ends its turn with <|im_end|> (92542) and,
    when nothing stops it there, writes the user's next turn too.
    """
    end_of_turn = tokenizer.get_vocab().get(END_OF_TURN)
    return sorted({i for i in (tokenizer.eos_token_id, end_of_turn) if isinstance(i, int)})


def build_tokenizer(model: SentencePieceModel, added: Mapping[int, AddedToken]) -> Tokenizer:
    """Convert a sentencepiece BPE; each added token takes the place of the piece that has its id.

    Appended after the pieces instead, as transformers' own converters do, they lie outside the model's embedding.
    """
    pieces = [added[i].content if i in added else piece for i, piece in enumerate(model.pieces)]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    merges = _merges(pieces, model.scores, vocab, skip={token.content for token in added.values()})
    bpe = BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(bpe)
    # Only these two steps, as in the original: precompiled_charsmap is not applied. InternLM2 adds no space in front
    # (add_dummy_prefix is false); LlamaTokenizer, which always does, gives wrong ids for nearly every text.
    space = normalizers.Replace(" ", "▁")
    prefix = [normalizers.Prepend("▁")] if model.add_dummy_prefix else []
    tokenizer.normalizer = normalizers.Sequence([*prefix, space])
    strip = [decoders.Strip(" ", 1, 0)] if model.add_dummy_prefix else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    tokenizer.add_special_tokens([added[i] for i in sorted(added)])
    for i, token in added.items():
        given = tokenizer.token_to_id(token.content)
        if given != i:  # past the vocabulary, or the name of a piece elsewhere in it
            raise ModelError(
                f"The special token {token.content} should have id {i}, but the tokenizer gives it {given}.",
                "tokenizer_config.json and tokenizer.model are not of the same model: download both again.",
            )
    return tokenizer


def _merges(
    pieces: Sequence[str], scores: Sequence[float], vocab: Mapping[str, int], *, skip: set[str]
) -> list[tuple[str, str]]:
    """Return every split of a piece into two pieces, best score of the whole first, as sentencepiece merges.

    Splits of equal score are ordered by the ids of their halves (SentencePieceExtractor of transformers 4.41.1;
    later versions order by length).
    """
    found: list[tuple[float, str, str]] = []
    for piece, score in zip(pieces, scores, strict=True):
        if piece in skip:
            continue
        splits = ((piece[:i], piece[i:]) for i in range(1, len(piece)))
        halves = [(left, right) for left, right in splits if left in vocab and right in vocab]
        halves.sort(key=lambda pair: (vocab[pair[0]], vocab[pair[1]]))
        found.extend((score, left, right) for left, right in halves)
    found.sort(key=lambda merge: -merge[0])  # stable
    return [(left, right) for _, left, right in found]


def read_sentencepiece(path: Path) -> SentencePieceModel:
    """Read a tokenizer.model; raise ModelError for one that is missing, cut off or no sentencepiece BPE model."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read: {error.strerror or error}.",
            "The folder must hold the whole model repository, tokenizer.model included.",
        ) from error
    if data.startswith(_LFS_POINTER):
        raise ModelError(f"{path} is a Git LFS pointer, not the file itself.", "git lfs pull")
    try:
        return _parse_model(data)
    except _NotSentencePiece as error:
        raise ModelError(
            f"{path} is not a complete sentencepiece BPE model: {error}.", _AGAIN_HINT
        ) from error


def _parse_model(data: bytes) -> SentencePieceModel:
    """Parse a ModelProto: 1 pieces, 2 trainer_spec, 3 normalizer_spec, written in this order."""
    pieces: list[str] = []
    scores: list[float] = []
    trainer: dict[int, int | float | bytes] | None = None
    normalizer: dict[int, int | float | bytes] | None = None
    for number, value in _fields(data):
        if number == 1:
            piece = dict(_fields(_expect(value, bytes)))
            scores.append(_expect(piece.get(2, 0.0), float))
            pieces.append(_utf8(_expect(piece.get(1, b""), bytes)))
        elif number == 2:
            trainer = dict(_fields(_expect(value, bytes)))
        elif number == 3:
            normalizer = dict(_fields(_expect(value, bytes)))
    if trainer is None or normalizer is None:  # a cut between two fields is valid protobuf
        raise _NotSentencePiece(
            f"it ends after {len(pieces)} pieces, before its trainer or normalizer settings"
        )
    if trainer.get(3, 1) != _BPE:
        raise _NotSentencePiece(f"its model type is {trainer.get(3, 1)!r}, not {_BPE} (BPE)")
    return SentencePieceModel(tuple(pieces), tuple(scores), add_dummy_prefix=bool(normalizer.get(3, 1)))


def _fields(data: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """Yield (field number, value) of one protobuf message; length-delimited values as bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == 2:
            size, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise _NotSentencePiece(f"no protobuf field can begin with {data[at - 1]:#04x}")
        raw, at = data[at : at + size], at + size
        if len(raw) < size:
            raise _NotSentencePiece(f"{at - len(data)} bytes are missing at its end")
        yield number, raw if wire == 2 else struct.unpack("<d" if wire == 1 else "<f", raw)[0]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a base-128 number; return it and the place after it."""
    result = 0
    for shift in range(0, 64, 7):
        if at >= len(data):
            raise _NotSentencePiece("it ends inside a number")
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, at
    raise _NotSentencePiece("a number is longer than 64 bits")


def _expect(value: int | float | bytes, kind: type[_Value]) -> _Value:
    if not isinstance(value, kind):
        raise _NotSentencePiece(f"a field holds {type(value).__name__}, not {kind.__name__}")
    return value


def _utf8(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _NotSentencePiece("a piece is not UTF-8") from error


def _read_config(path: Path) -> dict[str, Any]:
    """Read tokenizer_config.json; a folder without one gets the published defaults."""
    if not path.exists():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}.", _AGAIN_HINT) from error
    if not isinstance(config, dict):
        raise ModelError(f"{path} holds no JSON object.", _AGAIN_HINT)
    return config


def _read_template(folder: Path) -> str | None:
    """Return the template that transformers 5 writes beside tokenizer_config.json, for a folder that it saved."""
    path = folder / "chat_template.jinja"
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _added_tokens(config: Mapping[str, Any], model: SentencePieceModel) -> dict[int, AddedToken]:
    """Return the special tokens by id: those of added_tokens_decoder, else the published ones by piece name."""
    options = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")
    if listed := config.get("added_tokens_decoder"):
        try:
            return {int(i): AddedToken(**{k: t[k] for k in options if k in t}) for i, t in listed.items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise ModelError(
                f"added_tokens_decoder of tokenizer_config.json cannot be understood: {error}.", _AGAIN_HINT
            ) from error
    names = {piece: piece for piece in _CONTROL_TOKENS.values()} | _CHAT_PIECES
    return {
        i: AddedToken(names[piece], normalized=False, special=True)
        for i, piece in enumerate(model.pieces)
        if piece in names
    }


def _content(token: object, default: str) -> str:
    """Return the text of a token that a config holds as a string, as an object or not at all."""
    if isinstance(token, Mapping):
        token = token.get("content")
    return token if isinstance(token, str) else default
