"""A synthetic sky as TESS and PS1 see it, with the truth: for tests, demonstrations and docs.

Nothing here shares code with the stages that it tests.
"""

from syndiff.simulation.ffi import FfiConfig, Transient
from syndiff.simulation.prf import PrfConfig
from syndiff.simulation.profiles import PsfConfig
from syndiff.simulation.run import (
    FieldKind,
    Simulation,
    SimulationConfig,
    isolated_stars,
    plan_simulation,
    simulate,
)
from syndiff.simulation.sky import SkyConfig, TestGalaxy, TestStar
from syndiff.simulation.survey import StackConfig

__all__ = [
    "FfiConfig",
    "FieldKind",
    "PrfConfig",
    "PsfConfig",
    "Simulation",
    "SimulationConfig",
    "SkyConfig",
    "StackConfig",
    "TestGalaxy",
    "TestStar",
    "Transient",
    "isolated_stars",
    "plan_simulation",
    "simulate",
]
