"""Small reduced skycells with every value that their types hold, for child processes too."""

from types import SimpleNamespace

import numpy as np

from syndiff.stacks.provenance import BandOrigin, FileOrigin, Provenance

NAME = "skycell.2556.082"


def make_fields(bands=("r", "i", "z", "y"), seed=1, name=NAME):
    """Return the fields of a reduced skycell."""
    rng = np.random.default_rng(seed)
    nb, yx2, yx8 = len(bands), (38, 35), (10, 9)

    def integers(dtype, *shape):
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)

    return dict(  # noqa: C408
        name=name,
        shape=(300, 279),
        bands=bands,
        light=integers(np.int16, nb, *yx2),
        light_sigma=rng.lognormal(size=nb),
        left_out=np.zeros((nb, *yx2), np.int16),
        faint=integers(np.int16, nb, *yx8),
        faint_sigma=rng.lognormal(size=nb),
        level=rng.normal(size=(nb, 2, 2)).astype(np.float32),
        variance=integers(np.int16, nb, 2, *yx8),
        variance_sigma=rng.lognormal(size=nb),
        count=integers(np.uint16, nb, *yx8),
        left_out_count=integers(np.uint16, nb, *yx8),
        flagged=integers(np.uint16, nb, *yx8),
        mask=integers(np.uint16, *yx2),
        valid=integers(np.uint8, *yx2),
        noise_correlation=1.5 + 1e-16 * seed,
        meta=Provenance(
            {"r": BandOrigin(640.1, None, 3, {"image": FileOrigin("https://a/b.fits", "ab", 9)})}
        ),
    )


def make_reduced(bands=("r", "i", "z", "y"), seed=1, name=NAME):
    from syndiff.stacks.reduction import ReducedSkycell

    return ReducedSkycell(**make_fields(bands, seed, name))


def write_all(atlas, seed, keys, overwrite):
    """Write every key; without the reduction, whose kernels take long to import."""
    for key in keys:
        reduced = SimpleNamespace(**make_fields(seed=seed, name=key.name))
        atlas.write(key, reduced, overwrite=overwrite)


def dark_skycell(skycell, *, mask=None, valid=None):
    """A skycell of valid pixels without light, variance 2 a pixel in every band."""
    from syndiff.config import BANDS
    from syndiff.stacks.coding import variance_encode
    from syndiff.stacks.reduction import ReducedSkycell

    shape2, shape8 = (tuple(-(-n // side) for n in skycell.shape) for side in (8, 32))
    sides = [np.minimum(32, n - np.arange(0, n, 32)) for n in skycell.shape]
    count = np.stack([np.outer(*sides)] * 4).astype(np.uint16)
    variance = np.stack([2.0 * count, np.zeros(count.shape)], axis=1)
    return ReducedSkycell(
        name=skycell.name,
        shape=skycell.shape,
        bands=BANDS,
        light=np.zeros((4, *shape2), np.int16),
        light_sigma=np.ones(4),
        left_out=np.zeros((4, *shape2), np.int16),
        faint=np.zeros((4, *shape8), np.int16),
        faint_sigma=np.ones(4),
        level=np.zeros((4, *(-(-n // 256) for n in skycell.shape)), np.float32),
        variance=variance_encode(variance, 32.0),
        variance_sigma=np.full(4, 32.0),
        count=count,
        left_out_count=np.zeros((4, *shape8), np.uint16),
        flagged=np.zeros((4, *shape8), np.uint16),
        mask=np.zeros(shape2, np.uint16) if mask is None else mask,
        valid=np.full(shape2, 15, np.uint8) if valid is None else valid,
        noise_correlation=1.5,
    )
