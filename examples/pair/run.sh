#!/usr/bin/env bash
# Two nodes that share one address by VRRP (keepalived); faults, and what a client feels of them.
#
#     sudo examples/pair/run.sh          (about a minute; MERIDIAN names a built program)
#
#   client 10.9.0.9 ── switch ──┬── a 10.9.0.1   one of them has 10.9.0.53, too
#                               └── b 10.9.0.2
#
# Works in network namespaces and a folder of its own, and leaves nothing behind.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../anycast/machines.sh
source "$here/../anycast/machines.sh"
SHARED=10.9.0.53

needs keepalived python3 unshare nsenter ip
meridian
machine client switch a b

on switch ip link add lan type bridge
on switch ip link set dev lan up
for name in client a b; do
  case $name in client) number=9 ;; a) number=1 ;; b) number=2 ;; esac
  cable $name eth0 switch $name
  on switch ip link set dev $name master lan
  on $name ip address add 10.9.0.$number/24 dev eth0
done
for name in a b; do
  [ $name = a ] && own=10.9.0.1 peer=10.9.0.2 priority=100 || own=10.9.0.2 peer=10.9.0.1 priority=90
  sed -e "s|MERIDIAN|$MERIDIAN|; s/OWN/$own/; s/PEER/$peer/; s/PRIORITY/$priority/" "$here/keepalived.conf" |
    sed '/^#/d' >"$work/keepalived-$name.conf"
  # The shared address comes and goes: all are listened on.
  node $name 0.0.0.0:53
  start "keepalived-$name" $name keepalived --dont-fork --log-console --use-file "$work/keepalived-$name.conf" \
    --pid "$work/keepalived-$name.pid" --vrrp_pid "$work/vrrp-$name.pid"
done

client $SHARED
back() {
  until_it_is_so "$1: a answers" answering a
  sleep 2
}
say() { on a "$MERIDIAN" node "$1" >/dev/null; }
back start

fault "meridian node drain" b say drain
fault "meridian node resume" a say resume
back resume
fault "SIGTERM, with stop_delay" b kill "${job[meridian-a]}"
wait "${job[meridian-a]}" || true
serve a
back restart
fault "cable cut, without a sign" b on switch ip link set dev a nomaster
on switch ip link set dev a master lan
back cable
fault "kill -9" b crash "${job[meridian-a]}"
serve a
back restart
fault "frozen (SIGSTOP)" b kill -STOP "${job[meridian-a]}"
kill -CONT "${job[meridian-a]}"
back thaw
