"""The doctor's look at a tokenizer: special ids, texts there and back, the chat template. Needs no weights."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ragkit import models
from ragkit.config import Settings
from ragkit.doctor.report import Check, check
from ragkit.load_plan import ModelFacts
from ragkit.model_facts import model_facts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_INTERNLM2 = "internlm2"
_VOCAB = 92_544  # of every published InternLM2
_PUBLISHED_IDS = {
    "<s>": 1,
    "</s>": 2,
    "<|plugin|>": 92_538,
    "<|interpreter|>": 92_539,
    "<|action_end|>": 92_540,
    "<|action_start|>": 92_541,
    "<|im_end|>": 92_542,
    "<|im_start|>": 92_543,
}
_TEXTS = {
    "zh": "InternLM2是什么？支持20B模型的微调，窗口“200K”。",
    "en": "The pump's warranty ends  after two years (see §4.2).",
    "emoji": "好的👍🏽 👨‍👩‍👧 naïve café 🇨🇳",
    "code": "def f(x):\n\treturn {'a': x != 0}  # 注释\n",
}


def tokenizer_check(facts: ModelFacts, id: str) -> Generator[Check, None, PreTrainedTokenizerBase | None]:
    """Read the tokenizer, and hold its special tokens against what the folder says; None where they differ."""
    from ragkit.internlm2_tokenizer import END_OF_TURN, stop_ids
    from ragkit.loading import read_tokenizer  # torch and transformers

    tokenizer = read_tokenizer(facts)
    expected = _expected_ids(facts)
    wrong = [
        f"{token} {given} ({wanted})"
        for token, wanted in expected.items()
        if (given := _ids(tokenizer, token)) != [wanted]
    ]
    ends = stop_ids(tokenizer)
    # Of what is used: a vocabulary may name tokens past the embedding that no text has.
    used = [
        *expected.values(),
        *ends,
        *(number for text in _TEXTS.values() for number in _ids(tokenizer, text)),
    ]
    no_end = not ends or (facts.model_type == _INTERNLM2 and END_OF_TURN not in tokenizer.get_vocab())
    outcome = (
        "tokenizer_too_large"
        if max(used) >= facts.vocab
        else "tokenizer_wrong"
        if wrong
        else "stop_ids_missing"
        if no_end
        else "tokenizer_ok"
    )
    yield check(
        id,
        outcome,
        tokens=len(tokenizer),
        vocab=facts.vocab,
        highest=max(used),
        special=len(expected),
        ids=expected,
        wrong=wrong,
        stop_ids=ends,
    )
    return tokenizer if outcome == "tokenizer_ok" else None


def _expected_ids(facts: ModelFacts) -> dict[str, int]:
    """Special tokens and their ids, as the tokenizer's files have them and as InternLM2 was published."""
    if facts.gguf:
        return {}
    added = dict(_json(facts.folder / "tokenizer_config.json").get("added_tokens_decoder") or {})
    added |= {
        token["id"]: token for token in _json(facts.folder / "tokenizer.json").get("added_tokens") or []
    }
    listed = {str(token["content"]): int(number) for number, token in added.items() if token.get("special")}
    published = facts.model_type == _INTERNLM2 and facts.vocab == _VOCAB
    return listed | (_PUBLISHED_IDS if published else {})


def _json(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found


def found_tokenizer(settings: Settings) -> Generator[Check, None, None]:
    """The tokenizer of the best InternLM2 that lies here; only one, since each takes 10 s."""
    for model in models.local_models(settings.data_dir):
        if models.gguf_file(model.path) is None:
            facts = model_facts(model.path)
            if facts.model_type == _INTERNLM2:
                yield from tokenizer_check(facts, "models.tokenizer")
                return


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return cast("list[int]", tokenizer(text, add_special_tokens=False).input_ids)


def round_trip(tokenizer: PreTrainedTokenizerBase) -> Generator[Check, None, None]:
    def back(text: str) -> str:
        decoded = tokenizer.decode(
            _ids(tokenizer, text), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return cast(str, decoded)

    changed = [name for name, text in _TEXTS.items() if back(text) != text]
    yield check(
        "model.round_trip",
        "round_trip_changed" if changed else "round_trip_ok",
        texts=list(_TEXTS),
        changed=changed,
        tokens={name: len(_ids(tokenizer, text)) for name, text in _TEXTS.items()},
    )


def template(
    facts: ModelFacts, tokenizer: PreTrainedTokenizerBase, question: str
) -> Generator[Check, None, list[int] | None]:
    """Give a question's ids as the model is asked it, which begin with one <s>; other models may have none."""
    if not tokenizer.chat_template:
        yield check("model.template", "template_none")
        return None
    message = {"role": "user", "content": question}
    text = tokenizer.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
    ids = _ids(tokenizer, cast(str, text))
    begins = next((at for at, number in enumerate(ids) if number != tokenizer.bos_token_id), len(ids))
    internlm2 = facts.model_type == _INTERNLM2
    right = begins == ids.count(tokenizer.bos_token_id or 0) == 1 if internlm2 else begins <= 1
    yield check(
        "model.template",
        "template_ok" if right else "template_bos",
        tokens=len(ids),
        bos=ids.count(tokenizer.bos_token_id) if internlm2 else begins,
        wanted=1,
        ids=ids,
    )
    return ids
