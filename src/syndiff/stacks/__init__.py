"""PS1 stack skycells: fetched, decoded, reduced, kept in the atlas."""
