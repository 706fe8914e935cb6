# The wrapper's link is made here: cargo-generate-rpm packs no links.
ln -sfn strict-groups /usr/bin/strict-groups-runtime
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload || :
fi
# 1: the first installation; whether it is enabled is the distribution's or the administrator's to say.
if [ "$1" -eq 1 ] && [ -x /usr/bin/systemctl ]; then
  systemctl --no-reload preset strict-groups.service || :
fi
