#!/usr/bin/env bash
# Runs the whole example on loopback addresses until Ctrl-C, an hour at most: two balancers, four
# backends, Meridian. Works in a temporary folder and leaves nothing behind.
set -euo pipefail
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

for program in haproxy nginx cargo; do
  command -v "$program" >/dev/null || { echo "$program is not installed (Debian: haproxy nginx libnginx-mod-stream)" >&2; exit 1; }
done

cargo build --release --manifest-path "$here/../../Cargo.toml"
meridian=$(cd "$here/../.." && pwd)/target/release/meridian

work=$(mktemp -d)
pids=()
cleanup() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

cp -r "$here"/{haproxy.cfg,nginx.conf,backends.conf,meridian.toml,zones} "$work"
cd "$work"

start() {
  local name=$1
  shift
  "$@" >"$name.log" 2>&1 &
  pids+=($!)
  echo "$name: process $!, log in $work/$name.log"
}

start backends nginx -p "$work" -c "$work/backends.conf" -g "daemon off;"
start frankfurt nginx -p "$work" -c "$work/nginx.conf" -g "daemon off;"
start seoul haproxy -db -f "$work/haproxy.cfg"
start meridian timeout 3600 "$meridian" serve --config "$work/meridian.toml"

cat <<E2

Try (README.md beside this script tells more):
  dig +short -b 127.82.0.1 @127.201.0.1 -p 5301 www.gslb.example     # a client in Korea
  curl http://127.201.82.1:8080/                                     # its region's balancer, a backend's reply
  curl http://127.201.0.1:8054/v1/status
Ctrl-C ends all of it.
E2
wait "${pids[-1]}" || { cat meridian.log >&2; exit 1; }
