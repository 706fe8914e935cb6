"""Checks packaging/kubernetes offline: what kustomize and Helm make of it is legal in every Kubernetes version from 1.27
on that kubernetes-validate has schemas for, and says what it has to say. Prints one line for each check."""

import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import yaml
from helm_python import errors
from helm_python.chart import Chart, lint

FOLDER = Path("packaging/kubernetes")
CHART = FOLDER / "chart"
SCHEMAS = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
OLDEST = 27
# From which version on there is such a kind.
SINCE = {
    ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy"): 30,
    ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding"): 30,
    ("admissionregistration.k8s.io/v1", "MutatingAdmissionPolicy"): 36,
    ("admissionregistration.k8s.io/v1", "MutatingAdmissionPolicyBinding"): 36,
    ("admissionregistration.k8s.io/v1beta1", "MutatingAdmissionPolicy"): 34,
    ("admissionregistration.k8s.io/v1beta1", "MutatingAdmissionPolicyBinding"): 34,
}
# Of others; their schemas are not at hand.
FOREIGN = "policies.kyverno.io/v1"
CONFIG = 'default_policy = "Strict"\n'
DIGEST = "sha256:" + "0" * 64

# What the chart is rendered with, and checked.
GOOD = {
    "defaults": {},
    "crio": {"runtime": "crio"},
    "config": {"config": CONFIG, "namesOfGroups": False},
    "api": {"kubernetesApi": {"enabled": True}},
    "metrics": {"metrics": {"enabled": True, "port": 9999}, "nodeFeatureDiscovery": {"enabled": True}},
    "everything": {
        "image": {"repository": "registry.example.com/strict-groups", "digest": DIGEST},
        "imagePullSecrets": [{"name": "registry"}],
        "paths": {"hook": "/home/kubernetes/bin/strict-groups", "nri": "/run/other/nri", "containerd": "/run/k3s/containerd"},
        "extraArgs": ["--index", "50"],
        "logLevel": "debug",
        "nodeSelector": {"pool": "old"},
        "affinity": {"nodeAffinity": {}},
        "podAnnotations": {"example.com/a": "b"},
        "podLabels": {"example.com/c": "d"},
    },
}
BAD = {
    "another runtime": {"runtime": "docker"},
    "a key that does not exist": {"imag": {"tag": "1"}},
    "a path that is not absolute": {"paths": {"hook": "opt/strict-groups"}},
    "a path with a slash at the end": {"paths": {"nri": "/var/run/nri/"}},
    "no node at a time": {"maxUnavailable": 0},
    "a privileged port for metrics": {"metrics": {"enabled": True, "port": 80}},
    "a folder for features that is not absolute": {"nodeFeatureDiscovery": {"featuresDir": "features.d"}},
    "a digest that is none": {"image": {"digest": "sha256:12"}},
}

failures = []


def expect(condition, what):
    if not condition:
        failures.append(what)
        print(f"FAILED: {what}")


def versions():
    """The newest patch version of each minor version, as kubernetes-validate names them."""
    names = (path.name.removeprefix("v").removesuffix("-local") for path in SCHEMAS.glob("v*-local"))
    minors = sorted(int(name.split(".")[1]) for name in names)
    return [minor for minor in minors if minor >= OLDEST]


def kustomize(folder):
    made = subprocess.run(["kubectl", "kustomize", str(FOLDER / folder)], check=True, capture_output=True, text=True)
    return list(yaml.safe_load_all(made.stdout))


def validate(name, documents):
    done = 0
    for document in documents:
        kind = (document["apiVersion"], document["kind"])
        if kind[0] == FOREIGN:
            continue
        for minor in versions():
            if minor < SINCE.get(kind, OLDEST):
                continue
            try:
                kubernetes_validate.validate(document, f"1.{minor}", strict=True)
                done += 1
            except Exception as error:  # noqa: BLE001: whatever it is, it is a failure
                expect(False, f"{name}: {kind[1]} in Kubernetes 1.{minor}: {error}")
    return done


def only(documents, kind):
    return [document for document in documents if document["kind"] == kind]


def check_daemonset(name, documents, names_of_groups=True):
    """What a DaemonSet of ours has to be, whoever made it."""
    (daemonset,) = only(documents, "DaemonSet")
    spec, pod = daemonset["spec"], daemonset["spec"]["template"]["spec"]
    is_ours = lambda ok, what: expect(ok, f"{name}: {what}")
    is_ours(daemonset["metadata"]["namespace"] == "kube-system", "in kube-system")
    is_ours(pod["priorityClassName"] == "system-node-critical", "system-node-critical")
    is_ours(spec["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}}, "one node at a time")
    is_ours(pod["tolerations"] == [{"operator": "Exists"}], "on every node")
    is_ours(pod["hostPID"] is True and "hostNetwork" not in pod, "the node's processes, not its network")
    (install,), (plugin,) = pod["initContainers"], pod["containers"]
    for container in (install, plugin):
        security = container["securityContext"]
        added = ["SYS_PTRACE"] if container is plugin and names_of_groups else None
        is_ours(security["capabilities"]["drop"] == ["ALL"], "all capabilities dropped")
        is_ours(security["capabilities"].get("add") == added, f"{container['name']} has {added} added")
        is_ours(security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"], "read-only, no escalation")
        resources = {"requests": {"cpu": "50m", "memory": "8Mi"}, "limits": {"memory": "256Mi"}}
        is_ours(container["resources"] == resources, "50m and 8Mi requested, at most 256Mi")
    is_ours({"livenessProbe", "readinessProbe"} <= plugin.keys(), "probes")
    for volume in pod["volumes"]:
        path = volume.get("hostPath", {"path": "/", "type": "Directory"})
        is_ours(not path["path"].endswith(".sock") and path["type"].startswith("Directory"), f"{volume['name']} is a folder")
    # The path by which the plugin runs is the one by which the node finds the hook.
    hooks = {volume["name"]: volume["hostPath"]["path"] for volume in pod["volumes"] if volume["name"] == "hook"}
    is_ours(plugin["command"][0] == f"{hooks['hook']}/strict-groups", "the hook's path is the node's")
    for container in (install, plugin):
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        is_ours(mounts["hook"] == hooks["hook"], "the hook's folder has one path")
    for policy in only(documents, "NetworkPolicy"):
        # An empty selector would cut off everything else in the namespace.
        is_ours(policy["spec"]["podSelector"] == spec["selector"] and policy["spec"]["podSelector"], "the network of ours only")
    return pod


def check_kustomize():
    for folder, containerd in (("overlays/containerd", True), ("overlays/crio", False)):
        documents = kustomize(folder)
        count = validate(folder, documents)
        pod = check_daemonset(folder, documents)
        has = any(volume.get("hostPath", {}).get("path") == "/run/containerd" for volume in pod["volumes"])
        expect(has == containerd, f"{folder}: containerd's folder")
        expect(not only(documents, "ClusterRole"), f"{folder}: no rights in the API")
        version = next(line.split('"')[1] for line in Path("Cargo.toml").read_text().splitlines() if line.startswith("version"))
        images = {container["image"] for container in pod["containers"] + pod["initContainers"]}
        expect(images == {f"strict-groups:{version}"}, f"{folder}: the image of this version, not {images}")
        print(f"{folder}: {len(documents)} documents, {count} validations")


def check_admission():
    documents = kustomize("admission")
    count = validate("admission", documents)
    for document in documents:
        if document["kind"].startswith("Mutating"):
            count += validate("admission, v1beta1", [{**document, "apiVersion": "admissionregistration.k8s.io/v1beta1"}])
    foreign = kustomize("admission/kyverno")
    expect([document["apiVersion"] for document in foreign] == [FOREIGN] * 2, "admission/kyverno: two policies")
    print(f"admission: {len(documents)} documents, {count} validations; Kyverno's by their CEL alone")


def check_chart():
    with Chart.load(CHART) as chart:
        for name, values in GOOD.items():
            for minor in versions():
                report = lint(CHART, values, strict=True, namespace="kube-system", kube_version=f"v1.{minor}.0")
                # 1 is for information: a chart without an icon.
                wrong = report["errors"] + [message for message in report["messages"] if message["severity"] > 1]
                expect(not wrong, f"chart, {name}: lint for 1.{minor}: {wrong}")
            made = chart.render(values, name="strict-groups", namespace="kube-system")
            texts = [text for path, text in made.items() if path.endswith(".yaml")]
            documents = [document for text in texts for document in yaml.safe_load_all(text) if document]
            count = validate(f"chart, {name}", documents)
            pod = check_daemonset(f"chart, {name}", documents, values.get("namesOfGroups", True))
            api = name == "api"
            expect(bool(only(documents, "ClusterRole")) == api, f"chart, {name}: rights in the API only for it")
            expect(pod["automountServiceAccountToken"] == api, f"chart, {name}: a token only for the API")
            expect(bool(only(documents, "ConfigMap")) == ("config" in values), f"chart, {name}: a ConfigMap only for a configuration")
            expect(("--config" in pod["initContainers"][0]["command"]) == ("config" in values), f"chart, {name}: --config")
            plugin, metrics = pod["containers"][0], name == "metrics"
            ports = [{"name": "metrics", "containerPort": 9999, "protocol": "TCP"}] if metrics else None
            expect(plugin.get("ports") == ports, f"chart, {name}: a port only for metrics")
            expect(("--metrics-address=0.0.0.0:9999" in plugin["args"]) == metrics, f"chart, {name}: --metrics-address")
            open_to = [policy["spec"].get("ingress") for policy in only(documents, "NetworkPolicy")]
            expect(any(open_to) == metrics, f"chart, {name}: nothing comes in but for metrics")
            features = [mount for mount in plugin["volumeMounts"] if mount["name"] == "features"]
            expect(bool(features) == metrics and not any(mount.get("readOnly") for mount in features), f"chart, {name}: a folder for features")
            expect(any(argument.startswith("--nfd-features-dir=") for argument in plugin["args"]) == metrics, f"chart, {name}: --nfd-features-dir")
            print(f"chart, {name}: {len(documents)} documents, {count} validations")
        for name, values in BAD.items():
            try:
                chart.validate_schema(values)
                expect(False, f"chart: {name} is not refused")
            except errors.HelmError:
                print(f"chart: {name} is refused")
        same = chart.metadata["appVersion"] == chart.metadata["version"] and f'version = "{chart.version}"' in Path("Cargo.toml").read_text()
        expect(same, "chart: the versions are those of this version")


check_kustomize()
check_admission()
check_chart()
print(f"Kubernetes 1.{versions()[0]} to 1.{versions()[-1]}")
sys.exit(1 if failures else 0)
