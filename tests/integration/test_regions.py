"""A region of interest takes the skycells that reach it, and agrees with a larger one."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from prffiles import prf_grid
from regionroot import CORNER, LARGE, fill_atlas, frame, layout_of, map_pixels, render, sample
from rendered import check_alike

from syndiff.config import DEFAULT_PRF_DIR
from syndiff.errors import MissingInputError
from syndiff.scenes.store import SceneStore
from syndiff.simulation.ffi import FfiConfig, example_cards, shifted, write_ffi
from syndiff.simulation.sky import Cap, SkyConfig, make_sources
from syndiff.sky.mapping_files import read_mapping
from syndiff.window import Window

OFFSETS = [(0.0, 0.0), (0.5, -0.5), (-2.0, 2.0)]
X, Y = CORNER
REGIONS = {
    "four tiles": Window(X - 2, Y - 2, X + 2, Y + 2),
    "a tile's corner": Window(X - 4, Y - 4, X, Y),
    "inside a tile": Window(X + 6, Y + 6, X + 10, Y + 10),
    "where the skycells end": Window(X + 12, Y, X + 20, Y + 16),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The atlas that all of these share."""
    folder = tmp_path_factory.mktemp("regions")
    fill_atlas(folder)
    return folder


def response(layout, psf):
    """What `render` takes for a response, made ready beside the scene."""
    if psf != "prf":
        return {"psf_sigma": psf}
    # As if it had been fetched before, so that nothing is asked of a server.
    grid = replace(prf_grid(), source=f"{DEFAULT_PRF_DIR}start_s0004/cam3_ccd3")
    layout.pixel_response.write(grid.pack())
    return {"psf": "prf"}


@pytest.fixture(scope="module")
def large(request, root):
    """A rendered scene of everything, by its response."""
    layout = layout_of(root, f"large {request.param}")
    map_pixels(layout, LARGE)
    render(layout, LARGE, **response(layout, request.param))
    return request.param, layout


def parts_of(layout):
    return json.loads(layout.cell_metadata.read())["parts"]


def check_part(small, large, roi, *, samples=1):
    """Compare the planes of a region with those of the large one."""
    y, x = samples * (roi.y0 - LARGE.y0), samples * (roi.x0 - LARGE.x0)
    ny, nx = (samples * side for side in roi.shape)
    part = {name: plane[y : y + ny, x : x + nx] for name, plane in large.items()}
    assert np.nanmax(part["FLUX_SUM"]) > 1e4 / samples**2
    check_alike(small, part)


@pytest.mark.parametrize(
    ("large", "name"),
    [*((40.0, name) for name in REGIONS), (60.0, "four tiles"), ("prf", "inside a tile")],
    indirect=["large"],
)
def test_a_region_agrees_with_a_larger_one(root, large, tmp_path, name):
    psf, everything = large
    roi = REGIONS[name]
    layout = layout_of(root, tmp_path.name)
    mapped = map_pixels(layout, roi)
    assert len(mapped.members) < len(read_mapping(everything).members)
    render(layout, roi, **response(layout, psf))
    (used,) = parts_of(layout)
    assert len(used) < len(parts_of(everything)[0])
    for offset in OFFSETS:
        check_part(sample(layout, roi, offset), sample(everything, LARGE, offset), roi)


@pytest.mark.parametrize("large", [40.0], indirect=True)
def test_so_do_finer_samples_and_templates_that_follow(root, large, tmp_path):
    psf, everything = large
    roi = REGIONS["four tiles"]
    layout = layout_of(root, tmp_path.name)
    map_pixels(layout, roi)
    render(layout, roi, **response(layout, psf))
    finer = (
        sample(one, window, oversample=2) for one, window in ((layout, roi), (everything, LARGE))
    )
    check_part(*finer, roi, samples=2)
    nothing = make_sources(SkyConfig(star_density=0, galaxy_density=0), Cap((1.0, 0, 0), 1))
    config = FfiConfig(frame().detector, example_cards())
    ffi = write_ffi(nothing, shifted(config, cadences=3, pointing_px=(0.7, -1.3)), tmp_path, seed=1)
    check_part(
        sample(layout, roi, follow=ffi),
        sample(everything, LARGE, follow=ffi),
        roi,
    )


def test_pixels_that_are_not_mapped_are_not_taken_for_empty(root, tmp_path):
    layout = layout_of(root, tmp_path.name)
    mapped = REGIONS["a tile's corner"]
    map_pixels(layout, mapped)
    for roi in (REGIONS["inside a tile"], LARGE, None):
        with pytest.raises(MissingInputError) as told:
            render(layout, roi)
        assert f"only the pixels {mapped} are mapped" in str(told.value)
        assert "`syndiff mapping <FFI>`" in str(told.value)


class TestGrowing:
    LEFT = Window(X - 16, Y - 14, X - 12, Y - 10)
    RIGHT = Window(X - 9, Y - 14, X - 5, Y - 10)

    @pytest.fixture
    def layout(self, root, tmp_path):
        """Everything is mapped, the left region rendered and sampled."""
        layout = layout_of(root, tmp_path.name)
        map_pixels(layout, LARGE)
        render(layout, self.LEFT)
        sample(layout, self.LEFT)
        return layout

    def held(self, layout):
        told = json.loads(layout.cell_metadata.read())["windows"]
        assert layout.scene.open_zarr("r").attrs["windows"] == told
        return [Window(*corners) for corners in told]

    def test_two_regions_of_one_tile_are_both_held(self, layout):
        before = self.read(layout, self.LEFT)
        assert self.held(layout) == [self.LEFT]
        assert render(layout, self.RIGHT).counts["tiles rendered"] == 1
        assert self.held(layout) == [self.LEFT, self.RIGHT]
        for roi in (self.LEFT, self.RIGHT, self.LEFT):
            again = render(layout, roi)
            assert again.skipped
            sample(layout, roi)
        # The left one's template is known to be of what the scene still holds.
        assert self.read(layout, self.LEFT) == before

    def read(self, layout, roi):
        return (layout.template(0, 0, roi=roi)).read()

    def test_a_window_that_the_tiles_do_not_hold_is_told(self, layout):
        with pytest.raises(MissingInputError) as told:
            sample(layout, self.RIGHT)
        assert f"not rendered for all of the window {self.RIGHT}, but {self.LEFT}:" in str(
            told.value
        )
        assert "`syndiff process 20 3 3`" in str(told.value)

    def test_a_larger_window_takes_over_and_a_smaller_one_finds_it(self, layout):
        render(layout, LARGE)
        assert self.held(layout) == [LARGE]
        assert render(layout, self.RIGHT).skipped
        sample(layout, self.RIGHT)
        assert self.held(layout) == [LARGE]

    def test_a_grown_scene_is_the_same_after_an_interruption(self, layout, root, monkeypatch):
        other = layout_of(root, f"{layout.convolved_root.key} other")
        shutil.copytree(str(layout.data_root), str(other.data_root))
        render(layout, LARGE)
        write, rows = SceneStore.write, []

        def stop(self, row, *arguments):
            write(self, row, *arguments)
            rows.append(row)
            raise RuntimeError

        with monkeypatch.context() as patch:
            patch.setattr(SceneStore, "write", stop)
            with pytest.raises(Exception, match="blocks of tiles failed"):
                render(other, LARGE)
        assert len(rows) == 2
        render(other, LARGE)
        for one, two in zip(*(sorted(tree(x)) for x in (layout, other)), strict=True):
            assert one == two

    def test_a_skycell_that_has_changed_makes_its_tiles_anew(self, layout):
        sampled = fits.getval(str(layout.template(0, 0, roi=self.LEFT)), "SCENEDIG")
        assert render(layout, self.LEFT, diffuse=20.0).counts["tiles rendered"] == 1
        assert self.held(layout) == [self.LEFT]
        sample(layout, self.LEFT)
        assert fits.getval(str(layout.template(0, 0, roi=self.LEFT)), "SCENEDIG") != sampled


def tree(layout):
    """Path and content of a scene's objects."""
    return [(path, (layout.scene / path).read()) for path, _ in layout.scene.walk()]
