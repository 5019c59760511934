#!/usr/bin/env bash
# Puts and gets random keys of a running cluster, one request after the other,
# and checks the answers (docs/suites.md):
#
#   bin/suite.sh static|dynamic [CLUSTER.json] [options of perseus suite]
#
# The cluster file is configs/ten-nodes.json unless given.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if ! suite_of "$@"; then
  echo "usage: bin/suite.sh static|dynamic [CLUSTER.json] [options of perseus suite]" >&2
  exit 2
fi
program=$(binary perseus)
exec "$program" suite "$suite" "$cluster" ${rest[@]+"${rest[@]}"}
