"""The private implementation of the command line program."""
