"""The stages of the pipeline: each reads, computes, writes."""
