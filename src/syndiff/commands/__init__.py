"""The command line: commands, their options, what a person sees of a run."""
