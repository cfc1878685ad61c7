"""Docker Model Runner from Python, through the `docker model` command."""
