"""Bytes and Zarr groups at a place, FITS files of images, locks."""
