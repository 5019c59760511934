#!/usr/bin/env bash
# Stops the nodes that bin/start_server.sh has started, and no others:
#
#   bin/stop_server.sh [CONFIG]
#
# CONFIG is the cluster file, configs/ten-nodes.json unless given.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if (($# > 1)); then
  echo "usage: bin/stop_server.sh [CONFIG]" >&2
  exit 2
fi
config=$(absolute "${1:-$root/configs/ten-nodes.json}")

cd "$root"
deployment=deployment/$(basename "$config" .json)
run=$(run_directory "$config")
shopt -s nullglob
stopping=()
for pid in "$run"/*.pid; do
  one=$(basename "$pid" .pid)
  if runs "$pid" "$deployment/$one.json"; then
    kill -TERM "$(<"$pid")"
    stopping+=("$one")
  else
    rm "$pid"
  fi
done
for one in ${stopping[@]+"${stopping[@]}"}; do
  pid=$run/$one.pid
  # A node drains for 5 s at most; one that is stopped or stuck does not.
  for _ in $(seq 100); do
    runs "$pid" "$deployment/$one.json" || break
    sleep 0.1
  done
  if runs "$pid" "$deployment/$one.json"; then
    echo "$one does not end; it is killed" >&2
    kill -KILL "$(<"$pid")"
  fi
  rm "$pid"
done
echo "stopped: ${stopping[*]:-nothing was running}"
