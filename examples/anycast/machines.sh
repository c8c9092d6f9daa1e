# Shared by the examples with several machines (sourced): network namespaces that end with the script, and a client that counts.
#
#   machine NAME...            makes machines, each in a network namespace of its own
#   cable A IFACE B IFACE      lays a cable between two
#   on NAME COMMAND...         runs a command there
#   start JOB NAME COMMAND...  runs one in the background; its log is $work/JOB.log, its process ${job[JOB]}
#   node NAME ADDRESS:PORT     starts Meridian there, to listen on that; `serve NAME` starts it again
#   crash PROCESS              kill -9
#   client ADDRESS             starts to ask every 20 ms, from the machine "client"
#   fault WHAT WHO COMMAND...  does that, waits until WHO answers, prints how long that took and what was lost
#
# Exit code 77: this user may not make network namespaces.
# shellcheck shell=bash

shared=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
work=$(mktemp -d)
declare -A space job
pids=()

finish() {
  trap - EXIT
  local pid
  # The newest first: a machine goes after what runs on it.
  for ((index = ${#pids[@]} - 1; index >= 0; index--)); do
    pid=${pids[index]}
    kill -CONT "$pid" 2>/dev/null || true
    kill "$pid" 2>/dev/null || true
  done
  # Meridian and routing daemons say goodbye; whoever does not, goes.
  for ((wait = 0; wait < 30; wait++)); do
    [ -n "$(jobs -rp)" ] || break
    sleep 0.1
    # A second signal ends Meridian's `stop_delay`.
    for pid in $(jobs -rp); do kill "$pid" 2>/dev/null || true; done
  done
  for pid in $(jobs -rp); do kill -9 "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

needs() {
  local program
  for program in "$@"; do
    command -v "$program" >/dev/null || { echo "$program is not installed" >&2; exit 1; }
  done
}

# The program: $MERIDIAN, or built here.
meridian() {
  [ -n "${MERIDIAN:-}" ] && return
  cargo build --release --manifest-path "$shared/../../Cargo.toml"
  MERIDIAN=$(cd "$shared/../.." && pwd)/target/release/meridian
}

machine() {
  local name pid
  for name in "$@"; do
    unshare --net sleep 900 2>"$work/unshare.log" &
    pid=$!
    pids+=("$pid")
    until [ "$(readlink "/proc/$pid/ns/net")" != "$(readlink /proc/self/ns/net)" ]; do
      kill -0 "$pid" 2>/dev/null || { cat "$work/unshare.log" >&2; exit 77; }
      sleep 0.01
    done
    space[$name]=$pid
    on "$name" ip link set dev lo up
  done
}

on() {
  local name=$1
  shift
  nsenter --target "${space[$name]}" --net "$@"
}

cable() {
  on "$1" ip link add "$2" type veth peer name "$4" netns "${space[$3]}"
  on "$1" ip link set dev "$2" up
  on "$3" ip link set dev "$4" up
}

start() {
  local name=$1 where=$2
  shift 2
  # nsenter becomes the command: the process is the command's own.
  nsenter --target "${space[$where]}" --net "$@" >>"$work/$name.log" 2>&1 &
  job[$name]=$!
  pids+=($!)
}

# Writes the configuration of one node, and starts it.
node() {
  local name=$1 address=$2
  mkdir -p "$work/$name"
  cp -r "$shared/zones" "$work/$name/"

  cat >"$work/$name/meridian.toml" <<END
listen.dns = ["$address"]
nsid       = "$name"   # tells who answered
threads    = 1
stop_delay = "5s"      # more than the other node takes to be found
END
  serve "$name"
}

serve() {
  start "meridian-$1" "$1" "$MERIDIAN" serve --config "$work/$1/meridian.toml"
}

# Ends a process as a crash does.
crash() {
  kill -9 "$1"
  wait "$1" 2>/dev/null || true
}

until_it_is_so() {
  local what=$1 tries
  shift
  for ((tries = 0; tries < 300; tries++)); do
    "$@" >/dev/null 2>&1 && return
    sleep 0.1
  done
  echo "still not so after 30 s: $what" >&2
  tail -n 5 "$work"/*.log >&2
  exit 1
}

now_ms() { echo "${EPOCHREALTIME/[.,]/}" | sed 's/...$//'; }

client() { start asked client python3 "$shared/ask.py" "$1"; }

# Since that time, in ms: has WHO answered?
answers() { awk -v since="$1" -v who="$2" '$1 >= since && $2 == who { found = 1 } END { exit !found }' "$work/asked.log"; }
answering() { [ "$(tail -n 1 "$work/asked.log" | cut -d' ' -f2)" = "$1" ]; }

fault() {
  local what=$1 who=$2 began
  shift 2
  began=$(now_ms)
  "$@"
  until_it_is_so "$what: $who answers" answers "$began" "$who"
  sleep 1.2 # what was under way has been answered or lost by then
  awk -v began="$began" -v who="$who" -v what="$what" '
    $1 < began - 20 { next }
    { asked++ }
    $2 == "lost" { lost++ }
    $2 == who && !found { found = 1; after = $1 - began }
    END { printf "%-46s %s answers after %4d ms, %d of %d queries lost\n", what ":", who, after, lost, asked }' "$work/asked.log"
}
