#!/usr/bin/env bash
# Puts and gets random keys of a running cluster, one request after the other,
# and checks the answers (docs/suites.md):
#
#   bin/suite.sh static|dynamic [CLUSTER.json] [options of perseus suite]
#
# The cluster file is configs/ten-nodes.json unless given.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

case ${1:-} in
  static | dynamic) suite=$1 ;;
  *)
    echo "usage: bin/suite.sh static|dynamic [CLUSTER.json] [options of perseus suite]" >&2
    exit 2
    ;;
esac
shift
cluster=$root/configs/ten-nodes.json
if [[ ${1:-} == *.json ]]; then
  cluster=$(absolute "$1")
  shift
fi
program=$(binary perseus)
exec "$program" suite "$suite" "$cluster" "$@"
