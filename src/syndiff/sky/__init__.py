"""The PS1 tessellation: skycells, how they share the sky, where they land on a CCD."""
