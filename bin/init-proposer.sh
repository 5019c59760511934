#!/usr/bin/env bash
# Writes the deployment file of a proposer's node:
#
#   bin/init-proposer.sh NODE [CLUSTER.json]
#
# It goes to deployment/NODE.json in the repository; bin/gryadka runs it. The
# cluster file is configs/gryadka-redis-cluster.json unless given.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if (( $# < 1 || $# > 2 )); then
  echo "usage: bin/init-proposer.sh NODE [CLUSTER.json]" >&2
  exit 2
fi
cluster=$(absolute "${2:-$root/configs/gryadka-redis-cluster.json}")
program=$(binary gryadkactl)

cd "$root"
written=$("$program" deploy "$cluster" "$1")
printf '%s\n' "$written"
if [[ $written != *.json ]]; then
  echo "$1 is an acceptor in Redis, not a node; use bin/init-redis.sh $1" >&2
  exit 2
fi
