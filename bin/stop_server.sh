#!/usr/bin/env bash
# Stops the nodes that bin/start_server.sh has started, and no others:
#
#   bin/stop_server.sh [CONFIG]
#
# CONFIG is the cluster file, configs/ten-nodes.json unless given.
#
# Examples:
#
#   bin/stop_server.sh
#   bin/stop_server.sh configs/ten-acceptors.json
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

read_arguments 0 1 -- "$@"
config=$(absolute "${words[0]:-$root/configs/ten-nodes.json}")

cd "$root"
deployment=deployment/$(basename "$config" .json)
run=$(run_directory "$config")
[[ -e $config || -d $run ]] || refuse "$config: there is no such file"
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
