//! Nodes that are started over ssh: real sshd processes on loopback addresses,
//! one for each host, with keys of the test's own.

mod support;

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::json;
use support::{Process, get, own_address, program, put, use_programs, wait_until};
use tempfile::TempDir;

const SSH_PORT: u16 = 8022;

/// Three hosts, each an address with an sshd.
struct Hosts {
    dir: TempDir,
    addresses: Vec<String>,
    /// They end with the test.
    _servers: Vec<Process>,
}

fn keygen(path: &Path) {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path);
    assert!(command.stdin(Stdio::null()).status().expect("ssh-keygen").success());
}

impl Hosts {
    fn start() -> Hosts {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        keygen(&at("host_key"));
        keygen(&at("user_key"));
        fs::copy(at("user_key.pub"), at("authorized_keys")).unwrap();
        // Where sshd wants to put its unprivileged half.
        fs::create_dir_all("/run/sshd").expect("/run/sshd; the test needs root");
        let addresses: Vec<String> = (0..3).map(|_| own_address()).collect();
        let server = |address: &String| {
            let config = at(&format!("sshd-{address}"));
            let text = format!(
                "ListenAddress {address}:{SSH_PORT}\nHostKey {}\nAuthorizedKeysFile {}\n\
                 PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n",
                at("host_key").display(),
                at("authorized_keys").display()
            );
            fs::write(&config, text).unwrap();
            // It must be called by its whole path, since it starts itself again.
            let mut command = Command::new("/usr/sbin/sshd");
            command.args(["-D", "-e", "-f"]).arg(&config);
            Process::start(&mut command, &at(&format!("sshd-{address}.log")))
        };
        let servers = addresses.iter().map(server).collect();
        for address in &addresses {
            wait_until("sshd listens", || TcpStream::connect((&**address, SSH_PORT)).is_ok());
        }
        let text = format!(
            "Host *\n  Port {SSH_PORT}\n  IdentityFile {}\n  IdentitiesOnly yes\n  \
             StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n",
            at("user_key").display()
        );
        fs::write(at("ssh_config"), text).unwrap();
        Hosts { dir, addresses, _servers: servers }
    }

    /// A cluster of a node on each host.
    fn cluster_file(&self) -> PathBuf {
        let mut file = json!({ "cluster": "remote", "nodes": {}, "replicas": {} });
        for (i, address) in self.addresses.iter().enumerate() {
            file["nodes"][format!("r{i}")] = json!({ "chaos": true, "listen": {
                "client": format!("{address}:8001"),
                "peer": format!("{address}:8101"),
                "admin": format!("{address}:8201"),
            }});
            file["replicas"][format!("r{i}")] = json!({ "node": format!("r{i}"), "id": i + 1 });
        }
        let path = self.dir.path().join("remote.json");
        fs::write(&path, serde_json::to_string_pretty(&file).unwrap()).unwrap();
        path
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        // The script writes deployment files beside itself.
        let here = self.dir.path().join("checkout");
        fs::create_dir_all(here.join("bin")).unwrap();
        for script in ["lib.sh", "autoconfig_remote_servers.sh"] {
            fs::copy(root.join("bin").join(script), here.join("bin").join(script)).unwrap();
        }
        let mut command = Command::new(here.join("bin/autoconfig_remote_servers.sh"));
        command.args(arguments).current_dir(self.dir.path());
        command.env("SSH_CONFIG", self.dir.path().join("ssh_config"));
        command.env("REMOTE_DIR", self.dir.path().join("remote"));
        use_programs(&mut command);
        command.output().unwrap()
    }

    fn must(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}{complaint}");
        said
    }
}

/// The process of a node, by what it says of itself.
fn pid(address: &str) -> u64 {
    get(&format!("http://{address}:8001/version")).json()["pid"].as_u64().expect("a number")
}

#[test]
fn nodes_are_started_over_ssh_once_and_stopped() {
    let hosts = Hosts::start();
    let file = hosts.cluster_file();
    let file = file.to_str().unwrap();
    let plan = hosts.must(&["--dry-run", file]);
    for (i, address) in hosts.addresses.iter().enumerate() {
        let copies = format!("r{i}: {address}: copy {} and", program("gryadka").display());
        assert!(plan.contains(&copies), "{plan}");
    }
    assert!(TcpStream::connect((&*hosts.addresses[0], 8001)).is_err(), "a plan starts nothing");
    let said = hosts.must(&[file]);
    assert!(said.contains("version 1 at 3 nodes"), "{said}");
    let url = format!("http://{}:8001/k", hosts.addresses[0]);
    assert_eq!(put(&url, b"v").status, 204);
    let pids: Vec<u64> = hosts.addresses.iter().map(|address| pid(address)).collect();
    // Again: what runs stays as it is.
    hosts.must(&[file]);
    let again: Vec<u64> = hosts.addresses.iter().map(|address| pid(address)).collect();
    assert_eq!(pids, again);
    let said = hosts.must(&["--stop", file]);
    assert_eq!(said, "r0 is stopped\nr1 is stopped\nr2 is stopped\n");
    assert!(TcpStream::connect((&*hosts.addresses[0], 8001)).is_err());
    let said = hosts.must(&["--stop", file]);
    assert_eq!(said, "r0 does not run\nr1 does not run\nr2 does not run\n");
    // And once more, with the data of before.
    hosts.must(&[file]);
    assert_eq!(get(&url).text(), "v");
    hosts.must(&["--stop", file]);
    assert_eq!(hosts.run(&["--frobnicate"]).status.code(), Some(2));
}
