"""The doctor's self-check of one model folder, from its files to its answers (`doctor --model DIR`).

No real InternLM2 weights were seen while ragkit was built: this is what their owner runs and sends. Its questions are
its own, so its answers may stand in the report.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragkit import models
from ragkit.config import Settings
from ragkit.doctor.models_here import remove
from ragkit.doctor.report import Check, check, guarded, quoted
from ragkit.doctor.text_models import STEPS
from ragkit.doctor.tokenizer import round_trip, template, tokenizer_check
from ragkit.load_plan import LoadPlan, ModelFacts, plan_first
from ragkit.model_facts import device_facts, has_quantiser, model_facts

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ragkit.llm import LocalLLM

_LOADING = ("load", "forward", "answers")
_QUESTIONS = {
    "zh": ("中国的首都是哪里？", "北京"),
    "en": ("What is the capital of France?", "Paris"),
}
_MAX_TOKENS = 64


def self_check(settings: Settings, where: Path, *, load: bool = True) -> Iterator[Check]:
    """Check a model folder, or .gguf file, step by step; a step that an earlier failure leaves out says so."""
    seen = set()
    for result in _steps(settings, where, load):
        seen.add(".".join(result.id.split(".")[:2]))
        yield result
    for step, name in STEPS.items():
        if f"model.{step}" not in seen:
            outcome = "not_asked" if step in _LOADING and not load else "not_reached"
            yield check(f"model.{step}", outcome, step=name)


def _steps(settings: Settings, where: Path, load: bool) -> Iterator[Check]:
    yield from guarded("model.files", lambda: _files(where))
    facts = yield from guarded("model.config", lambda: _config(where))
    if facts is None:
        return
    tokenizer = yield from guarded("model.tokenizer", lambda: tokenizer_check(facts, "model.tokenizer"))
    plan = yield from guarded("model.plan", lambda: _plan(facts, settings))
    if tokenizer is None:
        return
    yield from guarded("model.round_trip", lambda: round_trip(tokenizer))
    prompt = yield from guarded("model.template", lambda: template(facts, tokenizer, _QUESTIONS["zh"][0]))
    if plan is None or prompt is None or not load:
        return
    loaded = yield from guarded("model.load", lambda: _load(facts, plan, settings))
    if loaded is None:
        return
    model, llm = loaded
    with closing(llm):
        yield from guarded("model.forward", lambda: _forward(model, prompt, where))
        yield from guarded("model.answers", lambda: answers(llm, _end_ids(model), where))


def _files(where: Path) -> Generator[Check, None, None]:
    """Whether all is there, as its hashes say, and the index tells the same as the weight files."""
    folder = str(where)
    if absent := models.missing(where):
        yield check("model.files", "files_missing", folder=folder, missing=absent)
        return
    if rotten := models.damaged(where):
        command = remove(where, rotten)
        yield check("model.files", "files_damaged", folder=folder, damaged=rotten, command=command)
        return
    facts = model_facts(where)  # reads every header, and whether the file is as long as it says
    if differing := _differing(where, facts):
        first = differing[0]
        yield check("model.files", "files_inconsistent", folder=folder, differing=len(differing), first=first)
        return
    small = [
        file
        for name in ("config.json", "tokenizer.model", "tokenizer.json")
        if (file := where / name).is_file()
    ]
    yield check(
        "model.files",
        "files_hashed" if models.Manifest.load(where) else "files_ok",
        folder=folder,
        files=len(facts.weight_files),
        disk_bytes=facts.disk_bytes,
        sha256={file.name: models.file_sha256(file) for file in small},
    )


def _differing(where: Path, facts: ModelFacts) -> list[str]:
    """The tensors that stand in another file than the index says, or in one of the two alone."""
    from safetensors import safe_open

    index = where / "model.safetensors.index.json"
    if not index.is_file() or facts.gguf:
        return []
    promised = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    found: dict[str, str] = {}
    for file in facts.weight_files:
        with safe_open(file, framework="np") as tensors:
            found |= dict.fromkeys(tensors.keys(), file.name)
    return sorted(name for name in promised.keys() | found.keys() if promised.get(name) != found.get(name))


def _config(where: Path) -> Generator[Check, None, ModelFacts]:
    """What the model says of itself."""
    facts = model_facts(where)
    file = where / "config.json"
    config = json.loads(file.read_text(encoding="utf-8")) if file.is_file() and not facts.gguf else {}
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = str(rope.get("rope_type") or rope.get("type") or "default")
    yield check(
        "model.config",
        "config_ok",
        architecture=(config.get("architectures") or [facts.model_type])[0],
        model_type=facts.model_type,
        layers=facts.layers,
        heads=int(config.get("num_attention_heads") or facts.hidden // facts.head_dim),
        kv_heads=facts.kv_heads,
        hidden=facts.hidden,
        vocab=facts.vocab,
        rope="none" if kind == "default" else kind,
        rope_theta=rope.get("rope_theta") or config.get("rope_theta"),
        rope_factor=rope.get("factor"),
        max_positions=facts.max_positions,
        parameters=facts.parameters,
        dtypes=[dtype for dtype, _ in facts.bytes_by_dtype],
    )
    return facts


def _plan(facts: ModelFacts, settings: Settings) -> Generator[Check, None, LoadPlan]:
    devices = [device_facts(settings.device)]
    if settings.device == "auto" and devices[0].kind != "cpu":
        devices.append(device_facts("cpu"))
    plan = plan_first(facts, devices, settings.precision, quantiser=has_quantiser())
    yield check(
        "model.plan",
        "plan_ok",
        label=plan.label,
        device=plan.device,
        precision=plan.precision,
        dtype=plan.dtype,
        weights_bytes=plan.weights_bytes,
        needed_bytes=plan.needed_bytes,
        notes=list(plan.notes),
    )
    return plan


def _load(
    facts: ModelFacts, plan: LoadPlan, settings: Settings
) -> Generator[Check, None, tuple[PreTrainedModel, LocalLLM]]:
    from ragkit.llm import LocalLLM
    from ragkit.loading import load_parts

    started = time.monotonic()
    kept = settings.data_dir / "models" / ".quantised"
    model, tokenizer = load_parts(facts, plan, cache_dir=kept)
    seconds = round(time.monotonic() - started, 2)
    llm = LocalLLM(model, tokenizer, model_name=facts.name, plan=plan)
    yield check("model.load", "load_ok", seconds=seconds, label=plan.label, device=plan.device)
    return model, llm


def _forward(model: PreTrainedModel, prompt: list[int], where: Path) -> Generator[Check, None, None]:
    """The logits after a real prompt."""
    import torch
    from transformers import DynamicCache

    from ragkit.generation import forward

    logits = forward(model, torch.tensor([prompt], device=model.device), DynamicCache(config=model.config))
    wrong = int((~logits.isfinite()).sum())
    yield check(
        "model.forward",
        "forward_wrong" if wrong else "forward_ok",
        vocab=logits.shape[-1],
        broken=wrong,
        first_token=int(logits.argmax()),
        largest=None if wrong else round(float(logits.max()), 4),
        where=quoted(where),
    )


def answers(llm: LocalLLM, ends: list[int], where: Path) -> Generator[Check, None, None]:
    """Greedy answers to what every chat model knows, and whether they end by themselves."""
    from llama_index.core.base.llms.types import ChatMessage

    limit = min(_MAX_TOKENS, llm.context_window // 2)
    counts: list[int] = []
    endings: list[str] = []
    for language, (question, wanted) in _QUESTIONS.items():
        arrived: list[float] = []
        for response in llm.stream_chat([ChatMessage(content=question)], max_tokens=limit):
            arrived.append(time.monotonic())
            text, raw = str(response.message.content), response.raw or {}
        tokens = int(raw["usage"]["completion_tokens"])
        rate = (tokens - 1) / max(arrived[-1] - arrived[0], 1e-6) if tokens > 1 else 0.0
        counts.append(tokens)
        endings.append(str(raw["finish_reason"]))
        yield check(
            f"model.answers.{language}",
            "answer_ok" if wanted in text else "answer_other",
            question=question,
            answer=" ".join(text.split()),
            wanted=wanted,
            tokens=tokens,
            tokens_s=round(rate, 2),
            where=quoted(where),
        )
    yield check(
        "model.answers.end",
        "stops_ok" if set(endings) == {"stop"} else "stops_not",
        tokens=counts,
        endings=endings,
        limit=limit,
        stop_ids=ends,
        where=quoted(where),
    )


def _end_ids(model: PreTrainedModel) -> list[int]:
    given: Any = model.generation_config.eos_token_id if model.generation_config else None
    return given if isinstance(given, list) else [given]
