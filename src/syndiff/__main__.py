"""``python -m syndiff`` is the command line."""

from syndiff.cli import run

run()
