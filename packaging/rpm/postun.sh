if [ "$1" -eq 0 ]; then
  rm -f /usr/bin/strict-groups-runtime
  rmdir /usr/lib/strict-groups 2>/dev/null || :
fi
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload || :
  # 1: another version stays.
  if [ "$1" -ge 1 ]; then
    systemctl try-restart strict-groups.service strict-groups-cri-proxy.service || :
  fi
fi
