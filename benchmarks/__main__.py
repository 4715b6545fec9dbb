"""Run all benchmarks and print their table: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # makers of small files

from benchmarks import decoding, onecell, together, wholeccd
from benchmarks.extrapolation import whole_ccd
from benchmarks.figures import isolated, machine, table
from benchmarks.floor import floor_rows
from benchmarks.inputs import Inputs
from syndiff.kernels.warm import warm

BEGIN, END = "<!-- tables of python -m benchmarks -->", "<!-- end of the tables -->"
PARTS = ("decode", "skycell", "ccd", "together", "floor")


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="an eighth of the CCD, small cells")
    parser.add_argument("--work", type=Path, help="folder of inputs to make and keep")
    parser.add_argument("--archive", type=Path, help="folder with full-size files of a skycell")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--output", type=Path, help="write the tables to this file too")
    parser.add_argument("--page", type=Path, help="put the tables into this page")
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
    # Each benchmark has a process of its own; like a run's, it finds the kernels compiled.
    isolated(warm)
    rows, before = [], machine()
    for name in options.only:
        for row in parts[name]():
            rows.append(row)
            print(table([row]).splitlines()[-1], file=sys.stderr, flush=True)
    about = f"Before: {before}. After: {machine()}."
    text = f"{table(rows)}\n\n{about}\n\n{whole_ccd(rows)}"
    print(text)
    if options.output:
        options.output.write_text(text)
    if options.page:
        options.page.write_text(with_tables(options.page.read_text(), text))


def with_tables(page: str, tables: str) -> str:
    """Return a page with the tables between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not after:
        raise ValueError(f"the page lacks the lines {BEGIN!r} and {END!r} around its tables")
    return f"{before}{BEGIN}\n\n{tables.strip()}\n\n{END}{after}"


if __name__ == "__main__":
    main()
