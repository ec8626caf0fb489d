"""Guessed tokens: what is guessed, when it pays, and that an answer is the same with and without."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedModel

from ragkit.generation import Options, generate_tokens, probe
from ragkit.internlm2 import load_model
from ragkit.lookup import MOST, Lookup, best_number
from ragkit.pace import LEAST, Pace
from tests.tiny import GOLDEN

pytestmark = pytest.mark.usefixtures("one_thread")

NEVER = frozenset[int]()
FREE = 0.0  # a further row costs nothing: guess whenever there is anything to guess


# Guesses


def test_the_longest_match_is_followed_and_of_several_the_last():
    lookup = Lookup([1, 2, 3, 4, 50, 9, 2, 3, 4, 60, 9, 1, 2, 3, 4], FREE)
    assert lookup.guess(1) == [50]  # four tokens match there, three at the other place
    assert Lookup([2, 3, 50, 2, 3, 60, 2, 3], FREE).guess(1) == [60]


def test_nothing_is_guessed_where_nothing_stood_before():
    assert Lookup([1, 2, 3, 4, 5], FREE).guess(9) == []
    assert Lookup([], FREE).guess(9) == Lookup([1], FREE).guess(9) == []


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(0, 20))
def test_what_is_guessed_stood_behind_the_same_tokens(ids, most):
    guess = Lookup(ids, FREE).guess(most)
    assert len(guess) <= min(most, MOST)
    if guess:
        run = [*ids[-2:], *guess]
        assert any(ids[at : at + len(run)] == run for at in range(len(ids)))


def test_guesses_that_come_true_grow_longer_and_those_that_do_not_end():
    passage = list(range(100, 200))
    copying = Lookup([*passage, 1, 2, *passage[:2]], 0.2)
    first = len(copying.guess(99))
    for token in passage[2:40]:
        copying.add(token)
    assert len(copying.guess(99)) > first > 0
    wandering = Lookup([], 0.2)
    for step in range(60):  # the same pair, and each time something else behind it
        for token in (1, 2, 1000 + step):
            wandering.add(token)
    wandering.add(1)
    wandering.add(2)
    assert wandering.guess(99) == []
    for token in [1000 + 59, 1, 2] * 20:  # it begins to repeat itself
        wandering.add(token)
    assert wandering.guess(99)


@pytest.mark.parametrize(
    ("right", "cost", "expected"), [(0.0, 0.0, 0), (1.0, 0.0, MOST), (0.1, 0.2, 0), (0.9, 2.0, 0)]
)
def test_as_many_are_guessed_as_pay(right, cost, expected):
    assert best_number(right, cost, MOST) == expected


def test_none_is_guessed_beyond_what_is_wanted():
    assert best_number(1.0, 0.0, 3) == 3
    assert best_number(1.0, 0.0, 0) == best_number(1.0, 0.0, -5) == 0


# The same answer


@pytest.fixture(scope="module", params=["plain", "dynamic"])
def model(request, tmp_path_factory) -> PreTrainedModel:
    return _model(tmp_path_factory.mktemp("model"), request.param, 2048)


def _model(folder: Path, name: str, positions: int) -> PreTrainedModel:
    place = shutil.copytree(GOLDEN / name, folder / name)
    file = place / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(config | {"max_position_embeddings": positions}), encoding="utf-8")
    return load_model(place, dtype=torch.float32)


class _Copier:
    """Makes a model prefer what followed the last two tokens before: random weights never copy of themselves."""

    def __init__(self, model: PreTrainedModel, prompt: list[int], strength: float) -> None:
        self.ids: list[int] = []
        self.rows: list[int] = []
        self._strength = strength
        self._hook = model.register_forward_hook(self._lean, with_kwargs=True)
        self._prompt = len(prompt)

    def _lean(self, module, args, kwargs, output):
        ids = kwargs["input_ids"][0].tolist()
        start = kwargs["past_key_values"].get_seq_length() - len(ids)
        self.ids[start:] = ids
        if start >= self._prompt:
            self.rows.append(len(ids))
        rows = output.logits.shape[1]
        for row in range(rows):
            known = self.ids[: len(self.ids) - rows + row + 1]
            for at in range(len(known) - 3, 0, -1):
                if known[at - 1 : at + 1] == known[-2:]:
                    output.logits[0, row, known[at + 1]] += self._strength
                    break
        return output

    def close(self) -> None:
        self._hook.remove()


def _tokens(
    model, prompt, *, strength=0.0, stopped=lambda tokens: False, end_ids=NEVER, **options
) -> tuple[list[int], list[int]]:
    """The tokens, and how many were given to each forward behind the prompt."""
    copier, tokens = _Copier(model, prompt, strength), list[int]()
    try:
        chosen = Options(**{"max_tokens": 60, **options})
        for token in generate_tokens(model, prompt, chosen, end_ids, lambda: stopped(tokens), row_cost=FREE):
            tokens.append(token)
    finally:
        copier.close()
    return tokens, copier.rows


def _prompt(seed: int, length: int = 80) -> list[int]:
    """Random tokens of which some stretches come again."""
    random = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, 512, (length,), generator=random).tolist()
    return [*ids, *ids[: length // 2], *ids[10:14]]


OPTIONS = [
    {},
    {"repetition_penalty": 1.3},
    {"temperature": 0.8, "seed": 3},
    {"temperature": 1.4, "top_p": 0.9, "top_k": 40, "seed": 5},
    {"temperature": 0.8, "repetition_penalty": 1.1, "seed": 7},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("strength", [0.0, 6.0, 40.0])
def test_an_answer_is_the_same_with_and_without_guessing(model, options, strength):
    guessed = 0
    for seed in range(2):
        prompt = _prompt(seed)
        plain, one_by_one = _tokens(model, prompt, strength=strength, lookup=False, **options)
        ours, rows = _tokens(model, prompt, strength=strength, **options)
        assert ours == plain and len(ours) == 60
        assert set(one_by_one) == {1}
        guessed += len(one_by_one) - len(rows)
    if strength == 40 and "repetition_penalty" not in options:
        assert guessed > 30  # a copied answer takes far fewer forwards


@pytest.mark.parametrize("number", [1, 2, 3, 7, 13])
def test_no_token_comes_beyond_the_number_that_was_asked_for(model, number):
    prompt = _prompt(1)
    ours, rows = _tokens(model, prompt, strength=40, max_tokens=number)
    assert ours == _tokens(model, prompt, strength=40, max_tokens=number, lookup=False)[0]
    assert len(ours) == number and sum(rows) <= max(0, number - 1) * (MOST + 1)


def test_an_end_token_in_a_run_of_right_guesses_ends_the_answer(model):
    prompt = _prompt(2)
    whole, rows = _tokens(model, prompt, strength=40)
    assert max(rows) > 3
    for end in whole[1:20:4]:
        ours, _ = _tokens(model, prompt, strength=40, end_ids=frozenset({end}))
        assert ours == whole[: whole.index(end)]


def test_a_stop_in_a_run_of_right_guesses_is_seen_at_once(model):
    prompt = _prompt(2)
    for count in range(1, 20, 4):
        ours, _ = _tokens(model, prompt, strength=40, stopped=lambda tokens, n=count: len(tokens) >= n)
        assert len(ours) == count


def test_where_rope_follows_the_length_nothing_is_guessed(tmp_path):
    """Several rows would turn by the length of the last one: at 64 tokens the golden model's rope begins to stretch."""
    model = _model(tmp_path, "dynamic", 140)
    prompt = _prompt(3)
    plain, _ = _tokens(model, prompt, strength=40, lookup=False, max_tokens=40)
    ours, rows = _tokens(model, prompt, strength=40, max_tokens=40)
    assert ours == plain
    assert max(rows) > 1, "below the length it guesses"
    within = next(at for at in range(len(rows)) if len(prompt) + sum(rows[: at + 1]) > 140)
    assert set(rows[within:]) == {1}


# The pace


def test_a_probe_measures_how_fast_a_model_reads_and_what_a_guess_costs(model):
    pace = Pace()
    assert pace.wait_s(100) is None
    probe(model, pace)
    assert pace.tokens_per_s and pace.tokens_per_s > 0 and pace.row_cost >= 0
    assert pace.wait_s(100) == pytest.approx(100 / pace.tokens_per_s)


def test_the_pace_follows_the_newest_measures_and_few_tokens_tell_nothing():
    pace = Pace()
    pace.took(LEAST - 1, 1.0)
    assert pace.tokens_per_s is None
    pace.took(200, 2.0)
    pace.took(300, 1.0)
    assert pace.tokens_per_s == 200
    pace.took(LEAST - 1, 0.001)
    assert pace.wait_s(400) == 2
