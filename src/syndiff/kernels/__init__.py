"""Compiled loops, one module per idea. They check nothing: their callers do."""
