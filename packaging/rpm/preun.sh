# 0: no version stays. What the container runtime is told to run is not taken away.
if [ "$1" -eq 0 ]; then
  /usr/lib/strict-groups/in-use || exit 1
  if [ -x /usr/bin/systemctl ]; then
    systemctl --no-reload disable --now strict-groups.service strict-groups-cri-proxy.socket strict-groups-cri-proxy.service || :
  fi
fi
