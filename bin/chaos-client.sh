#!/usr/bin/env bash
# Makes a running cluster misbehave, and well again:
#
#   bin/chaos-client.sh CONFIG upload [--delay] FILE
#   bin/chaos-client.sh CONFIG edit [--delay] ROW COL VALUE
#   bin/chaos-client.sh CONFIG get [--delay] [NODE]
#   bin/chaos-client.sh CONFIG kill [--process] NODE
#   bin/chaos-client.sh CONFIG revive NODE
#   bin/chaos-client.sh CONFIG partition A,B / C,D,E
#   bin/chaos-client.sh CONFIG isolate NODE
#   bin/chaos-client.sh CONFIG heal
#
# CONFIG is the cluster file; nodes are named as there, or by their index from 0.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

(($# >= 2)) || invalid_operation
config=$1 verb=$2
shift 2
words=0
for word in "$@"; do
  [[ $word == --delay || $word == --process ]] || words=$((words + 1))
done
case $verb in
  upload | kill | revive | isolate) least=1 most=1 ;;
  edit) least=3 most=3 ;;
  get) least=0 most=1 ;;
  partition) least=1 most=1000 ;;
  heal) least=0 most=0 ;;
  *) invalid_operation ;;
esac
((words >= least && words <= most)) || invalid_operation
exec "$(binary gryadkactl)" chaos "$verb" "$config" "$@"
