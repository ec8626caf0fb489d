"""What is kept of a conversation changes nothing but the time: the same forwards, the same numbers, bit by bit."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_index.core.base.llms.types import ChatMessage
from transformers import AutoTokenizer, DynamicCache, MistralConfig, PreTrainedModel
from transformers.cache_utils import DynamicSlidingWindowLayer

from ragkit import prefix_cache, prompts
from ragkit.generation import SLICE, Options
from ragkit.internlm2_tokenizer import load_tokenizer
from ragkit.llm import LocalLLM, load
from ragkit.prefix_cache import LEAST, Marks, Prefix, PrefixCaches, find_marks, slices
from ragkit.schema import Hit, Turn
from ragkit.worker import Stream
from tests import tiny

pytestmark = pytest.mark.usefixtures("one_thread")

OPEN, CLOSE = (7, 8), 9
MARKS = Marks(OPEN, CLOSE)
PLENTY = 1 << 40


# Where forwards end

_PART = st.one_of(
    st.lists(st.integers(0, 6), min_size=1, max_size=90), st.just([*OPEN]), st.just([CLOSE]), st.just([7])
)
_IDS = st.lists(_PART, min_size=1, max_size=12).map(lambda parts: [token for part in parts for token in part])


@given(_IDS, st.data(), st.sampled_from([LEAST, 50, SLICE]))
@settings(max_examples=300, deadline=None)
def test_where_a_forward_ends_follows_from_what_stands_before_it(ids, data, most):
    length = data.draw(st.integers(1, len(ids)))
    whole, beginning = slices(ids, MARKS, most), slices(ids[:length], MARKS, most)
    assert whole[: len(beginning) - 1] == beginning[:-1]
    for ends, size in ((whole, len(ids)), (beginning, length)):
        assert ends[-1] == size and all(0 < b - a <= most for a, b in pairwise([0, *ends]))


def test_forwards_end_where_an_answer_begins_and_ends():
    question, answer = [1] * 300, [2] * 60
    ids = [*question, *OPEN, *answer, CLOSE, *question]
    assert slices(ids, MARKS, 256) == [256, 302, 363, 619, 663]
    assert slices(ids, Marks(), 256) == [256, 512, 663]


def test_a_short_answer_costs_no_forward_of_its_own():
    ids = [*[1] * 100, *OPEN, 2, 2, CLOSE, *[1] * 100]
    assert slices(ids, MARKS, 256) == [102, 205]


def test_the_marks_are_found_in_the_chat_template(tmp_path):
    tokenizer = load_tokenizer(tiny.GOLDEN / "tokenizer")
    found = find_marks(tokenizer)
    assert tokenizer.decode(found.opening) == "<|im_start|>assistant\n"
    assert tokenizer.decode([found.closing]) == "<|im_end|>"
    assert find_marks(AutoTokenizer.from_pretrained(tiny.llama(tmp_path / "a", template=None))) == Marks()
    odd = "{{ raise_exception('no') }}"
    assert find_marks(AutoTokenizer.from_pretrained(tiny.llama(tmp_path / "b", template=odd))) == Marks()


# The store


def _prefix(ids: list[int], ends: list[int]) -> Prefix:
    prefix = Prefix(DynamicCache())
    rows = torch.zeros(1, 1, len(ids), 4)
    prefix.cache.update(rows, rows, 0)  # 32 bytes a token
    prefix.ids, prefix.ends = ids, ends
    return prefix


def _keep(caches: PrefixCaches, key: str, tokens: int = 10) -> bool:
    caches.take(key)
    return caches.keep(key, _prefix([1] * tokens, [tokens]))


def test_only_whole_forwards_over_the_same_tokens_serve_a_prompt():
    prefix = _prefix([1, 2, 3, 4, 5, 6], [2, 4, 6])
    assert prefix.shared([1, 2, 3, 4, 5, 6, 7], [2, 4, 6, 7]) == 6
    assert prefix.shared([1, 2, 3, 9, 5, 6, 7], [2, 4, 6, 7]) == 2
    assert prefix.shared([1, 2, 3, 4, 5, 6, 7], [2, 5, 7]) == 2
    assert prefix.shared([1, 2, 3, 4], [2, 4]) == 2  # the last forward gives the logits
    assert prefix.shared([9], [1]) == 0


def test_a_cut_leaves_what_stood_there_before():
    prefix = _prefix([1, 2, 3, 4, 5, 6], [2, 4, 6])
    prefix.cut(4)
    assert (prefix.ids, prefix.ends, prefix.cache.get_seq_length()) == ([1, 2, 3, 4], [2, 4], 4)
    prefix.cut(4)
    assert prefix.can_be_cut and prefix.cache.get_seq_length() == 4


def test_what_is_kept_is_found_under_its_own_key_alone():
    """Whoever asks the same must not be answered sooner because somebody else has asked it."""
    caches = PrefixCaches(lambda: PLENTY)
    assert _keep(caches, "one")
    ids, ends = [1] * 11, [10, 11]
    assert caches.unread("one", ids, ends) == 1
    assert caches.unread("two", ids, ends) == caches.unread("", ids, ends) == 11
    assert caches.take("two") is None and caches.take("one") is not None


def test_the_least_recently_used_goes_first(monkeypatch):
    monkeypatch.setattr(prefix_cache, "MOST_BYTES", 3 * 320)
    caches = PrefixCaches(lambda: PLENTY)
    for key in ("a", "b", "c"):
        assert _keep(caches, key)
    prefix = caches.take("a")
    caches.keep("a", prefix)
    assert _keep(caches, "d")
    assert [caches.take(key) is not None for key in ("a", "b", "c", "d")] == [True, False, True, True]
    assert caches.held_bytes() == 0  # all lent


def test_what_is_larger_than_the_bound_is_not_kept(monkeypatch):
    monkeypatch.setattr(prefix_cache, "MOST_BYTES", 319)
    caches = PrefixCaches(lambda: PLENTY)
    assert not _keep(caches, "a") and caches.held_bytes() == 0


def test_a_share_of_the_free_memory_is_the_bound_where_that_is_less(monkeypatch):
    monkeypatch.setattr(prefix_cache, "LEAST_FREE_BYTES", 0)
    caches = PrefixCaches(lambda: 6 * 320)
    for key in ("a", "b", "c"):
        assert _keep(caches, key)
    assert caches.held_bytes() == 2 * 320  # of three, a quarter of nine would be more than two


def test_with_little_memory_left_everything_goes():
    free = PLENTY
    caches = PrefixCaches(lambda: free)
    _keep(caches, "a")
    caches.relieve()
    assert caches.held_bytes()
    free = prefix_cache.LEAST_FREE_BYTES - 1
    caches.relieve()
    assert not caches.held_bytes()
    assert not _keep(caches, "a")


def test_what_is_forgotten_while_it_is_lent_does_not_come_back():
    caches = PrefixCaches(lambda: PLENTY)
    _keep(caches, "a")
    prefix = caches.take("a")
    caches.forget("a")
    assert not caches.keep("a", prefix) and caches.held_bytes() == 0


def test_a_model_whose_layers_forget_keeps_nothing():
    config = MistralConfig(sliding_window=16, num_hidden_layers=1)
    prefix = Prefix(DynamicCache(config=config))
    rows = torch.zeros(1, 1, 10, 4)
    prefix.cache.update(rows, rows, 0)
    prefix.ids, prefix.ends = [1] * 10, [10]
    assert type(prefix.cache.layers[0]) is DynamicSlidingWindowLayer and not prefix.can_be_cut
    caches = PrefixCaches(lambda: PLENTY)
    caches.take("a")
    assert not caches.keep("a", prefix)


# The same numbers


class _Forwards:
    """What each forward gave, by the place of its first token in the prompt or answer, and its tokens."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.logits: dict[tuple[int, tuple[int, ...]], torch.Tensor] = {}
        self._hook = model.register_forward_hook(self._note, with_kwargs=True)

    def _note(self, module, args, kwargs, output) -> None:
        ids = tuple(kwargs["input_ids"][0].tolist())
        self.logits[kwargs["past_key_values"].get_seq_length() - len(ids), ids] = output.logits[0].clone()

    def close(self) -> _Forwards:
        self._hook.remove()
        return self

    def answering(self, prompt: int) -> _Forwards:
        """Without those that read the answer on, behind its last word."""
        self.logits = {
            (at, ids): rows
            for (at, ids), rows in self.logits.items()
            if at + len(ids) <= prompt or len(ids) < LEAST
        }
        return self

    def tokens(self) -> int:
        return sum(len(ids) for _, ids in self.logits)


@pytest.fixture(scope="module", params=["fp32", "bf16"])
def llm(request, tmp_path_factory) -> Iterator[LocalLLM]:
    folder = tiny.internlm2(tmp_path_factory.mktemp("models") / "tiny", max_position_embeddings=16384)
    with load(folder, precision=request.param, device="cpu") as made:
        yield made


def _drained(llm: LocalLLM) -> None:
    """Wait until the worker has nothing to do: an answer is read on behind its last word."""
    assert llm._worker._resting.wait(60)


def _said(llm: LocalLLM, messages, *, stop_after: int = 0, **options) -> tuple[str, _Forwards]:
    """An answer, whole or given up after so many pieces, and its forwards."""
    forwards = _Forwards(llm._model)
    stream = llm.stream_chat(messages, **options)
    text, pieces = "", 0
    for response in stream:
        text, pieces = response.message.content, pieces + 1
        if pieces == stop_after:
            stream.close()
    _drained(llm)
    return text, forwards.close().answering(len(llm._chat_ids(messages)))


_WORDS = "资料 问题 年假 十天 模型 微调 支持 what is the of model days leave supports [1] 。 ，".split()


class _Talk:
    """A random conversation: questions, retries, undone and edited ones, answers that are stopped."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.turns: list[Turn] = []
        self.question, self.hits = "", ()

    def _text(self, words: int) -> str:
        return "".join(self._random.choice(_WORDS) for _ in range(words))

    def next(self) -> list[ChatMessage]:
        pick = self._random.random()
        if pick < 0.15 and self.turns:  # retry
            last = self.turns.pop()
            self.question, self.hits = last.question, last.hits
        else:
            if pick < 0.3 and self.turns:  # edit an earlier question: what follows goes
                del self.turns[self._random.randrange(len(self.turns)) :]
            elif pick < 0.4 and self.turns:  # undo
                self.turns.pop()
            self.question = self._text(self._random.randint(1, 8))
            self.hits = tuple(
                Hit(n, 1, "a.md", None, (), 0, 1, self._text(self._random.randint(5, 60)), 1.0, None, None)
                for n in range(self._random.randint(0, 3))
            )
        made = prompts.with_documents(self.question, self.hits, self.turns, "zh", 900)
        return [ChatMessage(role=m.role, content=m.content) for m in made]

    def options(self) -> dict[str, object]:
        chosen: dict[str, object] = {"max_tokens": self._random.choice([1, 12, 48])}
        if self._random.random() < 0.5:
            chosen |= {"temperature": self._random.choice([0.7, 1.3]), "seed": self._random.randrange(9)}
        if self._random.random() < 0.3:
            chosen |= {"repetition_penalty": 1.2}
        return chosen | {"lookup": self._random.random() < 0.7}

    def stop_after(self) -> int:
        return self._random.randint(1, 6) if self._random.random() < 0.25 else 0

    def answered(self, text: str) -> None:
        self.turns.append(Turn(self.question, text or "。", self.hits))


@pytest.mark.parametrize("seed", range(4))
def test_random_conversations_are_answered_the_same_bit_by_bit(llm, seed):
    talk, key = _Talk(seed), f"key-{seed}"
    saved = 0
    for _ in range(10):
        messages, options, stop_after = talk.next(), talk.options(), talk.stop_after()
        warm, with_cache = _said(llm, messages, conversation=key, stop_after=stop_after, **options)
        cold, without = _said(llm, messages, **options)
        # Every forward of the warm answer is one of the cold one, and gave the same numbers.
        for forward, rows in with_cache.logits.items():
            assert torch.equal(rows, without.logits[forward])
        prompt = len(llm._chat_ids(messages))
        if stop_after:
            assert cold.startswith(warm)
        else:
            assert cold == warm
            made = [{one for one in each.logits if one[0] >= prompt} for each in (with_cache, without)]
            assert made[0] == made[1]
        saved += without.tokens() - with_cache.tokens() if not stop_after else 0
        talk.answered(warm)
    assert saved > 500
    llm.forget(key)
    assert not llm._worker.kept.held_bytes()


def test_what_was_read_on_behind_an_answer_gives_the_same_numbers(llm):
    """The next prompt then has nothing to read but what is new: the question and the template's words."""
    worker, question = llm._worker, [7] * 40
    opening = list(worker._marks.opening)
    prompt = [1, *question, *opening]
    for turn in range(4):
        forwards = _Forwards(llm._model)
        pieces = list(Stream(worker, prompt, Options(60, conversation="on", lookup=False)))
        _drained(llm)
        warm = forwards.close().logits
        if turn:
            forwards = _Forwards(llm._model)
            list(Stream(worker, prompt, Options(60, lookup=False)))
            cold = forwards.close().logits
            assert (
                len(warm) == 61
            )  # the question's, an answer's but for its last token, and the one behind it
            assert all(torch.equal(cold[key], rows) for key, rows in warm.items() if key in cold)
            assert len(warm.keys() & cold.keys()) == 60
        read_on = next(ids for at, ids in warm if at == len(prompt) and len(ids) >= LEAST)
        assert len(read_on) == 61 and pieces[-1].tokens == 60
        prompt = [*prompt, *read_on, *question, *opening]
        assert worker.unread("on", prompt) == len(question) + len(opening)
    llm.forget("on")


def test_conversations_side_by_side_keep_to_their_own(llm):
    """Two people who ask by turns: each finds what was read for him, and the same words of the other help nobody."""
    same = [ChatMessage(content="同样的资料" * 60)]
    llm.chat(same, conversation="left", max_tokens=4)
    _drained(llm)
    ids = llm._chat_ids(same)
    assert llm._worker.unread("left", ids) < len(ids) == llm._worker.unread("right", ids)
    both = [llm.chat(same, conversation=key, max_tokens=24).message.content for key in ("left", "right")]
    assert both[0] == both[1]
    for key in ("left", "right"):
        llm.forget(key)


def test_beyond_the_length_to_which_rope_is_steady_nothing_is_kept(tmp_path):
    """There what a key is follows from the length of the whole."""
    rope = {"type": "dynamic", "factor": 2.0}
    folder = tiny.internlm2(tmp_path / "dynamic", rope_scaling=rope, max_position_embeddings=300)
    with load(folder, precision="fp32", device="cpu") as llm:
        short, long = [ChatMessage(content="资料" * 20)], [ChatMessage(content="资料" * 60)]
        for messages, kept in ((short, True), (long, False)):
            prompt = llm._chat_ids(messages)
            assert (len(prompt) + 20 <= 300) == kept
            list(_stream(llm, prompt))
            _drained(llm)
            assert (llm._worker.unread("k", [*prompt, 5]) <= LEAST) == kept


def _stream(llm: LocalLLM, prompt: list[int]) -> Stream:
    """Past the window of the LLM, which ends where the rope is steady."""
    return Stream(llm._worker, prompt, Options(20, conversation="k"))
