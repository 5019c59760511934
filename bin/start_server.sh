#!/usr/bin/env bash
# Starts all nodes of a cluster on this machine, in the background, waits until
# they are ready, uploads the connection matrix, and prints what runs where:
#
#   bin/start_server.sh [CONFIG [MATRIX]]
#
# CONFIG is the cluster file, configs/ten-nodes.json unless given. MATRIX is
# uploaded where the cluster allows chaos; unless given, the file `matrix` of this
# repository, which is for ten nodes. Other clusters begin healthy.
# Nodes that run already stay as they are. bin/stop_server.sh stops them.
#
# Examples:
#
#   bin/start_server.sh
#   bin/start_server.sh configs/ten-acceptors.json
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

read_arguments 0 2 -- "$@"
config=$(absolute "${words[0]:-$root/configs/ten-nodes.json}")
matrix=${words[1]:+$(absolute "${words[1]}")}
control=$(binary gryadkactl)
node=$(binary gryadka)

cd "$root"
name=$(basename "$config" .json)
deployment=deployment/$name
run=$(run_directory "$config")
files=$("$control" deploy "$config" --out "$deployment")
mkdir -p "$run"
for file in $files; do
  [[ $file == *.json ]] || continue
  one=$(basename "$file" .json)
  if runs "$run/$one.pid" "$file"; then
    continue
  fi
  setsid nohup "$node" "$file" >>"$run/$one.log" 2>&1 </dev/null &
  echo $! >"$run/$one.pid"
done
if ! wait_and_upload "$config" "$matrix"; then
  echo "not all nodes came up; see their logs in $run, and bin/stop_server.sh $config" >&2
  exit 1
fi
echo "logs in $run; bin/stop_server.sh $config stops them"
