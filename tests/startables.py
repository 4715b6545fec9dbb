"""Small star tables as Gaia's archive and MAST's TIC give them."""

import numpy as np
from astropy.table import Table


def gaia(n=6, **changes):
    """Stars of T 10.4 to 15.4, an arcminute apart, moving by 30 mas a year."""
    k = np.arange(n)
    columns = {
        "source_id": 4_000_000_000_000_000_001 + k,
        "ra": 100.0 + k / 60,
        "dec": np.full(n, 30.0),
        "pmra": np.full(n, 30.0),
        "pmdec": np.full(n, -30.0),
        "ref_epoch": np.full(n, 2016.0),
        "phot_g_mean_mag": 11.0 + k,
        "phot_bp_mean_mag": 11.4 + k,
        "phot_rp_mean_mag": 10.4 + k,
    }
    return Table({name: v for name, v in (columns | changes).items() if v is not None})


def tic(n=6, **changes):
    """The same stars as MAST's TIC has them: at J2000, without an epoch."""
    k = np.arange(n)
    columns = {
        "ID": 100 + k,
        "GAIA": np.array([str(4_000_000_000_000_000_001 + i) for i in k], "U19"),
        "TWOMASS": np.array(["06400000+3000000"] * n),
        "objType": np.array(["STAR"] * n, "U8"),
        "ra": 100.0 + k / 60,
        "dec": np.full(n, 30.0),
        "pmRA": np.full(n, 30.0),
        "pmDEC": np.full(n, -30.0),
        "gmag": 15.0 + k,
        "GAIAmag": 11.0 + k,
        "Tmag": 10.4 + k,
        "e_Tmag": np.full(n, 0.007),
        "disposition": np.array([""] * n, "U9"),
    }
    return Table({name: v for name, v in (columns | changes).items() if v is not None})
