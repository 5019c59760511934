#!/usr/bin/env bash
# Puts and gets random keys of a running cluster, one request after the other,
# and checks the answers (docs/suites.md):
#
#   bin/suite.sh static|dynamic [CLUSTER.json] [options of perseus suite]
#
# The cluster file is configs/ten-nodes.json unless given.
#
# Examples:
#
#   bin/suite.sh static
#   bin/suite.sh dynamic --rounds 4 --plot suite.svg
#   bin/suite.sh static configs/gryadka-cluster.json --requests 1000
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

help_if_asked "$@"
read_load "$root/configs/ten-nodes.json" "$@"
[[ -n $suite ]] || refuse "say static or dynamic"
program=$(binary perseus)
exec "$program" suite "$suite" "$cluster" "${rest[@]}"
