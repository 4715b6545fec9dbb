"""``python -m syndiff`` is the command line."""

from syndiff.commands.app import run

run()
