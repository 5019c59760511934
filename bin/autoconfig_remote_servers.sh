#!/usr/bin/env bash
# Does what bin/start_server.sh does on other machines, over ssh: copies the
# program and each node's deployment file to the node's host, starts what does not
# run there yet, waits until all are ready, and uploads the connection matrix.
#
#   bin/autoconfig_remote_servers.sh [--dry-run | --stop] [CONFIG [MATRIX]]
#
# CONFIG is the cluster file, configs/ten-nodes.json unless given; a node's host is
# the address of its listeners. It can be run again at any time. From the environment:
#
#   SSH_CONFIG   a file for `ssh -F`: users, ports, keys
#   REMOTE_DIR   where the nodes live, from the remote home directory: gryadka
#
# Examples:
#
#   bin/autoconfig_remote_servers.sh --dry-run cluster.json
#   bin/autoconfig_remote_servers.sh cluster.json matrix
#   bin/autoconfig_remote_servers.sh cluster.json --stop
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

read_arguments 0 2 --dry-run --stop -- "$@"
case ${!given[*]} in
  "") mode=start ;;
  --dry-run) mode=dry-run ;;
  --stop) mode=stop ;;
  *) refuse "--dry-run and --stop are two things; give one of them" ;;
esac
config=$(absolute "${words[0]:-$root/configs/ten-nodes.json}")
matrix=${words[1]:+$(absolute "${words[1]}")}
control=$(binary gryadkactl)
node=$(binary gryadka)
remote=${REMOTE_DIR:-gryadka}
options=(-o BatchMode=yes -o ConnectTimeout=10)
[[ -z ${SSH_CONFIG:-} ]] || options=(-F "$(absolute "$SSH_CONFIG")" "${options[@]}")

cd "$root"
deployment=deployment/$(basename "$config" .json)
files=$("$control" deploy "$config" --out "$deployment")

# host_of FILE: where its node listens.
host_of() {
  local address
  address=$(grep -oE '"(client|peer|admin)": *"[^"]+"' "$1" | head -n 1 | cut -d '"' -f 4)
  [[ -n $address ]] || { echo "$1: the node listens nowhere, so its host is unknown" >&2; return 1; }
  address=${address%:*}
  address=${address#[}
  printf '%s\n' "${address%]}"
}

# copy FILE HOST PATH: unless the same is there already.
copy() {
  local sum
  sum=$(sha256sum <"$1")
  if [[ $(ssh "${options[@]}" "$2" "sha256sum <'$3' 2>/dev/null" || true) != "$sum" ]]; then
    # Aside first: a program that runs cannot be overwritten.
    ssh "${options[@]}" "$2" "cat >'$3.new' && chmod 755 '$3.new' && mv '$3.new' '$3'" <"$1"
  fi
}

# What is done on the host, in the node's directory, with the node's name as $1.
runs='pid=$(cat node.pid 2>/dev/null) && tr "\0" " " <"/proc/$pid/cmdline" 2>/dev/null | grep -qF "$PWD/gryadka "'
start="$runs"' && exit 0
rm -f node.pid
if [ "$(id -u)" = 0 ] && [ -d /run/systemd/system ]; then
  systemctl reset-failed "gryadka-$1" 2>/dev/null
  systemd-run --quiet --unit "gryadka-$1" --working-directory "$PWD" \
    sh -c "echo \$\$ >node.pid; exec \"$PWD/gryadka\" \"$1.json\" >>node.log 2>&1"
else
  setsid nohup sh -c "echo \$\$ >node.pid; exec \"$PWD/gryadka\" \"$1.json\"" >>node.log 2>&1 </dev/null &
fi'
stop="$runs"' || { echo "$1 does not run"; exit 0; }
kill -TERM "$pid"
for _ in $(seq 100); do [ -d "/proc/$pid" ] || break; sleep 0.1; done
[ ! -d "/proc/$pid" ] || kill -KILL "$pid"
rm -f node.pid
echo "$1 is stopped"'

for file in $files; do
  [[ $file == *.json ]] || continue
  name=$(basename "$file" .json)
  host=$(host_of "$file")
  there=$remote/$name
  case $mode in
    dry-run)
      echo "$name: $host: copy $node and $file to $there/, start $there/gryadka $name.json"
      continue
      ;;
    stop) ssh -n "${options[@]}" "$host" "mkdir -p '$there' && cd '$there' && set -- '$name' && $stop" ;;
    start)
      ssh -n "${options[@]}" "$host" "mkdir -p '$there'"
      copy "$node" "$host" "$there/gryadka"
      copy "$file" "$host" "$there/$name.json"
      ssh -n "${options[@]}" "$host" "cd '$there' && set -- '$name' && $start"
      ;;
  esac
done
case $mode in
  dry-run) echo "then wait until all are ready${matrix:+, and upload $matrix}" ;;
  start)
    if ! wait_and_upload "$config" "$matrix"; then
      echo "not all nodes came up; see node.log in $remote/NODE on their hosts" >&2
      exit 1
    fi
    ;;
esac
