#!/usr/bin/env bash
# The control node of the example (docs/example.md): makes a4 the fourth
# acceptor, step by step.
#
#   bin/node-control.sh [--redis] STEP
#
#   accept     a4 accepts; the accept quorum goes from 2 to 3
#   rescan     every key is read anew, so that three acceptors hold it
#   prepare    a4 promises; the prepare quorum goes from 2 to 3
#   dump       shows the acceptors of every proposer
#
# Examples:
#
#   bin/node-control.sh dump
#   bin/node-control.sh accept --redis
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

read_arguments 1 1 --redis -- "$@"
cluster=configs/example${given[--redis]:+-redis}-cluster.json
case ${words[0]} in
  accept) step=(add-accept "$cluster" all a4 3) ;;
  rescan) step=(rescan "$cluster") ;;
  prepare) step=(add-prepare "$cluster" all a4 3) ;;
  dump) step=(dump "$cluster") ;;
  *) refuse "there is no step \"${words[0]}\"" ;;
esac
control=$(binary gryadkactl)

cd "$root"
exec "$control" acceptors "${step[@]}"
