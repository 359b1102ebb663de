# Inside a booted machine, as root: put in place what NixOS would. Usage: prepare.sh SYSTEM
set -e
system=$1
python3 - "$system/accounts.json" >/tmp/accounts.sh <<'PY'
import json, shlex, sys

declared = json.load(open(sys.argv[1]))
for group in declared["groups"]:
    print(f"getent group {group} >/dev/null || groupadd -r {group}")
for user, facts in declared["users"].items():
    if user != "root":
        home = shlex.quote(facts["home"])
        print(f"id {user} >/dev/null 2>&1 || useradd -r -M -g {facts['group']} -d {home} -s /bin/bash {user}")
PY
sh /tmp/accounts.sh
for unit in "$system"/units/*; do
  cp --remove-destination "$(readlink -f "$unit")" "/etc/systemd/system/$(basename "$unit")"
done
# The engine is the one outside; its socket is here.
printf '[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n' >/etc/systemd/system/docker.service
cp "$(readlink -f "$system/tmpfiles.conf")" /etc/tmpfiles.d/00-nixos.conf
echo API_SERVER_KEY=first-key-0123456789abcdef >/etc/hermes-secrets.env
systemd-tmpfiles --create /etc/tmpfiles.d/00-nixos.conf || true
systemctl daemon-reload
"$system/activate"
