"""Templates in the corner of the CCD, and at every place, seeing and response: the truth."""

import pytest
from rendered import check_templates, render

from benchmarks.accuracy import SIGMAS, SKIES


def test_stars_in_the_corner_of_the_science_pixels(corner):
    assert "science corner" in corner.sky.kinds
    check_templates(corner, 40.0)


@pytest.mark.full
@pytest.mark.parametrize("sky", SKIES, ids=str)
def test_every_place_seeing_and_response(sky, tmp_path):
    rendered = render(sky, tmp_path, *SIGMAS)
    for sigma in SIGMAS:
        check_templates(rendered, sigma)
