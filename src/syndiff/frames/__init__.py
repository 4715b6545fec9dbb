"""The frames of a series: which FFIs there are, and a region's pixels from each of them."""
