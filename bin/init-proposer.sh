#!/usr/bin/env bash
# Writes the deployment file of a proposer's node:
#
#   bin/init-proposer.sh NODE [CLUSTER.json]
#
# It goes to deployment/NODE.json in the repository; bin/gryadka runs it. The
# cluster file is configs/gryadka-redis-cluster.json unless given.
#
# Examples:
#
#   bin/init-proposer.sh p1
#   bin/init-proposer.sh p1 cluster.json
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

read_arguments 1 2 -- "$@"
name=${words[0]}
cluster=$(absolute "${words[1]:-$root/configs/gryadka-redis-cluster.json}")
program=$(binary gryadkactl)

cd "$root"
written=$("$program" deploy "$cluster" "$name")
printf '%s\n' "$written"
if [[ $written != *.json ]]; then
  echo "$name is an acceptor in Redis, not a node; use bin/init-redis.sh $name" >&2
  exit 2
fi
