"""Made-up documents, the same ones every time: Zipf-like words in Chinese and English, Markdown of a real shape."""

from __future__ import annotations

import random
from bisect import bisect
from hashlib import blake2b
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from llama_index.core.embeddings import BaseEmbedding
from pydantic import Field

WORDS = 6000
SECTION_CHARS = 400
BIG_SECTIONS = 200  # of the file that paragraphs go into: about as many chunks
DIMENSION = 384  # all-MiniLM's
_DIRECTIONS = 512


class Language:
    """Sentences of one language; frequent words are as frequent as the content words of real text (Zipf-Mandelbrot)."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self._dice = random.Random(seed)
        letters = "abcdefghilmnoprstuv"
        if name == "zh":
            common = [chr(code) for code in range(0x4E00, 0x4E00 + 2500)]
            self.words = [
                "".join(self._dice.choices(common, k=self._dice.choice((1, 2, 2, 2, 3))))
                for _ in range(WORDS)
            ]
        else:
            self.words = [
                "".join(self._dice.choices(letters, k=self._dice.randint(2, 10))) for _ in range(WORDS)
            ]
        # Flatter at the head than all words of a text are: those that are on every page are not in an index.
        self._weights = list(accumulate(1 / (rank + 30) for rank in range(WORDS)))

    def phrase(self, words: int) -> str:
        picked = [
            self.words[bisect(self._weights, self._dice.random() * self._weights[-1])] for _ in range(words)
        ]
        return ("" if self.name == "zh" else " ").join(picked)

    def sentence(self) -> str:
        n = self._dice.randint(5, 14)
        if self.name == "zh":
            return f"{self.phrase(n // 2)}，{self.phrase(n - n // 2)}。"
        return f"{self.phrase(n).capitalize()}. "

    def paragraph(self, chars: int) -> str:
        text = ""
        while len(text) < chars:
            text += self.sentence()
        return text.strip()


class Author:
    """Writes Markdown with headings, lists, tables and code."""

    def __init__(self, seed: int = 1) -> None:
        self._dice = random.Random(seed)
        self.languages = [Language("zh", seed), Language("en", seed + 1)]

    def document(self, number: int, sections: int = 0) -> str:
        """A document of about three pages, or of so many sections."""
        language = self.languages[number % 2]
        count = sections or max(1, min(40, round(self._dice.lognormvariate(2.0, 0.6))))
        parts = [f"# {language.phrase(3)}", language.paragraph(120)]
        for at in range(count):
            parts.append(f"{'##' if at % 3 == 0 or sections else '###'} {language.phrase(2)}")
            parts.append(self._body(language, plain=bool(sections)))
        return "\n\n".join(parts) + "\n"

    def _body(self, language: Language, *, plain: bool) -> str:
        chars = round(SECTION_CHARS * (0.8 if language.name == "zh" else 2.0) * self._dice.uniform(0.4, 1.1))
        kind = 1.0 if plain else self._dice.random()
        if kind < 0.12:
            return "\n".join(f"- {language.sentence().strip()}" for _ in range(6))
        if kind < 0.2:
            rows = [f"| {language.phrase(2)} | {language.phrase(3)} | {n} |" for n in range(8)]
            return "\n".join([f"| {language.phrase(1)} | {language.phrase(1)} | n |", "|---|---|---|", *rows])
        if kind < 0.26:
            code = "\n".join(f"    {language.words[n]}_{n} = load({n})" for n in range(8))
            return f"```python\ndef run():\n{code}\n```"
        return f"{language.paragraph(chars // 2)}\n\n{language.paragraph(chars // 2)}"


def write_folder(place: Path, files: int, author: Author) -> Path:
    """Write `files` documents into folders of fifty, and one big one, and give back the big one."""
    for number in range(files):
        file = place / f"part{number // 50:02d}" / f"doc{number:04d}.md"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(author.document(number), encoding="utf-8")
    big = place / "big.md"
    big.write_text(author.document(0, sections=BIG_SECTIONS), encoding="utf-8")
    return big


def directions(count: int, seed: int = 7) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Random unit vectors, (count, DIMENSION)."""
    vectors = np.random.default_rng(seed).standard_normal((count, DIMENSION), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class CountingEmbedding(BaseEmbedding):
    """Gives each text one of a few fixed directions, at no cost, and counts the texts."""

    model_name: str = "counting"
    texts: int = 0
    table: list[list[float]] = Field(default_factory=lambda: directions(_DIRECTIONS).tolist())

    def _direction(self, text: str) -> list[float]:
        digest = blake2b(text.encode(), digest_size=8).digest()
        return self.table[int.from_bytes(digest, "big") % len(self.table)]

    def _get_text_embedding(self, text: str) -> list[float]:
        self.texts += 1
        return self._direction(text)

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._direction(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._direction(query)
