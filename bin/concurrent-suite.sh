#!/usr/bin/env bash
# Puts and gets random keys of a running cluster, several clients at once, and
# checks the answers (docs/suites.md):
#
#   bin/concurrent-suite.sh static|dynamic [CLUSTER.json] [options of perseus suite]
#
# There are five clients unless --clients says otherwise, and each of the four
# types has its turn unless --type names one. The cluster file is
# configs/ten-nodes.json unless given.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat >&2 <<'USAGE'
usage: bin/concurrent-suite.sh static|dynamic [CLUSTER.json] [options of perseus suite]
--plot and --ratio are of one type; give --type with them
USAGE
  exit 2
}

suite_of "$@" || usage
set -- ${rest[@]+"${rest[@]}"}

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
[[ -z $of_one_type || ${#types[@]} == 0 ]] || usage
program=$(binary perseus)

if ((${#types[@]} == 0)); then
  exec "$program" suite "$suite" "$cluster" "${clients[@]}" "$@"
fi
for type in "${types[@]}"; do
  "$program" suite "$suite" "$cluster" "${clients[@]}" --type "$type" "$@"
done
