"""A CCD, its fields, templates and differences as a notebook has them, and its page."""

import contextlib
import doctest
import hashlib
import inspect
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.visualization.wcsaxes import WCSAxes
from commands import DETECTOR, ROI, invoke, read_planes, refused, template_path
from differencesky import ROI as STARRY
from matplotlib import pyplot as plt

import syndiff
from syndiff.errors import (
    ConfigError,
    MissingInputError,
    ObservationError,
    RenderingError,
    StorageError,
)
from syndiff.masks import DataQuality, spoilt_pixels
from syndiff.simulation import plan_simulation, simulate
from syndiff.simulation.ffi import example_cards, wcs_of
from syndiff.simulation.grid import small_catalogue
from syndiff.simulation.run import isolated_stars
from syndiff.simulation.sky import SkyConfig
from syndiff.storage.place import Place

PAGE = Path(__file__).parents[2] / "docs" / "notebook.md"


@pytest.fixture(autouse=True)
def _no_figures_left():
    yield
    plt.close("all")


def open_small(sky, root, **settings):
    return syndiff.open(
        sky.ffi, data_root=root, archive=sky.archive, catalogue=sky.catalogue, cores=1, **settings
    )


@pytest.fixture(scope="module")
def made(small_sky, finished, tmp_path_factory):
    """The small sky's CCD on a data root where all is made already, and its template."""
    root = shutil.copytree(finished, tmp_path_factory.mktemp("notebook") / "data")
    ccd = open_small(small_sky, root)
    return ccd, ccd.around(ROI).template()


@pytest.fixture(scope="module")
def subtracted(starry):
    """Data root, FFI, and the template of both."""
    root, reference, _ = starry
    path = template_path(root, roi=STARRY)
    return root, reference, syndiff.TemplateImage.read(path, data_root=root)


@pytest.fixture(scope="module")
def difference(subtracted):
    _, reference, template = subtracted
    return template.subtract(str(reference))


def test_a_field_gives_the_template_of_the_command(made, finished):
    _, template = made
    planes = read_planes(finished)
    for name, plane in {
        "FLUX_SUM": template.data,
        "UNCERT": template.uncertainty,
        "DQ": template.flags,
        "COVERAGE": template.coverage,
    }.items():
        assert plane.dtype.isnative
        np.testing.assert_array_equal(plane, planes[name])
    assert template.window == ROI
    assert template.header["PHOTZP"] == 25.0
    assert u.Unit(template.unit) == 0.36308 * u.uJy


def test_what_is_missing_is_made(small_sky, tmp_path):
    """Mapping, download and scene from nothing; a notebook's lines."""
    ccd = open_small(small_sky, tmp_path / "data")
    field = ccd.around(ccd.around(ROI).centre, size=4)
    assert field.window == ROI
    first = field.template()
    other = field.template(offset=(0.25, -0.5), psf_sigma=10 * u.arcsec)
    assert (other.header["DX_SHIFT"], other.header["DY_SHIFT"]) == (0.25, -0.5)
    assert not np.array_equal(first.data, other.data, equal_nan=True)
    assert template_path(tmp_path / "data", dx=0.25, dy=-0.5).is_file()


def test_a_mapped_data_root_needs_no_ffi(small_sky, made):
    ccd, template = made
    again = syndiff.open(
        *(20, 3, 3),
        data_root=ccd.settings.data_root,
        archive=small_sky.archive,
        cores=1,
    )
    assert again.detector == DETECTOR
    found = again.around("1001,1001,1005,1005").template()
    np.testing.assert_array_equal(found.data, template.data)
    with pytest.raises(ConfigError, match="`ffi` is not given"):
        found.subtract()


@pytest.mark.parametrize(
    "of",
    [
        lambda c: c,
        lambda c: c.galactic,
        lambda c: c.to_string("hmsdms", sep=":", precision=3),
        lambda c: f"{c.ra.deg}, {c.dec.deg}",
        lambda c: (c.ra.deg, c.dec.deg),
        lambda c: (c.ra, c.dec),
    ],
)
def test_positions_in_any_form(made, of):
    ccd, _ = made
    centre = SkyCoord(*ccd.frame.pixel_to_sky(1002.9, 1002.6), unit="deg")
    assert str(ccd.around(of(centre), size=4).window) == "1001,1001,1005,1005"
    assert ccd.around(of(centre)).window.shape == (64, 64)


@pytest.mark.parametrize(
    "window",
    [ROI, (1001, 1001, 1005, 1005), "1001,1001,1005,1005", np.array([1001, 1001, 1005, 1005])],
)
def test_windows_in_any_form(made, window):
    ccd, _ = made
    assert ccd.around(window).window == ROI


def test_the_whole_ccd_is_a_field(made):
    ccd, _ = made
    assert ccd.around(ccd.science).window == ccd.science


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ccd: ccd.around("14:20"), "target '14:20' is not RA,DEC"),
        (lambda ccd: ccd.around(None), "target None is not RA,DEC"),
        (lambda ccd: ccd.around(5), "target 5 is not RA,DEC"),
        (lambda ccd: ccd.around((1, 2, 3)), "is not RA,DEC"),
        (lambda ccd: ccd.around((1.5, 2, 3, 4)), "is not x0, y0, x1, y1"),
        (lambda ccd: ccd.around("0 0"), "is not on sector 20 camera 3 ccd 3"),
        (lambda ccd: ccd.around((2100, 0, 2110, 10)), "holds no science pixel"),
        (lambda ccd: ccd.around(ROI, size=4), "`size` 4 is the side of a square"),
        (lambda ccd: ccd.around("215 76", size=2.5), "`size`: 2.5 is no whole number"),
        (lambda ccd: ccd.around(ROI).template(offset=0.5), "`offsets`"),
        (lambda ccd: ccd.around(ROI).template(offset=(0, 3)), "`offsets`: offset 3.0 is out of"),
        (
            lambda ccd: ccd.around(ROI).template(offset=(0, 0), offsets=[(0, 0)]),
            "`offset` is given",
        ),
        (lambda ccd: ccd.around(ROI).template(offsets=[(0, 0), (1, 0)]), "one template at a time"),
        (lambda ccd: ccd.around(ROI).template(follow=["a", "b"]), "one template at a time"),
        (lambda ccd: ccd.around(ROI).template(psf="moffat"), "`psf`: 'moffat' is unknown"),
        (lambda ccd: ccd.around(ROI).template(stars=3), "`stars`: 3 is no path"),
        (lambda ccd: ccd.around(ROI).template(start="gaia"), "did you mean `stars`"),
        (lambda ccd: ccd.around(ROI).template(zzz=1), "`zzz` is no setting: there are data_root"),
        (lambda ccd: ccd.around(ROI).template(roi=ROI), "`roi` can't be given here"),
        (lambda ccd: ccd.around(ROI).template(data_root="x"), "give it to `syndiff.open`"),
        (lambda ccd: syndiff.open(ccd.ffi, roi=ROI), "give the region to `Ccd.around`"),
        (lambda ccd: syndiff.open(ccd.ffi, data_root=3), "`data_root`: 3 is no path"),
        (lambda ccd: syndiff.open(ccd.ffi, 3, 3), "`sector`: .* is no whole number"),
        (lambda ccd: syndiff.open(20), "`camera`: None is no whole number"),
        (lambda ccd: syndiff.open(20, 3, 5), "ccd 5 is not a TESS ccd"),
        (lambda ccd: syndiff.open(None), "None is no path"),
        (lambda ccd: syndiff.read_template(None), "None is no path"),
        (lambda ccd: syndiff.DifferenceImage.read(""), "is empty"),
    ],
)
def test_what_cannot_be_used_is_told_at_the_call(made, call, message):
    with pytest.raises(ConfigError, match=message):
        call(made[0])


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(ObservationError, match="no such file"):
        syndiff.open(tmp_path / "tess.fits")
    with pytest.raises(MissingInputError, match="syndiff mapping"):
        syndiff.open(20, 3, 3, data_root=tmp_path)


def test_the_wcs_is_that_of_the_ffi(made, difference):
    ccd, template = made
    for image, frame, window in [(template, ccd.frame, ROI), (difference, ccd.frame, STARRY)]:
        x, y = np.array([0.0, 2.0]), np.array([1.0, 3.0])
        sky = image.wcs.pixel_to_world(x, y)
        expected = SkyCoord(*frame.pixel_to_sky(x + window.x0, y + window.y0), unit="deg")
        assert sky.separation(expected).max() < 1e-3 * u.arcsec
        np.testing.assert_allclose(image.wcs.world_to_pixel(sky), [x, y], atol=1e-3)
        assert image.wcs.array_shape == image.data.shape


def test_good_pixels_are_those_that_a_subtraction_uses():
    bits = DataQuality
    flags = {
        0: True,
        bits.TESS_STRAP: True,
        bits.REPLACED_STAR | bits.SATURATED_IN_PS1: True,
        bits.SATURATED_IN_PS1: False,
        bits.PARTIAL_COVERAGE: False,
        bits.REPLACED_STAR | bits.LEFT_OUT_LIGHT: False,
        bits.TESS_SATURATED | bits.TESS_STRAP: False,
        1 << 30: False,
    }
    found = spoilt_pixels(np.array([list(flags)], np.int32))
    assert (~found[0]).tolist() == list(flags.values())


def test_an_unknown_flux_is_no_good_pixel(subtracted):
    template = subtracted[2]
    flux = template.data.copy()
    flux[3, 4] = np.nan
    spoilt = syndiff.TemplateImage(**{**vars(template), "data": flux})
    assert not spoilt.good_pixels()[3, 4]
    assert spoilt.good_pixels().sum() == template.good_pixels().sum() - template.good_pixels()[3, 4]


def test_ccddata_holds_everything(made, difference, tmp_path):
    for image in (made[1], difference):
        ccd = image.to_ccddata()
        np.testing.assert_array_equal(ccd.data, image.data)
        np.testing.assert_array_equal(ccd.mask, ~image.good_pixels())
        np.testing.assert_array_equal(ccd.flags, image.flags)
        assert isinstance(ccd.uncertainty, StdDevUncertainty)
        np.testing.assert_array_equal(ccd.uncertainty.array, image.uncertainty)
        assert ccd.unit == u.Unit(image.unit)
        assert ccd.meta["SWVER"] == image.header["SWVER"]
        path = tmp_path / f"{type(image).__name__}.fits"
        ccd.write(path)
        back = CCDData.read(path)
        np.testing.assert_array_equal(back.mask, ccd.mask)
        assert back.unit == ccd.unit
        here, there = (one.wcs.pixel_to_world(2, 3) for one in (back, image))
        assert here.separation(there) < 1e-3 * u.arcsec
        ccd.data[:] = 0
        assert image.data.any()


def test_a_plot_has_axes_of_the_sky(made, difference):
    for image in (made[1], difference):
        axes = image.plot()
        assert isinstance(axes, WCSAxes)
        assert axes.coords[0].get_axislabel() == "right ascension"
        (shown,) = axes.images
        np.testing.assert_array_equal(shown.get_array().filled(np.nan), image.data)
        axes.figure.canvas.draw()
    own = plt.subplot(projection=difference.wcs)
    assert difference.plot(own) is own
    with pytest.raises(ConfigError, match="has no WCS"):
        difference.plot(plt.figure().add_subplot())


def test_a_difference_is_that_of_the_command(subtracted, difference, tmp_path):
    root, reference, template = subtracted
    output = tmp_path / "command.fits"
    invoke("difference", reference, template.path, "--data-root", root, "--output", output)
    assert difference.write(tmp_path / "own.fits") == str(tmp_path / "own.fits")
    assert (tmp_path / "own.fits").read_bytes() == output.read_bytes()
    back = syndiff.DifferenceImage.read(output)
    for name in ("data", "uncertainty", "flags", "model", "background"):
        np.testing.assert_array_equal(getattr(back, name), getattr(difference, name))
    assert difference.header["KERNEL"] == "fitted"
    assert difference.window == STARRY


def test_without_a_kernel(subtracted):
    _, reference, template = subtracted
    assert template.subtract(Path(reference), kernel="none").header["KERNEL"] == "none"
    with pytest.raises(ConfigError, match="`kernel`: 'best' is unknown"):
        template.subtract(reference, kernel="best")
    with pytest.raises(ConfigError, match="is a template of syndiff, no FFI"):
        template.subtract(template.path)
    with pytest.raises(ConfigError, match="3 is no path"):
        template.subtract(3)


def test_a_template_that_was_made_again_is_not_taken_for_the_first(small_sky, made, tmp_path):
    root = shutil.copytree(made[0].settings.data_root, tmp_path / "data")
    ccd = open_small(small_sky, root)
    first = ccd.around(ROI).template()
    second = ccd.around(ROI).template(psf_sigma=44)
    assert first.path == second.path
    assert not np.array_equal(first.data, second.data, equal_nan=True)
    with pytest.raises(RenderingError, match="was made again with other settings"):
        first.subtract()
    Path(second.path).unlink()
    with pytest.raises(RenderingError, match="is not there any more"):
        second.subtract()


def test_only_differences_are_written_over(subtracted, difference, tmp_path):
    root, reference, template = subtracted
    kept = {path: digest(path) for path in (reference, Path(template.path))}
    (tmp_path / "link.fits").symlink_to(reference)
    (tmp_path / "notes.fits").write_text("mine")
    for path in (*kept, tmp_path / "link.fits", tmp_path / "notes.fits"):
        with pytest.raises(StorageError, match="it is not overwritten"):
            difference.write(path)
    line = refused(
        *("difference", reference, template.path, "--data-root", root, "--output", reference)
    )
    assert "it is not overwritten" in line
    assert {path: digest(path) for path in kept} == kept
    difference.write(tmp_path / "d.fits")
    difference.write(tmp_path / "d.fits")
    with pytest.raises(ConfigError, match=r"must end in \.fits"):
        difference.write(tmp_path / "d.png")


def digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_what_is_no_difference_is_not_read(subtracted, difference, tmp_path):
    with pytest.raises(RenderingError, match="is no difference image of syndiff"):
        syndiff.DifferenceImage.read(subtracted[2].path)
    (tmp_path / "cut.fits").write_bytes(bytes(difference.content[:-5760]))
    with pytest.raises(RenderingError, match="is no complete FITS file"):
        syndiff.DifferenceImage.read(tmp_path / "cut.fits")


def test_templates_are_read_by_any_path(subtracted):
    path = subtracted[2].path
    for form in (path, Path(path), Place.at(path)):
        planes, header = syndiff.read_template(form)
        np.testing.assert_array_equal(planes.flux, subtracted[2].data)
        assert header["EXTNAME"] == "FLUX_SUM"


def test_reading_a_file_as_ccddata_needs_hdu_mask_none(made):
    """As docs/notebook.md tells: MASK counts pixels, it is no mask."""
    _, template = made
    named = {"hdu": "FLUX_SUM", "hdu_uncertainty": "UNCERT"}
    ccd = CCDData.read(template.path, **named, hdu_mask=None)
    assert ccd.mask is None
    np.testing.assert_array_equal(ccd.data, template.data)
    ccd.mask = ~template.good_pixels()
    with fits.open(template.path) as hdus:
        assert hdus["MASK"].data.dtype.kind == "i"


def test_objects_tell_what_to_do_next(made, difference):
    ccd, template = made
    for thing, told in [
        (ccd, ".around("),
        (ccd.around(ROI), ".template("),
        (template, ".subtract()"),
        (difference, ".write("),
    ]:
        assert told in repr(thing)
        assert len(repr(thing).splitlines()) <= 8
    assert "sector 20 camera 3 ccd 3" in repr(ccd)
    assert "1001,1001,1005,1005" in repr(template)
    assert {"open", "Ccd", "Field", "TemplateImage", "DifferenceImage"} <= set(dir(syndiff))
    assert "archive" in inspect.getdoc(syndiff.open)


def make_page_sky(folder, size):
    """Where the page has it, as small as a kernel allows, which is quicker: nine stars."""
    plan = plan_simulation(size_px=size, noise=False)
    cards = example_cards()
    cells = small_catalogue(wcs_of(cards), plan.field, margin_px=1, cell_px=2200, overlap_px=200)
    sky = SkyConfig(0.0, 0.0, stars=isolated_stars(cards, plan.field, spacing_px=5.0))
    simulate(replace(plan, sky=sky, skycells=tuple(cells)), folder)


@pytest.fixture(scope="module")
def page_folder(tmp_path_factory):
    """The folder that the page and the examples of docstrings run in."""
    folder = tmp_path_factory.mktemp("page")
    make_page_sky(folder / "sky", 22)
    return folder


@pytest.mark.skipif(not PAGE.exists(), reason="docs belong to a source tree")
def test_the_lines_of_the_page_run(page_folder, monkeypatch):
    monkeypatch.chdir(page_folder)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    names = {}
    for block in blocks:
        exec(block.replace("size=64", "size=22"), names)
    assert names["difference"].header["KERNEL"] == "fitted"
    assert names["difference"].header["ZPAB"] == pytest.approx(20.83, abs=0.02)
    assert Path("difference.fits").is_file()
    assert names["moved"].header["DX_SHIFT"] == 0.25
    assert isinstance(names["image"], CCDData)


@pytest.fixture(scope="module")
def mapped_folder(page_folder):
    """The same, with the templates that the examples take for made."""
    with contextlib.chdir(page_folder):
        run_examples("open", syndiff.open)
    return page_folder


def run_examples(name, thing):
    """Run the examples of a public name and of its methods, on a field as small as the page's."""
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    runner, found = doctest.DocTestRunner(optionflags=flags), 0
    for one in doctest.DocTestFinder().find(thing, name):
        for example in one.examples:
            example.source = example.source.replace("size=64", "size=22")
        runner.run(one)
        found += len(one.examples)
    assert runner.failures == 0
    return found


@pytest.mark.parametrize("name", sorted(set(syndiff.__all__) - {"__version__"}))
def test_the_examples_of_public_names_run(name, mapped_folder, monkeypatch):
    monkeypatch.chdir(mapped_folder)
    assert run_examples(name, getattr(syndiff, name)) > 0
