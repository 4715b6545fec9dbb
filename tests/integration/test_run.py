"""What a run reads: the FFI and the mapping once in a process, whoever asks for them."""

import contextlib
import shutil
from collections import Counter

import pytest
from commands import DETECTOR, ROI, invoke, template_path
from differencesky import ROI as STARRY
from regionroot import CORNER, layout_of, map_pixels, run_of

import syndiff
from syndiff.errors import ConfigError
from syndiff.ffi import ffi_file
from syndiff.ffi.observation import Observation
from syndiff.pipeline import STAGES, Run, run_stages
from syndiff.settings import Settings
from syndiff.sky import mapping_files
from syndiff.window import Window


@contextlib.contextmanager
def counted():
    """Count how often FFIs are opened and mappings are parsed."""
    found = Counter()
    open_file, parse = ffi_file.unpacked, mapping_files._parse_master

    def opened(*arguments):
        found["ffi"] += 1
        return open_file(*arguments)

    def parsed(*arguments):
        found["mapping"] += 1
        return parse(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ffi_file, "unpacked", opened)
        patch.setattr(mapping_files, "_parse_master", parsed)
        yield found


def settings(sky, root, **others):
    places = {"data_root": root, "archive": sky.archive, "catalogue": sky.catalogue}
    return Settings(**places, roi=ROI, cores=1, **others)


def test_a_pipeline_opens_the_ffi_once_and_knows_the_mapping_that_it_made(small_sky, tmp_path):
    with counted() as found:
        report = run_stages(Run(str(small_sky.ffi), settings(small_sky, tmp_path)), *STAGES)
    assert [stage.stage for stage in report.stages] == list(STAGES)
    assert found == {"ffi": 1}


def test_a_pipeline_reads_a_mapping_that_is_there_once(small_sky, finished):
    with counted() as found:
        run_stages(Run(str(small_sky.ffi), settings(small_sky, finished)), *STAGES)
    assert found == {"ffi": 1, "mapping": 1}


def test_stages_of_a_mapped_ccd_read_the_mapping_once(small_sky, finished, tmp_path):
    root = shutil.copytree(finished, tmp_path / "data")
    with counted() as found:
        run = Run(DETECTOR, settings(small_sky, root, psf_sigma=44.0))
        run_stages(run, *STAGES[1:])
    assert found == {"mapping": 1}


def test_templates_of_a_field_share_what_the_ccd_has_read(small_sky, finished, tmp_path):
    root = shutil.copytree(finished, tmp_path / "data")
    with counted() as found:
        ccd = syndiff.open(20, 3, 3, data_root=root, archive=small_sky.archive, cores=1)
        field = ccd.around(ROI)
        field.template()
        field.template(offset=(0.25, 0.0))
    assert found == {"mapping": 1}
    with counted() as found:
        ccd = syndiff.open(
            small_sky.ffi,
            data_root=root,
            archive=small_sky.archive,
            catalogue=small_sky.catalogue,
            cores=1,
        )
        ccd.around(ROI).template()
    assert found["ffi"] == 1


@pytest.mark.parametrize("kernel", ["fitted", "none"])
def test_a_difference_opens_its_ffi_once(starry, tmp_path, kernel):
    root, reference, _ = starry
    with counted() as found:
        invoke(
            *("difference", reference, template_path(root, roi=STARRY), "--data-root", root),
            *("--kernel", kernel, "--output", tmp_path / "d.fits"),
        )
    assert found["ffi"] == 1


def test_a_mapping_that_another_run_extends_is_read_again(tmp_path):
    layout = layout_of(tmp_path)
    x, y = CORNER
    map_pixels(layout, Window(x, y, x + 8, y + 8))
    run = run_of(layout, Window(x, y, x + 4, y + 4))
    assert run.mapping is run.mapping
    few = len(run.mapping.members)
    map_pixels(layout, Window(x - 20, y - 20, x + 20, y + 20))
    assert len(run.mapping.members) > few


def test_without_an_ffi_there_is_no_observation(tmp_path):
    run = Run(DETECTOR, Settings(data_root=tmp_path))
    with pytest.raises(ConfigError, match="no FFI of sector 20 camera 3 ccd 3 is given"):
        _ = run.observation


def test_an_ffi_that_is_read_is_not_read_again(small_sky, tmp_path):
    chosen = settings(small_sky, tmp_path)
    first = Run(str(small_sky.ffi), chosen)
    assert isinstance(first.observation, Observation)
    with counted() as found:
        assert first.asked(chosen).observation is first.observation
    assert not found
