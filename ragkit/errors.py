"""Every error that ragkit raises on purpose. Message: what happened; hint: the next step.

RagkitError
├── UsageError           the caller asked for something that cannot be done as asked
├── ReadError            one document cannot be read; the others go on
│   ├── UnsupportedFile      no reader for this kind of file
│   ├── EmptyFile            nothing in it: no bytes, or white space only
│   ├── NoText               content, but no text in it (a scan, for example)
│   ├── EncryptedFile        a password is needed
│   ├── MislabelledFile      another kind of file than its name says
│   ├── TruncatedFile        cut off: its end is missing
│   ├── BrokenFile           damaged in another way
│   ├── FileTooLarge         over a limit: bytes, characters, what an archive unpacks to
│   ├── FileVanished         gone or unreadable between the scan and the read
│   └── ReaderFailed         the parser crashed, hung or ran out of memory
├── StoreError           the library's file cannot be used
│   ├── LibraryBusy          another process is writing to it
│   ├── LibraryTooNew        written by a later ragkit
│   └── BrokenExport         a file to be imported is damaged, or no library; those that are there are as they were
└── ModelError           an embedding or language model cannot be loaded or run
    └── GenerationError      the language model failed while it was answering
"""

from __future__ import annotations

import re


class RagkitError(Exception):
    """An error with a next step. `code` is stable: the page uses it to speak the user's language."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def code(self) -> str:
        """The class name in snake case: `EmptyFile` -> `empty_file`."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(RagkitError): ...


class ReadError(RagkitError): ...


class UnsupportedFile(ReadError): ...


class EmptyFile(ReadError): ...


class NoText(ReadError): ...


class EncryptedFile(ReadError): ...


class MislabelledFile(ReadError): ...


class TruncatedFile(ReadError): ...


class BrokenFile(ReadError): ...


class FileTooLarge(ReadError): ...


class FileVanished(ReadError): ...


class ReaderFailed(ReadError): ...


class StoreError(RagkitError): ...


class LibraryBusy(StoreError): ...


class LibraryTooNew(StoreError): ...


class BrokenExport(StoreError): ...


class ModelError(RagkitError): ...


class GenerationError(ModelError): ...
