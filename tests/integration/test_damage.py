"""Files that were spoilt between two runs: told in one line, with the way out."""

import json
import re

import pytest
from commands import (
    DETECTOR,
    ROI,
    invoke,
    pipeline,
    refused,
    report,
    template_path,
)

from syndiff.layout import Layout

CCD = ("20", "3", "3")


def cut_short(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def scrambled(path):
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    for k in range(middle, min(middle + 64, len(content))):
        content[k] ^= 0xFF
    path.write_bytes(content)


def emptied(path):
    path.write_bytes(b"")


def not_text(path):
    path.write_bytes(b"\xff\xfe\x00hello")


def other_version(path):
    content = json.loads(path.read_text())
    target = content.get("attributes", content)
    target["format_version"] = 99
    path.write_text(json.dumps(content))


def first(folder, pattern):
    return min(folder.rglob(pattern))


def where(root):
    """The files that a run leaves, by what they are."""
    layout = Layout.under(root, DETECTOR)
    scene = root / "convolved_results" / DETECTOR.folder / "convolved_images.zarr"
    atlas = root / "ps1_skycells_zarr" / "skycells.zarr"
    inventory = root / "ps1_skycells_zarr" / "sector_0020_camera_3_ccd_3.zarr"
    return {
        "list": root / layout.skycell_list.key,
        "master map": root / layout.master_map.key,
        "catalogue": root / layout.catalogue_used.key,
        "inventory": first(inventory, "*/zarr.json"),
        "record": first(atlas, "complete.json"),
        "plane": first(atlas, "light/c/0/0/0"),
        "scene group": scene / "zarr.json",
        "scene array": scene / "flux" / "zarr.json",
        "scene flux": first(scene / "flux" / "c", "*/0"),
        "scene aux": first(scene / "aux" / "c", "*/0"),
        "scene marks": first(scene / "rendered" / "c", "*/0"),
        "metadata": root / layout.cell_metadata.key,
        "template": template_path(root),
    }


@pytest.mark.parametrize(
    ("what", "spoil", "stage"),
    [
        ("list", cut_short, "download"),
        ("list", not_text, "process"),
        ("list", emptied, "downsample"),
        ("master map", cut_short, "download"),
        ("master map", scrambled, "process"),
        ("master map", emptied, "downsample"),
        ("catalogue", cut_short, "process --psf-sigma 41"),
        ("catalogue", emptied, "process --psf-sigma 41"),
        ("inventory", cut_short, "download"),
        ("inventory", emptied, "process"),
        ("inventory", not_text, "process"),
        ("inventory", other_version, "process"),
        ("record", cut_short, "download"),
        ("record", not_text, "process --psf-sigma 41"),
        ("record", other_version, "process --psf-sigma 41"),
        ("plane", cut_short, "process --psf-sigma 41"),
        ("plane", scrambled, "process --psf-sigma 41"),
        ("plane", lambda path: path.unlink(), "process --psf-sigma 41"),
        ("scene group", cut_short, "process"),
        ("scene group", emptied, "downsample --overwrite"),
        ("scene group", other_version, "process"),
        ("scene array", cut_short, "downsample --overwrite"),
        ("scene array", lambda path: path.unlink(), "downsample --overwrite"),
        ("scene flux", cut_short, "downsample --overwrite"),
        ("scene flux", scrambled, "downsample --overwrite"),
        ("scene flux", emptied, "downsample --overwrite"),
        ("scene flux", lambda path: path.unlink(), "downsample --overwrite"),
        ("scene aux", cut_short, "downsample --overwrite"),
        ("scene aux", lambda path: path.unlink(), "downsample --overwrite"),
        ("scene marks", cut_short, "process"),
        ("metadata", cut_short, "downsample"),
        ("metadata", emptied, "downsample"),
        ("metadata", not_text, "downsample"),
        ("metadata", other_version, "downsample"),
        ("template", emptied, "downsample"),
        ("template", not_text, "downsample"),
    ],
)
def test_spoilt_file(small_sky, root, what, spoil, stage):
    path = where(root)[what]
    spoil(path)
    name, *options = stage.split()
    more = {
        "download": ("--archive", small_sky.archive, "--cores", 1),
        "process": ("--cores", 1),
        "downsample": (),
    }[name]
    line = refused(name, *CCD, *options, "--data-root", root, "--roi", ROI, *more)
    ways = ("remove", "--overwrite", "another --data-root")
    assert any(way in line for way in ways) or re.search("`syndiff [a-z]+ ", line)


@pytest.mark.parametrize(
    "what", ["list", "catalogue", "inventory", "plane", "scene group", "scene flux", "metadata"]
)
def test_way_out(small_sky, root, finished, what):
    """Made again from the start everything is as it was."""
    path = where(root)[what]
    if what == "inventory":
        path.unlink()
    else:
        cut_short(path)
    invoke(*pipeline(small_sky, root), "--overwrite")
    assert template_path(root).read_bytes() == template_path(finished).read_bytes()


@pytest.mark.parametrize("spoil", [cut_short, lambda path: path.unlink()])
def test_incomplete_template_is_made_again(root, finished, spoil):
    spoil(template_path(root))
    content = report("downsample", *CCD, "--data-root", root, "--roi", ROI)
    assert content["stages"]["downsample"]["counts"]["templates made"] == 1
    assert template_path(root).read_bytes() == template_path(finished).read_bytes()
