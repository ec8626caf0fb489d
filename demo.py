"""Open the page: `python demo.py`. Reads the flags, starts what ragkit has, and prints where it is."""

from __future__ import annotations

import argparse
import locale
import signal
import sys
import time
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path

from ragkit import config, log
from ragkit.errors import RagkitError
from ragkit.ui import serving, strings


def main(arguments: Sequence[str] | None = None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace", line_buffering=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # both end the page the same way
    flags = parse(arguments)
    try:
        settings = config.Settings.load(
            kb=flags.kb,
            language=flags.lang,
            auth=flags.auth,
            model=flags.model,
            precision=flags.precision,
            device=flags.device,
            llm=flags.llm,
            llm_key=flags.llm_key,
        )
        say = strings.choose(settings.language, accept_language=locale.getlocale()[0] or "")
        login = serving.login(settings.auth, public=flags.share or not serving.is_loopback(flags.host))
        port = serving.free_port(flags.host, flags.port)
        config.prepare_process(settings.data_dir)
        log.set_up(settings.data_dir)
        return serve(settings, flags, login, port, say)
    except RagkitError as error:
        print(f"error: {error.message}\nhint:  {error.hint}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Ask your own documents, on a page in your browser.")
    parser.add_argument("--share", action="store_true", help="also make a public link, behind a login")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: this computer only)"
    )
    parser.add_argument(
        "--port",
        type=int,
        default=serving.DEFAULT_PORT,
        help="default: 7860; the next free one when it is busy",
    )
    parser.add_argument("--no-browser", action="store_true", help="do not open the page in a browser")
    parser.add_argument(
        "--auth", metavar="USER:PASSWORD", help="ask for this login (made up where one is needed)"
    )
    parser.add_argument("--lang", choices=("zh", "en"), help="language of the page (default: the browser's)")
    parser.add_argument(
        "--kb", metavar="NAME|DIR", help=f"{config.KB_HELP} (default: the one that was open last)"
    )
    parser.add_argument(
        "--watch",
        action="append",
        default=[],
        metavar="FOLDER",
        type=Path,
        help="keep this folder mirrored while the page runs (may be given several times)",
    )
    parser.add_argument(
        "--folder",
        action="append",
        default=[],
        metavar="FOLDER",
        type=Path,
        help="offer this folder on the page, to be mirrored when you say so (may be given several times)",
    )
    model = parser.add_argument_group("what answers (default: the best model on this machine, else quotes)")
    model.add_argument(
        "--model", metavar="DIR", help="a model's folder, .gguf file or name; 'quotes' for none"
    )
    model.add_argument("--precision", choices=("auto", "4bit", "8bit", "bf16", "fp16", "fp32"))
    model.add_argument("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1, mps")
    model.add_argument(
        "--llm", metavar="URL", help="an OpenAI-compatible server; --model then names its model"
    )
    model.add_argument("--llm-key", metavar="KEY", help="its key, where it wants one")
    return parser.parse_args(arguments)


def serve(
    settings: config.Settings,
    flags: argparse.Namespace,
    login: serving.Login | None,
    port: int,
    say: strings.Strings,
) -> int:
    """Put the page up, open the engine behind it, and stay until Ctrl+C."""
    from ragkit.ui.app import build_app, launch  # gradio: only after prepare_process
    from ragkit.ui.boot import Boot
    from ragkit.ui.overview import describe

    boot = Boot(settings, watch=flags.watch, folders=flags.folder)
    app = build_app(boot, settings, login=login)
    try:
        served = launch(app, settings, host=flags.host, port=port, share=flags.share, login=login)
        boot.start()
        if port != flags.port:
            print(say("term_port_taken", wanted=flags.port, port=port))
        print(say("term_page", url=served.url))
        if flags.share:
            print(say("term_share", url=served.share_url) if served.share_url else say("term_share_failed"))
        if login:
            print(say("term_login", user=login.user, password=login.password))
        for folder in (*flags.watch, *flags.folder):
            if not folder.is_dir():
                print(say("term_watch_missing", folder=folder))
        if not flags.no_browser:
            serving.open_browser(served.url)
        print(*describe(boot, settings, say), say("term_stop"), sep="\n", flush=True)
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        print("\n" + say("term_bye"))
        return 0
    finally:
        app.close(verbose=False)
        boot.close()


if __name__ == "__main__":
    sys.exit(main())
