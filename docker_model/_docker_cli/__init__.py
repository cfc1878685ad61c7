"""Everything that is true of the `docker model` command, and nothing of any framework."""
