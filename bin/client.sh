#!/usr/bin/env bash
# Asks a running cluster for a key, or for what its nodes know:
#
#   bin/client.sh CONFIG put KEY VALUE
#   bin/client.sh CONFIG get KEY
#   bin/client.sh CONFIG debug VARIABLE [IP PORT]
#
# CONFIG is the cluster file. VARIABLE is all, log, matchIndex, nextIndex, conn_mat
# or another of the names that `all` shows; IP PORT is an admin listener. More of it:
# gryadkactl --help. A value that begins with a dash comes after "--".
#
# Examples:
#
#   bin/client.sh configs/ten-nodes.json put color green
#   bin/client.sh configs/ten-nodes.json put color -- --green--
#   bin/client.sh configs/ten-nodes.json get color
#   bin/client.sh configs/ten-nodes.json debug log 127.0.0.1 8201
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

read_arguments 2 5 -- "$@"
config=${words[0]} verb=${words[1]}
words=("${words[@]:2}")
case $verb:${#words[@]} in
  put:2 | get:1 | debug:1 | debug:3) ;;
  *) refuse "Invalid operation" ;;
esac
exec "$(binary gryadkactl)" "$verb" --cluster "$config" -- "${words[@]}"
