"""Questions in, answers out, over a real library in a temporary folder."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from llama_index.core.base.llms.types import ChatMessage, ChatResponseGen

from ragkit.config import REPOSITORY, Settings
from ragkit.engine import Engine
from ragkit.errors import GenerationError, LibraryBusy, UsageError
from ragkit.schema import Answer, Delta, Done, Event, Filters, Retrieved, Turn
from tests.fakes import ScriptedLLM, WordEmbedding

Make = Callable[..., Path]
HANDBOOK = (
    "# 员工手册\n\n## 年假\n\n年假为十天。未休的年假可以顺延到次年三月。\n\n## 病假\n\n病假须有医院证明。\n"
)
GUIDE = "# XTuner\n\nXTuner is a toolkit for fine-tuning large language models. It supports QLoRA.\n"


@pytest.fixture
def library(engine: Engine, folder: Make) -> Engine:
    engine.sync(folder(**{"handbook.md": HANDBOOK, "guide.md": GUIDE}))
    engine.embed()
    return engine


def done(events: list[Event]) -> Answer:
    assert isinstance(events[-1], Done)
    return events[-1].answer


def test_an_answer_comes_as_retrieved_then_deltas_then_done(library: Engine) -> None:
    events = list(library.stream("年假有多少天？"))
    assert isinstance(events[0], Retrieved) and events[0].hits
    deltas = [event for event in events if isinstance(event, Delta)]
    answer = done(events)
    assert "".join(delta.text for delta in deltas) == answer.text
    assert len(events) == len(deltas) + 2


def test_quotes_are_slices_of_the_documents_with_their_numbers(library: Engine) -> None:
    answer = library.ask("年假有多少天？")
    assert answer.profile == "quotes" and not answer.refused
    assert "年假为十天。 [1]" in answer.text
    for citation in answer.citations:
        assert library.text(citation.doc_id)[citation.start : citation.end] == citation.quote
        assert answer.hits[citation.number - 1].doc_id == citation.doc_id


def test_a_number_behind_code_lets_the_code_end(engine: Engine, folder: Make) -> None:
    engine.sync(
        folder(**{"a.md": "# Foo\n\nTo install Foo run:\n\n```bash\npip install foo\n```\n\nDone.\n"})
    )
    answer = engine.ask("How do I install Foo?")
    assert "```bash\npip install foo\n```\n\n[1]" in answer.text
    (cited, *_) = answer.citations
    assert cited.at and answer.text[slice(*cited.at)].endswith("[1]")


def test_an_english_question_is_answered_in_english(library: Engine) -> None:
    assert library.ask("What is XTuner?").text.startswith(
        "XTuner is a toolkit for fine-tuning large language models. [1]"
    )


@pytest.mark.parametrize("question", ["火星上有多少座火山？", "How many moons does Jupiter have?"])
def test_what_is_not_in_the_documents_is_refused(library: Engine, question: str) -> None:
    answer = library.ask(question)
    assert answer.refused and not answer.citations and not answer.hits
    assert ("没有找到" in answer.text) == ("火星" in question)


def test_greetings_and_thanks_are_answered_as_such(library: Engine) -> None:
    assert library.ask("你好").text == "你好，我是你的助手，有什么我可以帮助你的吗？"
    assert library.ask("Thanks!").kind == "small_talk"


def test_the_library_is_outlined_with_sources(library: Engine) -> None:
    answer = library.ask("what is in my documents?")
    assert answer.kind == "outline"
    assert "docs/guide.md" in answer.text and "年假; 病假" in answer.text
    assert [citation.number for citation in answer.citations] == [1, 2]
    only = library.ask("总结 guide")
    assert "handbook" not in only.text
    assert library.ask("总结年假规定").kind == "documents"


def test_an_empty_library_says_so(engine: Engine) -> None:
    answer = engine.ask("年假？")
    assert answer.refused and "空" in answer.text


def test_a_question_can_be_kept_to_some_documents(library: Engine) -> None:
    guide = next(d.id for d in library.documents() if d.path == "guide.md")
    assert library.ask("年假有多少天？", filters=Filters(frozenset([guide]))).refused


def test_the_coverage_counts_vectors(engine: Engine, folder: Make) -> None:
    engine.sync(folder(**{"a.md": "甲。"}))
    assert (engine.coverage().chunks, engine.coverage().embedded) == (1, 0)
    engine.embed()
    assert engine.coverage().complete


# ── With a model ──


def with_model(library: Engine, *answers: object) -> tuple[Engine, ScriptedLLM]:
    llm = ScriptedLLM()
    for answer in answers:
        llm.enqueue(answer)  # type: ignore[arg-type]
    return Engine.open(library.settings, llm=llm), llm


def test_a_language_model_replaces_the_quotes_and_nothing_else(library: Engine) -> None:
    engine, llm = with_model(library, ["年假是十", "天【", "1】。还有[9]", "。"])
    with engine:
        events = list(engine.stream("年假有多少天？"))
    answer = done(events)
    assert answer.profile == "scripted"
    assert answer.text == "年假是十天[1]。还有。" == "".join(e.text for e in events if isinstance(e, Delta))
    assert answer.citations[0].quote == "年假为十天。"
    system, question = llm.asked[0]
    assert system.role == "system" and "只根据编号的资料回答" in str(system.content)
    assert "[1] <passage>\ndocs/handbook.md > 员工手册 > 年假\n" in str(question.content)


def test_the_model_can_be_changed_while_the_library_is_open(library: Engine) -> None:
    library.use_model(ScriptedLLM(name="other").enqueue("十天[1]。"))
    assert (library.profile, library.ask("年假有多少天？").text) == ("other", "十天[1]。")
    library.use_model(None)
    assert library.ask("年假有多少天？").profile == "quotes"


def test_a_prompt_that_is_too_long_is_asked_again_with_less(library: Engine, folder: Make) -> None:
    """A model with a small window once refused to answer at all."""
    library.sync(folder(**{f"{n}.md": f"# 年假{n}\n\n年假的第{n}条规定。\n" for n in range(4)}))

    class Narrow(ScriptedLLM):
        def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: object) -> ChatResponseGen:
            self.asked.append(list(messages))
            if len(messages) > 2 or "[3]" in str(messages[-1].content):
                raise UsageError("the prompt is too long", "")
            return super().stream_chat(messages)

    llm = Narrow().enqueue("年假的规定[1][3]。")
    library.use_model(llm)
    answer = library.ask("年假有哪些规定？", history=[Turn("a", "b")])
    assert len(answer.hits) > 2 and answer.citations
    assert all(one.number <= 2 for one in answer.citations), "a passage that it was not given cannot be cited"
    assert "[3]" not in answer.text
    assert [len(messages) for messages in llm.asked[:2]] == [4, 2]


def test_a_question_in_a_language_that_the_model_does_not_know_is_answered_in_quotes(library: Engine) -> None:
    llm = ScriptedLLM().enqueue("A toolkit [1].")
    library.use_model(llm, languages=("en",))
    assert library.ask("年假有多少天？").profile == "quotes"
    assert library.ask("What is XTuner?").profile == "scripted"


def test_a_stop_reaches_a_model_that_has_not_said_its_first_word(library: Engine) -> None:
    """A prefill takes half a minute on a slow machine; a stop once waited for the first token."""
    closed, stop = threading.Event(), threading.Event()

    class Silent:
        def __iter__(self) -> Silent:
            return self

        def __next__(self) -> object:
            assert closed.wait(timeout=30)
            raise StopIteration

        def close(self) -> None:
            closed.set()

    class SilentLLM(ScriptedLLM):
        def stream_chat(self, messages: object, **kwargs: object) -> Silent:  # type: ignore[override]
            stop.set()
            return Silent()

    library.use_model(SilentLLM())
    answer = done(list(library.stream("年假有多少天？", stop=stop)))
    assert answer.stopped and answer.text == "" and closed.is_set()


def test_a_model_is_not_asked_when_nothing_fits(library: Engine) -> None:
    engine, llm = with_model(library)
    with engine:
        assert engine.ask("火星上有多少座火山？").refused
    assert llm.asked == []


def test_history_goes_to_the_model_with_its_passages(library: Engine) -> None:
    engine, llm = with_model(library, "十天[1]。", "可以[1]。")
    with engine:
        first = engine.ask("年假有多少天？")
        engine.ask("年假可以顺延吗？", history=[Turn(first.question, first.text, first.hits)])
    assert [m.role for m in llm.asked[1]] == ["system", "user", "assistant", "user"]
    assert llm.asked[1][:2] == llm.asked[0]


def test_without_documents_the_model_answers_alone(library: Engine) -> None:
    engine, llm = with_model(library, "I do not know.")
    with engine:
        answer = engine.ask("What is XTuner?", documents=False)
    assert (answer.text, answer.kind, answer.hits) == ("I do not know.", "model_only", ())
    assert "Sources" not in str(llm.asked[0][-1].content)
    alone = library.ask("xtuner是什么？", documents=False)
    assert "没有加载语言模型" in alone.text and alone.kind == "small_talk"  # no model said that


def test_a_stop_keeps_what_was_said(library: Engine) -> None:
    engine, _ = with_model(library, ["一", "二", "三", "四"])
    stop = threading.Event()
    said = ""
    with engine:
        for event in engine.stream("年假有多少天？", stop=stop):
            if isinstance(event, Delta):
                said += event.text
                stop.set()
            if isinstance(event, Done):
                assert event.answer.stopped and event.answer.text == said == "一"


def test_answers_under_way_can_be_ended_and_waited_for(library: Engine) -> None:
    engine, _ = with_model(library, ["一", "二", "三", "四"])
    with engine:
        assert engine.stop_answers(0.1)  # there is none
        answer = engine.stream("年假有多少天？")
        assert not isinstance(next(answer), Done)
        assert not engine.stop_answers(0.1)  # its reader stands still
        rest = list(answer)
        assert isinstance(rest[-1], Done) and rest[-1].answer.stopped
        assert engine.stop_answers(0.1)


def test_a_model_that_fails_raises_one_clear_error(library: Engine) -> None:
    engine, _ = with_model(library, RuntimeError("out of memory"))
    with engine, pytest.raises(GenerationError, match="out of memory") as caught:
        engine.ask("年假有多少天？")
    assert caught.value.hint


# ── Staying in step ──


def test_the_samples_go_in_once(settings: Settings, tmp_path: Path) -> None:
    samples = tmp_path / "samples"
    samples.mkdir()
    (samples / "a.md").write_text("甲。", encoding="utf-8")
    with Engine.open(settings) as engine:
        assert engine.seed(samples).added == ("samples/a.md",)
        engine.remove([document.id for document in engine.documents()])
    with Engine.open(settings) as engine:
        engine.seed(samples)
        assert engine.documents() == []


def test_the_background_thread_embeds_what_comes_in(
    engine: Engine, embedding: WordEmbedding, folder: Make
) -> None:
    engine.start()
    engine.sync(folder(**{"a.md": "甲。"}))
    deadline = time.monotonic() + 20
    while not engine.coverage().complete and time.monotonic() < deadline:
        time.sleep(0.02)
    assert engine.coverage().complete and len(embedding.embedded) == 1


def test_an_embedder_that_fails_leaves_the_text_searchable(settings: Settings, folder: Make) -> None:
    with Engine.open(settings, embed_model=WordEmbedding(fail_after=0)) as engine:
        engine.sync(folder(**{"a.md": "年假为十天。"}))
        engine.start()
        deadline = time.monotonic() + 20
        while engine.embedding.state != "failed" and time.monotonic() < deadline:
            time.sleep(0.02)
        assert engine.embedding.state == "failed" and engine.embedding.hint
        assert engine.search("年假")[0].text == "年假为十天。"


def test_old_terms_are_made_anew_when_the_library_is_opened(library: Engine) -> None:
    library._store.put_terms([], analyser=0)
    assert library.search("年假", limit=1) == [] or library.search("年假", limit=1)[0].lexical is None
    with Engine.open(library.settings) as again:
        assert again.search("年假", limit=1)[0].lexical is not None


def test_two_engines_see_one_library(library: Engine, folder: Make) -> None:
    with Engine.open(library.settings) as other:
        library.sync(folder(**{"new.md": "食堂在二楼。"}))
        assert other.search("食堂")[0].source == "docs/new.md"


def test_a_second_writer_waits_and_then_says_who_is_in_the_way(
    library: Engine, folder: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragkit.library._LOCK_WAIT_S", 0.1)
    with Engine.open(library.settings) as other, library._writing(), pytest.raises(LibraryBusy) as caught:
        other.sync(folder())
    assert caught.value.hint


KILLED = """
import sys, os, signal
from pathlib import Path
from ragkit.config import Settings
from ragkit.engine import Engine
base, after = Path(sys.argv[1]), int(sys.argv[2])
engine = Engine.open(Settings(data_dir=base, kb=base / "kb", embedding="off"))
real, written = engine._store.replace, 0
def replace(*args, **kwargs):
    global written
    if written == after:
        os.kill(os.getpid(), signal.SIGKILL)
    written += 1
    return real(*args, **kwargs)
engine._store.replace = replace
engine.sync(base / "docs")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
@pytest.mark.parametrize("moment", ["counted", "timed"])
def test_a_sync_that_is_killed_leaves_whole_documents_and_goes_on(tmp_path: Path, moment: str) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for n in range(40):
        (docs / f"{n:02}.md").write_text(
            f"# 第{n:02}份\n\n" + f"第{n:02}份文件的内容。" * 200, encoding="utf-8"
        )
    after = 17 if moment == "counted" else 10_000
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path), str(after)], cwd=REPOSITORY)
    if moment == "timed":
        database = tmp_path / "kb" / "kb.sqlite-wal"
        while not (database.exists() and database.stat().st_size > 300_000):
            assert child.poll() is None, "it was done before it could be killed"
            time.sleep(0.001)
        child.kill()
    assert child.wait(timeout=120) == -9
    with Engine.open(Settings(data_dir=tmp_path, kb=tmp_path / "kb", embedding="off")) as engine:
        assert engine._store.file.rows("PRAGMA integrity_check") == [("ok",)]
        left = [document for document in engine.documents() if document.state == "ready"]
        assert 0 < len(left) < 40
        assert {document.state for document in engine.documents()} <= {"ready", "queued", "parsing"}
        assert moment == "timed" or len(left) == 17
        whole = max(document.chunks for document in left)
        assert all(document.chunks == whole for document in left), "half a document is visible"
        report = engine.sync(docs)
        assert (len(report.added), report.unchanged) == (40 - len(left), len(left))
        assert len(engine.documents()) == 40


def test_new_settings_hold_from_the_next_question_on(library: Engine) -> None:
    llm = ScriptedLLM()
    library.use_model(llm)
    llm.enqueue("年假为十天[1]。")
    before = library.ask("年假有多少天？")
    assert len(before.hits) > 1 and llm.options == [{}]
    library.use_settings(
        library.settings.changed(
            "a test", passages=1, temperature=0.7, max_tokens=32, instructions="请用敬语。"
        )
    )
    llm.enqueue("年假为十天[1]。")
    assert len(library.ask("年假有多少天？").hits) == 1
    assert llm.options[1] == {"temperature": 0.7, "max_tokens": 32}
    assert str(llm.asked[1][0].content).endswith("请用敬语。")
    llm.enqueue("你好")
    library.ask("年假？", documents=False)
    assert llm.options[2] == llm.options[1] and str(llm.asked[2][0].content).endswith("请用敬语。")


def test_a_threshold_of_the_settings_refuses_what_was_answered(library: Engine) -> None:
    question = "年假须有医院证明吗？"
    assert not library.ask(question).refused
    library.use_settings(library.settings.changed("a test", gate=1.0))
    assert library.ask(question).refused
