#!/usr/bin/env bash
# Puts load on a running cluster and prints, each second, the successful
# iterations of the cluster and of each node:
#
#   bin/test.sh [CLUSTER.json] [options of perseus run]
#
# The cluster file is configs/gryadka-redis-cluster.json unless given.
#
# Examples:
#
#   bin/test.sh --duration 10s
#   bin/test.sh configs/gryadka-cluster.json --format perseus
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

help_if_asked "$@"
read_load "$root/configs/gryadka-redis-cluster.json" "$@"
program=$(binary perseus)
exec "$program" run --cluster "$cluster" "${rest[@]}"
