#!/usr/bin/env bash
# Two nodes at one anycast address behind a router, BIRD with BGP and BFD on each; faults, and what a client feels of them.
#
#     sudo examples/anycast/run.sh          (about a minute; MERIDIAN names a built program)
#
#   client 10.8.2.2 ── router ──┬── a 10.8.1.2   both answer at 10.8.9.53
#                               └── b 10.8.1.3
#
# Works in network namespaces and a folder of its own, and leaves nothing behind.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=machines.sh
source "$here/machines.sh"
ANYCAST=10.8.9.53

needs bird birdc python3 unshare nsenter ip
meridian
machine client router a b

cable client eth0 router client
on client ip address add 10.8.2.2/24 dev eth0
on client ip route add default via 10.8.2.1
on router ip address add 10.8.2.1/24 dev client
on router sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward' || exit 77
# One switch for both nodes: a cable that is cut there is cut in silence, no interface goes down.
on router ip link add lan type bridge
on router ip link set dev lan up
on router ip address add 10.8.1.1/24 dev lan
for name in a b; do
  number=$([ $name = a ] && echo 2 || echo 3)
  cable $name eth0 router $name
  on router ip link set dev $name master lan
  on $name ip address add 10.8.1.$number/24 dev eth0
  on $name ip route add default via 10.8.1.1
  on $name ip address add $ANYCAST/32 dev lo
  sed "s/NUMBER/$number/g" "$here/node.conf" >"$work/bird-$name.conf"
  start "bird-$name" $name bird -f -c "$work/bird-$name.conf" -s "$work/bird-$name.ctl"
  node $name $ANYCAST:53
  start "announce-$name" $name "$here/announce.sh" "$MERIDIAN" "$work/bird-$name.ctl"
done
start bird-router router bird -f -c "$here/router.conf" -s "$work/bird-router.ctl"

established() { [ "$(birdc -s "$work/bird-router.ctl" show route for $ANYCAST all | grep -c BGP.as_path)" = 2 ]; }
until_it_is_so "the router hears of both" established
client $ANYCAST
until_it_is_so "a answers" answering a

back() {
  until_it_is_so "$1: the router hears of both again" established
  until_it_is_so "$1: a answers again" answering a
  sleep 0.5
}
say() { on a "$MERIDIAN" node "$1" >/dev/null; }

fault "meridian node drain" b say drain
fault "meridian node resume" a say resume
back resume
fault "SIGTERM, with stop_delay" b kill "${job[meridian-a]}"
wait "${job[meridian-a]}" || true
serve a
back restart
fault "cable cut, without a sign" b on router ip link set dev a nomaster
on router ip link set dev a master lan
back cable
fault "kill -9" b crash "${job[meridian-a]}"
serve a
back restart
fault "frozen (SIGSTOP)" b kill -STOP "${job[meridian-a]}"
kill -CONT "${job[meridian-a]}"
back thaw
fault "BIRD gone (kill -9)" b crash "${job[bird-a]}"
