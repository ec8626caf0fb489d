"""What each command of `python -m ragkit` does; `ragkit/__main__.py` reads the arguments."""
