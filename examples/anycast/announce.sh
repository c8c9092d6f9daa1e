#!/usr/bin/env bash
# Has BIRD announce this node's address for as long as Meridian says that it should be.
#
#     announce.sh MERIDIAN BIRD_SOCKET [PERIOD]
#
# Asks every PERIOD seconds (0.2). Whatever is not a yes is a no: a server that is gone is told at once, one that is
# frozen after 0.2 s. When this script ends, the announcement does.
set -u
meridian=$1 socket=$2 period=${3:-0.2}
announced=unknown

say() {
  [ "$announced" = "$1" ] && return
  # What BIRD did not hear is said again.
  birdc -s "$socket" "$1" anycast >/dev/null && announced=$1 && echo "$1"
}

trap 'announced=unknown; say disable' EXIT
trap 'exit 0' INT TERM
while true; do
  if "$meridian" ready --within 200ms >/dev/null 2>&1; then say enable; else say disable; fi
  sleep "$period"
done
