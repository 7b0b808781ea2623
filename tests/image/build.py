"""Builds the image of deploy/Containerfile without a container engine, as an OCI layout: for tests, as root.

    tests/image/build.py CONTEXT LAYOUT

Each FROM is a bare Debian with Python (debootstrap) in place of the official image of Python, which a registry would
have; all other instructions are performed as they are written, in a chroot. Packages come from the indexes of this
machine.
"""

import gzip
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

_BUILD_SECONDS: Final = 1_200
_MIRROR_FILES: Final = ("/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass
class Stage:
    """A stage of the build: its root folder and the configuration of its image."""

    root: Path
    variables: dict[str, str] = field(default_factory=lambda: {"PATH": _PATH})
    config: dict[str, Any] = field(default_factory=dict)


def read_instructions(text: str) -> list[tuple[str, str]]:
    """Return the instructions with their arguments, each in one line."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in joined.splitlines()]


def make_base(folder: Path) -> None:
    """Make a bare Debian with a `python`."""
    run(
        ["debootstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates", _suite(), str(folder)],
    )
    (folder / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    for name in _MIRROR_FILES:
        if (source := Path(name).resolve()).is_file():
            (folder / name[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / name[1:])
    shutil.rmtree(folder / "var/cache/apt/archives")


def build(context: Path, layout: Path, *, containerfile: Path) -> None:
    """Build the last stage of a Containerfile into an OCI layout."""
    with tempfile.TemporaryDirectory(prefix="punchcard-image-") as name:
        scratch = Path(name)
        scratch.chmod(0o755)
        base = scratch / "base"
        make_base(base)
        stages: dict[str, Stage] = {}
        stage = Stage(base)
        for instruction, rest in read_instructions(containerfile.read_text()):
            if instruction == "FROM":
                stage = Stage(scratch / f"stage-{len(stages)}")
                run(["cp", "--archive", "--reflink=auto", str(base), str(stage.root)])
                stages[rest.partition(" AS ")[2] or str(len(stages))] = stage
            else:
                perform(stage, instruction, rest, context=context, stages=stages)
        write_layout(stage, layout)


def perform(stage: Stage, instruction: str, rest: str, *, context: Path, stages: dict[str, Stage]) -> None:
    """Perform one instruction.

    Raises:
        ValueError: There is no such instruction here.
    """
    match instruction:
        case "RUN":
            environment = {**stage.variables, **{name: os.environ[name] for name in os.environ if name[:4] == "PIP_"}}
            run(["chroot", str(stage.root), "/bin/sh", "-c", rest], environment=environment)
        case "COPY":
            copy(stage, shlex.split(rest), context=context, stages=stages)
        case "ENV":
            for pair in shlex.split(rest):
                name, _, value = pair.partition("=")
                stage.variables[name] = re.sub(r"\$(\w+)", lambda match: stage.variables[match[1]], value)
            stage.config["Env"] = [f"{name}={value}" for name, value in stage.variables.items()]
        case "USER":
            stage.config["User"] = rest
        case "WORKDIR":
            stage.config["WorkingDir"] = rest
        case "VOLUME":
            stage.config["Volumes"] = {rest: {}}
        case "EXPOSE":
            stage.config["ExposedPorts"] = {f"{rest}/tcp": {}}
        case "STOPSIGNAL":
            stage.config["StopSignal"] = rest
        case "ENTRYPOINT" | "CMD":
            stage.config[instruction.capitalize()] = json.loads(rest)
        case "HEALTHCHECK":
            stage.config["Healthcheck"] = {"Test": ["CMD", *json.loads(rest.partition("CMD ")[2])]}
        case _:
            raise ValueError(f"{instruction}: there is no such instruction here.")


def copy(stage: Stage, words: list[str], *, context: Path, stages: dict[str, Stage]) -> None:
    """Copy files of the context, or of an earlier stage, into a stage."""
    source = context
    if words[0].startswith("--from="):
        source = stages[words.pop(0).partition("=")[2]].root
    *patterns, target = words
    paths = [path for pattern in patterns for path in sorted(source.glob(pattern.lstrip("/")))]
    if not paths:
        raise FileNotFoundError(f"{patterns} is not in {source}.")
    place = stage.root / target.lstrip("/")
    (place if target.endswith("/") else place.parent).mkdir(parents=True, exist_ok=True)
    for path in paths:
        run(["cp", "--archive", str(path), str(place)])


def write_layout(stage: Stage, layout: Path) -> None:
    """Write an image with one layer as an OCI layout."""
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    plain = layout / "layer.tar"
    with tarfile.open(plain, "w") as archive:
        archive.add(stage.root, arcname=".")
    difference = hashlib.sha256(plain.read_bytes()).hexdigest()
    layer = _store(blobs, gzip.compress(plain.read_bytes(), compresslevel=1))
    plain.unlink()
    content = {
        "architecture": "amd64",
        "os": "linux",
        "config": stage.config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{difference}"]},
    }
    config = _store(blobs, json.dumps(content).encode())
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **config},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", **layer}],
    }
    described = {
        "mediaType": manifest["mediaType"],
        **_store(blobs, json.dumps(manifest).encode()),
        "annotations": {"org.opencontainers.image.ref.name": "punchcard"},
    }
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [described]}))
    (layout / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))


def _store(blobs: Path, content: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    (blobs / digest).write_bytes(content)
    return {"digest": f"sha256:{digest}", "size": len(content)}


def _suite() -> str:
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    return release["VERSION_CODENAME"].strip('"')


def run(command: list[str], *, environment: dict[str, str] | None = None) -> None:
    """Run a command that must succeed.

    Raises:
        RuntimeError: It has failed; with the end of its output.
    """
    with ExitStack() as stack:
        output = stack.enter_context(tempfile.TemporaryFile())
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, timeout=_BUILD_SECONDS
        )
        if done.returncode:
            output.seek(0)
            raise RuntimeError(f"{command[0]} failed: {output.read()[-2_000:].decode(errors='replace')}")


if __name__ == "__main__":
    build(Path(sys.argv[1]), Path(sys.argv[2]), containerfile=Path(sys.argv[1]) / "deploy" / "Containerfile")
