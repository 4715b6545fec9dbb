"""TESS full-frame images: pixel grid, header, pixels, what detectors spoil."""
