"""Run all benchmarks and print their table: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # makers of small files

from benchmarks import decoding, onecell, together, wholeccd
from benchmarks.figures import machine, table
from benchmarks.floor import floor_rows
from benchmarks.inputs import Inputs

PARTS = ("decode", "skycell", "ccd", "together", "floor")


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="an eighth of the CCD, small cells")
    parser.add_argument("--work", type=Path, help="folder of inputs to make and keep")
    parser.add_argument("--archive", type=Path, help="folder with full-size files of a skycell")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--output", type=Path, help="write the table to this file too")
    options = parser.parse_args()
    work = options.work or Path(tempfile.gettempdir()) / "syndiff-benchmarks"
    work.mkdir(parents=True, exist_ok=True)
    inputs = Inputs(work, options.archive)
    parts = {
        "decode": lambda: decoding.rows(inputs),
        "skycell": lambda: onecell.rows(inputs),
        "ccd": lambda: wholeccd.rows(inputs, quick=options.quick),
        "together": lambda: together.rows(inputs, quick=options.quick),
        "floor": lambda: floor_rows(inputs),
    }
    rows, before = [], machine()
    for name in options.only:
        for row in parts[name]():
            rows.append(row)
            print(table([row]).splitlines()[-1], file=sys.stderr, flush=True)
    text = f"{table(rows)}\n\nBefore: {before}. After: {machine()}.\n"
    print(text)
    if options.output:
        options.output.write_text(text)


if __name__ == "__main__":
    main()
