"""What is kept of the files that a reduction was made from."""

from dataclasses import dataclass, field, replace

__all__ = ["BandOrigin", "FileOrigin", "Provenance"]


@dataclass(frozen=True)
class FileOrigin:
    """One file.

    Parameters
    ----------
    source : str
        URL or path.
    sha256 : str
        Digest of the file as it was fetched.
    bytes : int
        Its size.
    """

    source: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class BandOrigin:
    """The stack of one band.

    Parameters
    ----------
    exptime_s : float
        Sum of its exposure times.
    mjd_obs : float or None
        Exposure time, where the header has it.
    absurd_pixels : int
        Pixels left out because PS1 can't have their values.
    files : dict of str to FileOrigin
        By plane.
    mixed : tuple of str
        What its files disagree on that were used nevertheless.
    """

    exptime_s: float
    mjd_obs: float | None
    absurd_pixels: int
    files: dict[str, FileOrigin] = field(default_factory=dict)
    mixed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Provenance:
    """What a skycell was reduced from.

    Parameters
    ----------
    bands : dict of str to BandOrigin
        Bands that are there.
    absent_bands : tuple of str
        Bands whose image the archive doesn't have.
    invalid_cells : int
        Cells of 2" where a band that is there has no valid data.
    """

    bands: dict[str, BandOrigin] = field(default_factory=dict)
    absent_bands: tuple[str, ...] = ()
    invalid_cells: int = 0

    @property
    def mixed(self) -> tuple[str, ...]:
        """What files of one stack disagree on, with the band."""
        return tuple(f"{band}: {text}" for band in self.bands for text in self.bands[band].mixed)

    @property
    def absurd_pixels(self) -> int:
        """Pixels of all bands left out because PS1 can't have their values."""
        return sum(origin.absurd_pixels for origin in self.bands.values())

    def without_sources(self) -> "Provenance":
        """Return the same without addresses: the source of equal files does not matter.

        Returns
        -------
        Provenance
            With empty sources.
        """
        bands = {
            band: replace(origin, files={k: replace(f, source="") for k, f in origin.files.items()})
            for band, origin in self.bands.items()
        }
        return replace(self, bands=bands)
