"""Compose file, Kubernetes manifests and Dockerfiles are valid, checked offline."""

import ipaddress
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from .known_settings import ROOT, faults

BIN = Path(sys.executable).parent
KUBERNETES = "1.33"
SERVICES = ["admin-api", "agent-gateway", "analytics", "config-merger", "inventory", "live-query", "log-shipper"]


def run(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def kustomized(folder: str) -> list[dict]:
    return [document for document in yaml.safe_load_all(run(str(BIN / "kubectl"), "kustomize", folder)) if document]


@pytest.mark.parametrize("folder", ["deploy/k8s/base", "deploy/k8s/overlays/example"])
def test_the_manifests_are_valid(folder):
    for document in kustomized(folder):
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_every_service_is_deployed_ready_checked_and_unprivileged():
    deployments = {d["metadata"]["name"]: d for d in kustomized("deploy/k8s/base") if d["kind"] == "Deployment"}

    assert sorted(deployments) == SERVICES
    for deployment in deployments.values():
        pod = deployment["spec"]["template"]["spec"]
        [container] = pod["containers"]
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_the_base_believes_no_proxy_and_the_overlay_names_a_narrow_network():
    believed = {}
    for folder in ("base", "overlays/example"):
        [configmap] = [d for d in kustomized(f"deploy/k8s/{folder}") if d["kind"] == "ConfigMap"]
        believed[folder] = configmap["data"]["FLOTILLA_TRUSTED_PROXIES"]

    assert believed["base"] == ""
    assert ipaddress.ip_network(believed["overlays/example"]).prefixlen >= 24


def test_hosts_pass_through_and_agent_paths_reach_the_gateway():
    documents = kustomized("deploy/k8s/base")
    ingresses = [d for d in documents if d["kind"] == "Ingress"]
    [hosts] = [d for d in documents if d["kind"] == "Service" and d["metadata"]["name"] == "agent-gateway-hosts"]
    rules = [path for ingress in ingresses for path in ingress["spec"]["rules"][0]["http"]["paths"]]
    paths = {path["path"]: path["backend"]["service"]["name"] for path in rules}

    assert hosts["spec"]["ports"][0]["targetPort"] == "tls"
    assert paths["/api/osquery"] == paths["/api/v1/osquery"] == paths["/api/fleet/orbit"] == "agent-gateway"
    assert paths["/"] == "admin-api"


def test_an_installation_names_its_host_once_for_all_ingresses():
    ingresses = [d["spec"] for d in kustomized("deploy/k8s/overlays/example") if d["kind"] == "Ingress"]

    hosts = {name for spec in ingresses for name in (spec["rules"][0]["host"], *spec["tls"][0]["hosts"])}
    assert hosts == {"fleet.mycompany.example"}


@pytest.mark.parametrize("service", SERVICES)
def test_every_variable_is_a_setting_and_every_required_setting_is_set(service):
    documents = kustomized("deploy/k8s/base")
    [deployment] = [d for d in documents if d["kind"] == "Deployment" and d["metadata"]["name"] == service]
    [configmap] = [d for d in documents if d["kind"] == "ConfigMap"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    environment = {entry["name"]: value_of(entry, configmap) for entry in container["env"]}

    assert faults("analytics-reporter" if service == "analytics" else service, environment) == []


def value_of(entry: dict, configmap: dict) -> str:
    """A variable's value; of those from a secret: its name there."""
    if "value" in entry:
        return entry["value"]
    source = entry["valueFrom"]
    if "configMapKeyRef" in source:
        assert source["configMapKeyRef"]["name"] == configmap["metadata"]["name"]
        return configmap["data"][source["configMapKeyRef"]["key"]]
    return f"{source['secretKeyRef']['name']}/{source['secretKeyRef']['key']}"


def test_every_secret_is_described_for_who_creates_it():
    described = (ROOT / "deploy/k8s/README.md").read_text(encoding="utf-8")
    wanted: set[str] = set()
    for document in kustomized("deploy/k8s/base"):
        if document["kind"] in {"Deployment", "Job"}:
            pod = document["spec"]["template"]["spec"]
            [container] = pod["containers"]
            keys = [entry.get("valueFrom", {}).get("secretKeyRef") for entry in container["env"]]
            wanted |= {key["key"] for key in keys if key}
            wanted |= {volume["secret"]["secretName"] for volume in pod.get("volumes", ()) if "secret" in volume}

    assert {name for name in wanted if f"`{name}`" not in described} == set()


def test_the_gateway_gets_no_database_and_no_redis():
    [gateway] = [
        d
        for d in kustomized("deploy/k8s/base")
        if d["kind"] == "Deployment" and d["metadata"]["name"] == "agent-gateway"
    ]
    names = {entry["name"] for entry in gateway["spec"]["template"]["spec"]["containers"][0]["env"]}

    assert not names & {"FLOTILLA_DATABASE_URL", "FLOTILLA_REDIS_URL"}


def test_the_compose_file_is_valid():
    run(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml")


def test_the_compose_file_runs_every_service():
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))

    several = {"agent-gateway": "agent-gateway-2", "analytics": "analytics-reporter"}
    assert {several.get(service, service) for service in SERVICES} <= set(compose["services"])
    assert "name" not in compose


@pytest.mark.parametrize("service", SERVICES)
def test_the_dockerfile_is_clean(service):
    run(str(BIN / "hadolint"), f"services/{service}/Dockerfile")
