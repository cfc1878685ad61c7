"""The `docker model` command: its arguments, its output, its errors and its processes."""
