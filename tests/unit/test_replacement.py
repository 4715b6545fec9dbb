"""Stars that PS1 saturates are taken out whole and put back where and as bright as they are."""

import numpy as np
import pytest
from onestar import light_along_axis
from reduced_samples import dark_skycell
from smallsky import small_catalogue

from syndiff.config import BAND_WEIGHTS
from syndiff.errors import RenderingError
from syndiff.masks import DataQuality
from syndiff.scenes.combine import combine
from syndiff.settings import Settings
from syndiff.sky.sharing import sharing_of
from syndiff.sky.tessellation import Tessellation
from syndiff.stars.catalogue import StarCatalogue
from syndiff.stars.profile import point_source
from syndiff.stars.replacement import known_cells, replace_stars
from syndiff.stars.scale import MIN_CALIBRATORS, measure_scale
from syndiff.stars.skycell_stars import PlacedStars, StarFinder, removal_radius_arcsec

SEEING_PX = 2.0
SEEING2 = SEEING_PX**2
OFFSET = 0.4
"""AB less T, of the light made here."""


def sky(skycells):
    """The first skycells of a projection, 1000 pixels each, 200 of them in common."""
    lines = small_catalogue(across=2).splitlines()
    tessellation = Tessellation.from_csv("\n".join(lines[: 1 + skycells]).encode())
    return tessellation, list(tessellation)


def flux_of(tmag):
    return 10 ** (0.4 * (25 - tmag - OFFSET))


def drawn(shape, stars):
    """Light of (x, y, flux) on 2-arcsec cells, by pixels, boxes and splines one by one."""
    out = np.zeros(shape)
    for x, y, flux in stars:
        rows, columns = (
            light_along_axis(v, n, SEEING_PX) for v, n in zip((y, x), shape, strict=True)
        )
        out += flux * np.outer(rows, columns)
    return out


def placed(stars, *, shift=(0.0, 0.0), size=1000):
    """Stars (x, y, T) on a skycell's pixels, all moved by `shift` PS1 pixels for TESS."""
    x, y, tmag = (np.array(column, float) for column in zip(*stars, strict=True))
    depth = np.minimum.reduce([x + 0.5, size - 0.5 - x, y + 0.5, size - 0.5 - y])
    return PlacedStars(
        skycell="skycell.7000.000",
        x=x,
        y=y,
        x_then=x + shift[0],
        y_then=y + shift[1],
        ra=x,
        dec=y,
        tmag=tmag,
        colour=np.ones(x.size),
        tmag_error=np.full(x.size, 0.006),
        shift_arcsec=np.full(x.size, np.hypot(*shift) / 4),
        radius_px=4 * removal_radius_arcsec(tmag),
        is_inside=depth > 0,
        depth_px=depth,
        identity=np.arange(x.size) + 100,
    )


CALIBRATORS = [
    (150.0 + 233 * i + 3.3 * j, 140.0 + 231 * j, 15.0 + 0.1 * i) for i in range(4) for j in range(4)
]
BRIGHT = (505.3, 498.8, 11.0)


def spoilt_sky(extra=(), *, bright=BRIGHT):
    """Calibrators and a saturated star with a lost core: light, mask, valid, stars."""
    stars = [*CALIBRATORS, bright, *extra]
    total = drawn((125, 125), [(x, y, flux_of(t)) for x, y, t in stars])
    level = 2e4
    mask = np.where(total > level, 32 | 4096, 0).astype(np.uint16)
    valid = np.where(total > 2 * level, 0, 15).astype(np.uint8)
    total = np.where(total > level, np.where(total > 2 * level, 0, level), total)
    light = np.stack([total.astype(np.float32)] * 4)
    return light, mask, valid, placed(stars)


def replaced(light, mask, valid, stars, scale_mag=None):
    composite = np.tensordot(BAND_WEIGHTS, light, axes=1).astype(np.float32)
    return replace_stars(light, composite, mask=mask, valid=valid, stars=stars, scale_mag=scale_mag)


def total_of(light, put):
    return np.tensordot(BAND_WEIGHTS, light, axes=1) + put.added


def test_a_point_source_is_what_the_reduction_leaves():
    for x, y in ((500.0, 411.0), (503.7, 407.2)):
        stamp = point_source(x, y, SEEING2)
        place, values = stamp.inside((125, 125))
        made = np.zeros((125, 125))
        made[place] = values
        wanted = drawn((125, 125), [(x, y, 1.0)])
        # the truth adds boxes of whole pixels, this is continuous
        np.testing.assert_allclose(made, wanted, atol=5e-4 * wanted.max())
        rows, columns = np.indices(made.shape)
        assert (made * (8 * columns + 3.5)).sum() == pytest.approx(x, abs=1e-6)
        assert (made * (8 * rows + 3.5)).sum() == pytest.approx(y, abs=1e-6)
        assert made.sum() == pytest.approx(1, abs=1e-12)


def test_a_point_source_outside_has_no_part_inside():
    place, values = point_source(-300.0, 10.0, SEEING2).inside((125, 125))
    assert values.size == 0
    assert np.zeros((125, 125))[place].size == 0


def test_the_scale_and_the_seeing_are_measured():
    light, mask, valid, stars = spoilt_sky()
    usable = (mask == 0) & (valid == 15)
    scale = measure_scale(
        light[0], usable, places=(stars.x, stars.y), tmag=stars.tmag, colour=stars.colour
    )
    assert scale.stars >= 12
    assert scale.offset_mag == pytest.approx(OFFSET, abs=1e-4)
    assert scale.error_mag < 1e-4
    assert scale.slope == 0
    # boxes and pixels are taken out, the seeing is left
    assert scale.seeing_px2 == pytest.approx(SEEING2, abs=0.05)


def test_the_scale_follows_the_colour_where_many_stars_show_it():
    rng = np.random.default_rng(3)
    spots = [(120.0 + 125 * i, 120.0 + 125 * j) for i in range(7) for j in range(7)]
    colour = rng.uniform(0.5, 2.5, 49)
    tmag = rng.uniform(15, 16, 49)
    flux = flux_of(tmag + 0.03 * (colour - 1))
    total = drawn((125, 125), [(*p, f) for p, f in zip(spots, flux, strict=True)])
    places = tuple(np.array(spots).T)
    usable = np.ones((125, 125), bool)
    scale = measure_scale(total.astype(np.float32), usable, places=places, tmag=tmag, colour=colour)
    assert scale.slope == pytest.approx(0.03, abs=1e-3)
    fluxes, errors = scale.flux(np.array([10.0, 10.0]), np.array([1.0, np.nan]), np.full(2, 0.6))
    assert fluxes[0] == pytest.approx(flux_of(10.0), rel=1e-3)
    assert errors[1] == pytest.approx(0.6 * np.log(10) / 2.5 * fluxes[1], rel=1e-3)


def test_too_few_calibrators_are_no_scale():
    light, mask, _, stars = spoilt_sky()
    usable = mask == 0
    few = MIN_CALIBRATORS - 1
    places = stars.x[:few], stars.y[:few]
    assert (
        measure_scale(
            light[0], usable, places=places, tmag=stars.tmag[:few], colour=stars.colour[:few]
        )
        is None
    )


def test_a_saturated_star_comes_back_whole():
    light, mask, valid, stars = spoilt_sky()
    put = replaced(light, mask, valid, stars)
    wanted = drawn((125, 125), [(x, y, flux_of(t)) for x, y, t in [*CALIBRATORS, BRIGHT]])
    found = total_of(light, put)
    # what is left: wings where rings cross cells at other radii than their middle
    assert np.abs(found - wanted).max() < 1e-3 * wanted.max()
    assert found.sum() == pytest.approx(wanted.sum(), rel=1e-3)
    assert [s.reason for s in put.stars] == ["saturated"]
    assert put.stars[0].identity == 116
    assert put.stars[0].flux == pytest.approx(flux_of(11.0), rel=1e-3)
    # 0.6 % of the relation, at least
    assert put.stars[0].error == pytest.approx(0.0055 * flux_of(11.0), rel=0.02)
    assert (put.flags[put.cut] & DataQuality.REPLACED_STAR > 0).all()
    np.testing.assert_allclose(put.errors, [[*BRIGHT[:2], put.stars[0].error ** 2]])


def test_a_saturated_star_stands_where_it_has_moved():
    light, mask, valid, stars = spoilt_sky()
    stars = placed([*CALIBRATORS, BRIGHT], shift=(6.0, -4.0))
    put = replaced(light, mask, valid, stars)
    wanted = drawn((125, 125), [(BRIGHT[0] + 6, BRIGHT[1] - 4, flux_of(11.0))])
    box = np.s_[54:70, 54:70]
    assert np.abs(total_of(light, put) - wanted)[box].max() < 2e-3 * wanted.max()
    assert put.stars[0].shift_arcsec == pytest.approx(np.hypot(6, 4) / 4)
    assert put.flags[62, 63] & DataQuality.HIGH_PROPER_MOTION


def test_neighbours_in_the_wings_stay():
    # 14 arcsec off, 6 magnitudes fainter
    neighbour = (BRIGHT[0] + 48, BRIGHT[1] + 30, 17.0)
    light, mask, valid, stars = spoilt_sky((neighbour,))
    put = replaced(light, mask, valid, stars)
    wanted = drawn((125, 125), [(x, y, flux_of(t)) for x, y, t in [BRIGHT, neighbour]])
    j, i = int(neighbour[1] // 8), int(neighbour[0] // 8)
    box = np.s_[j - 2 : j + 3, i - 2 : i + 3]
    assert total_of(light, put)[box].sum() == pytest.approx(wanted[box].sum(), rel=0.02)
    assert [s.reason for s in put.stars] == ["saturated"]


def test_neighbours_lost_with_the_core_are_put_back_too():
    neighbour = (BRIGHT[0] + 10, BRIGHT[1], 14.0)
    light, mask, valid, stars = spoilt_sky((neighbour,))
    put = replaced(light, mask, valid, stars)
    assert len(put.stars) == 2
    wanted = flux_of(11.0) + flux_of(14.0)
    assert total_of(light, put)[50:75, 50:75].sum() == pytest.approx(wanted, rel=2e-3)


@pytest.mark.parametrize("apart", range(16, 68, 4))
def test_neighbours_beside_the_core_keep_all_of_their_light(apart):
    neighbour = (BRIGHT[0] + apart, BRIGHT[1], 14.0)
    light, mask, valid, stars = spoilt_sky((neighbour,))
    put = replaced(light, mask, valid, stars)
    every = [*CALIBRATORS, BRIGHT, neighbour]
    wanted = drawn((125, 125), [(x, y, flux_of(t)) for x, y, t in every])
    error = (total_of(light, put) - wanted)[45:80, 45:85].sum()
    # Nearly half of its light is beneath the core's last cells where they end beside it.
    assert abs(error) < 0.01 * flux_of(14.0)


def test_unsaturated_stars_stay_as_they_are():
    light, mask, valid, stars = spoilt_sky(bright=(505.3, 498.8, 14.4))
    before = light.copy()
    put = replaced(light, np.zeros_like(mask), np.full_like(valid, 15), stars)
    assert (light == before).all()
    assert not any(plane.any() for plane in (put.added, put.cut, put.flags))
    assert not put.stars


def test_just_below_saturation_it_is_the_same_with_and_without():
    star = (505.3, 498.8, 13.4)
    light, _, _, stars = spoilt_sky(bright=star)
    without = np.tensordot(BAND_WEIGHTS, light, axes=1)
    mask = np.zeros((125, 125), np.uint16)
    mask[62, 63] = 32
    put = replaced(light, mask, np.full((125, 125), 15, np.uint8), stars)
    assert [s.reason for s in put.stars] == ["saturated"]
    assert np.abs(total_of(light, put) - without).max() < 1e-3 * without.max()


def test_unsaturated_stars_that_moved_keep_their_flux_and_move():
    star = (505.3, 498.8, 14.4)
    light, mask, valid, _ = spoilt_sky(bright=star)
    stars = placed([*CALIBRATORS, star], shift=(2.0, 3.0))
    put = replaced(light, np.zeros_like(mask), np.full_like(valid, 15), stars)
    wanted = drawn((125, 125), [(x + 2, y + 3, flux_of(t)) for x, y, t in [*CALIBRATORS, star]])
    assert np.abs(total_of(light, put) - wanted).max() < 1e-3 * wanted.max()
    assert {s.reason for s in put.stars} == {"moved"}
    assert put.flags[62, 63] == DataQuality.HIGH_PROPER_MOTION
    assert not put.cut.any()


def test_spikes_go_but_not_the_stars_they_cross():
    crossed = (BRIGHT[0] + 160, BRIGHT[1], 15.0)
    light, mask, valid, stars = spoilt_sky((crossed,))
    mask[62, 66:100] |= 512
    light[:, 62, 68:95] += 5.0
    put = replaced(light, mask, valid, stars)
    spike = np.s_[61:64, 72:76]
    assert total_of(light, put)[spike].sum() < 1.0
    j, i = int(crossed[1] // 8), int(crossed[0] // 8)
    kept = total_of(light, put)[j - 3 : j + 4, i - 3 : i + 4].sum()
    assert kept == pytest.approx(flux_of(15.0), rel=0.02)


def test_too_few_stars_for_a_scale_is_an_error_that_says_what_to_do():
    light, mask, valid, _ = spoilt_sky()
    alone = placed([BRIGHT])
    with pytest.raises(RenderingError, match=r"skycell\.7000\.000 has fewer than 5 .*`star_scale`"):
        replaced(light, mask, valid, alone)
    put = replaced(light, mask, valid, alone, scale_mag=OFFSET)
    assert put.stars[0].flux == pytest.approx(flux_of(11.0), rel=1e-9)
    assert put.stars[0].error == pytest.approx(0.04 * np.log(10) / 2.5 * flux_of(11.0), rel=0.02)


def test_cores_count_as_known():
    _, mask, valid, stars = spoilt_sky()
    assert (valid == 0).sum() > 0
    assert (known_cells(mask, valid, stars) == 15).all()
    gap = valid.copy()
    gap[10:14, 90:100] = 0
    assert (known_cells(mask, gap, stars) == 0).sum() == 40


def test_in_an_overlap_a_star_counts_once_even_if_one_skycell_lost_its_core():
    """Weights of two skycells on one star: the same as a star that nobody lost."""
    tessellation, (one, other) = sky(2)
    x, y = 900.0, 500.0
    sums, errors = [], []
    for skycell in (one, other):
        matrix = np.linalg.inv(skycell.pixel_to_direction) @ one.pixel_to_direction
        u, v, w = matrix @ (x, y, 1.0)
        stars = placed([(u / w, v / w, 11.0)])
        assert stars.is_inside.all()
        mask, valid = np.zeros((125, 125), np.uint16), np.full((125, 125), 15, np.uint8)
        j, i = int((v / w + 0.5) // 8), int((u / w + 0.5) // 8)
        mask[j - 1 : j + 2, i - 1 : i + 2] = 32
        if skycell is other:
            valid[j, i] = 0
        reduced = dark_skycell(skycell, mask=mask, valid=valid)
        found = combine(
            reduced,
            skycell=skycell,
            sharing=sharing_of(tessellation, skycell),
            holes={},
            settings=Settings(star_scale=OFFSET),
            stars=stars,
        )
        sums.append(found.light.sum())
        errors.append(found.star_errors[:, 2].sum())
    assert min(sums) > 0.02 * flux_of(11.0)
    assert sum(sums) == pytest.approx(flux_of(11.0), rel=1e-4)
    one_error = 0.04 * np.log(10) / 2.5 * flux_of(11.0)
    assert sum(errors) == pytest.approx(one_error**2, rel=0.03)


def test_nothing_changes_without_stars_to_put():
    tessellation, (skycell,) = sky(1)
    reduced = dark_skycell(skycell)
    arguments = {
        "skycell": skycell,
        "sharing": sharing_of(tessellation, skycell),
        "holes": {},
        "settings": Settings(),
    }
    plain = combine(reduced, **arguments)
    same = combine(reduced, stars=placed([(500.0, 500.0, 16.0)]), **arguments)
    for name in ("light", "coarse", "flags"):
        assert getattr(plain, name).tobytes() == getattr(same, name).tobytes()


def catalogue_at(ra, dec, tmag):
    n = len(ra)
    zero = np.zeros(n)
    return StarCatalogue(
        np.array(ra), np.array(dec), zero, zero + 100.0, zero + 2016.0,
        np.array(tmag), zero + 1, zero + 0.006, np.arange(n),
    )  # fmt: skip


def test_stars_are_found_by_how_far_their_light_reaches():
    _, (skycell,) = sky(1)
    east = skycell.wcs.all_pix2world([500, -400, -400, -4000], [500, 500, 500, 500], 0)
    stars = catalogue_at(*east, [16.0, 16.0, 8.0, 3.0])
    near = StarFinder(stars).near(skycell)
    # 100 arcsec off the edge: too far for a faint one, not for a bright one; the slack is 60"
    assert near.identity.tolist() == [0, 1, 2] or near.identity.tolist() == [0, 2]
    where = PlacedStars.of(near, skycell, ps1_year=2012.0, ffi_year=2020.0)
    assert where.is_inside.tolist()[0]
    # PS1 saw it 4 years of 100 mas farther south: 1.6 pixels
    apart = np.hypot(where.x[0] - 500, where.y[0] - 500)
    assert apart == pytest.approx(1.6, rel=1e-3)
    # 8 years of 100 mas to the north
    assert where.shift_arcsec[0] == pytest.approx(0.8, rel=1e-3)
