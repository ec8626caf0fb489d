"""Commands about this machine and its models: `download`, `doctor`."""

from __future__ import annotations

import argparse

from ragkit import config
from ragkit.commands.output import ProgressLine, print_json
from ragkit.sizes import gigabytes
from ragkit.transfer import Transfer


def download(settings: config.Settings, options: argparse.Namespace) -> int:
    from ragkit.download import delete, download
    from ragkit.hub import Hub

    if options.delete:
        print(*(f"deleted {folder}" for folder in delete(options.name, settings.data_dir)), sep="\n")
        return 0
    line = ProgressLine()

    def on_progress(at: Transfer) -> None:
        of = f" of {gigabytes(at.total_bytes)}" if at.total_bytes else ""
        line.show(f"{gigabytes(at.done_bytes)}{of}, {at.rate_bytes_s / 1e6:.1f} MB/s, {at.file}")

    hub = Hub(**config.hub_access()._asdict())
    folder = download(
        options.name, data_dir=settings.data_dir, source=options.source, hub=hub, progress=on_progress
    )
    line.end()
    print(folder)
    return 0


def doctor(settings: config.Settings, options: argparse.Namespace) -> int:
    from ragkit import doctor

    language = options.lang or settings.language or doctor.default_language()
    line = ProgressLine()
    report = doctor.examine(
        settings,
        model=options.model,
        embedding=options.embedding,
        load=not options.no_load,
        port=options.port,
        on_check=lambda check: line.show(doctor.part(check, language)),
    )
    line.end()
    if options.json:
        print_json(report.as_json())
    else:
        print(doctor.render(report, language))
    return report.exit_code
