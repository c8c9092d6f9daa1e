#!/usr/bin/env bash
# Three nodes that share one etcd, on loopback addresses until Ctrl-C, an hour at most: five regions' small servers from
# `meridian demo`, etcd, three `meridian serve`. Works in a temporary folder and leaves nothing behind.
#
#   run.sh            on the ports below, and says what to try
#   run.sh --check    on free ports: does the steps itself, asserts what should follow, and ends
#
# MERIDIAN names the program; without it, it is built.
set -euo pipefail
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

die() { echo "run.sh: $*" >&2; exit 1; }

check=
case ${1:-} in
  --check) check=1 ;;
  "") ;;
  *) die "it takes --check, or nothing" ;;
esac
for program in etcd dig setpriv; do
  command -v "$program" >/dev/null || die "$program is not installed (Debian: etcd-server bind9-dnsutils util-linux)"
done
if [ -z "${MERIDIAN:-}" ]; then
  cargo build --release --manifest-path "$root/Cargo.toml"
  MERIDIAN=$root/target/release/meridian
fi

# Node N answers at DNS + N, its admin API is at ADMIN + N, other nodes reach it at PEER + N; N = 0 is the regions'.
DNS=5400 ADMIN=8153 PEER=8163 ETCD=2389 REGION=8180
free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
if [ -n "$check" ]; then
  for _ in $(seq 100); do
    base=$((20000 + RANDOM % 12000)) taken=
    for port in $(seq "$base" $((base + 15))); do free "$port" || taken=1; done
    [ -n "$taken" ] || break
  done
  [ -z "$taken" ] || die "no sixteen free ports in a row"
  DNS=$base ADMIN=$((base + 4)) PEER=$((base + 8)) ETCD=$((base + 12)) REGION=$((base + 14))
fi

work=$(mktemp -d)
declare -A pids=()
cleanup() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM
cd "$work"

# start NAME COMMAND...: beside this script, and never longer than it.
start() {
  local name=$1
  shift
  setpriv --pdeathsig TERM -- "$@" >>"$name.log" 2>&1 &
  pids[$name]=$!
}

start_etcd() {
  start etcd etcd --name m0 --data-dir "$work/etcd" \
    --listen-client-urls "http://127.0.0.1:$ETCD" --advertise-client-urls "http://127.0.0.1:$ETCD" \
    --listen-peer-urls "http://127.0.0.1:$((ETCD + 1))" --initial-advertise-peer-urls "http://127.0.0.1:$((ETCD + 1))" \
    --initial-cluster "m0=http://127.0.0.1:$((ETCD + 1))"
}

configure() {
  local number=$1
  cat >"n$number.toml" <<END
listen.dns   = ["127.0.0.1:$((DNS + number))"]
listen.admin = "127.0.0.1:$((ADMIN + number))"
zones   = "zones"
state   = "state-n$number"
geoip   = ["$root/geoip/demo.mmdb"]
threads = 1

[cluster]
name  = "demo"
node  = "n$number"
etcd  = ["http://127.0.0.1:$ETCD"]
peers = { listen = "127.0.0.1:$((PEER + number))", token_file = "peers.token" }
END
}

start_node() { start "n$1" "$MERIDIAN" serve --config "$work/n$1.toml"; }

# kill_at_once NAME: as a power cut would.
kill_at_once() {
  kill -9 "${pids[$1]}"
  wait "${pids[$1]}" 2>/dev/null || true
  unset "pids[$1]"
}

# m NODE COMMAND...: the command line, against a node; its exit status 3 or 4 tells of troubles, which are shown.
m() {
  local number=$1 code=0
  shift
  timeout 30 "$MERIDIAN" "$@" --admin "127.0.0.1:$((ADMIN + number))" 2>&1 || code=$?
  [ "$code" = 0 ] || [ "$code" = 3 ] || [ "$code" = 4 ]
}

# ask NODE: where a client in Korea is sent by a node.
ask() { dig +short +tries=1 +time=2 -b 127.82.0.1 @127.0.0.1 -p $((DNS + $1)) www.gslb.example; }

# within SECONDS COMMAND...: it comes to hold.
within() {
  local limit=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$limit" ] || { echo "still not so: $*" >&2; tell >&2; exit 1; }
    sleep 0.2
  done
}

# For a run that failed.
tell() {
  for number in 1 2 3; do m "$number" nodes || true; done
  tail -n 15 ./*.log
}

nodes() { m "$1" nodes | grep "^cluster demo: $2 nodes\?, n[123] leads" >/dev/null; }
# says NODE TEXT COMMAND...: also where the command fails.
says() {
  local number=$1 text=$2
  shift 2
  { m "$number" "$@" || true; } | grep -F -- "$text" >/dev/null
}
in_seoul() { [ "$(ask "$1")" = 127.200.82.1 ]; }
not_in_seoul() { local at; at=$(ask "$1") && [ -n "$at" ] && [ "$at" != 127.200.82.1 ]; }
leader() { { m "$1" nodes || true; } | sed -n 's/^cluster demo: .*, n\([123]\) leads.*/\1/p'; }
another() { local now; now=$(leader "$1") && [ -n "$now" ] && [ "$now" != "$2" ]; }

mkdir zones
sed "s/:8080/:$REGION/" "$root/zones/gslb.example.toml" >zones/gslb.example.toml
(umask 077 && head -c 24 /dev/urandom | base64 >peers.token)

start_etcd
start regions "$MERIDIAN" demo --dns "127.0.0.1:$DNS" --admin "127.0.0.1:$ADMIN" --region-port "$REGION"
for number in 1 2 3; do
  configure "$number"
  start_node "$number"
done
for number in 1 2 3; do
  within 40 nodes "$number" 3
  within 40 in_seoul "$number"
done

if [ -z "$check" ]; then
  at() { echo "--admin 127.0.0.1:$((ADMIN + $1))"; }
  m 1 nodes
  cat <<END

meridian is $MERIDIAN; logs are in $work. Try:
  dig +short -b 127.82.0.1 @127.0.0.1 -p $((DNS + 1)) www.gslb.example     # a client in Korea; nodes 2 and 3: $((DNS + 2)), $((DNS + 3))
  meridian nodes $(at 1)
  meridian region drain seoul $(at 1)             # said to one node, and it holds at all: ask node 3
  meridian region auto seoul $(at 2)
  meridian status --all $(at 3)
  kill -9 ${pids[n1]}     # node 1: answers go on, and if it led, another does within 15 s
  meridian serve --config $work/n1.toml     # and back
  kill ${pids[etcd]}     # etcd: answers go on, and a word holds at one node alone, with --here
  ETCDCTL_API=3 etcdctl --endpoints 127.0.0.1:$ETCD get --prefix /meridian/demo/
Ctrl-C ends all of it.
END
  sleep 3600 &
  pids[hour]=$!
  wait "${pids[hour]}"
  exit 0
fi

step() { echo "so far well; now: $*"; }

grep -F "does not answer" n?.log && die "a store that was there was told of as away"
step "a word said to one node holds at all"
m 1 region drain seoul
for number in 1 2 3; do within 10 not_in_seoul "$number"; done
m 2 region auto seoul
for number in 1 2 3; do within 10 in_seoul "$number"; done

step "the leader is killed"
was=$(leader 1)
left=$((was % 3 + 1)) last=$((left % 3 + 1))
kill_at_once "n$was"
in_seoul "$left" && in_seoul "$last" || die "answers did not go on"
within 30 another "$left" "$was"
within 30 another "$last" "$was"
within 10 says "$left" "n$was" nodes
says "$left" "this node is gone" nodes || die "nobody misses n$was"
start_node "$was"
for number in 1 2 3; do within 40 nodes "$number" 3; done

step "etcd is killed"
kill_at_once etcd
within 20 says 1 "etcd AWAY" nodes
for number in 1 2 3; do in_seoul "$number" || die "answers did not go on at n$number"; done
says 1 "with --here" region drain seoul || die "a word was taken that all could not hear"
m 1 region drain seoul --here
within 10 not_in_seoul 1
in_seoul 3 || die "what was said at n1 alone holds at n3"
within 10 says 3 "holds at this node ALONE" nodes
says 2 "seoul@gslb.example, override: auto at n2, n3; drain at n1" status --all || die "the difference is not told"

step "etcd is back"
start_etcd
for number in 2 3; do within 40 not_in_seoul "$number"; done
within 20 says 3 "3 nodes" nodes
m 3 region auto seoul
for number in 1 2 3; do within 10 in_seoul "$number"; done
m 1 nodes
m 2 status --all
echo "all of it is so"
