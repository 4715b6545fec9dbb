"""Light of a noisy field, by magnitude, for every background mode."""

import pytest

from benchmarks.accuracy import BACKGROUNDS, measure_field


@pytest.mark.full
def test_stars_keep_their_light(tmp_path):
    kept = measure_field(tmp_path)
    assert set(kept) == set(BACKGROUNDS)
    for background, light in kept.items():
        assert light.used > 0.5
        for mag, (ratio, error, count) in light.stars.items():
            assert count > 5, mag
            # 1 % at every magnitude, but for what the noise leaves open
            assert abs(ratio - 1) < 0.01 + 3 * error, (background, mag)
    # everything is in it, the faintest galaxies too; the sky's noise leaves 1 %
    assert abs(kept["none"].total - 1) < 0.03
    # what PS1 does not detect: galaxies fainter than magnitude 23, mostly
    for background in ("matched", "sep"):
        assert 0.95 < kept[background].total < 1.01
