#!/bin/sh
# Tells whether the node's container runtime is configured to run strict-groups, and if so, exits 1 and says how to
# undo it. Without the files that it names no container would start any more, so a package must not take them away.
set -u

found=
# The files' lines that are no comments and name us.
for file in \
  /etc/containerd/*.toml /etc/containerd/*.json /etc/containerd/conf.d/* \
  /etc/crio/crio.conf /etc/crio/crio.conf.d/* \
  /etc/containers/containers.conf /etc/containers/containers.conf.d/* \
  /etc/containers/oci/hooks.d/* /usr/share/containers/oci/hooks.d/* \
  /var/lib/rancher/*/agent/etc/containerd/*.toml* \
  /etc/docker/daemon.json; do
  [ -f "$file" ] || continue
  grep -v '^[[:space:]]*#' "$file" 2>/dev/null | grep -q 'strict-groups' || continue
  found="$found $file"
done
# As containerd starts a plugin itself.
for file in /opt/nri/plugins/*-strict-groups; do
  [ -e "$file" ] && found="$found $file"
done

[ -n "$found" ] || exit 0
cat >&2 <<END
strict-groups is in use on this node, and without it no container would start any more:
 $found
Take it out of the container runtime's configuration first, and restart the runtime:
  strict-groups config containerd --remove /etc/containerd/conf.d && systemctl restart containerd
  strict-groups config crio --remove /etc/containers/oci/hooks.d
and what else names it in these files by hand. Then remove the package again.
STRICT_GROUPS_REMOVE=yes in the environment removes it in any case.
END
[ "${STRICT_GROUPS_REMOVE:-}" = yes ]
