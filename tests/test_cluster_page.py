"""What docs/cluster.md shows of other people's formats: Ray's cluster launcher, KubeRay, Slurm."""

import json
import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ray.autoscaler
import yaml
from jsonschema import Draft202012Validator
from support.cluster_page import PAGE, blocks

STRING, INTEGER, BOOLEAN = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
STRINGS = {"type": "object", "additionalProperties": STRING}
POD = {"type": "object", "required": ["spec"]}  # the page's templates are valid in the strict schema of Kubernetes 1.37


def record(required: str = "", **fields: object) -> dict[str, Any]:
    return {"type": "object", "required": required.split(), "properties": fields, "additionalProperties": False}


# The fields of KubeRay's API reference, release 1.6, that a manifest like ours may have.
GROUP = {"rayStartParams": STRINGS, "template": POD, "resources": STRINGS, "labels": STRINGS}
AUTOSCALER = record(
    idleTimeoutSeconds=INTEGER,
    upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
    version={"enum": ["v1", "v2"]},
    image=STRING,
)
WORKERS = record(
    "groupName template",
    **GROUP,
    **dict.fromkeys(("replicas", "minReplicas", "maxReplicas", "numOfHosts", "idleTimeoutSeconds"), INTEGER),
    groupName=STRING,
    suspend=BOOLEAN,
)
CLUSTER = record(
    "headGroupSpec",
    rayVersion=STRING,
    authOptions=record(mode={"enum": ["disabled", "token"]}, secretName=STRING, enableK8sTokenAuth=BOOLEAN),
    enableInTreeAutoscaling=BOOLEAN,
    autoscalerOptions=AUTOSCALER,
    headGroupSpec=record("template", **GROUP, serviceType=STRING, enableIngress=BOOLEAN),
    workerGroupSpecs={"type": "array", "items": WORKERS},
)
JOB = record(
    "entrypoint",
    **dict.fromkeys(("entrypoint", "runtimeEnvYAML", "jobId", "managedBy"), STRING),
    **dict.fromkeys(("backoffLimit", "ttlSecondsAfterFinished", "activeDeadlineSeconds"), INTEGER),
    shutdownAfterJobFinishes=BOOLEAN,
    suspend=BOOLEAN,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
    clusterSelector=STRINGS,
    rayClusterSpec=CLUSTER,
)
RAY_JOB = record(
    "apiVersion kind metadata spec",
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=record("name", name=STRING, labels=STRINGS),
    spec=JOB,
)


def test_the_rayjob_has_fields_that_kuberay_knows() -> None:
    (text,) = blocks("kuberay")
    manifest = yaml.safe_load(text)
    Draft202012Validator(RAY_JOB).validate(manifest)
    spec = manifest["spec"]
    groups = [spec["rayClusterSpec"]["headGroupSpec"], *spec["rayClusterSpec"]["workerGroupSpecs"]]
    for pod in (group["template"]["spec"] for group in groups):
        named = {each["name"] for each in pod.get("volumes", ())}
        assert {each["name"] for each in pod["containers"][0].get("volumeMounts", ())} == named
    assert spec["rayClusterSpec"]["rayVersion"] == version("ray")


def test_the_launchers_file_fits_rays_schema() -> None:
    schema = json.loads(Path(ray.autoscaler.__file__).with_name("ray-schema.json").read_text())
    (text,) = blocks("launcher")
    config = yaml.safe_load(text)
    Draft202012Validator(schema).validate(config)
    assert set(config) <= set(schema["properties"])  # the schema lets unknown keys pass
    assert config["head_node_type"] in config["available_node_types"]


def test_the_slurm_script_and_all_commands_are_correct_shell() -> None:
    for text in [*blocks("slurm"), *blocks("head"), *blocks("node"), *blocks("laptop")]:
        done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


def test_every_block_of_the_page_is_tested() -> None:
    assert len(re.findall(r"^```\w", PAGE, re.MULTILINE)) == len(
        re.findall(r"^<!-- test: \w+ -->\n```\w", PAGE, re.MULTILINE)
    )
