"""Light curves: one scene, many frames of a field, forced photometry of a place in each."""
