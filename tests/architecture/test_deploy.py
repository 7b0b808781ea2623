"""The files of `deploy/` are ones that their programs accept, and fit to Punchcard."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from punchcard.runtime.settings import setting_entries
from punchcard.testing.certificates import make_certificate
from punchcard.testing.ports import reserved_port

DEPLOY = Path(__file__).parents[2] / "deploy"
CHART = DEPLOY / "helm" / "punchcard"
UNPACKED = Path(__file__).parents[1] / "proxies" / "unpacked"
FOLDERS = (f"{UNPACKED}/usr/sbin", f"{UNPACKED}/usr/bin", os.environ["PATH"], "/usr/sbin", "/sbin")
# The oldest version that the chart accepts, and a current one.
KUBERNETES = ("1.25.0", "1.34.0")
STORAGE = {
    "secret.databaseUrl": "postgresql://db/punchcard",
    "secret.secretKey": "correct horse battery staple",
    "lakeUrl": "s3://bucket/lake",
}
_EXPOSURE_MAX = 2.0


def tool(name: str, *, target: str = "") -> str:
    """Return the path of a program; skip the test if there is none.

    Args:
        target: Of the Makefile, which gets it.
    """
    path = shutil.which(name, path=os.pathsep.join((str(Path(sys.executable).parent), *FOLDERS)))
    if path is None:
        pytest.skip(f"{name} is not installed" + (f": `make {target}` gets it" if target else ""))
    return path


def run(*command: str, folder: Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
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


@pytest.mark.parametrize("name", ["punchcard.conf", "cluster.conf"])
def test_nginx_accepts_its_file(tmp_path: Path, name: str) -> None:
    certificate, key = make_certificate(tmp_path, "points")
    text = re.sub(r"server serve-\d:", "server 127.0.0.1:", (DEPLOY / "nginx" / name).read_text())
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
        run(
            tool("nginx", target="proxies"), "-t", "-e", str(tmp_path / "error.log"), "-c", str(tmp_path / "nginx.conf")
        )


def test_caddy_accepts_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))  # it keeps certificates there
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    run(
        tool("caddy", target="proxies"),
        "validate",
        "--adapter",
        "caddyfile",
        "--config",
        str(DEPLOY / "caddy" / "Caddyfile"),
    )


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


def test_compose_of_a_cluster_has_no_part_that_may_not_fail() -> None:
    services = yaml.safe_load((DEPLOY / "compose.cluster.yaml").read_text())["services"]
    ours = {name: service for name, service in services.items() if service["image"] == "punchcard"}
    assert sorted(service["command"][0] for service in ours.values()) == [
        "engage",
        "serve",
        "serve",
        "worker",
        "worker",
    ]
    for name, service in ours.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        # Only serving processes have something to ask for their health.
        assert ("healthcheck" in service) == (service["command"][0] != "serve"), name
    (environment,) = {str(service["environment"]): service["environment"] for service in ours.values()}.values()
    brokers = environment["PUNCHCARD_LOG_URL"].removeprefix("kafka://").partition("/")[0].split(",")
    assert {broker.partition(":")[0] for broker in brokers} == {name for name in services if name.startswith("kafka")}
    voters = services["kafka-1"]["environment"]["KAFKA_CONTROLLER_QUORUM_VOTERS"]
    assert voters.split(",") == [f"{number}@kafka-{number}:9093" for number in (1, 2, 3)]
    for number in (1, 2, 3):
        assert services[f"kafka-{number}"]["environment"]["KAFKA_NODE_ID"] == str(number)
    balanced = re.findall(r"server (serve-\d):8080", (DEPLOY / "nginx" / "cluster.conf").read_text())
    assert sorted(balanced) == sorted(name for name, service in ours.items() if service["command"] == ["serve"])
    for name, service in services.items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name


def rendered(version: str = KUBERNETES[-1], **values: str) -> list[dict[str, Any]]:
    """Return the manifests of the chart.

    Args:
        version: Of Kubernetes.
        values: Names have two underscores in place of a dot.
    """
    given = STORAGE | {name.replace("__", "."): value for name, value in values.items()}
    options = [option for name, value in given.items() for option in ("--set", f"{name}={value}")]
    text = run(tool("helm", target="helm"), "template", "points", str(CHART), "--kube-version", version, *options)
    return [manifest for manifest in yaml.safe_load_all(text) if manifest]


def pods_of(manifests: list[dict[str, Any]]) -> Mapping[str, dict[str, Any]]:
    """Return the pods of the deployments, by their half of the product."""
    deployments = [each["spec"]["template"] for each in manifests if each["kind"] == "Deployment"]
    return {pod["metadata"]["labels"]["app.kubernetes.io/component"]: pod["spec"] for pod in deployments}


def test_helm_finds_nothing_wrong_with_the_chart() -> None:
    options = [option for name, value in STORAGE.items() for option in ("--set", f"{name}={value}")]
    assert "0 chart(s) failed" in run(tool("helm", target="helm"), "lint", "--strict", str(CHART), *options)


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_accepts_the_manifests(version: str) -> None:
    kubernetes = pytest.importorskip("kubernetes_validate", reason="`make helm` installs the schemas of Kubernetes")
    manifests = rendered(version, serve__autoscaling__enabled="true", ingress__enabled="true", ingress__tlsSecret="tls")
    assert {manifest["kind"] for manifest in manifests} == {
        "Deployment",
        "HorizontalPodAutoscaler",
        "Ingress",
        "PodDisruptionBudget",
        "Secret",
        "Service",
        "ServiceAccount",
    }
    for manifest in manifests:
        kubernetes.validate(manifest, version, strict=True)


def test_the_pods_of_the_chart_are_closed_and_get_settings_only() -> None:
    pods = pods_of(rendered(settings__PUNCHCARD_LOG_LEVEL="debug"))
    assert {half: pod["containers"][0]["args"][0] for half, pod in pods.items()} == {
        "serve": "serve",
        "worker": "worker",
        "engage": "engage",
    }
    known = {entry.variable for entry in setting_entries()}
    for half, pod in pods.items():
        (container,) = pod["containers"]
        # With them, Kubernetes would add PUNCHCARD_PORT=tcp://… for the Service.
        assert pod["enableServiceLinks"] is False, half
        assert pod["automountServiceAccountToken"] is False, half
        assert pod["securityContext"]["runAsNonRoot"] is True, half
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {variable["name"] for variable in container["env"]} <= known, half
        assert ("readinessProbe" in container) == (half == "serve"), half


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"secret__databaseUrl": ""}, "secret.databaseUrl is missing"),
        ({"secret__secretKey": ""}, "secret.secretKey is missing"),
        ({"lakeUrl": ""}, "lakeUrl is missing"),
        ({"lakeUrl": "/data/lake"}, "pattern"),
        ({"secret__databaseUrl": "sqlite:///data/p.db"}, "pattern"),
        ({"settings__PORT": "80"}, "invalid propertyName"),
        ({"worker__replica": "2"}, "replica"),
    ],
)
def test_values_that_cannot_work_are_refused_with_the_reason(values: dict[str, str], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        rendered(**values)
