"""Stars from catalogues, in place of those that PS1 saturates or saw elsewhere."""
