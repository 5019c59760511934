//! Three hosts for a test: network namespaces of its own, joined by a bridge at
//! which the test itself is a fourth.

use std::process::Command;

use super::replicas::Host;

/// Set in the process that has namespaces of its own.
const INSIDE: &str = "TEST_HAS_HOSTS";

/// It is gone with its namespaces, and they with the last process in them.
const NETWORK: &str = r#"
set -e
mount -t tmpfs none /run
ip link set lo up
ip link add hub type bridge
ip addr add 198.18.0.254/24 dev hub
ip link set hub up
for i in 1 2 3; do
  ip netns add r$i
  ip link add hub$i type veth peer name eth0 netns r$i
  ip link set hub$i master hub up
  ip -n r$i addr add 198.18.0.$i/24 dev eth0
  ip -n r$i link set eth0 up
  ip -n r$i link set lo up
done
"#;

/// Runs the rest of the test of this name in a process that has the hosts. It
/// needs root.
pub fn with_hosts(test: &str, body: impl FnOnce([Host; 3])) {
    if std::env::var_os(INSIDE).is_some() {
        let network = Command::new("bash").args(["-c", NETWORK]).status().expect("bash");
        assert!(network.success(), "the namespaces cannot be made");
        return body([1, 2, 3].map(|number| Host {
            address: format!("198.18.0.{number}"),
            namespace: Some(format!("r{number}")),
        }));
    }
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.arg(std::env::current_exe().expect("the test's own path"));
    command.args(["--exact", test, "--nocapture"]);
    let output = command.env(INSIDE, "1").output().expect("unshare");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    print!("{text}");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}{errors}\n(network namespaces need root)");
}
