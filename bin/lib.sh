# Shared by the scripts beside it; not run by itself.

# The repository's root, wherever the caller stands.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# The script itself, wherever it goes.
script=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")

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

# usage: prints the comment that the script begins with.
usage() {
  sed -n '2,${/^#/!q;s/^# \{0,1\}//;p}' "$script"
}

# help_if_asked ARGUMENT...: prints the usage and ends the script when --help is
# among the arguments that stand before "--".
help_if_asked() {
  local argument
  for argument in "$@"; do
    case $argument in
      --) return ;;
      --help | -h) usage && exit ;;
    esac
  done
}

# refuse WHY: ends the script with that and the calls that its usage shows.
refuse() {
  echo "$0: $1"
  usage | sed -n '/^Examples:/,$d;s/^  bin/usage: bin/p'
  echo "more: $0 --help"
  exit 2
} >&2

# read_arguments LEAST MOST [OPTION...] -- [ARGUMENT...]: sorts the arguments of
# the script. `given[OPTION]` is set for each option, wherever it stands; `words`
# gets all else: LEAST to MOST words. What stands behind "--" is a word, and so is
# a number below 0. Prints the usage when asked for help, and refuses all else.
declare -A given=()
words=()
read_arguments() {
  local least=$1 most=$2 known=" "
  shift 2
  while [[ $1 != -- ]]; do
    known+="$1 "
    shift
  done
  shift
  help_if_asked "$@"
  while (($#)); do
    case $1 in
      --)
        shift
        words+=("$@")
        break
        ;;
      --* | -[a-zA-Z]*)
        [[ $known == *" $1 "* ]] ||
          refuse "there is no option \"$1\"; words that begin with a dash come after --"
        given[$1]=yes
        ;;
      *) words+=("$1") ;;
    esac
    shift
  done
  ((${#words[@]} >= least)) || refuse "something is missing"
  ((${#words[@]} <= most)) || refuse "\"${words[most]}\" is too much"
}

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

# read_load CLUSTER.json ARGUMENT...: sorts the arguments of a script whose options
# are those of perseus, which refuses what it does not know. `cluster` is the first
# cluster file among them, or else the first argument, `suite` the first static or
# dynamic, and `rest` all else.
read_load() {
  local argument
  cluster='' suite='' rest=()
  for argument in "${@:2}"; do
    case $argument in
      static | dynamic) [[ -z $suite ]] && suite=$argument && continue ;;
      -*) ;;
      *.json) [[ -z $cluster ]] && cluster=$(absolute "$argument") && continue ;;
    esac
    rest+=("$argument")
  done
  cluster=${cluster:-$1}
}
