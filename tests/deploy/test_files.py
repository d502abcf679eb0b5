"""The settings, versions and paths that the files of deploy/ name exist. `make check-deploy` does more."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.release import VERSION_PLACES
from gateway.app import DRAIN_SECONDS
from service.application import __version__
from service.supervisor import EXIT_TIMEOUT_SECONDS
from settings import Settings
from tests.support import ROOT

DEPLOY = ROOT / "deploy"
YAML_FILES = sorted([*DEPLOY.rglob("*.y*ml"), *(ROOT / ".github").rglob("*.yml")])
SETTINGS = {name.upper() for name in Settings.__dataclass_fields__}
# Variables of Python and of the packages of the image, not of the server.
OTHER_VARIABLES = {"PYTHONDONTWRITEBYTECODE", "PATH"}


def load(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def compose() -> Any:
    return load("deploy/compose/compose.yaml")


def orderwire_services() -> dict[str, Any]:
    return {name: service for name, service in compose()["services"].items() if service["image"] == "orderwire"}


def unit() -> list[tuple[str, str]]:
    """The directives of the unit."""
    text = (DEPLOY / "systemd/orderwire.service").read_text(encoding="utf-8")
    return [(name, value) for name, value in re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE)]


def containers() -> Iterator[dict[str, Any]]:
    for name in ("base/deployment", "migrate/job"):
        yield from load(f"deploy/kubernetes/{name}.yaml")["spec"]["template"]["spec"]["containers"]


@pytest.mark.parametrize("path", YAML_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_yaml_is_well_formed(path: Path) -> None:
    assert [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]


def test_every_variable_for_the_server_is_a_setting() -> None:
    named: dict[str, set[str]] = {
        "compose": {name for service in orderwire_services().values() for name in service["environment"]},
        "systemd": set(re.findall(r"^(\w+)=", (DEPLOY / "systemd/orderwire.env").read_text(encoding="utf-8"), re.MULTILINE)),
        "unit": {value.split("=")[0] for name, value in unit() if name == "Environment"},
        "kubernetes": {variable["name"] for container in containers() for variable in container["env"]},
        "example": set(
            re.findall(
                r"\{name: ([A-Z_]+), value:", (DEPLOY / "kubernetes/example/kustomization.yaml").read_text(encoding="utf-8")
            )
        ),
        "image": set(re.findall(r"^(?:ENV|   ) +([A-Z_]+)=", final_stage(), re.MULTILINE)),
    }
    assert all(named.values()), named
    assert {place: names - SETTINGS - OTHER_VARIABLES for place, names in named.items()} == {place: set() for place in named}


def test_the_settings_of_the_unit_can_be_used() -> None:
    lines = (DEPLOY / "systemd/orderwire.env").read_text(encoding="utf-8").splitlines()
    variables = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    Settings.from_environment(variables)


def test_every_version_is_that_of_the_code() -> None:
    for name, pattern in VERSION_PLACES:
        text = (ROOT / name).read_text(encoding="utf-8")
        (match,) = re.finditer(pattern, text)
        assert text[match.end(1) : match.start(2)] == __version__, name


def test_every_mounted_file_exists() -> None:
    made = {"./tls"}  # by prepare.sh
    sources = {volume.split(":")[0] for service in compose()["services"].values() for volume in service.get("volumes", [])}
    files = {source for source in sources if source.startswith(".")} - made
    assert {"../../docs/ops/alerts.yml", "../../docs/ops/nginx.conf", "../../docs/ops/grafana-dashboard.json"} <= files
    assert [source for source in files if not (DEPLOY / "compose" / source).is_file()] == []
    assert sources - files - made == set(compose()["volumes"])


def test_the_addresses_in_the_compose_file_belong_together() -> None:
    services = compose()["services"]
    address = {name: services[name]["networks"]["default"]["ipv4_address"] for name in ("server", "nginx")}
    assert services["server"]["environment"]["TRUSTED_PROXIES"] == address["nginx"]
    (script,) = (word for word in services["nginx"]["command"] if word.startswith("sed "))
    nginx = (ROOT / "docs/ops/nginx.conf").read_text(encoding="utf-8")
    pattern, replacement = shlex.split(script)[1].split("/")[1:3]
    assert f"server {address['server']}:8000;" in re.sub(pattern, replacement, nginx)
    # The certificates are mounted where the configuration looks for them.
    (directory,) = {str(Path(path).parent) for path in re.findall(r"ssl_certificate\w* +(\S+);", nginx)}
    assert f"./tls:{directory}:ro" in services["nginx"]["volumes"]


def test_prometheus_scrapes_the_job_that_the_alerts_name() -> None:
    (job,) = load("deploy/compose/prometheus.yml")["scrape_configs"]
    assert f'up{{job="{job["job_name"]}"}}' in (ROOT / "docs/ops/alerts.yml").read_text(encoding="utf-8")
    script = compose()["services"]["metrics-token"]["entrypoint"][-1]
    assert script.endswith(f"> {job['authorization']['credentials_file']}")


def test_nothing_kills_a_server_while_it_drains() -> None:
    drain = max(EXIT_TIMEOUT_SECONDS, DRAIN_SECONDS)
    assert float(compose()["services"]["server"]["stop_grace_period"].removesuffix("s")) > drain
    assert float(dict(unit())["TimeoutStopSec"]) > drain
    pod = load("deploy/kubernetes/base/deployment.yaml")["spec"]["template"]["spec"]
    (delay,) = (
        float(variable["value"]) for variable in pod["containers"][0]["env"] if variable["name"] == "DRAIN_DELAY_SECONDS"
    )
    assert delay > 0
    assert pod["terminationGracePeriodSeconds"] > delay + drain


def test_nothing_runs_as_root_or_writes_to_its_image() -> None:
    for service in compose()["services"].values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
    for container in containers():
        assert container["securityContext"]["readOnlyRootFilesystem"]
    assert re.search(r"^USER \d+:\d+$", final_stage(), re.MULTILINE)
    assert ("DynamicUser", "yes") in unit()


def final_stage() -> str:
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    return text[text.rindex("\nFROM ") :]


def test_packages_of_the_image_are_the_same_as_those_of_make_run() -> None:
    def blocks(name: str) -> set[str]:
        return set(re.split(r"^(?=\S)", (ROOT / "requirements" / name).read_text(encoding="utf-8"), flags=re.MULTILINE))

    assert blocks("server.txt") < blocks("runtime.txt")
