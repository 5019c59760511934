#!/usr/bin/env bash
# Puts and gets random keys of a running cluster, several clients at once, and
# checks the answers (docs/suites.md):
#
#   bin/concurrent-suite.sh static|dynamic [CLUSTER.json] [options of perseus suite]
#
# There are five clients unless --clients says otherwise, and each of the four
# types has its turn unless --type names one; --plot and --ratio are of one type.
# The cluster file is configs/ten-nodes.json unless given.
#
# Examples:
#
#   bin/concurrent-suite.sh static
#   bin/concurrent-suite.sh static configs/raft-cluster.json --clients 20 --type mix --ratio 1:3
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

help_if_asked "$@"
read_load "$root/configs/ten-nodes.json" "$@"
[[ -n $suite ]] || refuse "say static or dynamic"
set -- "${rest[@]}"

clients=(--clients 5)
types=(put get put-then-get mix)
of_one_type=
for argument in "$@"; do
  case $argument in
    --clients | --clients=*) clients=() ;;
    --type | --type=*) types=() ;;
    --plot | --plot=* | --ratio | --ratio=*) of_one_type=yes ;;
  esac
done
[[ -z $of_one_type || ${#types[@]} == 0 ]] ||
  refuse "--plot and --ratio are of one type; give --type with them"
program=$(binary perseus)

if ((${#types[@]} == 0)); then
  exec "$program" suite "$suite" "$cluster" "${clients[@]}" "$@"
fi
for type in "${types[@]}"; do
  "$program" suite "$suite" "$cluster" "${clients[@]}" --type "$type" "$@"
done
