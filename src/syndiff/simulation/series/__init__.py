"""A sector's frames of one field: moving, shaking, dirty, with what changes, and their truth."""

from syndiff.simulation.series.config import (
    Asteroid,
    Changing,
    CosmicRays,
    Diffuse,
    Event,
    Motion,
    SeriesConfig,
)
from syndiff.simulation.series.curves import LightCurve
from syndiff.simulation.series.run import (
    Series,
    SeriesForm,
    check_form,
    simulate_series,
    write_series,
)
from syndiff.simulation.series.scene import beside, usual_series, with_hosts, with_series
from syndiff.simulation.series.truth_file import SeriesTruth

__all__ = [
    "Asteroid",
    "Changing",
    "CosmicRays",
    "Diffuse",
    "Event",
    "LightCurve",
    "Motion",
    "Series",
    "SeriesConfig",
    "SeriesForm",
    "SeriesTruth",
    "beside",
    "check_form",
    "simulate_series",
    "usual_series",
    "with_hosts",
    "with_series",
    "write_series",
]
