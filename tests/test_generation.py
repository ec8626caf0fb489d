"""Tokens as plain generate makes them, in slices that can be stopped; text piece by piece as the whole decodes."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from ragkit.generation import SLICE, Detokeniser, Options, StopStrings, generate_tokens, new_prefix
from ragkit.internlm2 import load_model
from ragkit.internlm2_tokenizer import load_tokenizer
from tests.tiny import GOLDEN, llama

REFERENCE = json.loads((GOLDEN / "tokenizer_reference.json").read_text(encoding="utf-8"))
NEVER = frozenset[int]()

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module", params=["plain", "dynamic", "linear", "bias"])
def model(request, tmp_path_factory) -> PreTrainedModel:
    """A golden model, its window widened from 64 so that prompts of several slices stay inside."""
    folder = shutil.copytree(GOLDEN / request.param, tmp_path_factory.mktemp("model") / request.param)
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(config | {"max_position_embeddings": 2048}), encoding="utf-8")
    return load_model(folder, dtype=torch.float32)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return load_tokenizer(GOLDEN / "tokenizer")


@pytest.fixture(scope="module")
def byte_tokenizer(tmp_path_factory) -> PreTrainedTokenizerBase:
    """One token a byte: every Chinese character is three, every emoji four."""
    return AutoTokenizer.from_pretrained(llama(tmp_path_factory.mktemp("llama") / "llama"))


def _prompt(length: int) -> list[int]:
    return torch.randint(3, 512, (length,), generator=torch.Generator().manual_seed(length)).tolist()


def _ours(model, prompt, *, end_ids=NEVER, stopped=lambda: False, prefix=None, **options) -> list[int]:
    chosen = Options(**{"max_tokens": 24, **options})
    return list(generate_tokens(model, prompt, chosen, end_ids, stopped, prefix=prefix))


def _theirs(model, prompt, **options) -> list[int]:
    settings = {"max_new_tokens": 24, "do_sample": False, "eos_token_id": None, "pad_token_id": 0, **options}
    tokens = model.generate(torch.tensor([prompt]), **settings)
    return tokens[0, len(prompt) :].tolist()


# Tokens


@pytest.mark.parametrize("length", [1, 2, SLICE - 1, SLICE, SLICE + 1, 2 * SLICE, 2 * SLICE + 88])
def test_greedy_tokens_are_those_of_plain_generate(model, length):
    prompt = _prompt(length)
    assert _ours(model, prompt) == _theirs(model, prompt)


def test_greedy_tokens_with_a_repetition_penalty_are_those_of_plain_generate(model):
    prompt = _prompt(300)
    assert _ours(model, prompt, repetition_penalty=1.3) == _theirs(model, prompt, repetition_penalty=1.3)


@pytest.mark.parametrize(
    "options", [{"temperature": 0.7}, {"temperature": 1.0, "top_p": 0.8}, {"temperature": 1.5, "top_k": 20}]
)
def test_sampled_tokens_of_a_seed_are_those_of_plain_generate(model, options):
    prompt = _prompt(300)
    torch.manual_seed(7)
    theirs = _theirs(model, prompt, **{"do_sample": True, "top_k": 0, **options})
    assert _ours(model, prompt, seed=7, **options) == theirs


def test_sampling_without_a_seed_differs_from_time_to_time(model):
    prompt = _prompt(20)
    assert len({tuple(_ours(model, prompt, temperature=2.0)) for _ in range(4)}) > 1


def test_an_end_token_ends_the_answer_and_is_not_part_of_it(model):
    prompt = _prompt(40)
    whole = _ours(model, prompt)
    end = whole[5]
    assert _ours(model, prompt, end_ids=frozenset({end})) == whole[: whole.index(end)]


def test_one_token_costs_one_forward_after_the_prompt(model):
    with _Forwards(model) as forwards:
        assert len(_ours(model, _prompt(10), max_tokens=5)) == 5
    assert forwards.lengths == [10, 1, 1, 1, 1]  # the last token is not fed back


def test_a_prompt_is_read_in_slices(model):
    with _Forwards(model) as forwards:
        _ours(model, _prompt(2 * SLICE + 88), max_tokens=1)
    assert forwards.lengths == [SLICE, SLICE, 88]


def test_a_stop_while_the_prompt_is_read_lets_no_further_slice_begin(model):
    with _Forwards(model) as forwards:
        tokens = _ours(model, _prompt(2 * SLICE + 88), stopped=lambda: len(forwards.lengths) == 2)
    assert tokens == [] and forwards.lengths == [SLICE, SLICE]


def test_a_stop_while_a_slice_is_read_is_seen_before_the_next_layer(model):
    layers, done, prefix, prompt = model.model.layers, [], new_prefix(model), _prompt(SLICE + 88)
    hooks = [layer.register_forward_hook(lambda *_: done.append(1)) for layer in layers]
    tokens = _ours(model, prompt, stopped=lambda: len(done) == len(layers) + 1, prefix=prefix)
    for hook in hooks:
        hook.remove()
    assert tokens == [] and len(done) == len(layers) + 1
    assert prefix.ends == [SLICE] and prefix.can_be_cut  # what one layer had of the second slice is gone
    assert {layer.get_seq_length() for layer in prefix.cache.layers} == {SLICE}
    assert _ours(model, prompt, prefix=prefix) == _ours(model, prompt)


def test_a_stop_between_tokens_lets_no_further_forward_begin(model):
    with _Forwards(model) as forwards:
        tokens = _ours(model, _prompt(10), stopped=lambda: len(forwards.lengths) == 4)
    assert len(tokens) == 4 == len(forwards.lengths)


class _Forwards:
    """Counts the forwards of a model and how many tokens each had."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self.lengths: list[int] = []

    def __enter__(self) -> _Forwards:
        def note(module, args, kwargs):
            self.lengths.append(kwargs["input_ids"].shape[1])

        self._hook = self._model.register_forward_pre_hook(note, with_kwargs=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._hook.remove()


# Text


def _pieces(tokenizer, ids) -> list[str]:
    stream = Detokeniser(tokenizer)
    return [*(stream.step(token) for token in ids), stream.finish()]


def _whole(tokenizer, ids) -> str:
    return tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def test_the_pieces_of_every_golden_string_are_the_whole_text(tokenizer):
    different = [
        text
        for text, ids in zip(REFERENCE["strings"], REFERENCE["input_ids"], strict=True)
        if "".join(_pieces(tokenizer, ids)) != _whole(tokenizer, ids)
    ]
    assert len(REFERENCE["strings"]) == 482 and different == []


def test_byte_by_byte_the_pieces_of_every_golden_string_are_the_whole_text(byte_tokenizer):
    different = [
        text
        for text in REFERENCE["strings"]
        if "".join(_pieces(byte_tokenizer, byte_tokenizer(text).input_ids)) != text
        and "<|im_" not in text  # spells a special token of this tokenizer
    ]
    assert different == []


@given(st.text(st.characters(codec="utf-8"), max_size=40))
@settings(max_examples=60, deadline=None)
def test_the_pieces_of_any_text_are_the_whole_text(byte_tokenizer, tokenizer, text):
    for each in (byte_tokenizer, tokenizer):
        ids = each(text, add_special_tokens=False).input_ids
        assert "".join(_pieces(each, ids)) == _whole(each, ids)


@given(st.lists(st.integers(0, 258), max_size=60))
@settings(max_examples=60, deadline=None)
def test_broken_bytes_never_raise_and_lose_no_whole_character(byte_tokenizer, ids):
    text = "".join(_pieces(byte_tokenizer, ids))
    assert text.replace("\ufffd", "") == _whole(byte_tokenizer, ids).replace("\ufffd", "")


@pytest.mark.parametrize("text", ["你好", "😀", "👨‍👩‍👧", "𠮷野家", "aé你😀"])
def test_a_character_of_several_tokens_comes_whole_and_at_once(byte_tokenizer, text):
    pieces = _pieces(byte_tokenizer, byte_tokenizer(text).input_ids)
    assert [piece for piece in pieces if piece] == list(text)


def test_a_real_replacement_character_is_kept(byte_tokenizer):
    text = "a\ufffdb" + "\ufffd" * 20 + "c\ufffd"
    assert "".join(_pieces(byte_tokenizer, byte_tokenizer(text).input_ids)) == text


def test_a_token_without_text_keeps_the_space_of_the_next_word(tokenizer):
    ids = [*tokenizer("Hello", add_special_tokens=False).input_ids, 1505, 1506]
    ids += tokenizer(" world", add_special_tokens=False).input_ids
    assert "".join(_pieces(tokenizer, ids)) == "Hello world"


# Stop strings


def _cut(pieces: list[str], *stops: str) -> tuple[str, bool]:
    stream, text = StopStrings(stops), ""
    for piece in pieces:
        more, met = stream.feed(piece)
        text += more
        if met:
            return text, True
    return text + stream.finish(), False


@pytest.mark.parametrize(
    ("pieces", "stops", "expected"),
    [
        (["abc"], [], ("abc", False)),
        (["ab", "cd", "ef"], ["cde"], ("ab", True)),
        (["ab", "c", "d"], ["cde"], ("abcd", False)),
        (["问：", "答\n", "\n问"], ["\n\n问"], ("问：答", True)),
        (["aab"], ["b", "aab"], ("", True)),
        (["aa", "aab"], ["aab"], ("aa", True)),
        (["x", ""], ["", "y"], ("x", False)),
    ],
)
def test_a_stop_string_is_cut_off_wherever_the_pieces_part(pieces, stops, expected):
    assert _cut(pieces, *stops) == expected


@given(st.text("abc", max_size=30), st.lists(st.text("abc", min_size=1, max_size=4), max_size=3), st.data())
def test_what_comes_out_is_the_text_before_the_first_stop_string(text, stops, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    got, met = _cut(pieces, *stops)
    # Met as soon as one is complete: of two that overlap the one that ends first.
    ends = [text.index(stop) + len(stop) for stop in stops if stop in text]
    assert met == bool(ends)
    assert text.startswith(got) and not any(stop in got for stop in stops)
    assert met or got == text


def test_nothing_is_held_back_that_cannot_become_a_stop_string():
    stream = StopStrings(["END"])
    assert stream.feed("a word") == ("a word", False)
    assert stream.feed(" E") == (" ", False)
    assert stream.feed("x") == ("Ex", False)
