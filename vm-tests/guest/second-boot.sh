# shellcheck shell=bash
# The scenarios after the reboot, in their order.

# shellcheck disable=SC2034 # used by who reads this
SECOND_BOOT=(rebooted ordering upgrade wrappers_way in_use removed purged daemonset)

rebooted() {
  [[ $(journalctl --list-boots --quiet | wc -l) -ge 2 ]]
  systemctl is-active containerd strict-groups
  within 60 registered
  strict rebooted-strict
  merged rebooted-merge
}

# The kubelet starts when strict-groups is registered, so its first pod is Strict.
ordering() {
  systemctl is-active kubelet
  journalctl --boot --unit kubelet --output cat | grep "^first=$STRICT exec=$STRICT "
  local ready kubelet
  ready=$(property ActiveEnterTimestampMonotonic)
  kubelet=$(systemctl show -P ExecMainStartTimestampMonotonic kubelet)
  echo "figure: strict-groups was ready at $((ready / 1000)) ms, the kubelet started at $((kubelet / 1000)) ms"
  ((ready > 0 && ready < kubelet))
}

# A higher version: the plugin is a new process, what runs goes on.
upgrade() {
  local before proxy id
  before=$(property MainPID)
  systemctl start strict-groups-cri-proxy
  proxy=$(systemctl show -P MainPID strict-groups-cri-proxy)
  id=$(cri keep upgrade-keep --policy Strict | tail -n 1)
  dpkg -i /mnt/vm/packages/upgrade/*.deb
  [[ $(dpkg-query -W -f '${Version}' strict-groups) == *+vm1 ]]
  [[ $(property MainPID) != "$before" ]]
  [[ $(systemctl show -P MainPID strict-groups-cri-proxy) != "$proxy" ]]
  systemctl is-active strict-groups-cri-proxy
  within 60 registered
  [[ $(cri exec "$id") == "$STRICT" ]]
  strict upgrade-strict
  merged upgrade-merge
  cri clear
}

# The wrapper in the place of NRI and plugin, and back. What was made by it keeps it until it is gone.
wrappers_way() {
  local id
  documented wrapper
  strict wrapper-strict
  strict wrapper-crun --handler crun
  merged wrapper-merge
  merged wrapper-merge-crun --handler crun
  id=$(cri keep wrapper-keep --policy Strict | tail -n 1)
  if strict-groups config containerd --remove /etc/containerd/conf.d 2>/tmp/left; then die 'all was removed'; fi
  grep -F 'stays: it is the OCI runtime of' /tmp/left
  if dpkg --remove strict-groups 2>/tmp/made-by; then die 'it was removed'; fi
  grep -F 'containers(made-by-the-wrapper)' /tmp/made-by
  systemctl restart containerd
  [[ $(cri exec "$id") == "$STRICT" ]]
  cri clear
  strict-groups config containerd --remove /etc/containerd/conf.d
  strict-groups config containerd --write /etc/containerd/conf.d
  systemctl restart containerd
  systemctl enable --now strict-groups
  within 60 registered
  strict wrapper-back
}

# It does not go while containerd is told to run it, nor while the CRI proxy runs.
in_use() {
  if dpkg --remove strict-groups 2>/tmp/in-use; then die 'it was removed'; fi
  grep -F 'strict-groups-cri-proxy.service(active)' /tmp/in-use
  systemctl stop strict-groups-cri-proxy.socket strict-groups-cri-proxy.service
  if dpkg --remove strict-groups 2>/tmp/in-use; then die 'it was removed'; fi
  if grep -F '(active)' /tmp/in-use; then die 'the proxy is said to run'; fi
  # dpkg stops nothing before it asks.
  within 60 registered
  strict in-use-strict
  merged in-use-merge
}

# As docs/install.md says: the node merges again, and starts what it did.
removed() {
  documented remove
  [[ ! -e /usr/bin/strict-groups ]]
  systemctl is-active containerd
  merged removed-merge
  groups removed-annotated "$MERGED" --policy Strict
  merged removed-crun --handler crun
}

purged() {
  documented purge
  [[ ! -e /etc/strict-groups ]]
  merged purged-merge
}

# The image alone, with what the DaemonSet gives it. Then the node's own part, as packaging/README.md says.
daemonset() {
  local plugin image
  # The tag is the image's own.
  ctr -n k8s.io images import --base-name localhost/strict-groups /mnt/vm/images/strict-groups.tar
  image=$(ctr -n k8s.io images list --quiet | grep '^localhost/strict-groups:')
  plugin=$(cri daemon start "$image")
  documented kubernetes-node
  cri daemon ready "$plugin"
  strict daemonset-strict
  merged daemonset-merge
  # Without the plugin, the static gate of the installed binary refuses.
  cri daemon stop "$plugin"
  refused daemonset-away 'strict-groups'
  merged daemonset-away-merge
}
