"""A simulated series of frames: its light against the exact renderers, its files, its dirt."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from astropy.coordinates import EarthLocation, SkyCoord
from astropy.io import fits
from astropy.time import Time
from astropy.wcs import WCS
from realdata import real

from syndiff.errors import ConfigError, MissingInputError
from syndiff.ffi.observation import read_observation
from syndiff.layout import Detector
from syndiff.simulation import (
    FfiConfig,
    PrfConfig,
    SkyConfig,
    TestGalaxy,
    TestStar,
    plan_simulation,
)
from syndiff.simulation.ffi import E_PER_S_PER_FLUX, example_cards, wcs_of
from syndiff.simulation.prf import add_gaussians, draw_sources
from syndiff.simulation.series import (
    Asteroid,
    Changing,
    CosmicRays,
    Diffuse,
    Event,
    LightCurve,
    Motion,
    Series,
    SeriesConfig,
    beside,
    write_series,
)
from syndiff.simulation.series.diffuse import DiffuseLight
from syndiff.simulation.series.fine_sky import draw_fine_sky, gaussians_of, smear_steps
from syndiff.simulation.series.frames import plan_frames
from syndiff.simulation.series.motion import (
    aberration_maps,
    earth_barycentric,
    moved_cards,
    positions,
)
from syndiff.simulation.series.particles import cosmic_rays
from syndiff.simulation.sky import Cap, make_sources
from syndiff.simulation.truth import blobs_of, integrate
from syndiff.window import Window

FIELD = Window(1500, 700, 1520, 716)
CARDS = example_cards()
FFI = FfiConfig(Detector(20, 3, 3), CARDS)
PRF = replace(FFI, prf=PrfConfig())
SHIFT, MATRIX = np.array([0.31, -0.22]), np.array([[9e-6, -4e-6], [5e-6, -8e-6]])
STILL, STEADY = np.zeros(2), np.zeros(3)


def sky_at(x, y):
    return tuple(float(value) for value in wcs_of(CARDS).all_pix2world(x, y, 0))


def sources():
    stars = tuple(
        TestStar(*sky_at(x, y), mag)
        for x, y, mag in ((1508.3, 706.6, 10.0), (1511.1, 709.8, 12.5), (1498.6, 715.2, 11.0))
    )
    galaxy = TestGalaxy(*sky_at(1516.2, 703.1), 13.5, sersic=4, radius_arcsec=8.0)
    config = SkyConfig(0.0, 0.0, stars=stars, galaxies=(galaxy,))
    return make_sources(config, Cap((0.0, 0.0, 1.0), 1.0))


def fine(ffi):
    return draw_fine_sky(sources(), ffi, FIELD, scale=E_PER_S_PER_FLUX, moves_px=2.0, blur_px=0.5)


def places():
    return np.stack(wcs_of(CARDS).all_world2pix(*sources().at(FFI.year), 0), -1)


def centre():
    return np.array(wcs_of(CARDS).wcs.crpix) - 1


def moved():
    return positions(places(), SHIFT, MATRIX, centre())


def test_frame_with_measured_response_is_as_drawn_exactly():
    frame = fine(PRF).frame(SHIFT, MATRIX, STILL, STEADY)
    exact = E_PER_S_PER_FLUX * draw_sources(
        *(sources(), PRF.prf, wcs_of(CARDS), FIELD), year=FFI.year, offset=moved() - places()
    )
    assert np.abs(frame - exact).max() < 1e-5 * exact.max()


def test_frame_with_gaussian_response_is_as_its_header_says():
    frame = fine(FFI).frame(SHIFT, MATRIX, STILL, STEADY)
    header = moved_cards(fits.Header.fromstring(CARDS, sep="\n"), SHIFT, MATRIX)
    blobs = blobs_of(sources(), psf_sigma_px=40.0, seeing=None, year=FFI.year)
    exact = E_PER_S_PER_FLUX * integrate(blobs, WCS(header), FIELD)
    assert np.abs(frame - exact).max() < 1e-5 * exact.max()


def test_header_puts_stars_where_they_stand():
    header = moved_cards(fits.Header.fromstring(CARDS, sep="\n"), SHIFT, MATRIX)
    there = WCS(header).all_world2pix(*sources().at(FFI.year), 0)
    assert np.abs(np.stack(there, -1) - moved()).max() < 1e-6


def made(folder, config, **options):
    return write_series(sources(), PRF, FIELD, config, folder, **options)


def test_cube_and_ffis_hold_the_same_pixels(tmp_path):
    series = made(tmp_path, SeriesConfig(3), form="both")
    flux = fits.getdata(series.cube, 1)["FLUX"]
    for path, frame in zip(series.ffis, flux, strict=True):
        assert np.array_equal(fits.getdata(path, 1)[FIELD.slices], frame)


def test_jitter_and_smears_blur_as_drawn_exactly():
    blur, smear, rigid = np.array([0.12, 0.31]), np.array([1.1, -0.6, 0.4]), np.zeros((2, 2))
    frame = fine(PRF).frame(SHIFT, rigid, blur, smear)
    exact = np.zeros(FIELD.shape)
    blobs = np.concatenate(list(gaussians_of(sources(), places(), wcs_of(CARDS), PRF)))
    blobs[:, :2] += SHIFT - [FIELD.x0, FIELD.y0]
    blobs[:, [3, 5]] += blur**2
    for share, step in smear_steps(smear):
        factors = np.array([1, 1, share * E_PER_S_PER_FLUX, 1, 1, 1])
        add_gaussians(exact, blobs * factors + np.append(step, np.zeros(4)))
    assert np.abs(frame - exact).max() < 3e-6 * exact.max()


def test_aberration_moves_stars_as_the_velocity_turns():
    maps = aberration_maps(wcs_of(CARDS), 3, centre())
    times = np.array([1850.0, 1864.0])
    beta = earth_barycentric(times)[1]
    assert np.linalg.norm(beta, axis=1) * 299792 == pytest.approx(30, abs=0.7)
    # Towards the velocity, in true angle, but for what the spacecraft's own turn takes off.
    step = np.einsum("a,aij->ij", beta[1] - beta[0], maps)
    assert 0.02 < np.hypot(*step[:, 0]) < 0.3
    assert step[0, 1] == pytest.approx(step[1, 2], rel=0.2)


def test_times_are_the_spacecrafts_and_the_barycentres(tmp_path):
    series = made(tmp_path, SeriesConfig.clean(2), form="both")
    for path in series.ffis:
        primary, plane = fits.getheader(path, 0), fits.getheader(path, 1)
        assert plane["BARYCORR"] == pytest.approx(plane["TSTART"] - primary["TSTART"], abs=1e-9)
        assert abs(plane["BARYCORR"]) < 0.0059
        start = Time(primary["TSTART"] + 2457000, format="jd", scale="tdb").utc
        assert abs((start - Time(primary["DATE-OBS"][:-1])).sec) < 0.002
        rounded = start.datetime + timedelta(milliseconds=0.5)
        assert path.name[4:17] == rounded.strftime("%Y%j%H%M%S")
        middle = SkyCoord(*wcs_of(CARDS).all_pix2world(1067, 1023, 0), unit="deg")
        earth = EarthLocation.from_geocentric(0, 0, 0, "m")
        travel = start.light_travel_time(middle, location=earth)
        assert plane["BARYCORR"] == pytest.approx(travel.to_value("d"), abs=1e-6)
    table = fits.getdata(series.cube, 1)
    first, last = (fits.getheader(series.ffis[0], 1)[key] for key in ("TSTART", "TSTOP"))
    assert table["TIME"][0] == pytest.approx((first + last) / 2, abs=1e-9)


def test_cube_is_laid_out_as_tesscuts(tmp_path):
    series = made(tmp_path, SeriesConfig.clean(2))
    with fits.open(series.cube, checksum=True) as hdus:
        hdus.verify("exception")
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "PIXELS", "APERTURE"]
        header = hdus[1].header
        assert (header["1CRV4P"], header["2CRV4P"]) == (FIELD.x0 + 1, FIELD.y0 + 1)
        assert hdus[1].data["FFI_FILE"][0].startswith(str(series.truth.frames.file[0])[:38])
        there = WCS(hdus[2].header).all_pix2world(3.0, 5.0, 0)
    assert (
        SkyCoord(*there, unit="deg")
        .separation(SkyCoord(*sky_at(FIELD.x0 + 3, FIELD.y0 + 5), unit="deg"))
        .arcsec
        < 0.3
    )
    assert series.cube.name.endswith("_20x16_astrocut.fits")


def test_real_cube_has_the_same_columns(tmp_path):
    (path,) = real("tesscut").glob("*.fits")
    with fits.open(path) as theirs, fits.open(made(tmp_path, SeriesConfig.clean(2)).cube) as ours:
        assert ours[1].columns.names == theirs[1].columns.names
        assert ours[1].columns.units == theirs[1].columns.units
        missing = {key for key in theirs[1].header if key not in ours[1].header}
        assert {key for key in missing if key[0].isdigit() or key.startswith("W")} == set()


def test_ffi_takes_the_place_of_its_field_only_and_sums_up(tmp_path):
    path = made(tmp_path, SeriesConfig.clean(1), form="ffis").ffis[0]
    assert path.stat().st_size > 35e6
    assert path.stat().st_blocks * 512 < 3e6
    with fits.open(path, checksum=True) as hdus:
        hdus.verify("exception")
        assert not hdus[1].data[:600].any()
        assert (hdus[2].data[FIELD.slices] > 0).all()
    assert read_observation(path).frame.detector == Detector(20, 3, 3)


def test_noise_is_that_of_photons_and_readings(tmp_path):
    series = made(tmp_path, SeriesConfig.clean(40), components=True)
    table, parts = fits.getdata(series.cube, 1), series.truth.components
    light = parts.sky + parts.changing + parts.background
    variance = light / 1425.6 + 720 * 8.5**2 / 1425.6**2
    pull = (table["FLUX"] - light) / np.sqrt(variance)
    assert abs(pull.mean()) < 5 / np.sqrt(pull.size)
    assert pull.std() == pytest.approx(1, abs=5 / np.sqrt(2 * pull.size))
    assert np.median(table["FLUX_ERR"] / np.sqrt(variance)) == pytest.approx(1, abs=0.01)


def test_transient_has_the_light_of_its_curve(tmp_path):
    curve = LightCurve((1845.0, 1852.0, 1860.0), (0.0, 900.0, 100.0))
    thing = Changing("flash", *sky_at(1509.6, 708.2), curve)
    series = made(tmp_path, SeriesConfig.clean(8, changing=(thing,)), components=True)
    truth, objects = series.truth, series.truth.objects
    expected = np.interp(objects.bjd[:, 0], curve.times, curve.flux)
    assert np.allclose(objects.flux[:, 0], expected, atol=1)
    total = truth.components.changing.sum((1, 2))
    assert total == pytest.approx(truth.objects.flux[:, 0], rel=2e-3, abs=1e-3)
    y, x = np.indices(FIELD.shape)
    share = truth.components.changing[4] / total[4]
    assert (share * x).sum() + FIELD.x0 == pytest.approx(objects.x[4, 0], abs=0.2)
    assert (share * y).sum() + FIELD.y0 == pytest.approx(objects.y[4, 0], abs=0.2)


def test_asteroid_crosses_with_a_trail(tmp_path):
    frames = SeriesConfig.clean(3, step=1)
    start = made(tmp_path / "a", frames).truth.frames.start
    rock = Asteroid("rock", *sky_at(1509.0, 708.0), float(start[1] + 1 / 96), (70.0, 0.0), 12.0)
    truth = made(tmp_path / "b", replace(frames, asteroids=(rock,)), components=True).truth
    steps = np.hypot(np.diff(truth.objects.x[:, 0]), np.diff(truth.objects.y[:, 0]))
    assert steps == pytest.approx(35.0 / 20.5, rel=0.06)
    assert truth.components.changing[1].sum() == pytest.approx(truth.objects.flux[1, 0], rel=5e-3)
    assert truth.components.changing[1].max() < 0.3 * truth.objects.flux[1, 0]


EVENTS = ("dump", "hidden_dump", "coarse", "glow", "short", "nan", "nan_pixels", "zero", "no_wcs")


@pytest.fixture(scope="module")
def dirty(tmp_path_factory):
    events = tuple(Event(k, kind) for k, kind in enumerate(EVENTS))
    quiet = replace(SeriesConfig.clean(len(EVENTS) + 1), events=events)
    return made(tmp_path_factory.mktemp("dirty"), quiet, form="both", components=True)


def test_events_are_flagged_as_real_frames_are(dirty):
    flags = dict(zip(EVENTS, dirty.truth.frames.quality, strict=False))
    assert {kind: flag for kind, flag in flags.items() if flag} == {
        "dump": 32,
        "coarse": 4,
        "glow": 4096,
    }
    assert list(fits.getdata(dirty.cube, 1)["QUALITY"]) == list(dirty.truth.frames.quality)
    told = [fits.getheader(path, 1)["DQUALITY"] for path in dirty.ffis]
    assert told == list(dirty.truth.frames.quality)


def test_events_spoil_their_frames(dirty):
    at = {kind: k for k, kind in enumerate(EVENTS)}
    flux, frames = fits.getdata(dirty.cube, 1)["FLUX"], dirty.truth.frames
    assert np.isnan(flux[at["nan"]]).all()
    assert not flux[at["zero"]].any()
    assert 0 < np.isnan(flux[at["nan_pixels"]]).mean() < 0.5
    assert np.median(flux[at["glow"]]) > 500
    peaks = dirty.truth.components.sky.max((1, 2))
    assert max(peaks[at["dump"]], peaks[at["coarse"]]) < 0.95 * peaks[-1]
    header = fits.getheader(dirty.ffis[at["short"]], 1)
    assert header["EXPOSURE"] * 86400 == pytest.approx(frames.exposure_s[at["short"]])
    assert frames.exposure_s[at["short"]] < 0.81 * frames.exposure_s[-1]
    assert header["NUM_FRM"] < 0.81 * 900
    no_wcs = fits.getheader(dirty.ffis[at["no_wcs"]], 1)
    assert not {"CRVAL1", "CTYPE1", "CD1_1", "A_ORDER"} & set(no_wcs)


def test_headers_tell_the_pointing_but_for_their_error(dirty, tmp_path):
    frames = dirty.truth.frames
    assert np.array_equal(frames.header_shift[-1], frames.shift[-1])
    assert not np.allclose(frames.header_shift[2], frames.shift[2], atol=0.01)  # coarse
    wrong = made(tmp_path, replace(SeriesConfig.clean(30), motion=Motion(header_error_px=0.2)))
    errors = wrong.truth.frames.header_shift - wrong.truth.frames.shift
    assert errors.std() == pytest.approx(0.2, rel=0.3)


def test_truth_comes_back_as_it_was_written(dirty):
    again = Series.load(dirty.directory).truth
    assert again.field == FIELD
    assert list(again.frames.event[: len(EVENTS)]) == list(EVENTS)
    planned = plan_frames(
        SeriesConfig.clean(10, events=tuple(Event(k, e) for k, e in enumerate(EVENTS))), PRF
    )
    for name in ("start", "shift", "matrix", "blur_px", "smear", "diffuse", "quality"):
        assert np.array_equal(getattr(again.frames, name), getattr(planned, name))


def test_dirty_sector_pauses_dumps_and_glows_at_its_ends():
    frames = plan_frames(SeriesConfig(1200), FFI)
    gaps = np.diff(frames.start)
    assert gaps.max() == pytest.approx(1.0, abs=0.05)
    assert (gaps > 0.03).sum() == 1
    assert (frames.event == "dump").sum() == 8
    assert len(set(frames.event)) > 6
    earth = frames.diffuse[:, 0]
    assert earth[np.argmax(gaps)] > 10 * np.median(earth)
    assert len(set(frames.file)) == 1200


@pytest.mark.parametrize(
    ("cadence_s", "exposure_s"), [(120.0, 95.04), (200.0, 158.4), (600.0, 475.2)]
)
def test_cadences(cadence_s, exposure_s):
    frames = plan_frames(SeriesConfig(5, step=1, cadence_s=cadence_s), FFI)
    assert np.diff(frames.start) * 86400 == pytest.approx(cadence_s)
    assert frames.exposure_s == pytest.approx(exposure_s)


def test_cosmic_rays_are_many_unless_mitigated():
    rng = np.random.default_rng(1)
    raw = cosmic_rays(CosmicRays(mitigated=False), (300, 300), 1425.6, rng)
    left = cosmic_rays(CosmicRays(), (300, 300), 1425.6, rng)
    hits = 5.0 * 2.25e-6 * 1425.6 * 90000
    assert hits < (raw > 0).sum() < 4 * hits
    assert 0 < (left > 0).sum() < 0.05 * (raw > 0).sum()
    assert np.median(raw[raw > 0]) == pytest.approx(1500 / 1425.6, rel=0.1)


def test_straps_brighten_columns():
    light = DiffuseLight(FFI, Diffuse(strap=0.1), Window(44, 0, 300, 4)).frame(np.zeros(5))
    bright = np.flatnonzero(light[0] > 1.05 * np.median(light[0])) + 1
    assert bright[0] == 77  # the list's first strap, counted from 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SeriesConfig(0), r"`frames` 0 is out of range: give 1 to 200000"),
        (lambda: SeriesConfig(3, cadence_s=7.0), r"`cadence_s` 7 is none of TESS's: give 20, 120"),
        (lambda: Event(0, "fire"), r"`kind` 'fire' is unknown: give one of dump,"),
        (lambda: Motion(jitter_px=-1), r"`jitter_px` -1 is out of range: give 0 to 0.5"),
        (lambda: LightCurve((1.0, 1.0), (0.0, 0.0)), r"times of a light curve must increase"),
        (lambda: LightCurve((1.0,), ()), r"has 1 times and 0 fluxes"),
        (lambda: plan_frames(SeriesConfig(1300), FFI), r"a sector holds 121\d frames of 1800 s"),
        (lambda: plan_frames(SeriesConfig(3, start="now"), FFI), r"`start` 'now' is no date"),
        (
            lambda: plan_frames(SeriesConfig(3, events=(Event(3, "nan"),)), FFI),
            r"`events` name frame 3 of 3: give one from 0 to 2",
        ),
    ],
)
def test_impossible_series_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_series_off_the_ccd_and_unknown_forms_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"`form` 'film' is unknown: give 'cube', 'ffis'"):
        made(tmp_path, SeriesConfig(1), form="film")
    with pytest.raises(ConfigError, match=r"`field` .* is not on the science pixels"):
        write_series(sources(), PRF, Window(0, 0, 20, 20), SeriesConfig(1), tmp_path)
    with pytest.raises(MissingInputError, match=r"series_truth.fits is not there"):
        Series.load(tmp_path)


def test_empty_sky_has_its_background(tmp_path):
    series = write_series(sources()[:0], FFI, FIELD, SeriesConfig.clean(1), tmp_path)
    assert fits.getdata(series.cube, 1)["FLUX"].mean() == pytest.approx(100, rel=0.1)


def test_supernova_stands_beside_its_host():
    ra, dec = beside(215.0, 76.0, 8.0, 6.0)
    host, there = (SkyCoord(*place, unit="deg") for place in ((215.0, 76.0), (ra, dec)))
    assert host.separation(there).arcsec == pytest.approx(10, rel=1e-6)
    assert host.position_angle(there).deg == pytest.approx(53.13, abs=0.01)


def test_field_as_large_as_the_ccd_lies_on_its_science_pixels():
    plan = plan_simulation(size_px=2048, archive=False)
    assert plan.field == Window(44, 0, 2092, 2048)
