"""Pixel response files in MAST's form, by the simulator, once for all tests of a process."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from syndiff.layout import Detector
from syndiff.scenes.prf_files import read_prf_files
from syndiff.simulation.prf import PrfConfig, write_prf_files

DETECTOR = Detector(20, 3, 3)
FOLDER = "start_s0004/cam3_ccd3"
STEM = "tess2019107181902-prf-3-3"


USUAL = PrfConfig(core_px=0.55, growth_px=0.2, noise=0.0)
"""Without noise, and smooth enough for tight tolerances."""


@functools.cache
def _folder(config, detector):
    """Where the files lie until the process ends."""
    root = Path(tempfile.mkdtemp(prefix="syndiff-prf-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    write_prf_files(config, detector, root)
    return root


def prf_tree(root, config=USUAL, detector=DETECTOR):
    """Put a tree of files at a place of the test's own; returns it."""
    shutil.copytree(_folder(config, detector), root, dirs_exist_ok=True)
    return root


@functools.cache
def prf_grid(config=USUAL):
    """The responses of sector 20, camera 3, CCD 3 as the files hold them."""
    return read_prf_files(str(_folder(config, DETECTOR)), DETECTOR)
