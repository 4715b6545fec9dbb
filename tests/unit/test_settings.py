"""What users can tell a run, checked before any work."""

from dataclasses import fields

import pytest

from syndiff.config import ReductionConfig, SceneConfig
from syndiff.errors import ConfigError
from syndiff.layout import Detector
from syndiff.settings import Settings

DETECTOR = Detector(20, 3, 3)


def test_defaults_are_those_of_the_documentation():
    settings = Settings()
    settings.check()
    assert settings.data_root == "data"
    assert (settings.cores, settings.jobs) == (8, 60)
    assert settings.ignore_mask_bits == "12"
    assert (settings.psf_sigma, settings.background) == (40.0, "matched")
    assert settings.offsets == "0.0,0.0"
    assert settings.archive.startswith("https://")
    optional = ["mapping", "atlas", "convolved", "templates", "catalogue", "scheduler", "roi"]
    assert all(getattr(settings, name) is None for name in [*optional, "target", "limit"])


def test_defaults_are_those_of_the_configurations():
    """Written twice, so that `--help` needn't ask them; here they meet."""
    assert Settings().scene == SceneConfig()
    assert Settings().reduction == ReductionConfig()


def test_settings_become_configurations():
    settings = Settings(ignore_mask_bits="SAT,0", background="sep", psf_sigma=60.0)
    assert settings.scene == SceneConfig(60.0, "sep")
    assert settings.reduction == ReductionConfig(33, "sep")


def test_places_are_handed_on(tmp_path):
    settings = Settings(data_root=str(tmp_path), templates="s3://bucket/t")
    layout = settings.layout(DETECTOR)
    assert str(layout.templates) == f"s3://bucket/t/{DETECTOR.folder}"
    assert str(layout.mapping) == f"{tmp_path}/mapping_output/{DETECTOR.folder}"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"offsets": "1"}, "an odd count"),
        ({"offsets": "0,3"}, r"offset 3\.0 is out of range"),
        ({"ignore_mask_bits": "99"}, "unknown PS1 mask bit '99'"),
        ({"background": "mean"}, "background 'mean' is unknown"),
        ({"diffuse": 5.0}, r"diffuse 5\.0 is out of range: give 0 \(none\) or a width of 8 to 300"),
        ({"diffuse": float("nan")}, r"diffuse nan is out of range"),
        ({"diffuse": 60.0, "background": "none"}, r"diffuse 60\.0 with background 'none'"),
        ({"psf_sigma": -1.0}, r"psf-sigma -1\.0 must be above 0"),
        ({"jobs": 0}, "jobs 0 is too few: give 1 or more"),
        ({"cores": -2}, "cores -2 is too few: give 1 or more"),
        ({"size": 0}, "size 0 is too few: give 1 or more"),
        ({"limit": 0}, "limit 0 is too few projections: give 1 or more"),
        ({"oversample": 0}, "oversample 0: give 1 to 8"),
        ({"oversample": 9}, "oversample 9: give 1 to 8"),
        ({"refine": True}, "--refine is for FFIs that are followed: give them with --follow"),
        ({"follow": ("a",), "offsets": "0,1"}, "--follow and --multi-offset-array are both given"),
        ({"roi": "1,2,3"}, "region of interest '1,2,3' is not x0,y0,x1,y1"),
        ({"roi": "5,5,5,6"}, "window 5,5,5,6 holds no pixel"),
    ],
)
def test_bad_values_are_refused_before_any_work(values, message):
    with pytest.raises(ConfigError, match=message):
        Settings(**values).check()


def test_every_setting_is_documented():
    for field in fields(Settings):
        assert f"{field.name}" in Settings.__doc__.split("----------")[1], field.name
