"""What the parsing process and its caller say to each other: four bytes of length and that much JSON.

The caller trusts nothing that comes: a parser that a hostile file has taken over can write what it likes.
"""

from __future__ import annotations

import binascii
import json
import struct
from base64 import b64decode, b64encode
from dataclasses import asdict, fields
from itertools import pairwise
from typing import IO, Any, get_args

from ragkit.readers.base import MAX_CHARS
from ragkit.schema import Block, BlockKind, OcrState, PageImage, Parsed

MAX_BLOCKS = 500_000  # forty characters each in the longest text; a block costs the caller half a kilobyte
MAX_FRAME_BYTES = 256 << 20  # MAX_CHARS take at most 80 MB; the rest is for blocks with their headings

_LENGTH = struct.Struct(">I")
_KINDS = frozenset(get_args(BlockKind))
_OCR_STATES = frozenset(get_args(OcrState))


class BadFrame(Exception):
    """The other side sent what it may not send."""


def pack(message: dict[str, Any]) -> bytes:
    """Make a frame. File names on Linux may hold bytes that are no UTF-8, hence surrogatepass."""
    body = json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass")
    if len(body) > MAX_FRAME_BYTES:
        raise BadFrame(f"{len(body)} bytes")
    return _LENGTH.pack(len(body)) + body


def receive(stream: IO[bytes]) -> dict[str, Any] | None:
    """Read a frame, or None if the other side is gone; BadFrame if it is too long or no message."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > MAX_FRAME_BYTES:
        raise BadFrame(f"{length} bytes")
    body = stream.read(length)
    if len(body) < length:
        return None
    try:
        message = json.loads(body.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:  # brackets nested thousands deep
        raise BadFrame("no JSON") from error
    if not isinstance(message, dict):
        raise BadFrame("no message")
    return message


def as_json(parsed: Parsed) -> dict[str, Any]:
    """Make what `as_parsed` takes."""
    values = {field.name: getattr(parsed, field.name) for field in fields(Parsed)}
    blocks = [(block.start, block.end, block.kind, block.page, block.heading) for block in parsed.blocks]
    return values | {"blocks": blocks}


def as_parsed(values: object) -> Parsed:
    """Make the document of what came; BadFrame unless it is one, with blocks in order inside its text."""
    try:
        return _checked(values)
    except (TypeError, ValueError, KeyError) as error:
        raise BadFrame("no document") from error


def image_as_json(image: PageImage) -> dict[str, Any]:
    """Make what `as_image` takes."""
    return asdict(image) | {"webp": b64encode(image.webp).decode("ascii")}


def as_image(values: object) -> PageImage:
    """Make the picture of what came; BadFrame unless it is one. What is in the WebP only a browser finds out."""
    try:
        return _checked_image(values)
    except (TypeError, ValueError, KeyError, binascii.Error) as error:
        raise BadFrame("no picture") from error


def _checked_image(values: Any) -> PageImage:
    boxes = tuple(None if box is None else tuple(box) for box in values["boxes"])
    image = PageImage(**{**values, "webp": b64decode(values["webp"], validate=True), "boxes": boxes})
    numbers = [image.width, image.height, *(number for box in image.boxes if box for number in box)]
    if not (
        type(image.text) is str
        and all(type(number) is int for number in numbers)
        and all(box is None or len(box) == 4 for box in image.boxes)
        and len(image.boxes) in (0, len(image.text))
        and image.webp[:4] == b"RIFF"
        and image.width > 0 < image.height
    ):
        raise ValueError
    image.text.encode()
    return image


def _checked(values: Any) -> Parsed:
    blocks = tuple(
        Block(start, end, kind, page, tuple(heading)) for start, end, kind, page, heading in values["blocks"]
    )
    lists = {name: tuple(values[name]) for name in ("pages_without_text", "ocr_pages")}
    parsed = Parsed(**{**values, **lists, "blocks": blocks})
    strings = [parsed.text, parsed.title, *(heading for block in blocks for heading in block.heading)]
    numbers = [*parsed.pages_without_text, *parsed.ocr_pages]
    numbers += [number for block in blocks for number in (block.start, block.end)]
    numbers += [number for number in (parsed.pages, *(block.page for block in blocks)) if number is not None]
    places = [0, *(place for block in blocks for place in (block.start, block.end)), len(parsed.text)]
    if not (
        all(type(string) is str for string in strings)
        and (parsed.encoding is None or type(parsed.encoding) is str)
        and all(type(number) is int for number in numbers)
        and all(low <= high for low, high in pairwise(places))
        and all(block.kind in _KINDS for block in blocks)
        and parsed.ocr_state in _OCR_STATES
        and len(blocks) <= MAX_BLOCKS
        and len(parsed.text) <= MAX_CHARS
    ):
        raise ValueError
    parsed.text.encode()  # a lone surrogate cannot be stored
    return parsed
