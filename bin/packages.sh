# Shared by the scripts beside it; not run by itself.

# install_packages PROGRAM:PACKAGE...: installs with apt the packages whose
# programs are missing. Their services are not started: whoever needs a server
# starts one.
install_packages() {
  local pair missing=() as_root=() policy=/usr/sbin/policy-rc.d
  for pair in "$@"; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
  done
  ((${#missing[@]})) || return 0
  echo "installing ${missing[*]}" >&2
  ((EUID == 0)) || as_root=(sudo)
  "${as_root[@]}" apt-get update -qq
  if [[ -e $policy ]]; then
    policy=
  else
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod +x "$policy"
    trap '"${as_root[@]}" rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq "${missing[@]}" >/dev/null
  [[ -z $policy ]] || "${as_root[@]}" rm -f "$policy"
  trap - EXIT
}
