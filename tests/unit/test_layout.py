"""Paths under a data root, as the documentation promises them."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syndiff.config import parse_offsets
from syndiff.errors import ConfigError
from syndiff.layout import Detector, Layout, format_offset
from syndiff.window import Window

DETECTOR = Detector(20, 3, 3)


@pytest.mark.parametrize("root", ["/data", "s3://bucket/data"])
def test_paths_are_those_of_the_documentation(root):
    layout = Layout.under(root, DETECTOR)
    below = "sector_0020/camera_3/ccd_3"
    wanted = {
        "catalogue": "SkyCells/skycell_wcs.csv",
        "skycell_list": f"mapping_output/{below}/tess_s0020_3_3_master_skycells_list.csv",
        "catalogue_used": f"mapping_output/{below}/tess_s0020_3_3_skycell_wcs.csv",
        "master_map": f"mapping_output/{below}/tess_s0020_3_3_master_pixels2skycells.fits.gz",
        "regions": f"mapping_output/{below}/tess_s0020_3_3_footprint.reg",
        "moc": f"mapping_output/{below}/tess_s0020_3_3_footprint.moc.fits",
        "atlas": "ps1_skycells_zarr/skycells.zarr",
        "stack_files": "ps1_stack_files",
        "inventory": "ps1_skycells_zarr/sector_0020_camera_3_ccd_3.zarr",
        "scene": f"convolved_results/{below}/convolved_images.zarr",
        "cell_metadata": f"convolved_results/{below}/cell_metadata.json",
        "templates": f"templates/{below}",
    }
    for name, path in wanted.items():
        assert str(getattr(layout, name)) == f"{root}/{path}", name
    skycell = layout.skycell_map("skycell.2556.082")
    assert str(skycell).endswith(f"/{below}/TESS_s0020_3_3_skycell.2556.082.fits.gz")
    assert pickle.loads(pickle.dumps(layout)) == layout


def test_templates_are_named_by_offset_region_and_oversampling():
    layout = Layout.under("/data", DETECTOR)
    start = "syndiff_template_s0020_3_3_dx+0.370_dy-0.210"
    roi = Window(10, 20, 110, 220)
    assert layout.template(0.37, -0.21).name == f"{start}.fits"
    assert layout.template(0.37, -0.21, roi=roi).name == f"{start}_10-20-110-220.fits"
    both = layout.template(0.37, -0.21, roi=roi, oversample=3)
    assert both.name == f"{start}_10-20-110-220_os3.fits"


def test_each_part_may_lie_elsewhere(tmp_path):
    elsewhere = {name: str(tmp_path / name) for name in ("mapping", "atlas", "convolved")}
    layout = Layout.under("/data", DETECTOR, templates="s3://bucket/t", **elsewhere)
    assert str(layout.mapping) == f"{tmp_path}/mapping/sector_0020/camera_3/ccd_3"
    assert str(layout.atlas) == f"{tmp_path}/atlas/skycells.zarr"
    assert str(layout.scene).startswith(f"{tmp_path}/convolved/sector_0020")
    assert str(layout.templates) == "s3://bucket/t/sector_0020/camera_3/ccd_3"
    assert str(layout.catalogue) == "/data/SkyCells/skycell_wcs.csv"


@given(st.floats(-2, 2), st.floats(-2, 2))
def test_offsets_never_print_a_negative_zero(dx, dy):
    text = format_offset(dx, dy)
    assert "-0.000" not in text
    assert [float(part[2:]) for part in text.split("_")] == [
        pytest.approx(value, abs=0.000501) for value in (dx, dy)
    ]


@given(st.integers(-2000, 2000), st.integers(-2000, 2000))
def test_offsets_are_read_as_they_are_named(dx, dy):
    ((x, y),) = parse_offsets(f"{dx / 1000},{dy / 1000}")
    assert format_offset(x, y) == f"dx{dx / 1000:+.3f}_dy{dy / 1000:+.3f}"


@pytest.mark.parametrize("numbers", [(0, 3, 3), (10000, 1, 1)])
def test_sectors_out_of_range_are_refused(numbers):
    with pytest.raises(ConfigError, match=r"sector \d+ is not a TESS sector: give 1 to 9999"):
        Detector(*numbers)


@pytest.mark.parametrize(("name", "numbers"), [("camera", (1, 5, 1)), ("ccd", (1, 1, 0))])
def test_cameras_and_ccds_out_of_range_are_refused(name, numbers):
    with pytest.raises(ConfigError, match=rf"{name} \d is not a TESS {name}: give 1 to 4"):
        Detector(*numbers)


def test_detectors_say_who_they_are():
    assert str(DETECTOR) == "sector 20 camera 3 ccd 3"
    assert DETECTOR.arguments == "20 3 3"
    assert DETECTOR.tag == "s0020_3_3"
    assert Detector(21, 1, 1) > DETECTOR


def test_templates_that_follow_are_named_after_their_ffi():
    layout = Layout.under("data", Detector(20, 3, 3))
    name = "tess2020011024200-s0020-3-3-0000-s_ffic.fits.gz"
    stem = f"{layout.templates}/syndiff_template_s0020_3_3_tess2020011024200-s0020-3-3-0000-s_ffic"
    assert str(layout.template_following(name)) == f"{stem}.fits"
    roi = Window(1, 2, 3, 4)
    refined = layout.template_following(name, roi=roi, oversample=2, is_refined=True)
    assert str(refined) == f"{stem}_refined_1-2-3-4_os2.fits"


def test_drift_has_a_folder_of_its_own_or_any_other():
    layout = Layout.under("data", Detector(20, 3, 3))
    table, plot = layout.drift_files(layout.drift)
    assert str(table).endswith("data/drift/sector_0020/camera_3/ccd_3/syndiff_drift_s0020_3_3.ecsv")
    assert str(layout.drift_files(layout.templates)[1]).endswith(
        "ccd_3/syndiff_drift_s0020_3_3.png"
    )
    assert plot.name == "syndiff_drift_s0020_3_3.png"
