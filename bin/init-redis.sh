#!/usr/bin/env bash
# Writes the settings of the Redis server that keeps an acceptor:
#
#   bin/init-redis.sh ACCEPTOR [CLUSTER.json]
#
# They go to deployment/ACCEPTOR/redis.conf in the repository. The cluster file
# is configs/gryadka-redis-cluster.json unless given.
#
# Examples:
#
#   bin/init-redis.sh a1
#   bin/init-redis.sh a1 cluster.json
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

read_arguments 1 2 -- "$@"
acceptor=${words[0]}
cluster=$(absolute "${words[1]:-$root/configs/gryadka-redis-cluster.json}")
program=$(binary gryadkactl)

cd "$root"
written=$("$program" deploy "$cluster" "$acceptor")
printf '%s\n' "$written"
if [[ $written != *redis.conf ]]; then
  echo "$acceptor is not an acceptor in Redis; what was written is a node's file" >&2
  exit 2
fi
echo "start it with: redis-server $root/deployment/$acceptor/redis.conf"
