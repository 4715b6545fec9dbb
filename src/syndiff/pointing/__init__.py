"""Where FFIs look, against the reference one."""
