#!/usr/bin/env bash
# The DaemonSet and the KEP-3619 example pods in a kind cluster, after `make vm-data`. Not run here: see README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
name=strict-groups-test
trap 'kind delete cluster --name "$name"' EXIT

kind create cluster --name "$name" --config vm-tests/kind.yaml --wait 5m
node=$name-control-plane
for image in example strict-groups; do docker cp "target/vm/data/images/$image.tar" "$node:/$image.tar"; done
docker exec "$node" ctr -n k8s.io images import /example.tar
# By the name that the manifest has.
docker exec "$node" ctr -n k8s.io images import --base-name docker.io/library/strict-groups /strict-groups.tar

kubectl apply -k packaging/kubernetes/overlays/containerd
kubectl -n kube-system rollout status daemonset/strict-groups --timeout=3m
kubectl apply -f vm-tests/kind-pods.yaml
kubectl wait --for=condition=Ready pod/merged pod/strict --timeout=3m

groups() { kubectl exec "$1" -- id -G; }
[[ $(groups merged) == '3000 4000 50000' ]] || { echo "merged has $(groups merged)" >&2; exit 1; }
[[ $(groups strict) == '3000 4000' ]] || { echo "strict has $(groups strict)" >&2; exit 1; }
echo 'kind: both pods are as they should be'
