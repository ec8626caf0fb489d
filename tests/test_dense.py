"""Changing the embedding model: the old vectors answer until the new ones are whole, and nothing is parsed again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ragkit import embedding
from ragkit.config import Settings
from ragkit.embedding import Embedder, wrap
from ragkit.embedding_records import ModelRecord
from ragkit.engine import Engine
from ragkit.errors import ModelError
from tests.fakes import WordEmbedding

Make = Callable[..., Path]


class Shelf:
    """Embedding models by name, as `embedding.load` finds them; each load is a new object."""

    def __init__(self) -> None:
        self.dims = {"small": 32, "large": 128}
        self.loaded: dict[str, WordEmbedding] = {}

    def load(self, where: str, device: str, *_: object, **__: object) -> Embedder:
        if where not in self.dims:
            raise ModelError(f"there is no embedding model in {where}", "Name one that is there.")
        model = WordEmbedding(model_name=where, dim=self.dims[where])
        self.loaded[where] = model
        return wrap(model)


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    shelf = Shelf()
    monkeypatch.setattr(embedding, "load", shelf.load)
    return shelf


@pytest.fixture
def library(settings: Settings, shelf: Shelf, folder: Make) -> Iterator[Engine]:
    """600 chunks with the vectors of "small"."""
    docs = folder(
        **{f"{n}.md": "".join(f"# {n}.{m}\n\n第{n}份的第{m}节。\n\n" for m in range(60)) for n in range(10)}
    )
    with Engine.open(settings_for(settings, "small")) as engine:
        engine.sync(docs)
        assert engine.embed() == 600
        yield engine


def settings_for(settings: Settings, where: str) -> Settings:
    from dataclasses import replace

    return replace(settings, embedding=where)


def record(where: str) -> ModelRecord:
    return wrap(WordEmbedding(model_name=where)).record


def dense(engine: Engine) -> bool:
    return engine.search("第3份的第7节", limit=1)[0].dense is not None


def test_the_old_vectors_answer_until_the_new_ones_are_whole(library: Engine, shelf: Shelf) -> None:
    library.change_embedding("large")
    assert (library.embedding.name, library.embedding.replacement) == (
        "WordEmbedding:small",
        "WordEmbedding:large",
    )
    assert dense(library) and library.coverage().complete
    assert library._embed_next(lambda: False)  # one slice of three
    assert 0 < library.embedding_coverage().embedded < 600
    assert library.embedding.name == "WordEmbedding:small" and dense(library)
    parsed = [document.updated_at for document in library.documents()]
    library.embed()
    assert (library.embedding.name, library.embedding.replacement) == ("WordEmbedding:large", "")
    assert dense(library) and library.coverage().complete
    assert [document.updated_at for document in library.documents()] == parsed
    assert len(library._store.vector_models()) == 1
    assert library.verify() == []


def test_a_change_that_was_interrupted_goes_on_at_the_next_start(
    library: Engine, settings: Settings, shelf: Shelf
) -> None:
    library.change_embedding("large")
    library._embed_next(lambda: False)
    library.close()
    with Engine.open(settings_for(settings, "large")) as again:
        again.load_embedding()
        assert again.embedding.name == "WordEmbedding:small" and dense(again)
        done = again.embedding_coverage().embedded
        assert 0 < done < 600
        assert again.embed() == 600 - done
        assert again.embedding.name == "WordEmbedding:large"
        assert len(shelf.loaded["large"].embedded) == 600 - done


def test_an_old_model_that_is_gone_leaves_the_new_one_to_answer_as_far_as_it_is(
    library: Engine, settings: Settings, shelf: Shelf
) -> None:
    library.close()
    del shelf.dims["small"]
    with Engine.open(settings_for(settings, "large")) as again:
        again.load_embedding()
        assert again.embedding.name == "WordEmbedding:large"
        assert (again.coverage().embedded, again.coverage().chunks) == (0, 600)
        assert again.search("第3份的第7节", limit=1)[0].lexical is not None
        again.embed()
        assert dense(again) and again.verify() == []


def test_back_to_the_old_model_before_the_new_one_is_whole_costs_nothing(
    library: Engine, shelf: Shelf
) -> None:
    library.change_embedding("large")
    library._embed_next(lambda: False)
    library.change_embedding("small")
    assert library.embedding.replacement == "" and dense(library)
    assert library.embed() == 0
    assert library.verify() == []


def test_vectors_of_a_model_that_was_given_up_are_gone_on_with(library: Engine, shelf: Shelf) -> None:
    """They were thrown away as soon as the old model was back, and the next change began at 0."""
    library.change_embedding("large")
    library._embed_next(lambda: False)
    done = library.embedding_coverage().embedded
    large = shelf.loaded["large"]
    library.change_embedding("small")
    assert library.embed() == 0 and library.verify() == []
    assert library.without_vector(record("small")) == 0
    assert library.without_vector(record("large")) == 600 - done == 600 - len(large.embedded)
    library.change_embedding("large")
    assert library.embed() == 600 - done
    assert library.embedding.name == "WordEmbedding:large" and len(library._store.vector_models()) == 1


def test_no_more_vectors_are_kept_than_those_of_two_models(library: Engine, shelf: Shelf) -> None:
    shelf.dims["third"] = 64
    library.change_embedding("large")
    library._embed_next(lambda: False)
    library.change_embedding("small")
    library.embed()
    library.change_embedding("third")
    assert library.without_vector(record("large")) == 600
    assert library.without_vector(record("small")) == 0
    library._embed_next(lambda: False)
    assert len(library._store.vector_models()) == 2


def test_vectors_of_a_model_that_was_given_up_are_not_loaded_for(
    library: Engine, settings: Settings, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync that changed nothing would load the model each time, which takes seconds."""
    library.change_embedding("large")
    library._embed_next(lambda: False)
    library.change_embedding("small")
    library.embed()
    library.close()
    shelf.loaded.clear()
    monkeypatch.setattr(embedding, "find", lambda where, _: (Path(), record(where)))
    with Engine.open(settings_for(settings, "small")) as again:
        assert again.embed() == 0
    assert not shelf.loaded
    with Engine.open(settings_for(settings, "large")) as again:
        assert again.embed() > 0


def test_a_change_that_is_cancelled_while_the_model_is_loaded_changes_nothing(library: Engine) -> None:
    assert not library.change_embedding("large", lambda: True)
    assert not library.change_embedding("off", lambda: True)
    assert (library.embedding.name, library.embedding.replacement) == ("WordEmbedding:small", "")
    assert dense(library)


def test_the_vectors_on_the_disk_are_counted_before_the_model_is_loaded(
    library: Engine, settings: Settings
) -> None:
    """The page said 0 until then, and that every document was still being indexed."""
    library.change_embedding("large")
    library._embed_next(lambda: False)
    library.close()
    with Engine.open(settings_for(settings, "large")) as again:
        assert again.embedding.state == "waiting"
        assert (again.kept_coverage().embedded, again.kept_coverage().chunks) == (600, 600)
        assert all(document.embedded == document.chunks for document in again.documents())
        assert again.coverage().embedded == 0  # an answer rests on none of them yet


def test_the_vectors_of_a_library_whose_first_ones_are_not_whole_are_counted_too(
    settings: Settings, shelf: Shelf, folder: Make
) -> None:
    docs = folder(**{"a.md": "".join(f"# {n}\n\n第{n}节。\n\n" for n in range(300))})
    with Engine.open(settings_for(settings, "small")) as engine:
        engine.sync(docs)
        engine.load_embedding()
        engine._embed_next(lambda: False)
        done = engine.coverage().embedded
    with Engine.open(settings_for(settings, "small")) as again:
        assert 0 < done < 300 and again.kept_coverage().embedded == done
    with Engine.open(settings) as off:
        assert off.kept_coverage().embedded == 0


def test_a_model_that_is_not_there_changes_nothing(library: Engine) -> None:
    with pytest.raises(ModelError):
        library.change_embedding("nowhere")
    assert library.embedding.name == "WordEmbedding:small" and dense(library)


def test_off_is_words_alone(library: Engine) -> None:
    library.change_embedding("off")
    assert library.embedding.state == "off" and not dense(library)


def test_what_comes_in_meanwhile_is_found_by_words_and_then_by_the_new_model(
    library: Engine, folder: Make
) -> None:
    library.change_embedding("large")
    docs = folder(**{"new.md": "全新的一份文件。"})
    library.sync(docs)
    assert library.search("全新的", limit=1)[0].source == "docs/new.md"
    library.embed()
    assert library.coverage().complete and library.verify() == []


def test_a_model_is_loaded_for_a_question_only_where_it_could_change_what_is_found(
    settings: Settings, folder: Make
) -> None:
    """Loading takes ten seconds, and torch with it."""
    chinese, english = "年假有多少天？", "What is annual leave?"
    with Engine.open(settings_for(settings, "auto")) as engine:
        engine.sync(folder(**{"a.md": "Annual leave is ten days."}))
        assert not engine.embedding_reads(english), "no vectors yet"
    with Engine.open(settings, embed_model=WordEmbedding()) as engine:
        engine.embed()
        assert not engine.embedding_reads(english), "it is there"
    with Engine.open(settings_for(settings, "auto")) as engine:
        assert engine.embedding_reads(chinese), "another model answers until this one takes over"
        engine._store.put_meta("embedding_where", "auto")
        assert engine.embedding_reads(english) and not engine.embedding_reads(chinese)
    with Engine.open(settings) as engine:
        assert not engine.embedding_reads(english), "off"


def test_a_model_that_cannot_be_loaded_leaves_the_one_to_answer_whose_vectors_are_there(
    library: Engine, settings: Settings, folder: Make
) -> None:
    """As int8 on a machine without ONNX Runtime: the library answered by words alone, with all its vectors there."""
    library.close()
    with Engine.open(settings_for(settings, "onnx-int8:small")) as again:
        assert again.load_embedding()
        assert again.embedding.name == "WordEmbedding:small" and dense(again)
        assert "onnx-int8:small" in again.embedding.error and again.embedding.hint
        again.sync(folder(**{"new.md": "全新的一份文件。"}))
        again.embed()
        assert again.coverage().complete and again.embedding.error
    with Engine.open(settings_for(settings, "small")) as back:
        assert back.load_embedding() and back.embed() == 0
        assert back.embedding.error == "" and dense(back) and back.verify() == []


def test_a_model_that_cannot_be_loaded_is_a_failure_where_no_vectors_are(settings: Settings) -> None:
    with Engine.open(settings_for(settings, "nowhere")) as engine:
        assert not engine.load_embedding() and engine.embedding.state == "failed"
