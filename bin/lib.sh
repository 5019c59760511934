# Shared by the scripts beside it; not run by itself.

# The repository's root, wherever the caller stands.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# binary NAME: prints the path of a program of this package, which is built
# first when it is not there. GRYADKA_BIN names another directory of programs,
# from which nothing is built.
binary() {
  local path
  if [[ -n ${GRYADKA_BIN:-} ]]; then
    path=$(absolute "$GRYADKA_BIN")/$1
    [[ -x $path ]] || { echo "$path: no such program; see GRYADKA_BIN" >&2; return 1; }
  else
    path=$root/target/release/$1
    if [[ ! -x $path ]]; then
      cargo build --release --bin "$1" --manifest-path "$root/Cargo.toml" \
        --target-dir "$root/target" >&2
    fi
  fi
  printf '%s\n' "$path"
}

# absolute PATH: the same path, whatever directory the script changes to.
absolute() {
  case $1 in
    /*) printf '%s\n' "$1" ;;
    *) printf '%s\n' "$PWD/$1" ;;
  esac
}

# run_directory CONFIG: where the process ids and logs of its nodes are.
run_directory() {
  printf 'data/%s/run\n' "$(basename "$1" .json)"
}

# runs PIDFILE DEPLOYMENT: whether the node of that file runs.
runs() {
  [[ -r $1 ]] && tr '\0' ' ' <"/proc/$(<"$1")/cmdline" 2>/dev/null | grep -qF -- "$2 "
}

# invalid_operation: says so, prints the calls that the script's own head shows,
# and ends it.
invalid_operation() {
  echo "Invalid operation"
  grep -E '^#   bin/' "$0" | cut -c 3-
  exit 2
} >&2

# wait_and_upload CONFIG MATRIX: waits until all nodes are ready, then puts the
# matrix in force where chaos is allowed: the given one, or else the file `matrix` of
# this repository if it has as many rows as the cluster has nodes. Without either
# everything gets through.
wait_and_upload() {
  local control matrix=$2
  control=$(binary gryadkactl)
  "$control" status "$1" --wait "${START_PATIENCE:-60s}" || return 1
  if [[ -z $matrix ]]; then
    grep -Eq '"chaos": *(true|"anywhere")' "$1" || return 0
    # A line of a matrix per node.
    if [[ -r $root/matrix && $("$control" chaos get "$1" | wc -l) -eq $(wc -l <"$root/matrix") ]]; then
      matrix=$root/matrix
    fi
  fi
  if [[ -n $matrix ]]; then
    "$control" chaos upload "$1" "$matrix"
  else
    "$control" chaos heal "$1"
  fi
}

# suite_of ARGUMENT...: sets `suite`, `cluster` and `rest` from the arguments of a
# suite; fails when they name no suite.
suite_of() {
  suite=${1:-}
  [[ $suite == static || $suite == dynamic ]] || return 1
  shift
  cluster=$root/configs/ten-nodes.json
  if [[ ${1:-} == *.json ]]; then
    cluster=$(absolute "$1")
    shift
  fi
  rest=("$@")
}
