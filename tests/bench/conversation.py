"""A conversation on this machine: what is kept, what is guessed, and both against LlamaIndex's own HuggingFaceLLM.

`python tests/bench/conversation.py` prints one JSON document; the ratios are of one run, best of several rounds that
take turns, and the load of the machine stands beside them.

- follow_up: the first token of a second question, with what was kept of the first and without.
- lookup: an answer that copies its passage, with guesses and without. Forwards are counted too: they do not depend on
  what else runs.
- talk: a conversation of ten questions over the sample documents, by `Engine.stream` whole; beside it the same
  prompts, ready made, through a stock HuggingFaceLLM over the same weights, wired as its documentation shows
  (is_chat_model, greedy, the model's end tokens as stopping_ids: else InternLM2 never stops).

    --weights smollm2 (real, fp32; from `python -m ragkit download smollm2-135m`) | internlm2 (random, `--layers`)
    --data DIR (where the download lies)   --turns 10   --precision fp32   --parts follow_up,lookup,talk
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.bench.bars import bar

SHARED_TOKENS = 800
ROUNDS = 3
ANSWER_TOKENS = 48
KEY = "bench"
PASSAGE = (
    "To install the Falcon driver, stop the service, copy the folder drivers/falcon to /opt/falcon, run the command "
    "falcon-setup --target /opt/falcon --mode silent --log /var/log/falcon.log, start the service again and check "
    "that the log ends with the line: installation of falcon 4.2 finished without errors."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--weights", choices=("smollm2", "internlm2"), default="smollm2")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--data", type=Path, default=ROOT / "data")
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--parts", default="follow_up,lookup,talk")
    options = parser.parse_args()
    from transformers.utils.logging import disable_progress_bar

    from ragkit import llm as our_llm

    disable_progress_bar()
    load_before = _load_average()
    document: dict[str, Any] = {
        "benchmark": "conversation",
        "weights": options.weights,
        "precision": options.precision,
    }
    with tempfile.TemporaryDirectory(prefix="ragkit-conversation-") as scratch:
        folder = _folder(options, Path(scratch))
        with our_llm.load(folder, precision=options.precision, device="cpu") as llm:
            llm.probe()
            document["row_cost"] = round(llm._worker.pace.row_cost, 3)
            for name, measure in (("follow_up", follow_up), ("lookup", lookup)):
                if name in options.parts:
                    document[name] = measure(llm)
            if "talk" in options.parts:
                document["talk"] = talk(llm, options.turns, Path(scratch, "kb"))
    document["bars"] = (
        [
            bar(
                "first token of a follow-up, without / with what was kept",
                document["follow_up"]["ratio"],
                at_least=5,
            )
        ]
        if "follow_up" in document
        else []
    )
    document["cpu_count"] = os.cpu_count()
    document["load_average_before_and_after"] = [load_before, _load_average()]
    print(json.dumps(document, indent=2))


def _folder(options: argparse.Namespace, scratch: Path) -> Path:
    if options.weights == "internlm2":
        from tests.bench.llm import write_checkpoint

        return write_checkpoint(scratch / "internlm2-random", options.layers)
    from ragkit import models

    found = models.find_local(models.SMOLLM2, options.data)
    if found is None:
        raise SystemExit("first: python -m ragkit download smollm2-135m")
    return found


def follow_up(llm: Any) -> dict[str, Any]:
    """The first token of a second question, cold and warm by turns."""
    first = [_message(_long_text(llm, SHARED_TOKENS - 60) + "\n\nWhat is it about?")]
    said = llm.chat(first, max_tokens=24, conversation=KEY)
    _settle(llm)
    second = [*first, said.message, _message("And who wrote it?")]
    ids = llm._chat_ids(second)
    unread = llm._worker.unread(KEY, ids)
    seconds: dict[str, list[float]] = {"cold": [], "warm": []}
    texts: dict[str, set[str]] = {"cold": set(), "warm": set()}
    for _ in range(ROUNDS):
        for name in seconds:
            # Every round begins where the first question ended.
            llm.forget(KEY)
            if name == "warm":
                llm.chat(first, max_tokens=24, conversation=KEY)
                _settle(llm)
            # One token, not the first piece: of random weights most tokens are no text.
            at, _ = _timed(llm.stream_chat(second, max_tokens=1, conversation=KEY))
            seconds[name].append(at[-1])
            _settle(llm)
            texts[name].add(llm.chat(second, max_tokens=24, conversation=KEY).message.content)
    llm.forget(KEY)
    best = {name: min(values) for name, values in seconds.items()}
    return {
        "prompt_tokens": len(ids),
        "read_anew_tokens": unread,
        "first_token_s": _rounded(best),
        "ratio": round(best["cold"] / best["warm"], 2),
        "same_text": texts["cold"] == texts["warm"] and len(texts["cold"]) == 1,
    }


def lookup(llm: Any) -> dict[str, Any]:
    """An answer that copies, by turns without and with guesses."""
    question = [_message(f"Repeat this text word by word.\n\n{PASSAGE}")]
    seconds: dict[str, list[float]] = {"plain": [], "guessed": []}
    forwards: dict[str, int] = {}
    texts: dict[str, str] = {}
    tokens = 0
    for _ in range(ROUNDS):
        for name in seconds:
            with _counted(llm._model) as count:
                at, texts[name] = _timed(llm.stream_chat(question, max_tokens=96, lookup=name == "guessed"))
            seconds[name].append(at[-1] - at[0])
            forwards[name] = count[0]
            tokens = len(llm._encode(texts[name], complete=True))
    best = {name: min(values) for name, values in seconds.items()}
    return {
        "answer_tokens": tokens,
        "forwards": forwards,
        "after_first_token_s": _rounded(best),
        "ratio": round(best["plain"] / best["guessed"], 2),
        "same_text": texts["plain"] == texts["guessed"],
        "copied": texts["plain"][:60],
    }


def talk(llm: Any, turns: int, kb: Path) -> dict[str, Any]:
    """Ten questions over the samples: ours whole, the stock class from the ready prompt on."""
    from dataclasses import replace

    from ragkit import prompts
    from ragkit.config import ASSETS, SAMPLES, Settings
    from ragkit.engine import Engine
    from ragkit.schema import Delta, Done, Turn
    from ragkit.text import language

    questions = json.loads((ASSETS / "examples.json").read_text(encoding="utf-8"))["en"]
    questions = (questions * turns)[:turns]
    settings = Settings(data_dir=kb.parent, kb=kb, embedding="off")
    settings = replace(
        settings, passages=2, context_chars=1200, max_tokens=ANSWER_TOKENS, gate=0.0, gate_weak=0.0
    )
    stock = _stock(llm)
    room = llm.metadata.context_window - 256
    history: list[Turn] = []
    ours: list[list[float]] = []
    theirs: list[list[float]] = []
    same = 0
    with Engine.open(settings) as engine:
        engine.sync(SAMPLES)
        engine.use_model(llm)
        for question in questions:
            started = time.perf_counter()
            at: list[float] = []
            raw = ""
            for event in engine.stream(question, history=history, conversation=KEY):
                if isinstance(event, Delta):
                    at.append(time.perf_counter() - started)
                    raw += event.text
                if isinstance(event, Done):
                    answer = event.answer
            ours.append([at[0] if at else time.perf_counter() - started, time.perf_counter() - started])
            _settle(llm)
            messages = [
                _message(m.content, m.role)
                for m in prompts.with_documents(question, answer.hits, history, language(question), room)
            ]
            if answer.hits:
                stamps, text = _timed(stock.stream_chat(messages))
                theirs.append([stamps[0], stamps[-1]])
                same += text.strip()[:40] == raw.strip()[:40]
            history.append(Turn(question, answer.text, answer.hits))
        engine.forget(KEY)
    total = {"ours": sum(one[1] for one in ours), "stock": sum(one[1] for one in theirs)}
    first = {"ours": sum(one[0] for one in ours), "stock": sum(one[0] for one in theirs)}
    return {
        "turns": len(ours),
        "turns_of_the_stock_class": len(theirs),
        "last_prompt_tokens": len(llm._chat_ids(messages)),
        "answers_that_begin_alike": same,
        "first_token_s": _rounded(first),
        "first_token_ratio": round(first["stock"] / first["ours"], 2),
        "whole_s": _rounded(total),
        "whole_ratio": round(total["stock"] / total["ours"], 2),
    }


def _stock(llm: Any) -> Any:
    from llama_index.llms.huggingface import HuggingFaceLLM

    return HuggingFaceLLM(
        model=llm._model,
        tokenizer=llm._tokenizer,
        model_name=llm.model_name,
        tokenizer_name=llm.model_name,
        context_window=llm.context_window,
        max_new_tokens=ANSWER_TOKENS,
        is_chat_model=True,
        generate_kwargs={"do_sample": False},
        stopping_ids=sorted(llm._worker._end_ids),
    )


def _message(text: str, role: str = "user") -> Any:
    from llama_index.core.base.llms.types import ChatMessage

    return ChatMessage(content=text, role=role)


def _long_text(llm: Any, tokens: int) -> str:
    words = (ROOT / "README.md").read_text(encoding="utf-8").split()
    low, high = 0, len(words)
    while low < high:  # the longest beginning that fits
        middle = (low + high + 1) // 2
        if len(llm._encode(" ".join(words[:middle]), complete=True)) <= tokens:
            low = middle
        else:
            high = middle - 1
    return " ".join(words[:low])


def _timed(stream: Iterator[Any]) -> tuple[Sequence[float], str]:
    """Seconds until each piece, and the text."""
    started = time.perf_counter()
    at: list[float] = []
    text = ""
    for response in stream:
        at.append(time.perf_counter() - started)
        text = response.message.content or ""
    return at, text


@contextmanager
def _counted(model: Any) -> Iterator[list[int]]:
    count = [0]

    def note(*_: object) -> None:
        count[0] += 1

    hook = model.register_forward_pre_hook(note)
    yield count
    hook.remove()


def _settle(llm: Any) -> None:
    """A reader takes his time: the answer is read on meanwhile."""
    llm._worker._resting.wait(120)


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in values.items()}


def _load_average() -> list[float] | None:
    read: Callable[[], tuple[float, ...]] | None = getattr(os, "getloadavg", None)
    return [round(value, 2) for value in read()] if read else None


if __name__ == "__main__":
    main()
