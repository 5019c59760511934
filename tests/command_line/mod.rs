//! What the programs say to wrong input: the status of the process, and a message
//! that names what is wrong.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use super::support::{Cluster, Protocol, program, put};

/// Stands for an argument that is not UTF-8.
const NOT_UTF8: &str = "NOT-UTF8";

/// A line of the table: the command line, the status, and parts of the message.
type Wrong = (&'static str, i32, &'static [&'static str]);

const GRYADKA: &[Wrong] = &[
    ("gryadka none.json", 2, &["none.json: cannot be read: No such file"]),
    ("gryadka .", 2, &[".: cannot be read: Is a directory"]),
    ("gryadka empty.json", 2, &["empty.json: line 1, column 0: not JSON"]),
    ("gryadka mark.json", 2, &["mark.json: begins with a byte order mark", "save it as UTF-8"]),
    ("gryadka mark16.json", 2, &["mark16.json: begins with a byte order mark of UTF-16"]),
    ("gryadka twice.json", 2, &["twice.json: ", "\"node\" is there twice"]),
    ("gryadka c.json", 2, &["c.json: is a cluster file", "gryadkactl deploy"]),
    ("gryadka name.json", 2, &["name.json: listen.client: \"localhost:1\" is not IP:PORT"]),
    ("gryadka port.json", 2, &["port.json: listen.client: \"127.0.0.1:0\" has port 0"]),
    ("gryadka far.json", 2, &["listen.client: 192.0.2.1:8001", "no such address", "ip address"]),
    ("gryadka a.json b.json", 2, &["'b.json' which wasn't expected"]),
    ("gryadka a.json --quiet", 2, &["'--quiet'", "cannot be used with"]),
    ("gryadka --exit-with-stdin", 2, &["DEPLOYMENT.json"]),
    ("gryadka --base-port 0", 2, &["--base-port", "\"0\"", "use 1 to 65332"]),
    ("gryadka --duration 15", 2, &["--duration", "\"15\" is not a time", "10s"]),
    ("gryadka --duration 0s", 2, &["--duration", "more than zero"]),
    ("gryadka --format loud", 2, &["--format", "\"loud\"", "totals, perseus or counters"]),
    ("gryadka --frob", 2, &["'--frob'", "gryadka [FLAGS] [OPTIONS] [DEPLOYMENT.json]"]),
    ("gryadka NOT-UTF8", 2, &["\"\\xFF\" is not UTF-8"]),
];

const RAFTKVD: &[Wrong] = &[
    ("raftkvd --id 0", 2, &["--id", "\"0\" is not a member's id", "from 1"]),
    ("raftkvd --id one", 2, &["--id", "\"one\" is not a member's id"]),
    ("raftkvd --id 9", 2, &["--id: 9 is not among the members of --cluster, 1"]),
    ("raftkvd --id", 2, &["'--id <ID>' requires a value"]),
    ("raftkvd --port 0", 2, &["--port", "\"0\" is not a port; use 1 to 65535"]),
    ("raftkvd --port 65536", 2, &["--port", "\"65536\" is not a port; use 1 to 65535"]),
    ("raftkvd --port 9021", 2, &["--port: 127.0.0.1:9021 is this member's address in --cluster"]),
    ("raftkvd --host localhost", 2, &["--host", "\"localhost\" is not an IP address", "127.0.0.1"]),
    ("raftkvd --cluster h:1", 2, &["--cluster: \"h:1\" is not http://HOST:PORT"]),
    ("raftkvd --cluster 1=http://h:1,1=http://h:2", 2, &["--cluster: member 1 is there twice"]),
    ("raftkvd --data-dir file", 2, &["file/store: creating it failed", "a file is in its place"]),
    ("raftkvd --data-dir /proc/x", 2, &["/proc/x/store: creating it", "choose another directory"]),
    ("raftkvd start", 2, &["'start' which wasn't expected", "raftkvd [FLAGS] [OPTIONS]"]),
    ("raftkvd --cluster NOT-UTF8", 2, &["\"\\xFF\" is not UTF-8"]),
];

const GRYADKACTL: &[Wrong] = &[
    ("gryadkactl", 2, &["SUBCOMMANDS:", "EXAMPLES:"]),
    ("gryadkactl frob", 2, &["'frob' which wasn't expected"]),
    ("gryadkactl status", 2, &["<CLUSTER.json>", "gryadkactl status [OPTIONS] <CLUSTER.json>\n"]),
    ("gryadkactl status --wait 3s", 2, &["gryadkactl status [OPTIONS] <CLUSTER.json>\n"]),
    ("gryadkactl status none.json", 2, &["none.json: cannot be read"]),
    ("gryadkactl status mark.json", 2, &["mark.json: begins with a byte order mark"]),
    ("gryadkactl status c.json -w", 2, &["'--write <FORMAT>' requires a value"]),
    ("gryadkactl status c.json -w xml", 2, &["\"xml\"", "table or json"]),
    ("gryadkactl status c.json --wait 3", 2, &["--wait", "\"3\" is not a time"]),
    ("gryadkactl deploy c.json p9", 2, &["c.json: there is no node or acceptor \"p9\""]),
    ("gryadkactl deploy c.json --out", 2, &["'--out <DIR>' requires a value"]),
    ("gryadkactl deploy c.json --out file", 1, &["file/p1.json: cannot be written"]),
    ("gryadkactl get k", 2, &["--cluster CLUSTER.json", "GRYADKA_CLUSTER"]),
    ("gryadkactl get --endpoints h k", 2, &["--endpoints", "\"h\" is not the address of a node"]),
    ("gryadkactl get --endpoints h:0 k", 2, &["\"h:0\" is not the address of a node"]),
    ("gryadkactl get --endpoints https://h:1 k", 2, &["https is not supported"]),
    ("gryadkactl get --cluster c.json", 2, &["<KEY>", "gryadkactl get [OPTIONS] <KEY>\n"]),
    ("gryadkactl get --cluster none.json k", 2, &["none.json: cannot be read"]),
    ("gryadkactl get --cluster c.json k --timeout", 2, &["'--timeout <TIME>' requires a value"]),
    ("gryadkactl get --cluster c.json k --timeout 0s", 2, &["--timeout", "more than zero"]),
    ("gryadkactl get --cluster c.json k -w xml", 2, &["\"xml\"", "simple, raw, json or table"]),
    ("gryadkactl get --cluster c.json NOT-UTF8", 2, &["\"\\xFF\" is not UTF-8"]),
    ("gryadkactl get --endpoints DEAD k --timeout 1ms", 1, &["nothing was changed", "connect"]),
    ("gryadkactl put --cluster c.json k", 2, &["<VALUE>", "put [OPTIONS] <KEY> <VALUE>\n"]),
    ("gryadkactl put --cluster c.json k NOT-UTF8", 2, &["\"\\xFF\" is not UTF-8"]),
    ("gryadkactl ls --frob", 2, &["'--frob' which wasn't expected"]),
    ("gryadkactl debug", 2, &["<VARIABLE>", "gryadkactl debug [OPTIONS] <VARIABLE> [ADDRESS]"]),
    ("gryadkactl debug all", 2, &["--cluster CLUSTER.json"]),
    ("gryadkactl debug all 127.0.0.1", 2, &["IP PORT"]),
    ("gryadkactl debug all 127.0.0.1 0", 2, &["\"0\" is not a port; use 1 to 65535"]),
    ("gryadkactl acceptors grow c.json", 2, &["grow [OPTIONS] <CLUSTER.json> <ACCEPTOR>\n"]),
    ("gryadkactl acceptors grow c.json a9 --rate 0", 2, &["--rate", "\"0\"", "use 1 or more"]),
    ("gryadkactl acceptors add-accept c.json all a1 x", 2, &["<QUORUM>", "invalid digit"]),
    ("gryadkactl acceptors dump c.json --patience", 2, &["'--patience <TIME>' requires a value"]),
    ("gryadkactl acceptors frob", 2, &["'frob' which wasn't expected"]),
    ("gryadkactl chaos upload c.json none", 2, &["none: No such file"]),
    ("gryadkactl chaos upload c.json mark.json", 2, &["mark.json: begins with a byte order"]),
    (
        "gryadkactl chaos edit c.json 0 1",
        2,
        &["<VALUE>", "edit [FLAGS] <CLUSTER.json> <ROW> <COL>"],
    ),
];

const PERSEUS: &[Wrong] = &[
    ("perseus", 2, &["SUBCOMMANDS:", "EXAMPLES:"]),
    ("perseus run", 2, &["no nodes", "--cluster CLUSTER.json"]),
    ("perseus run --endpoints h", 2, &["\"h\" is not the address of a node"]),
    ("perseus run --endpoints a=h:1,a=h:2", 2, &["two nodes are called \"a\""]),
    ("perseus run --endpoints h:1 --cluster c.json", 2, &["cannot be used with"]),
    ("perseus run --cluster none.json", 2, &["none.json: cannot be read"]),
    ("perseus run --endpoints h:1 --connections 0", 2, &["\"0\" is not a count", "1 to 1024"]),
    ("perseus run --endpoints h:1 --timeout", 2, &["'--timeout <TIME>' requires a value"]),
    ("perseus run --endpoints h:1 --format", 2, &["--format", "perseus run [FLAGS] [OPTIONS]\n"]),
    ("perseus suite static", 2, &["<CLUSTER.json>"]),
    ("perseus suite static c.json --keys", 2, &["'--keys <N>' requires a value"]),
    ("perseus suite static c.json --type NOT-UTF8", 2, &["\"\\xFF\" is not UTF-8"]),
    ("perseus suite static c.json --timeout 1", 2, &["--timeout", "\"1\" is not a time"]),
    ("gryadka-bench --subjects tea", 2, &["--subjects", "tea"]),
    ("gryadka-bench soak", 2, &["<subject>"]),
    ("gryadka-bench --frob", 2, &["'--frob' which wasn't expected"]),
];

/// The files that the table speaks of.
fn files() -> TempDir {
    let dir = TempDir::new().unwrap();
    let node = |client: &str| {
        format!(
            r#"{{"cluster":"d","node":"n1","data_dir":"data","listen":{{"client":"{client}",
            "peer":"{PEER}"}},"actors":{{"raft":{{"id":1,"members":{{"1":"http://{PEER}"}}}}}}}}"#
        )
    };
    let cluster = fs::read("configs/gryadka-cluster.json").unwrap();
    for (name, text) in [
        ("empty.json", Vec::new()),
        ("mark.json", [b"\xef\xbb\xbf", &cluster[..]].concat()),
        ("mark16.json", b"\xff\xfe{\0}\0".to_vec()),
        ("twice.json", br#"{"node":"a","node":"b"}"#.to_vec()),
        ("name.json", node("localhost:1").into()),
        ("port.json", node("127.0.0.1:0").into()),
        // Of the addresses that are for documentation.
        ("far.json", node("192.0.2.1:8001").into()),
        ("a.json", node(PEER).into()),
        ("file", Vec::new()),
        ("c.json", cluster),
    ] {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

const PEER: &str = "127.93.0.1:8101";

/// A program in a directory, with none of our environment.
fn command(program_path: &Path, dir: &Path) -> Command {
    let mut command = Command::new(program_path);
    command.current_dir(dir).stdin(Stdio::null());
    for name in ["GRYADKA_CLUSTER", "GRYADKA_ENDPOINTS", "GRYADKA_TIMEOUT", "RUST_LOG"] {
        command.env_remove(name);
    }
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn wrong_input_is_named_with_its_status() {
    let dir = files();
    let lines: Vec<Wrong> = [GRYADKA, RAFTKVD, GRYADKACTL, PERSEUS].concat();
    assert!(lines.len() >= 60);
    for (line, status, parts) in lines {
        let mut words = line.split(' ');
        let path = program(words.next().expect("a program"));
        let arguments = words.map(|word| match word {
            NOT_UTF8 => OsStr::from_bytes(b"\xff").to_owned(),
            // Nobody listens at port 1.
            "DEAD" => OsString::from("127.0.0.1:1"),
            word => OsString::from(word),
        });
        let output = command(&path, dir.path()).args(arguments).output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(status), "{line}: {said}");
        for part in parts {
            assert!(said.contains(part), "{line}: {part} is not in: {said}");
        }
        assert!(!said.contains("panicked") && !said.contains("remove it"), "{line}: {said}");
        assert!(output.stdout.is_empty(), "{line}: {output:?}");
    }
}

#[test]
fn an_output_that_cannot_be_written_is_an_error() {
    let dir = files();
    for line in [
        "gryadka --help",
        "raftkvd --help",
        "perseus suite --help",
        "gryadka-bench --help",
        "gryadkactl --help",
        "gryadkactl --version",
        "gryadkactl deploy c.json",
    ] {
        let (name, arguments) = line.split_once(' ').unwrap();
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = command(&program(name), dir.path());
        let output = command.args(arguments.split(' ')).stdout(full).output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{line}: {said}");
        assert!(said.contains("the output cannot be written"), "{line}: {said}");
    }
}

/// A command without the power of root over the permissions of files.
fn without_power(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = command(Path::new("setpriv"), dir);
    let power = ["--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search"];
    command.args(power).args(arguments).output().expect("setpriv; the test needs root")
}

#[test]
fn what_may_not_be_written_is_told_as_that_and_not_as_damage() {
    let dir = TempDir::new().unwrap();
    let path = dir.path();
    let (gryadka, raftkvd) = (program("gryadka"), program("raftkvd"));
    let [gryadka, raftkvd] = [&gryadka, &raftkvd].map(|path: &PathBuf| path.to_str().unwrap());
    let closed = path.join("closed");
    fs::create_dir(&closed).unwrap();
    let shut = Command::new("chmod").arg("555").arg(&closed).status().unwrap();
    assert!(shut.success());
    let demo = without_power(&closed, &[gryadka, "--duration", "1s"]);
    let member = without_power(&closed, &[raftkvd]);
    let mount = "mount --bind . . && mount -o remount,ro,bind . && cd \"$PWD\" && exec \"$@\"";
    let mut read_only = command(Path::new("unshare"), path);
    read_only.args(["-m", "sh", "-c", mount, "sh", raftkvd, "--data-dir", "data"]);
    let read_only = read_only.output().unwrap();
    for (output, status, parts) in [
        (&demo, 1, ["data/demo cannot be written here: Permission denied", "you may write"]),
        (&member, 2, ["raftkvd-1/store: creating it failed: Permission denied", "let the user"]),
        (&read_only, 2, ["data/store: creating it failed: Read-only file system", "mount it"]),
    ] {
        let said = said(output);
        assert_eq!(output.status.code(), Some(status), "{said}");
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
        assert!(!said.contains("remove it") && !said.contains("replace"), "{said}");
    }
}

#[test]
fn keys_are_shown_as_they_are() {
    let cluster = Cluster::start(Protocol::Caspaxos, 1);
    let dir = cluster.dir.path();
    let control = |line: &str| {
        let mut command = command(&program("gryadkactl"), dir);
        command.env("GRYADKA_CLUSTER", "cluster.json").args(line.split(' ')).output().unwrap()
    };
    for (key, value) in [
        ("bytes", &b"\xff\0\x80"[..]),
        ("controls", b"\x01\x02"),
        ("text", "зелёный".as_bytes()),
        ("d", b"1"),
        ("d/a", b"2"),
        ("d/_hidden/b", b"3"),
        ("_top", b"4"),
    ] {
        assert_eq!(put(&format!("{}/{key}", cluster.url(0)), value).status, 204);
    }
    for (line, expected) in [
        // A text ends with its line, anything else with itself.
        ("get bytes", &b"\xff\0\x80"[..]),
        ("get controls", b"\x01\x02"),
        ("get text", "зелёный\n".as_bytes()),
        ("get text -w raw", "зелёный".as_bytes()),
        ("ls", b"bytes\ncontrols\nd\nd/a\ntext\n"),
        ("ls --all", b"_top\nbytes\ncontrols\nd\nd/_hidden/b\nd/a\ntext\n"),
        ("ls d", b"d/a\n"),
        ("ls d --all", b"d/_hidden/b\nd/a\n"),
        ("ls text", b"text\n"),
        ("put d -5", b"OK\n"),
        ("cas d -5 -6", b"OK\n"),
        ("get d", b"-6\n"),
    ] {
        let output = control(line);
        assert!(output.status.success(), "{line}: {output:?}");
        assert_eq!(output.stdout, expected, "{line}: {output:?}");
    }
    let status = control("status");
    assert!(status.status.success(), "{status:?}");
    assert!(String::from_utf8_lossy(&status.stdout).contains("yes    caspaxos"), "{status:?}");
    let port = cluster.host(0).split_once(':').unwrap().1.to_owned();
    let (clients, admin) = (port, cluster.admin_url(0)["http://".len()..].replace(':', " "));
    for (line, expected) in [
        (format!("debug all {} {clients}", cluster.address), "is not an admin listener"),
        (format!("debug jump {} {clients}", cluster.address), "is not an admin listener"),
        (format!("debug jump {admin}"), "there is no \"jump\" here"),
    ] {
        let output = control(&line);
        assert_eq!(output.status.code(), Some(2), "{line}: {output:?}");
        assert!(said(&output).contains(expected), "{line}: {output:?}");
    }
    for line in ["get bytes", "put text t", "ls", "status", &format!("debug node {admin}")] {
        assert!(control(line).status.success(), "{line}");
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = command(&program("gryadkactl"), dir);
        command.env("GRYADKA_CLUSTER", "cluster.json").args(line.split(' ')).stdout(full);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{line}: {output:?}");
        assert!(said(&output).contains("the output cannot be written"), "{line}: {output:?}");
    }
}
