#!/usr/bin/env bash
# Makes a running cluster misbehave, and well again:
#
#   bin/chaos-client.sh CONFIG upload [--delay] FILE
#   bin/chaos-client.sh CONFIG edit [--delay] ROW COL VALUE
#   bin/chaos-client.sh CONFIG get [--delay] [NODE]
#   bin/chaos-client.sh CONFIG kill [--process] NODE
#   bin/chaos-client.sh CONFIG revive NODE
#   bin/chaos-client.sh CONFIG partition A,B / C,D,E
#   bin/chaos-client.sh CONFIG isolate NODE
#   bin/chaos-client.sh CONFIG heal
#
# CONFIG is the cluster file; nodes are named as there, or by their index from 0.
#
# Examples:
#
#   bin/chaos-client.sh configs/ten-nodes.json upload matrix
#   bin/chaos-client.sh configs/ten-nodes.json edit s0 s1 0.5
#   bin/chaos-client.sh configs/ten-nodes.json edit s0 s1 20~5 --delay
#   bin/chaos-client.sh configs/ten-nodes.json partition s0,s1,s2,s3 / s4,s5,s6,s7,s8,s9
#   bin/chaos-client.sh configs/ten-nodes.json heal
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

read_arguments 2 1000 --delay --process -- "$@"
config=${words[0]} verb=${words[1]}
words=("${words[@]:2}")
case $verb in
  upload | kill | revive | isolate) least=1 most=1 ;;
  edit) least=3 most=3 ;;
  get) least=0 most=1 ;;
  partition) least=1 most=1000 ;;
  heal) least=0 most=0 ;;
  *) refuse "Invalid operation \"$verb\"" ;;
esac
((${#words[@]} >= least && ${#words[@]} <= most)) || refuse "Invalid operation"
exec "$(binary gryadkactl)" chaos "$verb" "${!given[@]}" -- "$config" "${words[@]}"
