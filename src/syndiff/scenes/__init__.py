"""The scene: skycells combined and convolved with the pixel response."""
