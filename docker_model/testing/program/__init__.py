"""The program that stands in for `docker`: see docker.py."""
