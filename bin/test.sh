#!/usr/bin/env bash
# Puts load on a running cluster and prints, each second, the successful
# iterations of the cluster and of each node:
#
#   bin/test.sh [CLUSTER.json] [options of perseus run]
#
# The cluster file is configs/gryadka-redis-cluster.json unless given.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cluster=$root/configs/gryadka-redis-cluster.json
if [[ ${1:-} == *.json ]]; then
  cluster=$(absolute "$1")
  shift
fi
program=$(binary perseus)

cd "$root"
exec "$program" run --cluster "$cluster" "$@"
