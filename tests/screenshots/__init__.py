"""Pictures of every state of the page: `python -m tests.screenshots FOLDER`, and the README's with `--assets`."""
