# shellcheck shell=bash
# The scenarios of the first boot, in their order.

# shellcheck disable=SC2034 # used by who reads this
FIRST_BOOT=(before install example journal away crash watchdog apparmor crun gvisor field kubelet)

# The node before: it merges.
before() {
  systemctl is-active containerd
  [[ $(stat -fc %T /sys/fs/cgroup) == cgroup2fs ]]
  for image in sandbox example; do ctr -n k8s.io images import "/mnt/vm/images/$image.tar"; done
  # Another name in config.toml than ours: what names strict-groups there keeps the package from being removed.
  ctr -n k8s.io images tag localhost/strict-groups/sandbox:1 localhost/pause:1
  merged before
  groups before-annotated "$MERGED" --policy Strict
  echo "figure: $(containerd --version | cut -d' ' -f3)"
}

# As docs/install.md says.
install() {
  cd /mnt/vm/packages || exit
  documented package
  systemctl is-enabled strict-groups
  cd /
  documented containerd
  within 60 registered
  documented verify
}

example() {
  strict example-strict
  merged example-merge
  # systemd manages the containers' cgroups.
  local id
  id=$(cri keep example-cgroup --policy Strict | tail -n 1)
  systemctl is-active "cri-containerd-$id.scope"
  cri clear
}

# The fields that the README promises.
journal() {
  strict journal-pod
  local entry
  entry=$(journalctl --boot --output json POD=journal-pod NAMESPACE=default CONTAINER=app | tail -n 1)
  echo "$entry"
  for field in '"REMOVED_GROUPS":"50000(group-in-image)"' '"GROUPS":"3000,4000"' '"_SYSTEMD_UNIT":"strict-groups.service"'; do
    [[ ${entry//\" : \"/\":\"} == *"$field"* ]] || die "no $field"
  done
}

# While the plugin is away, Strict is refused and Merge starts.
away() {
  systemctl stop strict-groups
  refused away-strict 'strict-groups'
  merged away-merge
  systemctl start strict-groups
  registered
  strict away-back
}

# Killed: systemd starts it again, it registers, and Strict is enforced.
crash() {
  local before after began=$SECONDS
  before=$(property MainPID)
  kill -KILL "$before"
  # shellcheck disable=SC2317,SC2329 # called by within
  again() { after=$(property MainPID); [[ $after != 0 && $after != "$before" ]] && registered; }
  within 60 again
  echo "figure: registered again after $((SECONDS - began)) s"
  strict crash-strict
}

# Stopped, it gives no sign of life: the watchdog ends it. The limit is a shorter one, for the test.
watchdog() {
  local before began
  mkdir -p /run/systemd/system/strict-groups.service.d
  printf '[Service]\nWatchdogSec=5\n' >/run/systemd/system/strict-groups.service.d/watchdog.conf
  systemctl daemon-reload
  systemctl restart strict-groups
  within 60 registered
  before=$(property MainPID)
  kill -STOP "$before"
  began=$SECONDS
  # shellcheck disable=SC2317,SC2329
  again() { [[ $(property MainPID) != 0 && $(property MainPID) != "$before" ]] && registered; }
  within 90 again
  echo "figure: registered again after $((SECONDS - began)) s, with WatchdogSec=5"
  journalctl --boot --unit strict-groups --output cat | grep 'Watchdog timeout'
  strict watchdog-strict
  rm /run/systemd/system/strict-groups.service.d/watchdog.conf
  systemctl daemon-reload
  systemctl restart strict-groups
  within 60 registered
}

# Confined as Debian does it, and Strict.
apparmor() {
  [[ $(</sys/module/apparmor/parameters/enabled) == Y ]]
  strict apparmor-strict | tee /tmp/apparmor
  grep -F 'apparmor=cri-containerd.apparmor.d (enforce)' /tmp/apparmor
}

crun() {
  strict crun-strict --handler crun
  merged crun-merge --handler crun
  echo "figure: $(/usr/bin/crun --version | head -n 1)"
}

# gVisor. The process that the node sees is the sandbox, so the container is asked itself.
gvisor() {
  command install -m 0755 /mnt/vm/gvisor/{runsc,containerd-shim-runsc-v1} /usr/local/bin/
  merged gvisor-merge --handler runsc --inside
  strict gvisor-strict --handler runsc --inside
  # gVisor runs createRuntime hooks, so the gate that the plugin gave the container was there.
  local id bundle
  id=$(cri keep gvisor-gate --policy Strict --handler runsc --inside | tail -n 1)
  bundle=/run/containerd/io.containerd.runtime.v2.task/k8s.io/$id
  grep -F '"createRuntime"' "$bundle/config.json"
  strict-groups list | grep -F not-verified
  cri clear
  # Its handler has the static gate like any other.
  systemctl stop strict-groups
  refused gvisor-away strict-groups --handler runsc --inside
  merged gvisor-away-merge --handler runsc --inside
  systemctl start strict-groups
  within 60 registered
  echo "figure: $(runsc --version | head -n 1)"
}

# The field itself, through the CRI proxy: the CRI client makes the calls that a kubelet makes, without an annotation.
field() {
  export CONTAINER_RUNTIME_ENDPOINT=/run/strict-groups-cri/cri.sock
  # What an old runtime makes of it by itself.
  CONTAINER_RUNTIME_ENDPOINT='' groups field-without "$MERGED" --field
  [[ $(CONTAINER_RUNTIME_ENDPOINT='' cri feature) == false ]]
  documented proxy
  [[ $(cri feature) == true ]]
  groups field-strict "$STRICT" --field | tee /tmp/field
  grep -F ' user=1000:3000:3000,4000' /tmp/field
  merged field-merge
  # Killed: systemd holds the socket and starts it again.
  local before
  before=$(systemctl show -P MainPID strict-groups-cri-proxy)
  kill -KILL "$before"
  groups field-killed "$STRICT" --field
  [[ $(systemctl show -P MainPID strict-groups-cri-proxy) != "$before" ]]
  # The feature is there while it is enforced.
  systemctl stop strict-groups
  [[ $(cri feature) == false ]]
  if cri run field-away --field 2>/tmp/away; then die 'it started'; fi
  grep -F 'cannot be enforced at the moment' /tmp/away
  merged field-away-merge
  systemctl start strict-groups
  within 60 registered
  groups field-back "$STRICT" --field
  unset CONTAINER_RUNTIME_ENDPOINT
  documented proxy-off
  [[ ! -S /run/strict-groups-cri/cri.sock ]]
  strict field-over
}

# A stand-in that does at once what a kubelet may do: it starts a pod. Looked at after the reboot.
kubelet() {
  cat >/etc/systemd/system/kubelet.service <<'END'
[Unit]
Description=stands in for the kubelet
Wants=containerd.service
After=containerd.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStartPre=/bin/sh -c '[ -e /mnt/vm/xtask ] || { mkdir -p /mnt/vm && mount -o ro /dev/vda /mnt/vm; }'
ExecStart=/mnt/vm/xtask cri-pod run kubelet-first --policy Strict

[Install]
WantedBy=multi-user.target
END
  # A container that does not end on SIGTERM would hold the reboot up for 90 s.
  mkdir -p /etc/systemd/system.conf.d
  printf '[Manager]\nDefaultTimeoutStopSec=10s\n' >/etc/systemd/system.conf.d/stop.conf
  systemctl daemon-reload
  systemctl enable kubelet
  # What lives over the reboot.
  cri keep lives --policy Strict
  systemctl is-active strict-groups
}
