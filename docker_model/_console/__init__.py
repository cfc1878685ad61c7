"""What `python -m docker_model` does and how it looks; nothing of it is for import."""
