"""What is in the library: a list of its documents, each cited, made of their own titles and headings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ragkit.schema import Citation, Document, Hit, Language
from ragkit.text import analyse

MOST_DOCUMENTS = 20
MOST_HEADINGS = 6

_TEXT: dict[Language, dict[str, str]] = {
    "zh": {
        "head": "知识库中有 {n} 份文档：",
        "head_one": "知识库中有 1 份文档：",
        "more": "……以及另外 {n} 份。",
        "colon": "：",
        "comma": "；",
    },
    "en": {
        "head": "The knowledge base holds {n} documents:",
        "head_one": "The knowledge base holds 1 document:",
        "more": "... and {n} more.",
        "colon": ": ",
        "comma": "; ",
    },
}


def named(target: str, documents: Sequence[Document]) -> list[Document]:
    """The documents that `target` names: all words of it stand in the path or the title."""
    wanted = {token.term for token in analyse(_apart(target), query=True)}
    if not wanted:
        return []
    return [
        document
        for document in documents
        if wanted <= {token.term for token in analyse(_apart(f"{document.path} {document.title}"))}
    ]


def _apart(text: str) -> str:
    """Words without what joins them in file names: handbook_zh.docx and handbook_zh share theirs."""
    return re.sub(r"[\W_]+", " ", text)


def write(
    documents: Sequence[Document],
    openings: Sequence[Hit],
    headings: Mapping[int, Sequence[tuple[str, ...]]],
    language: Language,
) -> tuple[str, list[Citation]]:
    """The outline as text with [n], and its citations. `openings` are the first passages of documents:
    the number of a document is the place of its opening, and those without one are only counted."""
    words = _TEXT[language]
    of = {document.id: document for document in documents}
    lines = [words["head_one" if len(documents) == 1 else "head"].format(n=len(documents)), ""]
    citations = []
    for number, hit in enumerate(openings, 1):
        document = of[hit.doc_id]
        parts = [*dict.fromkeys(_top(path, document.title) for path in headings.get(document.id, ()))]
        parts = [part for part in parts if part][:MOST_HEADINGS]
        line = f"- **{document.title or document.path}** ({document.source})"
        lines.append(line + (words["colon"] + words["comma"].join(parts) if parts else "") + f" [{number}]")
        citations.append(
            Citation(number, hit.doc_id, hit.source, hit.page, hit.heading, hit.start, hit.end, hit.text)
        )
    if len(documents) > len(openings):
        lines += ["", words["more"].format(n=len(documents) - len(openings))]
    return "\n".join(lines), citations


def _top(path: tuple[str, ...], title: str) -> str:
    """The first heading of a path that is not the document's title."""
    return next((heading for heading in path if heading != title), "")
