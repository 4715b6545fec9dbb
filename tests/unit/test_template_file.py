"""Template files: read as they were written, with a header that tools understand."""

import gzip
import io
from dataclasses import replace

import numpy as np
import pytest
import smallsky
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from onestar import (
    ccd_frame,
    contribution,
    located,
    render_window,
    sample,
    skycell_around,
    window_around,
)
from sceneorigin import scene_origin

from syndiff.errors import RenderingError, StorageError
from syndiff.masks import DataQuality
from syndiff.scenes.metadata import (
    BandRow,
    PrfRecord,
    SceneMetadata,
    SkycellRow,
)
from syndiff.scenes.prf import GaussianResponse
from syndiff.scenes.scene import SceneRenderer
from syndiff.settings import Settings
from syndiff.sky.displacement import Shift
from syndiff.storage.place import Place
from syndiff.templates.template import Template
from syndiff.templates.template_file import (
    Followed,
    TemplateRecord,
    inputs_table,
    read_header,
    read_template,
    write_template,
)
from syndiff.window import Window

SCIENCE = Window(44, 0, 2092, 2048)
PLANES = ["FLUX_SUM", "COUNT", "MASK", "UNCERT", "COVERAGE", "DQ", "FAINT", "FAINTERR"]


def band(name, state="reduced", mjd_obs=55500.25):
    if state == "absent":
        return BandRow(name, "", "", None, None, state)
    return BandRow(name, f"https://archive/{name}.fits", "ab" * 32, mjd_obs, 640.5, state)


def row_of(name, state, *bands):
    return SkycellRow(name, "science", state, "", "", "", None, None, bands)


SCENE = SceneMetadata(
    **vars(
        scene_origin(
            ffi="tess2019357164649-s0020-3-3-0165-s_ffic.fits",
            reduction=Settings(ignore_mask_bits="SAT,STARCORE").reduction,
        )
    ),
    digest="0123456789abcdef",
    parts=(),
    tiles=(),
    mapped=3,
    stars=None,
    skycells=(
        row_of(
            "skycell.2556.082",
            "reduced",
            band("r"),
            band("i", mjd_obs=56000.75),
            band("z", "absent"),
        ),
        row_of("skycell.2556.083", "absent", band("r", "absent")),
    ),
    windows=(),
)


def from_source(source):
    """The scene with the r band of its first skycell from another address."""
    first, *others = SCENE.skycells
    moved = replace(first.bands[0], source=source)
    first = replace(first, bands=(moved, *first.bands[1:]))
    return replace(SCENE, skycells=(first, *others))


@pytest.fixture(scope="module")
def frame():
    return ccd_frame(SCIENCE)


def random_template(shape, seed=1):
    rng = np.random.default_rng(seed)
    flux = rng.normal(size=shape).astype(np.float32)
    flux[0, 0] = np.nan
    return Template(
        flux,
        rng.integers(0, 8000, shape).astype(np.int32),
        rng.integers(0, 8000, shape).astype(np.int32),
        np.abs(flux),
        rng.random(shape).astype(np.float32),
        rng.integers(0, 64, shape).astype(np.int32),
        rng.normal(size=shape).astype(np.float32),
        rng.random(shape).astype(np.float32),
    )


def record_of(frame, window, offset=(0.37, -0.21), scene=SCENE):
    return TemplateRecord(frame, window, offset, scene)


@pytest.fixture
def written(frame, tmp_path):
    window = Window(100, 50, 112, 59)
    template = random_template(window.shape)
    place = Place.at(tmp_path) / "deep" / "template.fits"
    write_template(place, template, record_of(frame, window), "feedfeedfeedfeed")
    return place, template


def test_planes_are_read_as_written(written):
    place, template = written
    again, header = read_template(place)
    for name in Template.__dataclass_fields__:
        plane = getattr(again, name)
        assert plane.dtype == getattr(template, name).dtype
        np.testing.assert_array_equal(plane, getattr(template, name))
    assert header["EXTNAME"] == "FLUX_SUM"


def test_a_table_that_files_have_in_common_changes_nothing(frame, tmp_path):
    window, place = Window(100, 50, 112, 59), Place.at(tmp_path) / "template.fits"
    inputs = inputs_table(SCENE)
    for seed, offset in enumerate([(0.37, -0.21), (0.0, 0.5)]):
        template, record = random_template(window.shape, seed), record_of(frame, window, offset)
        write_template(place, template, record, "d")
        alone = place.read()
        write_template(place, template, record, "d", inputs=inputs)
        assert place.read() == alone


def test_extensions_are_those_of_the_documentation(written):
    with fits.open(io.BytesIO(written[0].read()), checksum=True) as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", *PLANES, "INPUTS"]
        assert [hdus[name].data.dtype.str[1:] for name in PLANES] == [
            "f4", "i4", "i4", "f4", "f4", "i4", "f4", "f4"
        ]  # fmt: skip
        hdus.verify("exception")
        for hdu in hdus:
            assert "CHECKSUM" in hdu.header
            assert "DATASUM" in hdu.header
        for name, unit in (("FLUX_SUM", "0.36308 uJy"), ("COUNT", "pixel")):
            assert hdus[name].header["BUNIT"] == unit


def test_older_templates_know_nothing_of_faint_light(written):
    place, template = written
    with fits.open(io.BytesIO(place.read())) as hdus:
        older = fits.HDUList([hdu for hdu in hdus if not hdu.name.startswith("FAINT")])
        content = io.BytesIO()
        older.writeto(content)
    place.write(content.getvalue())
    again, _ = read_template(place)
    np.testing.assert_array_equal(again.flux, template.flux)
    assert np.isnan(again.faint).all()
    assert np.isnan(again.faint_error).all()


def test_headers_tell_what_the_documentation_promises(written):
    header = read_header(written[0])
    wanted = {
        "SECTOR": 20,
        "CAMERA": 3,
        "CCD": 3,
        "TELESCOP": "TESS",
        "SYNDIFF": True,
        "DX_SHIFT": 0.37,
        "DY_SHIFT": -0.21,
        "XMIN": 100,
        "XMAX": 112,
        "YMIN": 50,
        "YMAX": 59,
        "OVERSAMP": 1,
        "PHOTZP": 25.0,
        "PHOTSYS": "AB",
        "PSFMODEL": "gaussian",
        "PSFSIGMA": 40.0,
        "BAND1": "r",
        "BANDW4": 0.135,
        "LEFTOUT": "SAT,STARCORE",
        "BACKGRND": "matched",
        "NREDUCED": 1,
        "NABSENT": 1,
        "NFAILED": 0,
        "PARTIAL": False,
        "CFGDIG": "feedfeedfeedfeed",
        "MJD-OBS": 55500.25,
        "MJD-END": 56000.75,
        "MJD-AVG": 55750.5,
        "DATE-OBS": "2010-10-31T06:00:00.000",
    }
    assert {key: header[key] for key in wanted} == wanted
    assert len(header["HISTORY"]) == 3
    assert read_template(written[0])[1]["PSFSIGMA"] == 40.0


def test_every_header_counts_the_axes_of_its_wcs_first(written):
    """Without WCSAXES, verifiers take the WCS of the empty primary HDU for one of 0 axes."""
    with fits.open(io.BytesIO(written[0].read())) as hdus:
        for hdu in hdus[:-1]:
            keywords = list(hdu.header)
            assert hdu.header["WCSAXES"] == 2
            assert keywords.index("WCSAXES") < min(map(keywords.index, ("CTYPE1", "CRPIX1")))


def test_bits_are_named(written):
    with fits.open(io.BytesIO(written[0].read())) as hdus:
        header = hdus["DQ"].header
        names = {header[f"DQNAM{k:02d}"]: header[f"DQVAL{k:02d}"] for k in range(len(DataQuality))}
    assert names == {bit.name: bit.value for bit in DataQuality}


def test_inputs_are_listed_whole(frame, tmp_path):
    """However long a source's name."""
    source = "/archive/" + "deep/" * 60 + "skycell.2556.082.stk.r.unconv.fits"
    scene = from_source(source)
    place = Place.at(tmp_path) / "x.fits"
    window = Window(100, 50, 102, 52)
    write_template(place, random_template((2, 2)), record_of(frame, window, scene=scene), "d")
    with fits.open(io.BytesIO(place.read())) as hdus:
        table = hdus["INPUTS"].data
        assert table.names == [
            "SKYCELL", "BAND", "SOURCE", "DIGEST", "MJD_OBS", "EXPTIME", "STATE"
        ]  # fmt: skip
        assert list(table["BAND"]) == ["r", "i", "z", "r"]
        assert list(table["STATE"]) == ["reduced", "reduced", "absent", "absent"]
        assert table["SOURCE"][0] == source
        assert table["DIGEST"][1] == "ab" * 32
        np.testing.assert_array_equal(table["MJD_OBS"], [55500.25, 56000.75, np.nan, np.nan])


def test_sources_of_any_spelling_are_listed(frame, tmp_path):
    """FITS holds ASCII only; a folder may be called otherwise."""
    scene = from_source("/Größe/a.fits")
    place = Place.at(tmp_path) / "t.fits"
    window = Window(0, 0, 2, 2)
    write_template(place, random_template((2, 2)), record_of(frame, window, scene=scene), "d")
    with fits.open(str(place)) as hdus:
        assert hdus["INPUTS"].data["SOURCE"][0] == "/Gr\\xf6\\xdfe/a.fits"


def test_a_template_without_inputs_can_be_written(frame, tmp_path):
    place = Place.at(tmp_path) / "x.fits"
    scene = replace(SCENE, skycells=())
    window = Window(100, 50, 102, 52)
    write_template(place, random_template((2, 2)), record_of(frame, window, scene=scene), "d")
    assert "MJD-OBS" not in read_header(place)
    with fits.open(io.BytesIO(place.read())) as hdus:
        assert len(hdus["INPUTS"].data) == 0


@given(
    offset=st.tuples(*[st.integers(-2000, 2000).map(lambda v: v / 1000)] * 2),
    corner=st.tuples(st.integers(0, 2000), st.integers(0, 1900)),
)
@settings(max_examples=10, deadline=None, derandomize=True)
def test_the_wcs_moves_with_offset_and_window(tmp_path_factory, offset, corner):
    """FFI pixel (x, y) of the sky is pixel (x + dx - XMIN, y + dy - YMIN) of the template."""
    frame = ccd_frame(SCIENCE)
    x0, y0 = corner
    window = Window(x0, y0, x0 + 3, y0 + 2)
    place = Place.at(tmp_path_factory.mktemp("wcs")) / "x.fits"
    write_template(place, random_template(window.shape), record_of(frame, window, offset), "d")
    _, header = read_template(place)
    x, y = np.array([100.0, 1500.0]), np.array([200.0, 1800.0])
    found = WCS(header).all_pix2world(x + offset[0] - x0, y + offset[1] - y0, 0)
    # CRPIX of some thousand pixels, to the last digit of a double
    np.testing.assert_allclose(found, frame.wcs.all_pix2world(x, y, 0), rtol=0, atol=1e-11)


@pytest.mark.parametrize("samples", [2, 3, 8])
@pytest.mark.parametrize("window", [Window(100, 50, 112, 59), Window(2000, 1990, 2010, 2000)])
def test_samples_lie_where_their_parts_of_pixels_do(frame, tmp_path, window, samples):
    """Sample i of pixels of N samples is at (i + 0.5) / N - 0.5, everywhere on the CCD."""
    offset, place = (0.37, -0.21), Place.at(tmp_path) / "os.fits"
    template = random_template(tuple(samples * side for side in window.shape))
    record = TemplateRecord(frame, window, offset, SCENE, samples)
    write_template(place, template, record, "d")
    again, header = read_template(place)
    np.testing.assert_array_equal(again.flux, template.flux)
    x, y = np.meshgrid(np.linspace(44, 2091, 12), np.linspace(0, 2047, 12))
    i, j = (samples * (v - low + 0.5) - 0.5 for v, low in ((x, window.x0), (y, window.y0)))
    found = WCS(header).all_pix2world(i, j, 0)
    wanted = frame.wcs.all_pix2world(x - offset[0], y - offset[1], 0)
    # 1e-8 px; header cards hold coefficients to 16 digits
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-8 * 21 / 3600)
    whole = (header["XMIN"], header["XMAX"], header["YMIN"], header["YMAX"])
    assert whole == (window.x0, window.x1, window.y0, window.y1)
    assert (header["OVERSAMP"], header["DX_SHIFT"]) == (samples, 0.37)


def test_other_forms_of_a_wcs_are_magnified_too(tmp_path):
    """tesswcs writes CDELT and PC; a frame without AP and BP is one as well."""
    frame, window = smallsky.ccd_frame(1, 1, 1), Window(100, 50, 103, 52)
    place = Place.at(tmp_path) / "os.fits"
    record = TemplateRecord(frame, window, (0.0, 0.0), SCENE, 4)
    write_template(place, random_template((8, 12)), record, "d")
    _, header = read_template(place)
    found = WCS(header).all_pix2world(4 * (1500 - 100 + 0.5) - 0.5, 4 * (300 - 50 + 0.5) - 0.5, 0)
    wanted = frame.wcs.all_pix2world(1500, 300, 0)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-8 * 21 / 3600)


@pytest.mark.parametrize("name", ["tess2020011024200-s0020-3-3-0000-s_ffic.fits", "x" * 64])
def test_a_template_that_follows_has_the_ffis_own_wcs(frame, tmp_path, name):
    window = Window(100, 50, 103, 52)
    shift = Shift(0.3, -0.2, 4.5, 1.25, 0.31)
    dates = "2020-01-11T02:42:00", "2020-01-11T03:12:00"
    followed = Followed(name, *dates, 1859.6, 2048, shift, (("REFORDER", 1, "order"),))
    record = TemplateRecord(frame, window, (0.3, -0.2), SCENE, followed=followed)
    place = Place.at(tmp_path) / "followed.fits"
    write_template(place, random_template(window.shape), record, "d")
    _, header = read_template(place)
    own = frame.header()
    assert header["CRPIX1"] == own["CRPIX1"] - 100
    assert header["CRPIX2"] == own["CRPIX2"] - 50
    assert (header["DX_SHIFT"], header["DY_SHIFT"]) == (0.3, -0.2)
    told = {"FOLLOWS": name, "FFIBEG": dates[0], "FFIEND": dates[1], "FFIBTJD": 1859.6}
    told |= {"FFIQUAL": 2048, "SHIFTMAX": 0.31, "SHIFTROL": 4.5, "SHIFTSCL": 1.25, "REFORDER": 1}
    assert {key: header[key] for key in told} == told
    assert header["FFI"] == SCENE.ffi


@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.37, -0.21), (-1.5, 0.8)])
def test_the_wcs_points_at_the_rendered_star(frame, tmp_path, offset):
    """The centroid stands where the header puts the star's place on the sky.

    On pixels this coarse it wavers by 3e-3 with the star's place in its pixel, as a sine does: the
    mean over half a pixel doesn't.
    """
    star = 1044.3, 1012.6, 1e4
    renderer = SceneRenderer(frame, GaussianResponse(frame, 40.0))
    skycell = skycell_around(frame, *star[:2])
    window = window_around(star[0] + offset[0], star[1] + offset[1], 7)
    scene, origin = render_window(
        renderer, window, [located(skycell, frame, contribution(skycell, [star], frame))]
    )
    place, errors = Place.at(tmp_path) / "star.fits", []
    for half in ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5)):
        moved = offset[0] + half[0], offset[1] + half[1]
        template = sample(scene, origin, window, moved)
        write_template(place, template, record_of(frame, window, moved), "d")
        again, header = read_template(place)
        sky = frame.wcs.all_pix2world(*star[:2], 0)
        wanted = np.array(WCS(header).all_world2pix(*sky, 0, tolerance=1e-7), float)
        axes = np.mgrid[:15, :15][::-1]
        found = (again.flux * axes).sum(axis=(1, 2), dtype=float) / again.flux.sum(dtype=float)
        errors.append(found - wanted)
    np.testing.assert_allclose(np.mean(errors, axis=0), 0, atol=2e-4)


def test_measured_responses_are_named(frame, tmp_path):
    """However long the address is, and whatever letters it has."""
    window, place = Window(1044, 1000, 1050, 1004), Place.at(tmp_path) / "prf.fits"
    source = "/data/" + 9 * "long/" + "Übung/start_s0004/cam3_ccd3" + 9 * "/long"
    named = "tess2019107181902-prf-3-3", source, "0123456789abcdef"
    response = PrfRecord("prf", *named, 1.25, 3.4e-6, 3.65, 6, 12, 7.0)
    record = record_of(frame, window, scene=replace(SCENE, response=response))
    write_template(place, random_template(window.shape), record, "d")
    header = read_template(place)[1]
    assert header["PSFMODEL"] == "prf"
    assert header["PRFDIR"] == source.replace("Ü", "\\xdc")
    assert header["PRFSET"] == response.set
    assert header["PRFDIG"] == response.digest
    assert (header["PRFCUT"], header["PRFLOST"], header["PS1VAR"]) == (1.25, 3.4e-6, 3.65)
    assert "PSFSIGMA" not in header


def test_no_file_is_no_header(tmp_path):
    assert read_header(Place.at(tmp_path) / "absent.fits") is None


@pytest.mark.parametrize("content", [b"", b"not FITS at all", b"\xff" * 6000])
def test_files_that_are_not_fits_are_refused(tmp_path, content):
    place = Place.at(tmp_path) / "other.fits"
    place.write(content)
    for read in (read_header, read_template):
        with pytest.raises(
            RenderingError, match=r"other\.fits is not a FITS file.*: (remove|give)"
        ):
            read(place)


def test_fits_files_of_others_are_refused(tmp_path):
    place, buffer = Place.at(tmp_path) / "other.fits", io.BytesIO()
    planes = fits.ImageHDU(np.zeros((2, 2)), name="FLUX_SUM")
    fits.HDUList([fits.PrimaryHDU(), planes]).writeto(buffer)
    place.write(buffer.getvalue())
    with pytest.raises(RenderingError, match=r"was not written by syndiff \(SYNDIFF=T missing\)"):
        read_header(place)
    with pytest.raises(RenderingError, match="has no extension COUNT: it is no syndiff template"):
        read_template(place)


@pytest.mark.parametrize("part", [0.1, 0.3, 0.5, 0.6, 0.7, 0.8])
def test_files_cut_short_are_refused(written, part):
    """In a header, or in the numbers of a plane."""
    place, _ = written
    content = place.read()
    place.write(content[: int(len(content) * part)])
    with pytest.raises(RenderingError, match=r"template\.fits (is no complete|has no extension)"):
        read_template(place)


def test_changed_numbers_are_noticed(written):
    place, _ = written
    content = bytearray(place.read())
    start = bytes(content).index(b"EXTNAME = 'COUNT")
    end = (start // 2880 + 4) * 2880
    assert any(content[end : end + 8])
    content[end + 3] ^= 1
    place.write(bytes(content))
    with pytest.raises(RenderingError, match=r"is no complete FITS file \(.*[Cc]hecksum"):
        read_template(place)


def test_absent_files_can_not_be_read(tmp_path):
    with pytest.raises(StorageError, match=r"can't read .*/absent\.fits"):
        read_template(Place.at(tmp_path) / "absent.fits")


@pytest.fixture
def larger(frame, tmp_path):
    """Rows long enough for fpack to round them."""
    window = Window(100, 50, 140, 90)
    place = Place.at(tmp_path) / "template.fits"
    write_template(place, random_template(window.shape), record_of(frame, window), "feed" * 4)
    return place


def same(one, other):
    for name in ("flux", "count", "mask", "uncertainty", "coverage", "quality"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("name", ["template.fits.gz", "gzip_inside.fits"])
def test_gzipped_templates_are_read(larger, tmp_path, name):
    place = Place.at(tmp_path) / name
    place.write(gzip.compress(larger.read()))
    planes, header = read_template(place)
    want, _ = read_template(larger)
    same(planes, want)
    assert header["XMIN"] == 100
    assert read_header(place)["CFGDIG"] == "feed" * 4


@pytest.mark.parametrize("damage", ["cut", "changed", "trailer"])
def test_damaged_gzip_files_are_called_so(larger, tmp_path, damage):
    content = bytearray(gzip.compress(larger.read()))
    if damage == "cut":
        del content[len(content) // 2 :]
    else:
        content[-6 if damage == "trailer" else len(content) // 2] ^= 0x55
    place = Place.at(tmp_path) / "t.fits.gz"
    place.write(bytes(content))
    with pytest.raises(RenderingError, match=r"t\.fits\.gz is a damaged gzip file \(.*copy it aga"):
        read_template(place)


def packed(place, **how):
    """The bytes of a template after fpack; floats as told."""
    with fits.open(io.BytesIO(place.read())) as hdus:
        out = [fits.PrimaryHDU(header=hdus[0].header)]
        for hdu in hdus[1:]:
            is_float = hdu.is_image and hdu.data.dtype.kind == "f"
            options = how if is_float else {"compression_type": "RICE_1"}
            out.append(
                fits.CompImageHDU(hdu.data, hdu.header, **options) if hdu.is_image else hdu.copy()
            )
        buffer = io.BytesIO()
        fits.HDUList(out).writeto(buffer, checksum=True)
    return buffer.getvalue()


def test_fpacked_templates_are_read_if_they_have_all_digits(larger, tmp_path):
    place = Place.at(tmp_path) / "template.fits.fz"
    place.write(packed(larger, compression_type="GZIP_2", quantize_level=0))
    same(read_template(place)[0], read_template(larger)[0])


def test_fpacked_templates_that_lost_digits_are_refused(larger, tmp_path):
    place = Place.at(tmp_path) / "template.fits.fz"
    place.write(packed(larger, compression_type="RICE_1", quantize_level=4))
    with pytest.raises(RenderingError, match=r"fpack has rounded FLUX_SUM.*fpack -g2 -q 0"):
        read_template(place)


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        (
            {"SYNDIFF": True, "PRODUCT": "difference", "TEMPLATE": "that.fits"},
            r"is a difference that syndiff made, no template: give the template \(that\.fits",
        ),
        ({"TELESCOP": "TESS"}, "is a file of TESS itself, no template: give FFIs first"),
        ({"TELESCOP": "PS1"}, "has no extension FLUX_SUM: it is no syndiff template"),
    ],
)
def test_other_files_are_called_what_they_are(tmp_path, cards, message):
    place, buffer = Place.at(tmp_path) / "other.fits", io.BytesIO()
    fits.PrimaryHDU(np.zeros((2, 2)), fits.Header(cards)).writeto(buffer)
    place.write(buffer.getvalue())
    with pytest.raises(RenderingError, match=message):
        read_template(place)
