"""Stages one by one: their order, what they skip, what they refuse."""

import shutil

import numpy as np
import pytest
from astropy.io import fits
from commands import (
    DETECTOR,
    ROI,
    invoke,
    pipeline,
    read_planes,
    refused,
    report,
    same_planes,
    template_path,
    tree,
)

from syndiff.layout import Layout
from syndiff.simulation.ffi import SCIENCE
from syndiff.sky.mapping_files import read_mapping
from syndiff.window import Window

CCD = ("20", "3", "3")
STAGES = ("mapping", "download", "process", "downsample")


def stage(name, sky, root, *, roi=ROI):
    """The arguments that run one stage."""
    shared = ("--data-root", root, "--roi", roi)
    return {
        "mapping": ("mapping", sky.ffi, "--skycell-wcs-csv", sky.catalogue, "--max-workers", 1),
        "download": ("download", *CCD, "--archive", sky.archive, "--cores", 1),
        "process": ("process", *CCD, "--cores", 1),
        "downsample": ("downsample", *CCD),
    }[name] + shared


class TestOrder:
    def test_one_by_one_they_make_what_the_pipeline_makes(self, small_sky, finished, tmp_path):
        for name in STAGES:
            invoke(*stage(name, small_sky, tmp_path))
        made = template_path(tmp_path)
        assert made.read_bytes() == template_path(finished).read_bytes()

    @pytest.mark.parametrize(
        ("lost", "name", "missing", "remedy"),
        [
            ("mapping_output", "download", "master_skycells_list.csv", "`syndiff mapping <FFI>`"),
            ("mapping_output", "process", "master_skycells_list.csv", "`syndiff mapping <FFI>`"),
            ("mapping_output", "downsample", "master_skycells_list.csv", "`syndiff mapping <FFI>`"),
            ("ps1_skycells_zarr", "process", "inventory", "`syndiff download 20 3 3`"),
            ("convolved_results", "downsample", "cell_metadata.json", "`syndiff process 20 3 3`"),
        ],
    )
    def test_too_early(self, small_sky, root, lost, name, missing, remedy):
        shutil.rmtree(root / lost)
        before = tree(root)
        line = refused(*stage(name, small_sky, root))
        assert missing in line
        assert remedy in line
        assert tree(root) == before

    def test_atlas_that_lost_a_skycell(self, small_sky, root):
        shutil.rmtree(root / "ps1_skycells_zarr" / "skycells.zarr" / "skycell.0001.000")
        shutil.rmtree(root / "convolved_results")
        line = refused(*stage("process", small_sky, root))
        assert "skycell.0001.000" in line
        assert "`syndiff download 20 3 3`" in line

    @pytest.mark.parametrize(
        "option", [("--background", "sep"), ("--ignore-mask-bits", "12,SAT")], ids=str
    )
    def test_what_was_downloaded_for_another_reduction(self, small_sky, root, option):
        line = refused(*stage("process", small_sky, root), *option)
        assert "`syndiff download 20 3 3` first, with the same" in line
        assert option[0] in line

    def test_scene_that_ends_before_the_window(self, small_sky, root):
        larger = Window(1001, 1001, 1005, 1030)
        invoke(*stage("mapping", small_sky, root, roi=larger))
        line = refused(*stage("downsample", small_sky, root, roi=larger))
        assert "is not rendered from the skycells as they are now" in line
        assert "`syndiff process 20 3 3`" in line

    @pytest.mark.parametrize("name", STAGES[1:])
    def test_pixels_that_are_not_mapped(self, small_sky, root, name):
        """Neither of another region, nor of the whole CCD."""
        for roi in (Window(1001, 1001, 1005, 1100), None):
            command = stage(name, small_sky, root, roi=roi or ROI)
            line = refused(*(part for part in command if roi or part not in {"--roi", ROI}))
            assert f"only the pixels {ROI} are mapped" in line
            assert "`syndiff mapping <FFI>`" in line


class TestAgain:
    @pytest.mark.parametrize("name", STAGES)
    def test_stage_says_that_it_skips(self, small_sky, root, name):
        before = tree(root)
        result = invoke(*stage(name, small_sky, root))
        assert "nothing to do, all there already" in " ".join(result.stdout.split())
        assert tree(root) == before

    def test_checksums_hold(self, finished):
        with fits.open(template_path(finished), checksum=True) as hdus:
            assert all(hdu.verify_checksum() == 1 for hdu in hdus)
            assert all(hdu.verify_datasum() == 1 for hdu in hdus)

    def test_pipeline_skips_everything(self, small_sky, root):
        before = tree(root)
        stages = report(*pipeline(small_sky, root))["stages"]
        assert all(stages[name]["skipped"] for name in STAGES)
        assert tree(root) == before

    @pytest.mark.parametrize("name", STAGES)
    def test_overwrite_makes_the_same_again(self, small_sky, root, finished, name):
        report(*stage(name, small_sky, root), "--overwrite")
        stages = report(*pipeline(small_sky, root))["stages"]
        assert {n for n in STAGES if not stages[n]["skipped"]} <= {"process"}
        assert template_path(root).read_bytes() == template_path(finished).read_bytes()

    def test_overwritten_pipeline_is_the_same(self, small_sky, root, finished):
        stages = report(*pipeline(small_sky, root), "--overwrite")["stages"]
        assert not any(stages[name]["skipped"] for name in STAGES)
        assert template_path(root).read_bytes() == template_path(finished).read_bytes()

    def test_other_offset_costs_a_template(self, small_sky, root):
        stages = report(*pipeline(small_sky, root), "--multi-offset-array", "0,0,0.5,0")["stages"]
        assert [stages[name]["skipped"] for name in STAGES] == [True, True, True, False]
        assert stages["downsample"]["counts"] == {"templates made": 1, "templates kept": 1}

    def test_other_response_keeps_the_atlas(self, small_sky, root):
        stages = report(*pipeline(small_sky, root), "--psf-sigma", 60)["stages"]
        assert [stages[name]["skipped"] for name in STAGES] == [True, True, False, False]

    def test_other_mask_bits_are_another_reduction(self, small_sky, root, finished):
        changed = ("--ignore-mask-bits", "12,SAT,SPIKE")
        stages = report(*pipeline(small_sky, root), *changed)["stages"]
        assert [stages[name]["skipped"] for name in STAGES] == [True, False, False, False]
        back = report(*pipeline(small_sky, root))["stages"]
        assert back["download"]["skipped"]
        assert template_path(root).read_bytes() == template_path(finished).read_bytes()


class TestOtherReference:
    def test_other_wcs_is_refused_with_three_ways_out(self, small_sky, root, tmp_path, finished):
        other = tmp_path / small_sky.ffi.name
        with fits.open(small_sky.ffi) as hdus:
            hdus[1].header["CRPIX1"] += 0.25
            hdus.writeto(other)
        before = tree(root)
        command = list(pipeline(small_sky, root))
        command[1] = other
        line = refused(*command, code=2)
        for way in ("--follow", "--overwrite", "another --data-root"):
            assert way in line
        assert tree(root) == before
        invoke(*command, "--overwrite")
        assert not same_planes(read_planes(root), read_planes(finished))

    def test_same_wcs_of_another_cadence_is_fine(self, small_sky, root, tmp_path):
        other = tmp_path / small_sky.ffi.name.replace("2020011021200", "2020011024200")
        shutil.copy(small_sky.ffi, other)
        command = list(pipeline(small_sky, root))
        command[1] = other
        assert report(*command)["stages"]["mapping"]["skipped"]

    def test_other_catalogue_is_refused(self, small_sky, root, tmp_path):
        lines = small_sky.catalogue.read_text().splitlines()
        (tmp_path / "other.csv").write_text("\n".join(lines[:-1]) + "\n")
        before = tree(root)
        command = list(pipeline(small_sky, root))
        command[2] = tmp_path / "other.csv"
        line = refused(*command, code=2)
        assert "another skycell catalogue" in line
        assert "--overwrite" in line
        assert "another --data-root" in line
        assert tree(root) == before


class TestRegions:
    LARGER = Window(1000, 999, 1007, 1006)

    def test_larger_region_keeps_tiles_and_pixels(self, small_sky, root, finished):
        stages = report(*pipeline(small_sky, root, roi=self.LARGER))["stages"]
        assert stages["download"]["skipped"]
        assert stages["process"]["counts"]["tiles rendered"] == 0
        small, large = read_planes(root), read_planes(root, roi=self.LARGER)
        y, x = ROI.y0 - self.LARGER.y0, ROI.x0 - self.LARGER.x0
        ny, nx = ROI.shape
        part = {name: plane[y : y + ny, x : x + nx] for name, plane in large.items()}
        assert same_planes(small, part)

    def test_region_without_skycells_is_refused_and_leaves_no_trace(self, small_sky, root):
        far = Window(1060, 999, 1064, 1003)
        for where in (root, root.with_name("empty")):
            line = refused(*pipeline(small_sky, where, roi=far))
            assert "PS1 saw the sky north of declination -30 only" in line
        stages = report(*pipeline(small_sky, root))["stages"]
        assert all(stages[name]["skipped"] for name in STAGES)

    def test_mapping_tells_which_pixels_it_holds_and_grows(self, small_sky, root):
        mapped = report(*stage("mapping", small_sky, root))["stages"]["mapping"]
        assert mapped["notes"] == [f"mapped: pixels {ROI} of {SCIENCE} (x0,y0,x1,y1)"]
        other = Window(1006, 1003, 1008, 1010)
        mapped = report(*stage("mapping", small_sky, root, roi=other))["stages"]["mapping"]
        both = ROI.union(other)
        assert not mapped["skipped"]
        assert mapped["notes"] == [f"mapped: pixels {both} of {SCIENCE} (x0,y0,x1,y1)"]
        assert read_mapping(Layout.under(root, DETECTOR)).window == both
        assert report(*stage("mapping", small_sky, root, roi=other))["stages"]["mapping"]["skipped"]
        whole = [a for a in stage("mapping", small_sky, root) if a not in {"--roi", ROI}]
        mapped = report(*whole)["stages"]["mapping"]
        assert not mapped["skipped"]
        assert mapped["notes"] == []
        assert report(*stage("mapping", small_sky, root))["stages"]["mapping"]["skipped"]

    def test_full_frame_after_a_region(self, small_sky, root, finished):
        command = [a for a in pipeline(small_sky, root) if a not in {"--roi", ROI}]
        stages = report(*command)["stages"]
        assert stages["process"]["counts"]["tiles kept"] == 2
        path = str(Layout.under(root, DETECTOR).template(0, 0))
        with fits.open(path) as hdus:
            whole = {name: hdus[name].data for name in read_planes(finished)}
        assert whole["FLUX_SUM"].shape == (2078, 2136)
        part = {name: plane[ROI.slices].copy() for name, plane in whole.items()}
        assert same_planes(part, read_planes(finished))

    def test_target_is_a_square_around_it(self, small_sky, root):
        from syndiff.simulation.ffi import wcs_of

        ra, dec = wcs_of(small_sky.config.ffi.wcs_cards).all_pix2world(1003, 1003, 0)
        command = [a for a in pipeline(small_sky, root) if a not in {"--roi", ROI}]
        invoke(*command, "--target", f"{ra},{dec}", "--size", 4)
        around = template_path(root, roi=Window(1001, 1001, 1005, 1005))
        assert around.exists()


class TestFaintLight:
    def test_a_template_tells_what_it_leaves_out(self, small_sky, finished, root):
        """What `none` has more is FAINT, but for a constant and for the noise of a pixel."""
        matched = read_planes(finished)
        invoke(*stage("process", small_sky, root), "--background", "none")
        invoke(*stage("downsample", small_sky, root))
        everything = read_planes(root)
        seen = np.isfinite(matched["FLUX_SUM"])
        assert (np.isfinite(matched["FAINT"]) == seen).all()
        assert (matched["FAINTERR"][seen] > 0).all()
        assert not everything["FAINT"][seen].any()
        assert not everything["FAINTERR"][seen].any()
        more = (everything["FLUX_SUM"] - matched["FLUX_SUM"])[seen]
        error = matched["FAINTERR"][seen]
        # a constant is left, the level's median and some undetected light, and noise; four pixels
        # make one independent one
        noise = np.hypot(everything["UNCERT"][seen], error)
        assert abs((more - matched["FAINT"][seen]).mean()) < 3 * noise.mean() / 2
        assert (more - matched["FAINT"][seen]).std() < 1.2 * noise.mean()
