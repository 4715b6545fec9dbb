"""Templates: sampled from a scene, written, read."""
