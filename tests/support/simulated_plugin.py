"""The simulated plugin as a separate file, found and started without `docker`."""

import json
import os
import shlex

METADATA = {"SchemaVersion": "0.1.0", "Vendor": "Docker Inc.", "Version": "v1.2.6"}


def write_program(path, text, mode=0o755):
    """Write a program under a temporary name and rename it, as an update does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"new-{path.name}")
    new.write_bytes(text if isinstance(text, bytes) else text.encode())
    new.chmod(mode)
    new.rename(path)
    return path


def install_plugin(docker, config, log=None, before="", **metadata):
    """Install the plugin of a simulated docker in a folder of Docker's configuration.

    Args:
        docker: An open `SimulatedDocker`.
        config: The folder of the configuration.
        log: A file that gets a line for each start.
        before: Shell commands that precede everything else.
        metadata: Fields of the metadata to replace.
    """
    *python, program, address, _ = docker.command
    metadata = shlex.quote(json.dumps({**METADATA, **metadata}))
    text = f"""#!/bin/sh
{f'echo "$@" >> {shlex.quote(str(log))}' if log else ""}
{before}
if [ "$1" = docker-cli-plugin-metadata ]; then echo {metadata}; exit; fi
exec {shlex.join([*python, program, "--plugin", address])} "$@"
"""
    return write_program(config / "cli-plugins" / "docker-model", text)


def environment_of(config, folder):
    """Return the variables to find that plugin, next to a `docker` that is never started."""
    write_program(folder / "docker", b"\x7fELF")
    return {
        "DOCKER_MODEL_COMMAND": "",
        "DOCKER_CONFIG": str(config),
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
    }
