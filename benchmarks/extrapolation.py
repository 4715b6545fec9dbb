"""What a whole CCD takes, from what was measured."""

from __future__ import annotations

SKYCELLS = 1057
"""That touch the science pixels of sector 20, camera 3, CCD 3, or the margin around them."""

REAL_BYTES = 390e6
"""Of a real skycell's 12 files: 350 to 430 MB.

A real g image has rows of 10.74 kB, 67 MB in all, and its mask 0.7 MB; variances are taken to have
20 to 40 MB.
"""

EFFICIENCY = 0.85
"""Throughput of N workers over N times that of one."""

SKYCELL = "one skycell, 12 files to the atlas"
SCENE = "scene and 10 offsets"
MAPPING = "mapping of a CCD"


def whole_ccd(rows) -> str:
    """Return a Markdown table of core-hours and wall times; empty if a figure is missing."""
    costs = {row.what: row.ours for row in rows}
    if not {SKYCELL, SCENE, MAPPING} <= set(costs):
        return ""
    stages = {
        f"{SKYCELLS} skycells": SKYCELLS * costs[SKYCELL],
        MAPPING: costs[MAPPING],
        SCENE: costs[SCENE],
    }
    total = sum(stages.values())
    lines = ["| stage | core-h |", "| --- | --- |"]
    lines += [f"| {name} | {seconds / 3600:.3f} |" for name, seconds in stages.items()]
    lines += [
        f"| all | {total / 3600:.2f} |",
        "",
        "| cores | network | wall | set by |",
        "| --- | --- | --- | --- |",
    ]
    for cores in (2, 16):
        for speed in (100e6, 1e9):
            network = SKYCELLS * REAL_BYTES / speed
            reduction = stages[f"{SKYCELLS} skycells"] / (cores * EFFICIENCY)
            rest = (stages[MAPPING] + stages[SCENE]) / (cores * EFFICIENCY)
            slower = "network" if network > reduction else "reduction"
            wall = max(network, reduction) + rest
            lines.append(f"| {cores} | {speed / 1e6:.0f} MB/s | {wall / 60:.0f} min | {slower} |")
    return "\n".join(lines) + "\n"
