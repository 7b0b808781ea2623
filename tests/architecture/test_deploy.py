"""The files of `deploy/` are ones that their programs accept, and fit to Punchcard."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from punchcard.runtime.settings import setting_entries
from punchcard.testing.certificates import make_certificate
from punchcard.testing.ports import reserved_port

DEPLOY = Path(__file__).parents[2] / "deploy"
_EXPOSURE_MAX = 2.0


def tool(name: str) -> str:
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def run(*command: str, folder: Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done
    return done.stdout + done.stderr


def test_every_variable_is_a_setting() -> None:
    texts = {str(path): path.read_text() for path in DEPLOY.rglob("*") if path.is_file()}
    assert len(texts) >= 5
    known = {entry.variable for entry in setting_entries()}
    used = {name for text in texts.values() for name in re.findall(r"\bPUNCHCARD_[A-Z_]+\b", text)}
    assert used - known == set()


def test_systemd_accepts_the_unit_and_finds_it_closed(tmp_path: Path) -> None:
    unit = (DEPLOY / "systemd" / "punchcard.service").read_text()
    # The command is not installed here; any program stands for it.
    (tmp_path / "punchcard.service").write_text(unit.replace("/opt/punchcard/bin/punchcard", "/bin/true"))
    analyze = tool("systemd-analyze")
    assert run(analyze, "verify", str(tmp_path / "punchcard.service")) == ""
    security = run(analyze, "security", "--offline=yes", str(tmp_path / "punchcard.service"))
    exposure = re.search(r"Overall exposure level for punchcard.service: ([\d.]+)", security)
    assert exposure is not None
    assert float(exposure[1]) <= _EXPOSURE_MAX


def test_nginx_accepts_its_file(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "points")
    text = (DEPLOY / "nginx" / "punchcard.conf").read_text()
    text = re.sub(r"ssl_certificate \S+;", f"ssl_certificate {certificate};", text)
    text = re.sub(r"ssl_certificate_key \S+;", f"ssl_certificate_key {key};", text)
    folders = "".join(
        f"{name}_temp_path {tmp_path}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    with reserved_port() as http, reserved_port() as https:  # nginx binds them, and 80 is for root only
        text = re.sub(r"listen \[::\]:\d+[^;]*;", "", text)
        text = text.replace("listen 80;", f"listen 127.0.0.1:{http};")
        text = text.replace("listen 443 ssl;", f"listen 127.0.0.1:{https} ssl;")
        (tmp_path / "nginx.conf").write_text(
            f"pid {tmp_path}/nginx.pid;\nevents {{}}\nhttp {{ access_log off;\n{folders}{text}}}\n"
        )
        run(tool("nginx"), "-t", "-e", str(tmp_path / "error.log"), "-c", str(tmp_path / "nginx.conf"))


def test_caddy_accepts_its_file() -> None:
    run(tool("caddy"), "validate", "--adapter", "caddyfile", "--config", str(DEPLOY / "caddy" / "Caddyfile"))


def test_compose_runs_the_image_with_its_data_in_a_volume() -> None:
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["punchcard"]
    assert (DEPLOY / service["build"]["context"]).resolve() == DEPLOY.parent
    assert (DEPLOY.parent / service["build"]["dockerfile"]).is_file()
    image = (DEPLOY / "Containerfile").read_text()
    (volume,) = service["volumes"]
    assert f"VOLUME {volume.partition(':')[2]}" in image
    assert f"PUNCHCARD_DATA={volume.partition(':')[2]}" in image
    assert re.search(r"^USER punchcard$", image, re.MULTILINE)
    assert service["read_only"] is True
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_the_files_that_the_image_copies_are_there_or_built() -> None:
    copied = re.findall(r"^COPY (?!--from)(\S+)", (DEPLOY / "Containerfile").read_text(), re.MULTILINE)
    assert copied == ["requirements/runtime.txt", "dist/punchcard-*.whl"]
    assert (DEPLOY.parent / copied[0]).is_file()
    assert "dist" in re.findall(r"^wheel:.*\n\t.*-w (\w+)", (DEPLOY.parent / "Makefile").read_text(), re.MULTILINE)
