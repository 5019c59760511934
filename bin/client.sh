#!/usr/bin/env bash
# Asks a running cluster for a key, or for what its nodes know:
#
#   bin/client.sh CONFIG put KEY VALUE
#   bin/client.sh CONFIG get KEY
#   bin/client.sh CONFIG debug VARIABLE [IP PORT]
#
# CONFIG is the cluster file. VARIABLE is all, log, matchIndex, nextIndex, conn_mat
# or another of the names that `all` shows; IP PORT is an admin listener. More of it:
# gryadkactl --help.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

(($# >= 2)) || invalid_operation
config=$1 verb=$2
shift 2
case $verb:$# in
  put:2 | get:1 | debug:1 | debug:3) ;;
  *) invalid_operation ;;
esac
exec "$(binary gryadkactl)" "$verb" --cluster "$config" -- "$@"
