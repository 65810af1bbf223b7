"""Manifests and chart values: kinds, names that refer to each other, commands and versions.

No cluster is here: with the package kubernetes-validate, which is not required, the manifests are
also compared with Kubernetes's own schemas.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from batch_predictions.core.home_bucket import CACHE_VARIABLE
from batch_predictions.inference.dagster.assets import GPU
from batch_predictions.settings import Settings
from batch_predictions_tests.worlds.deployment import DEPLOYMENT, PROGRAM, parse_command, read_yaml
from batch_predictions_tests.worlds.http_service import running_service
from batch_predictions_tests.worlds.paths import ROOT

KINDS = {
    ("v1", "ConfigMap"): "batch-predictions-settings",
    ("apps/v1", "Deployment"): "batch-predictions-serve",
    ("v1", "Service"): "batch-predictions-serve",
    ("policy/v1", "PodDisruptionBudget"): "batch-predictions-serve",
    ("ray.io/v1", "RayCluster"): "batch-predictions-ray",
}
HOME = "s3://shop-predictions/home"
SECRETS = {"batch-predictions", "batch-predictions-serve"}
"""Those that docs/how_to/deploy_kubernetes.md makes, besides dagster-postgresql."""


def read_manifests(name: str) -> dict[str, dict[str, Any]]:
    """The manifests of a file by kind and name."""
    documents = read_yaml("kubernetes", f"{name}.yaml")
    return {f"{item['kind']} {item['metadata']['name']}": item for item in documents}


MANIFESTS = {
    key: manifest
    for name in ("settings", "serve", "cronjobs", "raycluster")
    for key, manifest in read_manifests(name).items()
}
CRON_JOBS = [item for item in MANIFESTS.values() if item["kind"] == "CronJob"]


def pod_specs() -> dict[str, dict[str, Any]]:
    """The pods that the manifests start."""
    specs = {"serve": MANIFESTS["Deployment batch-predictions-serve"]["spec"]["template"]["spec"]}
    for job in CRON_JOBS:
        template = job["spec"]["jobTemplate"]["spec"]["template"]
        specs[job["metadata"]["name"]] = template["spec"]
    ray = MANIFESTS["RayCluster batch-predictions-ray"]["spec"]
    for group in [ray["headGroupSpec"], *ray["workerGroupSpecs"]]:
        specs[f"ray {group.get('groupName', 'head')}"] = group["template"]["spec"]
    return specs


def constraint(package: str) -> str:
    """The tested version of a package."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    return re.search(rf"^{package}==(\S+)$", text, re.M)[1]  # type: ignore[index]


def test_kinds_and_versions_of_the_interface() -> None:
    found = {(item["apiVersion"], item["kind"]): item for item in MANIFESTS.values()}
    for key, name in KINDS.items():
        assert found[key]["metadata"]["name"] == name
    names = {job["metadata"]["name"] for job in CRON_JOBS}
    assert names == {"batch-predictions-run", "batch-predictions-watch"}
    assert {job["apiVersion"] for job in CRON_JOBS} == {"batch/v1"}


def test_kubernetes_accepts_the_manifests() -> None:
    validator = pytest.importorskip(
        "kubernetes_validate",
        reason="Kubernetes's schemas are not installed: pip install kubernetes-validate (108 MB)",
    )
    for item in MANIFESTS.values():
        if item["kind"] != "RayCluster":
            validator.validate(item, "1.31", strict=True)
    for name, spec in pod_specs().items():
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}
        validator.validate(pod, "1.31", strict=True)
        with pytest.raises(validator.ValidationError):
            validator.validate(pod | {"spec": {**spec, "fly": name}}, "1.31", strict=True)


@pytest.mark.parametrize("name", sorted(pod_specs()))
def test_a_pod_has_no_rights_and_refers_to_what_exists(name: str) -> None:
    spec = pod_specs()[name]
    user = re.findall(r"^USER (\d+):(\d+)$", dockerfile(), re.M)
    security = spec["securityContext"]
    assert security["runAsNonRoot"] is True
    assert {(str(security["runAsUser"]), str(security["runAsGroup"]))} == set(user)
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    for volume in volumes.values():
        assert "persistentVolumeClaim" not in volume, "no volume is shared"
        settings = volume.get("configMap", {}).get("name", "batch-predictions-settings")
        assert f"ConfigMap {settings}" in MANIFESTS
    for container in spec["containers"]:
        assert {mount["name"] for mount in container["volumeMounts"]} <= set(volumes)
        assert {source["secretRef"]["name"] for source in container["envFrom"]} <= SECRETS
        assert "memory" in container["resources"]["limits"]
        if name != "serve":
            variables = {item["name"]: item["value"] for item in container["env"]}
            assert variables["BATCH_PREDICTIONS_HOME"] == HOME
            paths = [mount["mountPath"] for mount in container["volumeMounts"]]
            assert variables[CACHE_VARIABLE] in paths
        if "command" in container:
            program, *words = container["command"]
            assert program == PROGRAM and parse_command(words)
        if not name.startswith("ray"):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def dockerfile() -> str:
    """The Dockerfile of all images."""
    return (DEPLOYMENT / "docker" / "Dockerfile").read_text(encoding="utf-8")


def test_probes_ask_addresses_of_the_service_on_its_port(tmp_path: Path) -> None:
    [container] = pod_specs()["serve"]["containers"]
    [port] = container["ports"]
    words = container["command"]
    assert str(port["containerPort"]) == words[words.index("--port") + 1]
    for probe, path in {"readinessProbe": "/readyz", "livenessProbe": "/healthz"}.items():
        assert container[probe]["httpGet"] == {"path": path, "port": port["name"]}
    with running_service(Settings(home=tmp_path / "home")) as client:
        # Without a release the process lives, and is not ready.
        assert client.get("/healthz").status == 200
        assert client.get("/readyz").json["type"] == "/problems/no-release"
    service = MANIFESTS["Service batch-predictions-serve"]["spec"]
    assert [item["targetPort"] for item in service["ports"]] == [port["name"]]


def test_the_service_and_the_budget_select_the_pods() -> None:
    deployment = MANIFESTS["Deployment batch-predictions-serve"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == labels
    assert MANIFESTS["Service batch-predictions-serve"]["spec"]["selector"] == labels
    budget = MANIFESTS["PodDisruptionBudget batch-predictions-serve"]["spec"]
    assert budget["selector"]["matchLabels"] == labels
    assert budget["minAvailable"] < deployment["replicas"]
    grace = pod_specs()["serve"]["terminationGracePeriodSeconds"]
    # Requests that have begun are answered within 10 seconds of the signal.
    assert grace >= 10 + int(pod_specs()["serve"]["containers"][0]["lifecycle"]["preStop"]["exec"]
                             ["command"][1])  # fmt: skip


def test_the_settings_of_the_pods_are_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = MANIFESTS["ConfigMap batch-predictions-settings"]["data"]["batch_predictions.yaml"]
    (tmp_path / "batch_predictions.yaml").write_text(text)
    settings = Settings.load()
    assert settings.execution.executor == "kubernetes"
    # Commands have no launcher of Kubernetes: their steps run in their own process.
    for job in CRON_JOBS:
        spec = pod_specs()[job["metadata"]["name"]]
        for variable in spec["containers"][0]["env"]:
            # The bucket is not here.
            if variable["name"] != "BATCH_PREDICTIONS_HOME":
                monkeypatch.setenv(variable["name"], variable["value"])
        assert Settings.load().execution.executor == "in_process"
        assert job["spec"]["concurrencyPolicy"] == "Forbid"
        assert job["spec"]["jobTemplate"]["spec"]["backoffLimit"] == 0
    [run] = [job for job in CRON_JOBS if job["metadata"]["name"] == "batch-predictions-run"]
    assert run["spec"]["suspend"] is True, "beside the chart's daemon, a night would run twice"


def test_the_chart_runs_the_code_location_with_the_home_and_postgresql() -> None:
    [values] = read_yaml("kubernetes", "dagster-values.yaml")
    [code] = values["dagster-user-deployments"]["deployments"]
    assert code["dagsterApiGrpcArgs"][0] == "-m"
    assert importlib.util.find_spec(code["dagsterApiGrpcArgs"][1])
    assert code["includeConfigInLaunchedRuns"] == {"enabled": True}
    mounts = {mount["mountPath"]: mount["name"] for mount in code["volumeMounts"]}
    assert code["env"]["BATCH_PREDICTIONS_HOME"] == HOME
    assert mounts[code["env"][CACHE_VARIABLE]] == "cache"
    assert set(mounts.values()) == {volume["name"] for volume in code["volumes"]}
    assert values["postgresql"]["postgresqlScheme"] == "postgresql+psycopg2"
    assert values["runLauncher"]["type"] == "K8sRunLauncher"
    text = (DEPLOYMENT / "kubernetes" / "dagster-values.yaml").read_text(encoding="utf-8")
    assert f"--version {constraint('dagster')}" in text
    instance = yaml.safe_load((ROOT / "dagster.yaml").read_text(encoding="utf-8"))
    pools = instance["concurrency"]["pools"]
    assert values["concurrency"]["pools"] == {
        "defaultLimit": pools["default_limit"],
        "granularity": pools["granularity"],
    }
    images = {code["image"]["repository"]} | {
        container["image"].partition(":")[0]
        for name, spec in pod_specs().items()
        for container in spec["containers"]
        if name.startswith("batch-predictions")
    }
    assert images == {"registry.example/batch-predictions"}


def test_dagster_accepts_the_gpu_of_the_step_score_and_the_resources_of_runs() -> None:
    job = pytest.importorskip(
        "dagster_k8s.job", reason="dagster-k8s is not installed: pip install -e '.[kubernetes]'"
    )
    config = job.UserDefinedDagsterK8sConfig.from_dict(GPU["dagster-k8s/config"])
    assert config.container_config["resources"]["limits"] == {"nvidia.com/gpu": "1"}
    [toleration] = config.pod_spec_config["tolerations"]
    ray = MANIFESTS["RayCluster batch-predictions-ray"]["spec"]["workerGroupSpecs"]
    [group] = [item for item in ray if item["groupName"] == "gpu"]
    assert group["template"]["spec"]["tolerations"] == [toleration]
    [values] = read_yaml("kubernetes", "dagster-values.yaml")
    runs = values["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]
    snake = {
        re.sub(r"([A-Z])", lambda match: "_" + match[1].lower(), key): runs[key] for key in runs
    }
    snake["job_spec_config"] = {"ttl_seconds_after_finished": 86400}
    job.UserDefinedDagsterK8sConfig.from_dict(snake)


def test_ray_has_the_tested_version_and_workers_with_gpus() -> None:
    ray = MANIFESTS["RayCluster batch-predictions-ray"]
    assert ray["spec"]["rayVersion"] == constraint("ray")
    text = (DEPLOYMENT / "kubernetes" / "raycluster.yaml").read_text(encoding="utf-8")
    [address] = re.findall(r'ray_address: "([^"]+)"', text)
    head = ray["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in head["ports"]}
    assert address == f"ray://{ray['metadata']['name']}-head-svc:{ports['client']}"
    settings = Settings(inference={"engine": "ray", "ray_address": address})
    assert settings.inference.ray_address == address
    for group in ray["spec"]["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
