"""E-mails: who, when and about what, then the text; attachments are named, not read.

The standard library takes the message apart, with the policy that leaves headers as they came: the bytes are
decoded here, because its own decoding replaces what it does not understand.
"""

from __future__ import annotations

import re
from email.errors import (
    CloseBoundaryNotFoundDefect,
    InvalidBase64LengthDefect,
    InvalidBase64PaddingDefect,
    MessageError,
    StartBoundaryNotFoundDefect,
)
from email.header import decode_header
from email.message import Message
from email.parser import BytesParser
from email.policy import compat32
from email.utils import collapse_rfc2231_value
from typing import Any, TypeAlias

from ragkit.errors import BrokenFile, EncryptedFile, FileTooLarge, NoText, ReadError, TruncatedFile
from ragkit.readers.base import (
    MAX_HEADING_CHARS,
    TextBuilder,
    decode,
    looks_like,
    mislabelled,
    one_line,
    paragraphs,
)
from ragkit.readers.encodings import known, to_text
from ragkit.readers.html import add_page, decode_page
from ragkit.schema import BlockKind, Parsed

Part: TypeAlias = "Message[str, str]"  # generic in the stubs alone

_MAX_DEPTH = 20  # of parts in parts; a forwarded forward of a mail with pictures has eight
_SHOWN = ("From", "To", "Cc", "Date")
# A mail has one of these; a text with a colon in its first line has none.
_SIGNS = frozenset(
    ("from", "to", "subject", "date", "received", "message-id", "mime-version", "content-type")
)
_CUT_BASE64 = (InvalidBase64LengthDefect, InvalidBase64PaddingDefect)
_ENCRYPTED = ("multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime")
_SAVE_AGAIN = "Save it from the mail program again."
_FILE_NAME = re.compile(r"\b(?:file)?name\s*=\s*\"?([^\";]+)", re.I)
_ENCODED_WORD = re.compile(r"=\?[^?\s]+\?[bq]\?", re.I)


def parse(data: bytes) -> Parsed:
    """Read an .eml file; its title is the subject."""
    if looks_like(data):
        raise mislabelled(data, "an e-mail (.eml)")
    try:
        message = BytesParser(policy=compat32).parsebytes(data)
        if not _SIGNS & {name.lower() for name in message.keys()}:  # noqa: SIM118
            raise mislabelled(data, "an e-mail (.eml)")
        return _Mail().read(message)
    except RecursionError as error:
        raise _too_deep() from error
    # What the email package raises on headers that no program would write.
    except (MessageError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise BrokenFile(f"This e-mail is damaged: {error}", _SAVE_AGAIN) from error


def _too_deep() -> FileTooLarge:
    return FileTooLarge("The parts of this e-mail are nested too deeply.", "Save the inner e-mail by itself.")


class _Mail:
    def __init__(self) -> None:
        self._text = TextBuilder()
        self._encoding: str | None = None
        self._has_text = False

    def read(self, message: Part) -> Parsed:
        if message.get_content_type() in _ENCRYPTED and message.get_param("smime-type") != "signed-data":
            raise EncryptedFile(
                "This e-mail is encrypted.", "Decrypt it in the mail program and save its text from there."
            )
        self._message(message, (), 0)
        if not self._has_text:
            raise NoText(
                "There is no text in this e-mail.", "If it is in an attachment, save that and add it."
            )
        return self._text.build(
            title=_header(message, "Subject")[:MAX_HEADING_CHARS], encoding=self._encoding
        )

    def _message(self, message: Part, above: tuple[str, ...], depth: int) -> None:
        """Add a message; one that it forwards lies under its subject."""
        if depth > _MAX_DEPTH:
            raise _too_deep()
        subject = _header(message, "Subject")
        is_heading = 0 < len(subject) <= MAX_HEADING_CHARS
        path = (*above, subject) if is_heading else above
        self._add(subject, path, "heading" if is_heading else "text")
        bodies, attachments = _sort(message)
        lines = [f"{name}: {value}" for name in _SHOWN if (value := _header(message, name))]
        lines += ["Attachments: " + ", ".join(attachments)] if attachments else []
        if lines:
            self._text.add("\n".join(lines), heading=path)
        for body in bodies:
            if body.get_content_type() == "message/rfc822":
                for forwarded in _children(body):
                    self._message(forwarded, path, depth + 1)
            else:
                self._body(body, path)

    def _body(self, part: Part, path: tuple[str, ...]) -> None:
        data, charset = _content(part)
        if part.get_content_type() == "text/html":
            markup, encoding = decode_page(data, declared=charset)
            self._has_text |= add_page(markup, self._text, above=path).has_text
        else:
            text, encoding = decode(data, declared=charset)
            for start, end in paragraphs(text):
                self._add(text[start:end], path)
        self._encoding = self._encoding or encoding

    def _add(self, text: str, path: tuple[str, ...], kind: BlockKind = "text") -> None:
        if text:
            self._text.add(text, kind, heading=path)
            self._has_text = True


def _sort(message: Part) -> tuple[list[Part], list[str]]:
    """The parts of a message that are read, in order, and the names of its attachments."""
    bodies: list[Part] = []
    names: list[str] = []
    todo = [(message, 0, True)]
    while todo:
        part, depth, is_chosen = todo.pop()
        if depth > _MAX_DEPTH:
            raise _too_deep()
        kind = part.get_content_type()
        if part.get_content_maintype() == "multipart":
            children = _children(part)
            chosen = _preferred(children) if kind == "multipart/alternative" else None
            if is_chosen:
                _check_end(part, children, chosen)
            todo += [
                (child, depth + 1, is_chosen and chosen in (None, child)) for child in reversed(children)
            ]
        elif name := _file_name(part):
            names.append(name)
            if kind == "message/rfc822" and is_chosen:
                bodies.append(part)
        elif is_chosen and kind in ("text/plain", "text/html", "message/rfc822"):
            bodies.append(part)
    return bodies, names


def _children(part: Part) -> list[Part]:
    inner = part.get_payload()
    return [child for child in inner if isinstance(child, Message)] if isinstance(inner, list) else []


def _preferred(children: list[Part]) -> Part | None:
    """Of several forms of the same text the plain one, unless it is blank."""
    plain = (
        part for part in children if part.get_content_type() == "text/plain" and _content(part)[0].strip()
    )
    rich = (part for part in children if part.get_content_type() == "text/html" or part.is_multipart())
    return next(plain, None) or next(rich, None)


def _check_end(part: Part, children: list[Part], chosen: Part | None) -> None:
    """Refuse a message whose text is cut off; what is missing of its attachments is not read anyway."""
    missing = {type(defect) for defect in part.defects}
    last = children[-1] if children else None
    if StartBoundaryNotFoundDefect in missing or (
        CloseBoundaryNotFoundDefect in missing
        and last is not None
        and chosen in (None, last)
        and last.get_content_maintype() == "text"
        and not _file_name(last)
    ):
        raise TruncatedFile("This e-mail is cut off: the end of its text is missing.", _SAVE_AGAIN)


def _content(part: Part) -> tuple[bytes, str]:
    """The bytes of a text, and the charset that it is said to be in."""
    payload: Any = part.get_payload(decode=True)
    data = payload if isinstance(payload, bytes) else b""
    if any(isinstance(defect, _CUT_BASE64) for defect in part.defects):
        raise TruncatedFile("This e-mail is cut off: the end of its text is missing.", _SAVE_AGAIN)
    return data, part.get_content_charset() or ""


def _file_name(part: Part) -> str:
    """The name of an attachment, or what it is; "" for a text of the message itself."""
    name = part.get_filename() or ""
    if "\ufffd" in name:  # bytes beyond ASCII, which the package replaces
        found = _FILE_NAME.search(_raw(part, "Content-Disposition") or _raw(part, "Content-Type"))
        name = found[1] if found else name
    if name:
        return _words(collapse_rfc2231_value(name))
    is_text = part.get_content_type() in ("text/plain", "text/html", "message/rfc822")
    return "" if is_text and part.get_content_disposition() != "attachment" else part.get_content_type()


def _header(message: Part, name: str) -> str:
    return _words(_raw(message, name))


def _raw(message: Part, name: str) -> str:
    """A header as it came: bytes beyond ASCII are in it as lone surrogates."""
    return next((value for key, value in message.raw_items() if key.lower() == name.lower()), "")


def _words(raw: str) -> str:
    """Decode =?gb2312?B?...?= and bytes that a program left as they were; what cannot be stays as it came."""
    if not raw.isascii():
        try:
            raw = to_text(raw.encode("utf-8", "surrogateescape"))[0]
        except (ReadError, UnicodeEncodeError):
            raw = raw.encode("ascii", "backslashreplace").decode("ascii")
    if not _ENCODED_WORD.search(raw):
        return one_line(raw)
    try:
        parts = decode_header(raw)
        decoded = one_line("".join(_word(part, charset or "") for part, charset in parts))
        return decoded or one_line(raw)
    except (MessageError, ReadError, ValueError):
        return one_line(raw)


def _word(part: bytes | str, charset: str) -> str:
    return part if isinstance(part, str) else to_text(part, known(charset))[0]
