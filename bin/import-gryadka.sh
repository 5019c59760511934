#!/usr/bin/env bash
# Copies the keys of the original Gryadka into a running cluster:
#
#   bin/import-gryadka.sh CONFIG HOST:PORT... [--quorum N] [--dry-run]
#
# CONFIG is the cluster file; each HOST:PORT is the Redis of one of the original's
# acceptors. Name all of them, and stop the original's proposers first. Of each key the
# value of the highest ballot among a majority is taken. Keys that the cluster has are
# not overwritten, so the import can be repeated. More of it: --help.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

exec "$(binary gryadkactl)" import "$@"
