#!/usr/bin/env bash
# Writes the settings of the Redis server that keeps an acceptor:
#
#   bin/init-redis.sh ACCEPTOR [CLUSTER.json]
#
# They go to deployment/ACCEPTOR/redis.conf in the repository. The cluster file
# is configs/gryadka-redis-cluster.json unless given.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if (( $# < 1 || $# > 2 )); then
  echo "usage: bin/init-redis.sh ACCEPTOR [CLUSTER.json]" >&2
  exit 2
fi
acceptor=$1
cluster=$(absolute "${2:-$root/configs/gryadka-redis-cluster.json}")
program=$(binary gryadkactl)

cd "$root"
written=$("$program" deploy "$cluster" "$acceptor")
printf '%s\n' "$written"
if [[ $written != *redis.conf ]]; then
  echo "$acceptor is not an acceptor in Redis; what was written is a node's file" >&2
  exit 2
fi
echo "start it with: redis-server $root/deployment/$acceptor/redis.conf"
