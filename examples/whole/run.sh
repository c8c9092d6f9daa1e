#!/usr/bin/env bash
# Both tiers, whole, on this machine: two Meridian nodes; two regions, each a pair of HAProxy and of nginx under keepalived,
# with four servers. Shows what they do together, a step at a time, and fails at the first thing that is not so.
#
#     run.sh [--requests N] [STEP...]      all steps unless some are named; `run.sh stay` builds it and waits for Ctrl-C
#
# Takes root, and haproxy, nginx with its stream module, keepalived, curl, dig, openssl, python3, iproute2, util-linux. All
# of it lives in namespaces of its own, with their names and processes: nothing is seen outside, and all ends with the script.
set -Eeuo pipefail
trap 'echo "run.sh: line $LINENO ended with $?" >&2' ERR
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" LC_ALL=C
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

STEPS="dns tls routing algorithms limits grpc release capacity affinity websocket udp checks drain reload failover metrics"
# For all of it, steps with 100,000 requests included.
LONGEST_S=900

# --- Outside: the tools, the binary, and a world of its own ---------------------------------------

outside() {
  local tool
  [ "$(id -u)" = 0 ] || die "namespaces take root"
  for tool in haproxy nginx keepalived etcd curl dig openssl python3 ip nsenter unshare setpriv; do
    command -v "$tool" >/dev/null || die "$tool is not installed (Debian: haproxy nginx-light libnginx-mod-stream keepalived etcd-server curl bind9-dnsutils openssl python3 iproute2 util-linux)"
  done
  if [ -z "${MERIDIAN:-}" ]; then
    cargo build --release --manifest-path "$here/../../Cargo.toml"
    MERIDIAN=$here/../../target/release/meridian
  fi
  MERIDIAN=$(realpath "$MERIDIAN") WORK=$(mktemp -d "${TMPDIR:-/tmp}/meridian-whole.XXXXXX")
  export MERIDIAN WORK
  trap 'kill -KILL "$world" 2>/dev/null || true; wait || true; rm -rf "$WORK"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  # Whoever dies takes those below along: this script, timeout, unshare, and with its first process the whole world.
  setpriv --pdeathsig KILL timeout --foreground -s KILL "$LONGEST_S" \
    setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --mount-proc \
    env MERIDIAN_WHOLE=inside bash "$here/run.sh" "$@" &
  world=$!
  wait "$world"
}

die() {
  echo "run.sh: $*" >&2
  exit 1
}

# --- The machines: one network namespace each, and a router between four networks ------------------

build_networks() {
  mkdir -p /run/netns
  mount -t tmpfs meridian-whole /run/netns
  ip netns add router
  on router ip link set lo up
  on router sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
  network clients 10.1.255.254/16
  network nodes 10.53.0.254/24
  network seoul 10.82.0.254/24
  network frankfurt 10.49.0.254/24
  machine clients clients 10.1.255.254 10.1.{82,49}.{1..20}/16
  machine node-1 nodes 10.53.0.254 10.53.0.1/24
  machine node-2 nodes 10.53.0.254 10.53.0.2/24
  machine etcd nodes 10.53.0.254 10.53.0.3/24
  local region net
  for region in seoul frankfurt; do
    net=$(net_of "$region")
    machine "$region-a" "$region" "$net.254" "$net.1/24"
    machine "$region-b" "$region" "$net.254" "$net.2/24"
    machine "$region-servers" "$region" "$net.254" "$net".1{1..4}/24
    # The address of a pair is listened on before it is there.
    on "$region-a" sh -c 'echo 1 >/proc/sys/net/ipv4/ip_nonlocal_bind'
    on "$region-b" sh -c 'echo 1 >/proc/sys/net/ipv4/ip_nonlocal_bind'
  done
}

# network NAME ROUTER
network() {
  on router ip link add "net-$1" type bridge
  on router ip address add "$2" dev "net-$1"
  on router ip link set "net-$1" up
}

machines=0
# machine NAME NETWORK GATEWAY ADDRESS...
machine() {
  local name=$1 network=$2 gateway=$3 address
  shift 3
  local port=port$((machines += 1))
  ip netns add "$name"
  on router ip link add "$port" type veth peer name eth0 netns "/run/netns/$name"
  on router ip link set "$port" master "net-$network" up
  on "$name" ip link set lo up
  on "$name" ip link set eth0 up
  for address in "$@"; do on "$name" ip address add "$address" dev eth0; done
  on "$name" ip route add default via "$gateway"
}

# on MACHINE COMMAND...
on() {
  local name=$1
  shift
  nsenter --net="/run/netns/$name" "$@"
}

net_of() {
  case $1 in
    seoul*) echo 10.82.0 ;;
    frankfurt*) echo 10.49.0 ;;
  esac
}

# --- The programs ----------------------------------------------------------------------------------

declare -A pids=()

# start NAME MACHINE COMMAND...
start() {
  local name=$1 machine=$2
  shift 2
  nsenter --net="/run/netns/$machine" "$@" >>"$WORK/$name.log" 2>&1 &
  pids[$name]=$!
}

# stop NAME [SIGNAL]: ends a program and waits for it.
stop() {
  kill "-${2:-TERM}" "${pids[$1]}" 2>/dev/null || true
  wait "${pids[$1]}" 2>/dev/null || true
}

# put FILE TO WORD=VALUE...: a file of this folder with its words filled in.
put() {
  local from=$1 to=$2 pair words=()
  shift 2
  for pair in "$@" "WORK=$WORK"; do words+=(-e "s|\\b${pair%%=*}\\b|${pair#*=}|g"); done
  sed "${words[@]}" "$here/$from" >"$to"
}

make_files() {
  mkdir -p "$WORK/certificates"
  cd "$WORK"
  cp "$here"/*.py "$WORK"
  echo ok >ok
  (umask 077 && openssl rand -hex 16 >token && openssl rand -hex 16 >peers.token)
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=whole's own CA" \
    -keyout ca.key -out ca.pem 2>/dev/null
  certificate certificates/www.pem www.gslb.example
  certificate certificates/secure.pem secure.gslb.example
}

# certificate FILE NAME: certificate and key in one file.
certificate() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$2" -keyout "$1.key" -out "$1.csr" 2>/dev/null
  openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -days 2 -extfile <(echo "subjectAltName=DNS:$2,DNS:*.gslb.example") \
    2>/dev/null | cat - "$1.key" >"$1.whole"
  rm "$1.key" "$1.csr"
  mv "$1.whole" "$1"
}

start_region() {
  local region=$1 net number server side own peer names=()
  net=$(net_of "$region")
  for number in 1 2 3 4; do
    server=$region-$number
    certificate "$server.pem" "$server"
    put backend.conf "$server.conf" "SERVER=$server" "ADDRESS=$net.1$number"
    start "$server" "$region-servers" nginx -p "$WORK" -c "$WORK/$server.conf" -g "daemon off; master_process off;"
    names+=("$server=$net.1$number")
  done
  start "$region-servers" "$region-servers" python3 "$WORK/servers.py" "${names[@]}"
  for side in a b; do
    [ $side = a ] && own=1 peer=2 || own=2 peer=1
    balancer "$region" "$net" "$region-$side"
    put keepalived.conf "$region-$side.keepalived" "NET=$net" "OWN=$own" "PEER=$peer" "CURL=$(command -v curl)" \
      "L7=$((110 - own))" "L4=$((100 + own))"
    keep "$region-$side"
  done
}

balancer() {
  local region=$1 net=$2 name=$3
  echo "all no" >"$name.draining"
  echo "shop blue" >"$name.stage"
  put haproxy.cfg "$name.cfg" "REGION=$region" "NET=$net" "NAME=$name"
  put nginx.conf "$name.nginx" "REGION=$region" "NET=$net" "NAME=$name"
  [ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || sed -i /^load_module/d "$name.nginx"
  start "$name" "$name" haproxy -W -db -f "$WORK/$name.cfg"
  start "$name-nginx" "$name" nginx -p "$WORK" -c "$WORK/$name.nginx" -g "daemon off; master_process off;"
}

# keep MACHINE: its keepalived.
keep() {
  local to="$WORK/$1.vrrp"
  rm -f "$WORK/$1-keepalived.log"
  start "$1-keepalived" "$1" keepalived -n -l -D -P -f "$WORK/$1.keepalived" -p "$to.pid" -r "$to.vrrp.pid"
}

start_node() {
  local number=$1 address=10.53.0.$1
  mkdir -p "node-$number/zones"
  put meridian.toml "node-$number/meridian.toml" "NODE=$address" "PYTHON=$(python3 -c 'import sys; print(sys.executable)')"
  cluster_of "$number" | sed -i -e '/^# CLUSTER$/{r /dev/stdin' -e 'd}' "node-$number/meridian.toml"
  # The balancers are told by one node.
  [ "$number" = 1 ] || sed -i '/^\[\[events.command/,/^$/d' "node-$number/meridian.toml"
  put zones/gslb.example.toml "node-$number/zones/gslb.example.toml"
  start "node-$number" "node-$number" "$MERIDIAN" serve --config "$WORK/node-$number/meridian.toml"
}

# What joins node $1 to the other: its [cluster]. Whatever is said to one, holds at both.
cluster_of() {
  cat <<END
cluster.name  = "whole"
cluster.node  = "node-$1"
cluster.etcd  = "http://10.53.0.3:2379"
cluster.peers = { listen = "10.53.0.$1:8054", token_file = "$WORK/peers.token" }
END
}

# One member; in earnest there are three.
start_etcd() {
  start etcd etcd etcd --name etcd --data-dir "$WORK/etcd" --initial-cluster etcd=http://10.53.0.3:2380 \
    --listen-client-urls http://10.53.0.3:2379 --advertise-client-urls http://10.53.0.3:2379 \
    --listen-peer-urls http://10.53.0.3:2380 --initial-advertise-peer-urls http://10.53.0.3:2380
}

# m NODE COMMAND...: the command line, against a node.
m() {
  local address=10.53.0.$1
  shift
  timeout 60 nsenter --net=/run/netns/clients "$MERIDIAN" "$@" --admin "$address:8053" --token-file "$WORK/token"
}

both() {
  m 1 "$@" && m 2 "$@"
}

# override_of NODE REGION, stage_of NODE SERVICE: as the node has it.
override_of() {
  of_status "$1" "[of['override'] for of in d['regions'] if of['name'].startswith('$2@')][0]"
}

stage_of() {
  of_status "$1" "[of['stage'] for of in d['services'] if of['name'].startswith('$2.')][0]"
}

of_status() {
  { m "$1" status --json || [ $? = 3 ]; } | python3 -c 'import json, sys; d = json.load(sys.stdin); print(eval(sys.argv[1]))' "$2"
}

joined() {
  { m 1 nodes || [ $? = 3 ]; } | grep -E '^cluster whole: 2 nodes, node-[12] leads' >/dev/null
}

client() {
  on clients python3 "$WORK/clients.py" "$@"
}

build() {
  build_networks
  make_files
  start_region seoul
  start_region frankfurt
  start_etcd
  start_node 1
  start_node 2
  until_so 30 "both nodes are one cluster" joined
  until_so 30 "both nodes have all regions up" all_up
}

all_up() {
  local node
  for node in 1 2; do
    m "$node" status --json >"$WORK/status" 2>/dev/null || [ $? = 3 ] || return 1
    python3 -c 'import json, sys; sys.exit(any(of["state"] != "up" for of in json.load(open(sys.argv[1]))["regions"]))' "$WORK/status" || return 1
  done
}

# --- Telling and judging ---------------------------------------------------------------------------

title() {
  printf '\n=== %s\n' "$*"
}

say() {
  printf '  %s\n' "$*"
}

# shown COMMAND...: prints it and what came back, which is in $out afterwards.
shown() {
  printf '  $ %s\n' "$*" | sed -e "s|$WORK|…|g" -e 's/^  \$ on \([a-z0-9-]*\) /  \1$ /' -e 's/\$ get /$ curl /' \
    -e 's/\$ client /$ clients.py /' -e 's/\$ both /$ meridian (node 1, node 2) /' -e 's/\$ m \([12]\) /$ meridian (node \1) /'
  local ended=0
  out=$("$@" 2>&1) || ended=$?
  [ "$ended" = 0 ] || { printf '%s\n' "$out" >&2; die "it ended with $ended"; }
  printf '%s\n' "$out" | sed 's/^/      /'
}

# holds WHAT CONDITION...: the condition is a command.
holds() {
  local what=$1
  shift
  "$@" || die "NOT SO: $what ($*); last came back: ${out:-}"
  say "✓ $what"
}

has() {
  grep -qE -- "$1" <<<"$out"
}

# sees WHAT EXPRESSION: of the JSON in $out, as d, in Python.
sees() {
  holds "$1" python3 -c 'import json, sys; d = json.loads(sys.argv[1]); sys.exit(not eval(sys.argv[2]))' "$out" "$2"
}

# until_so SECONDS WHAT COMMAND...: waits, and tells how long it took.
until_so() {
  local limit=$1 what=$2 began
  shift 2
  began=$(date +%s%3N)
  until "$@"; do
    [ $(($(date +%s%3N) - began)) -lt $((limit * 1000)) ] || { tail -n 5 "$WORK"/*.log >&2; die "NOT SO within $limit s: $what ($*)"; }
    sleep 0.05
  done
  took=$(($(date +%s%3N) - began))
  say "✓ $what, after $took ms"
}

# get ARGUMENT...: curl on the clients' machine, as someone in Korea. No keep-alive between calls.
get() {
  on clients curl -sS -m 5 --interface 10.1.82.1 "$@"
}

# tally URL MANY ARGUMENT...: who answered so many requests, over one connection, as "4 seoul-1, 2 seoul-2".
tally() {
  local url=$1 many=$2 urls=()
  shift 2
  for _ in $(seq "$many"); do urls+=("$url"); done
  get "$@" "${urls[@]}" | sed -E 's/hello from ([a-z]+-[0-9]).*/\1/' | sort | uniq -c | awk '{ printf "%s%s %s", sep, $1, $2; sep = ", " }'
}

# runtime MACHINE COMMAND: says something to an HAProxy.
runtime() {
  python3 - "$WORK/$1.sock" "$2" <<'P'
import socket, sys
stream = socket.socket(socket.AF_UNIX)
stream.settimeout(5)
stream.connect(sys.argv[1])
stream.sendall(sys.argv[2].encode() + b"\n")
while heard := stream.recv(65536):
    sys.stdout.write(heard.decode())
P
}

# stat MACHINE POOL SERVER COLUMN
stat() {
  runtime "$1" "show stat" | python3 -c '
import csv, sys
pool, server, column = sys.argv[1:]
rows = csv.DictReader(line.removeprefix("# ") for line in sys.stdin if line.strip())
print(next(row[column] for row in rows if (row["pxname"], row["svname"]) == (pool, server)))' "$2" "$3" "$4"
}

is() {
  [ "$("${@:2}")" = "$1" ]
}

# holder REGION [100|101]: the machine of the pair that has the address.
holder() {
  local side
  for side in a b; do
    if on "$1-$side" ip -br address show dev eth0 | grep -q " $(net_of "$1").${2:-100}/"; then echo "$1-$side"; fi
  done
}

other() {
  case $1 in
    *-a) echo "${1%-a}-b" ;;
    *-b) echo "${1%-b}-a" ;;
  esac
}

# --- The steps -------------------------------------------------------------------------------------

step_dns() {
  title "From the query to the server: near clients, both nodes, both tiers"
  local node
  for node in 1 2; do
    shown on clients dig +short -b 10.1.82.1 @10.53.0.$node www.gslb.example
    holds "a client in Korea is sent to Seoul's HAProxy" is 10.82.0.100 echo "$out"
    shown on clients dig +short -b 10.1.49.1 @10.53.0.$node raw.gslb.example
    holds "one in Germany to Frankfurt's nginx, for raw" is 10.49.0.101 echo "$out"
  done
  shown get http://10.82.0.100/
  holds "a server of Seoul replies, and knows the client" has 'hello from seoul-., http, for 10\.1\.82\.1'
  shown get http://10.82.0.101/
  holds "so it does through layer 4, where nobody tells it of the client" has 'hello from seoul-., http, for $'
}

step_tls() {
  title "TLS: ended at the balancer, or passed through by its name"
  shown get -o /dev/null -w '%{http_code} %{redirect_url}' -H 'Host: secure.gslb.example' http://10.82.0.100/path
  holds "HTTP is sent to HTTPS" has '^301 https://secure.gslb.example/path$'
  shown get -D - -o /dev/null --cacert "$WORK/ca.pem" --resolve secure.gslb.example:443:10.82.0.100 https://secure.gslb.example/
  holds "HTTP/2 over TLS, with HSTS" has 'strict-transport-security: max-age=31536000; includeSubDomains'
  holds "HTTP/2 was taken up" has '^HTTP/2 200'
  local name
  for name in www secure; do
    shown subject 10.82.0.100:443 "$name.gslb.example"
    holds "the balancer's certificate follows SNI: $name" has "CN *= *$name.gslb.example"
  done
  local at
  for at in 10.82.0.100:8443 10.82.0.101:443; do
    shown subject "$at" two.gslb.example
    holds "the server's own certificate, through $at (HAProxy's mode tcp is 8443, nginx stream 443)" has 'CN *= *seoul-2'
    shown subject "$at" one.gslb.example
    holds "and another server by another name" has 'CN *= *seoul-1'
  done
}

# subject ADDRESS:PORT NAME: of the certificate that is shown for a name.
subject() {
  on clients timeout 5 openssl s_client -connect "$1" -servername "$2" </dev/null 2>/dev/null | openssl x509 -noout -subject
}

step_routing() {
  title "Routing by path, host and header (HAProxy)"
  pool api http://10.82.0.100/api/v1
  pool api -H 'Host: api.gslb.example' http://10.82.0.100/
  pool beta -H 'X-Beta: 1' http://10.82.0.100/
  pool web http://10.82.0.100/
}

pool() {
  local wanted=$1
  shift
  shown get -o /dev/null -w 'pool %header{x-pool}' "$@"
  holds "pool $wanted" has "^pool $wanted$"
}

step_algorithms() {
  title "Which server: the algorithms of HAProxy, and what Meridian calls the like among regions"
  local lb=http://10.82.0.100/lb spread at
  shown tally $lb/roundrobin 40
  holds "round robin: 10 each (Meridian: weighted with equal shares, by client)" is "10 10 10 10 " numbers
  shown tally $lb/weighted 40
  holds "weighted 4:2:1:1 (Meridian: weighted, regions = { seoul = 4, … }; endpoint weight)" is "20 10 5 5 " numbers
  least_connections
  shown tally $lb/source 20
  holds "source hash: one client, one server (Meridian: sticky)" is "20 " numbers
  spread=$(for at in {1..20}; do get --interface "10.1.82.$at" "$lb/source"; done | cut -d, -f1 | sort | uniq -c)
  say "20 clients:" "$(awk '{ printf "%s%s %s", sep, $1, $NF; sep = ", " }' <<<"$spread")"
  holds "and many clients spread over several" [ "$(wc -l <<<"$spread")" -ge 2 ]
  consistent_hash
  shown tally $lb/random 200
  holds "the power of two choices spreads over all four (Meridian: plans, score)" [ "$(numbers | wc -w)" = 4 ]
}

# The counts of a tally.
numbers() {
  grep -oE '(^|, )[0-9]+' <<<"$out" | tr -d ', ' | sort -rn | tr '\n' ' '
}

# Two servers are busy with long requests: whoever comes next goes to the others.
least_connections() {
  local url=http://10.82.0.100/lb/leastconn busy _
  for _ in 1 2; do get -o /dev/null "$url?4" & done
  until_so 5 "two long requests are under way" is 2 stat "$(holder seoul)" lb_leastconn BACKEND scur
  busy=$(runtime "$(holder seoul)" "show stat" | awk -F, '$1 == "lb_leastconn" && $2 != "BACKEND" && $5 == 1 { print $2 }' | paste -sd'|')
  shown tally $url 20
  holds "least connections: none of 20 goes to the busy ones, $busy (Meridian: score, by reported load)" lacks "$busy"
}

lacks() {
  ! has "$1"
}

# One server of four leaves: only its keys move.
consistent_hash() {
  local before after moved theirs gone=seoul-3
  before=$(keys)
  runtime "$(holder seoul)" "set server lb_hash/$gone state maint" >"$WORK/said"
  after=$(keys)
  runtime "$(holder seoul)" "set server lb_hash/$gone state ready" >"$WORK/said"
  moved=$(diff <(echo "$before") <(echo "$after") | grep -c '^<' || true)
  theirs=$(grep -c "$gone" <<<"$before" || true)
  out="$moved of 200 keys moved, $theirs were on $gone"
  say "$out"
  holds "consistent hash: who leaves takes only its own keys along (Meridian: sticky, by rendezvous)" [ "$moved" = "$theirs" ]
}

keys() {
  local urls=() number
  for number in {1..200}; do urls+=("http://10.82.0.100/lb/hash/$number"); done
  get "${urls[@]}" | cut -d, -f1
}

step_limits() {
  title "Retries, timeouts, rates, connections"
  local again
  shown tally http://10.82.0.100/dying 40
  holds "half of 40 met a dead server and were tried again: none failed" is "40 " numbers
  again=$(($(stat "$(holder seoul)" dying BACKEND wretr) + $(stat "$(holder seoul)" dying BACKEND wredis)))
  holds "HAProxy tried again or elsewhere $again times" [ "$again" -ge 20 ]
  shown get -o /dev/null -w '%{http_code} after %{time_total} s' 'http://10.82.0.100/slow?5'
  holds "timeout server 1s: 504" has '^504 after [12]\.'
  shown client burst http://10.82.0.100/limited --requests 300
  sees "HAProxy: 150 in any second (100/s and 50 more), then 429 with Retry-After" \
    '150 <= d["statuses"]["200"] <= 150 + 150 * int(d["seconds"] + 0.2) and d["statuses"]["429"] and d["retry_after"] == "1"'
  shown on seoul-a python3 "$WORK/clients.py" burst http://10.82.0.11/bucket --requests 300
  sees "nginx: a bucket of 50 that empties by 100 a second" '51 <= d["statuses"]["200"] <= 60 + 100 * d["seconds"] and d["statuses"]["429"]'
  busy
}

# Two at a time, five wait for 300 ms: the rest is told when to come again.
busy() {
  local codes _
  codes=$(for _ in {1..10}; do get -D - -o /dev/null 'http://10.82.0.100/busy?2' & done; wait)
  out=$(grep -iE '^(HTTP|retry-after)' <<<"$codes" | tr -d '\r' | sort | uniq -c)
  say "ten at once, each takes two seconds:"
  printf '%s\n' "$out"
  holds "maxconn 2: two are served" has '2 HTTP/1.1 200'
  holds "eight get 503" has '8 HTTP/1.1 503'
  holds "with Retry-After" has '8 [rR]etry-[aA]fter: 1'
}

step_affinity() {
  title "Affinity: by cookie and by source, and what a failover does to it"
  local jar="$WORK/jar" url=http://10.82.0.100/ first hashed after
  first=$(get -c "$jar" $url | cut -d, -f1)
  shown tally $url 10 -b "$jar"
  holds "ten requests with the cookie: $first" is "10 " numbers
  hashed=$(get http://10.82.0.100/lb/source | cut -d, -f1)
  vip_moves seoul 100
  after=$(get -b "$jar" $url | cut -d, -f1)
  holds "after the pair's failover the cookie still leads to the same: $after" [ "$after" = "$first" ]
  after=$(get http://10.82.0.100/lb/source | cut -d, -f1)
  holds "and so does the source hash: $after" [ "$after" = "$hashed" ]
  vip_back seoul
  out=$(get -b "$jar" -D - http://10.49.0.100/ | tr -d '\r')
  say "$(grep -iE 'set-cookie|hello' <<<"$out" | paste -sd' ')"
  holds "after the region's failover: another server, a new cookie, and what the old one held is lost" has 'set-cookie: SERVER=frankfurt-'
  say "source hashes end with the region alike: each region has servers of its own"
}

# vip_moves REGION 100|101: its holder leaves; tells who has the address then.
vip_moves() {
  gone=$(holder "$1" "$2")
  stop "$gone-keepalived"
  until_so 10 "the address moved from $gone to $(other "$gone")" is "$(other "$gone")" holder "$1" "$2"
}

# The one that left is back; addresses stay where they are (nopreempt).
vip_back() {
  keep "$gone"
  until_so 15 "$gone stands by again, for both addresses" stands_by "$gone"
}

stands_by() {
  local instance
  for instance in l7 l4; do grep -q "($instance) Entering BACKUP STATE" "$WORK/$1-keepalived.log" || return 1; done
}

step_websocket() {
  title "WebSocket: short, and held over a reload"
  shown client websocket 10.82.0.100
  sees "an echo through HAProxy" 'd["status"] == "101" and d["heard"][0].startswith("hello from seoul-")'
  client websocket 10.82.0.100 --until "$WORK/reloaded" >"$WORK/held" &
  local held=$!
  until_so 5 "one is held" is 1 stat "$(holder seoul)" ws BACKEND scur
  reload "$(holder seoul)"
  touch "$WORK/reloaded"
  wait "$held"
  out=$(cat "$WORK/held")
  say "$out"
  sees "it goes on through the old worker (for hard-stop-after, 60 s)" 'd["heard"][1].startswith("still here from seoul-")'
}

# reload MACHINE: its HAProxy, without losing a connection.
reload() {
  local before
  before=$(worker "$1")
  kill -USR2 "${pids[$1]}"
  until_so 10 "$1 has reloaded" new_worker "$1" "$before"
}

worker() {
  runtime "$1" "show info" 2>/dev/null | sed -n 's/^Pid: //p'
}

new_worker() {
  local now
  now=$(worker "$1") || return 1
  [ -n "$now" ] && [ "$now" != "$2" ]
}

step_grpc() {
  title "gRPC: HTTP/2 from end to end"
  local at
  for at in 10.82.0.100 10.82.0.101; do
    shown grpc "$at"
    holds "grpc.health.v1.Health/Check says SERVING through $at" has '08 *01|0801'
    holds "with its trailer" has 'grpc-status: 0'
  done
  until_so 10 "Meridian's own check.grpc asks the same, through nginx: up" probes_up seoul-l4
}

grpc() {
  printf '\0\0\0\0\0' | get --http2-prior-knowledge -H 'Content-Type: application/grpc' -H 'TE: trailers' --data-binary @- \
    -D "$WORK/trailers" "http://$1:50051/grpc.health.v1.Health/Check" | od -An -tx1
  tr -d '\r' <"$WORK/trailers" | grep -iE '^(HTTP|content-type|grpc-status)'
}

step_udp() {
  title "UDP through nginx stream"
  shown client udp 10.82.0.101 --requests 40
  sees "40 datagrams, all four servers, none lost" 'sum(d.values()) == 40 and len(d) == 4 and "lost" not in d'
  vip_moves seoul 101
  shown client udp 10.82.0.101 --requests 8
  sees "and after the address has moved" '"lost" not in d'
  vip_back seoul
}

# Half of the servers are overloaded. The balancer notices by their answers, Meridian by the balancer's next report; the
# plan made of it is the next DNS answer.
step_capacity() {
  title "Overloaded servers: seen in the DNS answer within one report and one plan"
  until_so 120 "the crowd's load is made sense of" believed
  shown client shares crowd.gslb.example --many 256
  sees "while all is well, Korea goes to Seoul" 'd["shares"]["10.82.0.100"] >= 0.95 * d["of"]'
  local began
  began=$(date +%s%3N)
  touch "$WORK/seoul-1.broken" "$WORK/seoul-2.broken"
  until_so 10 "HAProxy has taken both out: half of the servers is left" is 2 stat "$(holder seoul)" crowd BACKEND act
  until_so 5 "Meridian plans with half of the capacity" degraded 0.5
  until_so 10 "clients are sent to Frankfurt" moved
  say "from the first 503 to the DNS answer: $(($(date +%s%3N) - began)) ms, with a report a second"
  shown client shares crowd.gslb.example --many 256
  m 1 status >"$WORK/status" || [ $? = 3 ]
  out=$(grep -E 'crowd' "$WORK/status")
  say "meridian status:"
  printf '%s\n' "$out"
  holds "status tells why" has '2 of 4 servers up'
  m 1 explain crowd.gslb.example --client 10.8.1.1 --live >"$WORK/explained"
  say "meridian explain crowd.gslb.example --client 10.8.1.1 --live:"
  sed 's/^/      /' "$WORK/explained"
  until_so 30 "and its load follows: from 60 connections to what it can take" is_below 52 stat "$(holder seoul)" crowd FRONTEND scur
  rm "$WORK"/seoul-?.broken
  stop crowd-kr
  stop crowd-de
  until_so 20 "all servers are up again (capacity comes back a tenth every 30 s)" is 4 stat "$(holder seoul)" crowd BACKEND act
}

believed() {
  m 1 status --json >"$WORK/status" || [ $? = 3 ]
  python3 - "$WORK/status" <<'P'
import json, sys
regions = {of["name"].split("@")[0]: of for of in json.load(open(sys.argv[1]))["regions"]}
sys.exit(not all(regions[name]["load"]["heard"] == "believed" for name in ("seoul-crowd", "frankfurt-crowd")))
P
}

degraded() {
  m 1 status --json >"$WORK/status" || [ $? = 3 ]
  python3 -c 'import json, sys
of = next(of for of in json.load(open(sys.argv[1]))["regions"] if of["name"].startswith("seoul-crowd@"))
sys.exit(abs(of.get("offered", 1) - float(sys.argv[2])) > 0.01)' "$WORK/status" "$1"
}

moved() {
  out=$(client shares crowd.gslb.example --many 256)
  python3 -c 'import json, sys; d = json.loads(sys.argv[1]); sys.exit(d["shares"].get("10.49.0.100", 0) < 0.1 * d["of"])' "$out"
}

step_checks() {
  title "Active and passive checks: what HAProxy notices is Meridian's passive signal"
  local at
  at=$(holder seoul)
  # /health goes on to say that all is well: only real answers tell.
  touch "$WORK/seoul-2.failing"
  tally http://10.82.0.100/ 60 >"$WORK/said"
  until_so 3 "passive: five errors in a row took seoul-2 out" starts DOWN stat "$at" web seoul-2 status
  say "its active check at that time: $(stat "$at" web seoul-2 check_desc)"
  rm "$WORK/seoul-2.failing"
  until_so 10 "its active checks bring it back" starts UP stat "$at" web seoul-2 status
  touch "$WORK/seoul-3.broken" "$WORK/seoul-4.broken"
  until_so 10 "active: two of four fail /health" is 2 stat "$at" web BACKEND act
  until_so 3 "Meridian's status says so within a report" status_says 'seoul@.*2 of 4 servers up'
  say "$out"
  rm "$WORK"/seoul-?.broken
  until_so 10 "all four are up again" is 4 stat "$at" web BACKEND act
  nginx_load
  nginx_passes_by
}

# At layer 4 a connection that fails is tried at the next server, and the dead one left alone for a while (max_fails).
nginx_passes_by() {
  stop seoul-3
  out=$(for _ in {1..20}; do get http://10.82.0.101/; done | cut -d, -f1 | sort | uniq -c)
  say "seoul-3 is dead; 20 connections through nginx:" "$(awk '{ printf "%s%s %s", sep, $1, $NF; sep = ", " }' <<<"$out")"
  holds "none failed" [ "$(awk '{ sum += $1 } END { print sum }' <<<"$out")" = 20 ]
  start seoul-3 seoul-servers nginx -p "$WORK" -c "$WORK/seoul-3.conf" -g "daemon off; master_process off;"
  until_so 10 "seoul-3 is back" is 4 stat "$(holder seoul)" web BACKEND act
}

is_above() {
  [ "$("${@:2}")" -gt "$1" ]
}

is_below() {
  [ "$("${@:2}")" -lt "$1" ]
}

# Held for some seconds by the clients' machine: 30 connections through nginx.
nginx_load() {
  on clients timeout 6 bash -c 'for _ in {1..30}; do exec {held}<>/dev/tcp/10.82.0.101/80; done; sleep 5' &
  until_so 5 "30 connections through nginx stream are in its stub_status, and in Meridian's load" load_of seoul-l4 30
  wait "$!" || true
}

# load_of REGION AT_LEAST
load_of() {
  m 1 status --json >"$WORK/status" || [ $? = 3 ]
  python3 -c 'import json, sys
of = next(of for of in json.load(open(sys.argv[1]))["regions"] if of["name"].startswith(sys.argv[2] + "@"))
sys.exit(not (of["load"].get("load") or 0) >= float(sys.argv[3]))' "$WORK/status" "$1" "$2"
}

starts() {
  [[ $("${@:2}") == "$1"* ]]
}

status_says() {
  m 1 status >"$WORK/status" || [ $? = 3 ]
  out=$(grep -E -- "$1" "$WORK/status")
}

step_release() {
  title "Canary and blue/green over both tiers"
  shown client shares shop.gslb.example --many 2000
  sees "DNS: 5 % of client networks get the new stack (.101)" '60 <= d["shares"]["10.82.0.101"] <= 140'
  shown tally http://10.82.0.100/canary 200
  holds "HAProxy: 5 % of requests get the new version, exactly" is "190 10 " numbers
  stages blue "10.82.0.100"
  release green
  stages green "10.82.0.101"
  release --rollback
  stages blue "10.82.0.100"
}

# release green|blue|--rollback: both tiers, one command.
release() {
  local stage=$1 machine
  say "release $1:"
  shown m 1 switch shop "$1"
  until_so 10 "and node 2 has it from node 1" is "$(stage_of 1 shop)" stage_of 2 shop
  if [ "$1" = --rollback ]; then stage=$(cat "$WORK/released"); fi
  stat_stage >"$WORK/released"
  for machine in {seoul,frankfurt}-{a,b}; do runtime "$machine" "set map $WORK/$machine.stage shop $stage" >"$WORK/said"; done
}

# The stage that HAProxy has now.
stat_stage() {
  runtime seoul-a "show map $WORK/seoul-a.stage" | awk '$2 == "shop" { print $3 }'
}

stages() {
  out=$(client shares shop.gslb.example --many 2000)
  sees "DNS: 95 % or all on $1 ($2)" "d['shares']['$2'] >= 0.93 * d['of']"
  pool "$1" -H 'Host: shop.gslb.example' http://10.82.0.100/
}

# --- Under load ------------------------------------------------------------------------------------

# load_begins ARGUMENT...: requests in the background until `load_ends`.
load_begins() {
  rm -f "$WORK/enough"
  say "$REQUESTS requests begin, 16 clients; each keeps to the TTL and keeps a connection for 25 requests"
  client load www.gslb.example --requests "$REQUESTS" --until "$WORK/enough" "$@" >"$WORK/load" 2>"$WORK/load.log" &
  loading=$!
  sleep 1.5
}

load_ends() {
  touch "$WORK/enough"
  wait "$loading" || { cat "$WORK/load.log" >&2; die "the load failed"; }
  out=$(cat "$WORK/load")
  say "$out"
  sees "$REQUESTS requests or more, each accounted for" \
    "d['requests'] >= $REQUESTS and sum(d['by_region'].values()) + d['failed'] == d['requests']"
}

step_drain() {
  title "A region empties, end to end: 0 failed"
  load_begins
  say "it is said to one node, and holds at both; then both are waited for: while one still answers, it is not safe"
  m 1 region drain seoul >"$WORK/said"
  until_so 10 "node 2 drains it too" is drain override_of 2 seoul
  shown both region drain seoul --wait
  until_so 15 "the hook has heard that it is safe, and its servers drain" is DRAIN stat "$(holder seoul)" web seoul-1 status
  sed 's/^/      /' "$WORK/hook.log"
  local before
  before=$(stat "$(holder seoul)" web BACKEND stot)
  sleep 1
  holds "not one request came after that" is "$before" stat "$(holder seoul)" web BACKEND stot
  holds "so that the servers can be stopped" is 0 stat "$(holder seoul)" web BACKEND scur
  say "and back: the servers first, then the DNS"
  shown on clients python3 "$WORK/hook.py" "$WORK" 10.53.0.1,10.53.0.2 ready seoul
  until_so 15 "its probes say up" probes_up seoul
  shown m 2 region auto seoul
  until_so 10 "node 1 has it from node 2" is auto override_of 1 seoul
  until_so 15 "clients of Korea are sent to Seoul again" is 10.82.0.100 on clients dig +short -b 10.1.82.1 @10.53.0.1 www.gslb.example
  until_so 15 "and come" is_above "$before" stat "$(holder seoul)" web BACKEND stot
  load_ends
  sees "0 failed" 'd["failed"] == 0'
}

probes_up() {
  m 1 status --json >"$WORK/status" || [ $? = 3 ]
  python3 -c 'import json, sys
of = next(of for of in json.load(open(sys.argv[1]))["regions"] if of["name"].startswith(sys.argv[2] + "@"))
sys.exit(not all(endpoint["verdict"] == "up" for endpoint in of["endpoints"]))' "$WORK/status" "$1"
}

step_reload() {
  title "HAProxy is reloaded under load: 0 failed"
  load_begins
  local _
  for _ in 1 2 3; do reload "$(holder seoul)"; reload "$(holder frankfurt)"; done
  load_ends
  sees "six reloads, 0 failed" 'd["failed"] == 0'
}

step_failover() {
  title "HAProxy loses its address under load: who tries again once succeeds"
  load_begins --retry
  vip_moves seoul 100
  sleep 1
  load_ends
  say "failed at first, since they were in flight: $(failed_at_first)"
  sees "0 failed after one more try" 'd["failed"] == 0'
  vip_back seoul
  title "HAProxy is killed under load: keepalived finds out by its own checks"
  local at
  at=$(holder seoul)
  load_begins --retry --pause 4
  kill -KILL "$(worker "$at")"
  stop "$at" KILL
  until_so 10 "the address moved from $at to $(other "$at")" is "$(other "$at")" holder seoul
  until_so 5 "clients are served" is 200 get -o /dev/null -w '%{http_code}' http://10.82.0.100/
  sleep 1
  load_ends
  say "failed at first: $(failed_at_first), in flight or refused until then"
  sees "0 failed after one more try, four seconds later" 'd["failed"] == 0'
  start "$at" "$at" haproxy -W -db -f "$WORK/$at.cfg"
  until_so 10 "$at is ready to take over" is 200 on "$at" curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8404/alive
}

failed_at_first() {
  sed -n 's/.*"failed_at_first": \([0-9]*\).*/\1/p' <<<"$out"
}

step_metrics() {
  title "Both tiers on one page"
  shown page
  holds "three tiers' figures" has 'nginx: connections'
  page --html >"$WORK/page.html"
  holds "as HTML too, $(wc -c <"$WORK/page.html") octets (PAGE=FILE run.sh metrics keeps it)" grep -q '<h2>HAProxy' "$WORK/page.html"
  [ -z "${PAGE:-}" ] || cp "$WORK/page.html" "$PAGE"
}

page() {
  on clients python3 "$WORK/page.py" "$@" --token "$WORK/token" 10.53.0.1 10.53.0.2 -- \
    seoul-a=10.82.0.1 seoul-b=10.82.0.2 frankfurt-a=10.49.0.1 frankfurt-b=10.49.0.2
}

step_stay() {
  title "It runs, a quarter of an hour at most; Ctrl-C ends all of it"
  say "a shell in there, where the machines' networks have names:"
  say "  nsenter --all --target \$(pgrep -o -f $WORK/node-1/meridian.toml) bash"
  say "then, for instance:"
  say "  nsenter --net=/run/netns/clients dig +short -b 10.1.82.1 @10.53.0.1 www.gslb.example"
  say "  nsenter --net=/run/netns/clients $MERIDIAN status --admin 10.53.0.1:8053 --token-file $WORK/token"
  wait
}

# --- All of it -------------------------------------------------------------------------------------

inside() {
  local step began
  title "Building: ten machines, two regions, two nodes"
  build
  # Needed by `capacity` alone, which takes a while to make sense of it.
  case " $* " in
    *" capacity "*)
      start crowd-kr clients python3 "$WORK/clients.py" crowd crowd.gslb.example --subnets 10.8 --many 60
      start crowd-de clients python3 "$WORK/clients.py" crowd crowd.gslb.example --subnets 10.4 --many 20
      ;;
  esac
  for step in "$@"; do
    began=$SECONDS
    "step_$step"
    say "($step: $((SECONDS - began)) s)"
  done
  printf '\nall of it is so: %s s\n' "$SECONDS"
}

REQUESTS=100000
arguments=("$@")
if [ "${1:-}" = --requests ]; then
  REQUESTS=$2
  shift 2
fi
for step in "$@"; do
  [[ " $STEPS stay " == *" $step "* ]] || die "no step \`$step\`: $STEPS stay"
done
if [ "${MERIDIAN_WHOLE:-}" = inside ]; then
  # shellcheck disable=SC2086 # a list of words
  [ $# -gt 0 ] || set -- $STEPS
  inside "$@"
else
  outside "${arguments[@]}"
fi
