#!/usr/bin/env bash
# Runs the servers of the example (docs/example.md) until Ctrl-C: three full
# nodes p1 to p3, each with an acceptor and a proposer, and a stand-by acceptor
# a4. Their data stays.
#
#   bin/example.sh [--redis]
#
# Examples:
#
#   bin/example.sh             acceptors in embedded stores
#   bin/example.sh --redis     acceptors in Redis servers
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

read_arguments 0 0 --redis -- "$@"
name=example${given[--redis]:+-redis}
control=$(binary gryadkactl)
node=$(binary gryadka)

cd "$root"
deployment=deployment/$name
logs=data/$name
mkdir -p "$logs"
"$control" deploy "configs/$name-cluster.json" --out "$deployment" >/dev/null

running=()
stop() {
  trap '' INT TERM
  # One that has ended by itself is not there to be told.
  ((${#running[@]})) && kill -TERM "${running[@]}" 2>/dev/null
  wait
}
trap stop EXIT
trap 'exit 0' INT TERM

# start NAME COMMAND...: in the background, its output in a log.
start() {
  local log=$logs/$1.log
  shift
  "$@" >>"$log" 2>&1 &
  running+=($!)
}

if [[ $name == example-redis ]]; then
  for acceptor in a1 a2 a3 a4; do
    start "$acceptor" redis-server "$deployment/$acceptor/redis.conf"
  done
else
  start a4 "$node" "$deployment/a4.json"
fi
for proposer in p1 p2 p3; do
  start "$proposer" "$node" "$deployment/$proposer.json"
done

echo "three full nodes p1, p2, p3 and the stand-by acceptor a4; logs in $logs"
echo "start the clients in another terminal: bin/gryadka $deployment/c1.json"
echo "Ctrl-C stops all of it"
# Ends with the first of them that ends: the others would run on as half of it.
status=0
wait -n "${running[@]}" || status=$?
echo "one of them ended with status $status; see $logs" >&2
exit 1
