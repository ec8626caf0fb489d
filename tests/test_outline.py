from __future__ import annotations

from ragkit.outline import named, write
from ragkit.schema import Document, Hit


def document(id: int, path: str, title: str = "") -> Document:
    return Document(id, "r", path, f"docs/{path}", "ready", 1, 1, None, None, title, 0.0, 0.0)


def opening(doc_id: int) -> Hit:
    return Hit(doc_id, doc_id, f"docs/{doc_id}", None, (), 0, 3, "abc", 1.0, None, None)


def test_a_document_is_named_by_words_of_its_path_or_title() -> None:
    documents = [document(1, "handbook_zh.docx", "员工手册"), document(2, "b.md", "Travel policy")]
    assert [d.id for d in named("handbook_zh", documents)] == [1]
    assert [d.id for d in named("员工手册", documents)] == [1]
    assert [d.id for d in named("travel policies", documents)] == [2]
    assert named("the supported models", documents) == []


def test_each_document_is_listed_with_its_headings_and_cited() -> None:
    documents = [document(1, "a.md", "标题"), document(2, "b.txt")]
    text, cited = write(
        documents, [opening(1), opening(2)], {1: [("标题", "甲"), ("标题", "甲", "乙"), ("标题", "丙")]}, "zh"
    )
    assert text.splitlines() == [
        "知识库中有 2 份文档：",
        "",
        "- **标题** (docs/a.md)：甲；丙 [1]",
        "- **b.txt** (docs/b.txt) [2]",
    ]
    assert [(c.number, c.doc_id) for c in cited] == [(1, 1), (2, 2)]


def test_what_is_not_listed_is_counted() -> None:
    documents = [document(n, f"{n}.md") for n in range(3)]
    assert write(documents, [opening(0)], {}, "en")[0].endswith("... and 2 more.")


def test_one_document_is_told_in_the_singular() -> None:
    assert write([document(1, "a.md")], [], {}, "en")[0].startswith("The knowledge base holds 1 document:")
