#!/bin/sh
# Tells whether the node's container runtime is configured to run strict-groups, or its kubelet to go through the CRI
# proxy, and if so, exits 1 and says how to undo it. No container would start any more without the files that the runtime
# is told to run, nor without the proxy that the kubelet is pointed at, so a package must not take them away.
set -u

found=
# The files' lines that are no comments and name us.
for file in \
  /etc/containerd/*.toml /etc/containerd/*.json /etc/containerd/conf.d/* \
  /etc/crio/crio.conf /etc/crio/crio.conf.d/* \
  /etc/containers/containers.conf /etc/containers/containers.conf.d/* \
  /etc/containers/oci/hooks.d/* /usr/share/containers/oci/hooks.d/* \
  /var/lib/rancher/*/agent/etc/containerd/*.toml* \
  /etc/docker/daemon.json \
  /var/lib/kubelet/config.yaml /var/lib/kubelet/kubeadm-flags.env /etc/default/kubelet /etc/sysconfig/kubelet \
  /etc/kubernetes/kubelet* /etc/systemd/system/kubelet.service.d/* /usr/lib/systemd/system/kubelet.service.d/* \
  /etc/rancher/*/config.yaml /etc/rancher/*/config.yaml.d/*; do
  [ -f "$file" ] || continue
  grep -v '^[[:space:]]*#' "$file" 2>/dev/null | grep -q 'strict-groups' || continue
  found="$found $file"
done
# The OCI runtime wrapper: containers that were made by it are stopped and removed by it, whatever is configured since.
# containerd's shim keeps the path of a container's OCI runtime in this file.
made=$(grep -l 'strict-groups' /run/containerd/io.containerd.runtime.v2.task/*/*/runtime \
  /run/k3s/containerd/io.containerd.runtime.v2.task/*/*/runtime 2>/dev/null | wc -l)
[ "$made" -eq 0 ] || found="$found $made-containers(made-by-the-wrapper)"
# As containerd starts a plugin itself.
for file in /opt/nri/plugins/*-strict-groups; do
  [ -e "$file" ] && found="$found $file"
done

# It runs where somebody turned it on, for a kubelet whose configuration may be elsewhere.
if [ -d /run/systemd/system ] && systemctl --quiet is-active strict-groups-cri-proxy.service; then
  found="$found strict-groups-cri-proxy.service(active)"
fi

[ -n "$found" ] || exit 0
cat >&2 <<END
strict-groups is in use on this node, and without it no container would start any more:
 $found
Take it out of the container runtime's configuration first, and restart the runtime:
  strict-groups config containerd --remove /etc/containerd/conf.d && systemctl restart containerd
  strict-groups config crio --remove /etc/crio/crio.conf.d && systemctl restart crio
Containers that the wrapper made need it until they are removed: delete their pods, or drain and restart the node.
Where the kubelet goes through the CRI proxy, point it at the runtime's own socket, restart it, and then
  systemctl disable --now strict-groups-cri-proxy.socket strict-groups-cri-proxy.service
Take out by hand what else names it in these files. Then remove the package again.
STRICT_GROUPS_REMOVE=yes in the environment removes it in any case.
END
[ "${STRICT_GROUPS_REMOVE:-}" = yes ]
