//! The example of docs/example.md, with its own commands: a fourth acceptor
//! joins while clients count, on embedded stores and on Redis servers.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::{Process, checkout, get, own_address, program, request, use_programs, wait_until};

/// Every command of the document, in order.
fn commands() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/example.md");
    let text = fs::read_to_string(path).unwrap();
    let mut commands = Vec::new();
    let mut is_command = false;
    for line in text.lines() {
        match line {
            "```sh" => is_command = true,
            _ if line.starts_with("```") => is_command = false,
            command if is_command => commands.push(command.to_owned()),
            _ => {}
        }
    }
    commands
}

/// The commands of one of the stores: servers, clients, then those of control.
fn commands_of(name: &str) -> [Vec<String>; 3] {
    let is_of = |command: &&String| match name {
        "example" => !command.contains("--redis") && !command.contains("example-redis"),
        _ => command.contains("--redis") || command.contains("example-redis"),
    };
    ["bin/example.sh", "bin/gryadka", "bin/node-control.sh"].map(|script| {
        let commands = commands();
        let of_script = commands.iter().filter(is_of).filter(|command| command.starts_with(script));
        of_script.cloned().collect()
    })
}

#[test]
fn every_command_of_the_document_is_run() {
    let mut run = vec!["cargo build --release".to_owned()]; // by bin/check
    run.extend(commands_of("example").into_iter().flatten());
    run.extend(commands_of("example-redis").into_iter().flatten());
    assert_eq!(run.len(), 15);
    let (mut sorted, mut all) = (run, commands());
    sorted.sort();
    all.sort();
    assert_eq!(sorted, all);
}

/// A shell that Ctrl-C ends, as on a terminal, however the tests were started:
/// one that is begun in the background ignores it, and its children with it.
fn shell(dir: &Path, command: &str) -> Command {
    let mut shell = Command::new("env");
    shell.args(["--default-signal=INT", "bash", "-c"]).arg(format!("exec {command}"));
    shell.current_dir(dir);
    use_programs(&mut shell);
    shell
}

fn run(dir: &Path, command: &str) -> String {
    let output = shell(dir, command).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command}: {said}");
    assert_eq!(said, "", "{command} warns");
    String::from_utf8(output.stdout).unwrap()
}

/// How many processes work in this directory.
fn processes_in(dir: &Path) -> usize {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let works_there = |entry: &fs::DirEntry| {
        fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(dir))
    };
    entries.filter(works_there).count()
}

/// The lines of the clients so far, one a second: of each client the attempts,
/// reads, writes and errors.
fn seconds(clients: &Process) -> Vec<Vec<[u64; 4]>> {
    let log = clients.log();
    let whole = log.lines().take(log.matches('\n').count());
    let lines = whole.filter(|line| line.starts_with(|c: char| c.is_ascii_digit()));
    let cell = |cell: &str| {
        let inner = cell.strip_prefix('[')?.strip_suffix(']')?;
        let numbers: Result<Vec<u64>, _> = inner.split(['-', ' ']).map(str::parse).collect();
        numbers.ok()?.try_into().ok()
    };
    let cells = |line: &str| line.split('\t').skip(1).map(cell).collect::<Option<Vec<_>>>();
    // Lines of the log look otherwise.
    lines.filter_map(cells).filter(|cells| cells.len() == 3).collect()
}

/// What all clients together have changed, by their summary.
fn counted(clients: &Process) -> u64 {
    let log = clients.log();
    let rows = log.lines().filter(|line| line.starts_with("# c"));
    let rows = rows.map(|line| line.split_whitespace().skip(1).collect::<Vec<_>>());
    let rows: Vec<_> = rows.filter(|row| ["c1", "c2", "c3"].contains(&row[0])).collect();
    assert_eq!(rows.len(), 3, "{log}");
    // client, iterations, lost races
    rows.iter().map(|row| row[1].parse::<u64>().unwrap() - row[2].parse::<u64>().unwrap()).sum()
}

fn dump(dir: &Path, name: &str) -> Value {
    let control = program("gryadkactl");
    let mut command = Command::new(control);
    command.current_dir(dir).args(["acceptors", "dump", "-w", "json"]);
    let output = command.arg(format!("configs/{name}-cluster.json")).output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

fn a_fourth_acceptor_joins_while_clients_count(name: &str, first_port: u16) {
    let (dir, address) = (checkout(), own_address());
    let dir = dir.path().canonicalize().unwrap();
    let file = dir.join(format!("configs/{name}-cluster.json"));
    let text = fs::read_to_string(&file).unwrap().replace("127.0.0.1", &address);
    fs::write(&file, text).unwrap();
    let [servers, clients, control] = commands_of(name);
    let mut servers = Process::start(&mut shell(&dir, &servers[0]), &dir.join("servers.log"));
    for port in first_port..first_port + 3 {
        let url = format!("http://{address}:{port}/readyz");
        wait_until(&format!("{url} is ready"), || {
            request("GET", &url, None).is_ok_and(|answer| answer.status == 200)
        });
    }
    let mut clients = Process::start(&mut shell(&dir, &clients[0]), &dir.join("clients.log"));
    let wait_seconds = |more: usize| {
        let goal = seconds(&clients).len() + more;
        wait_until("the clients count on", || seconds(&clients).len() >= goal);
    };
    wait_seconds(3);
    for command in &control {
        let said = run(&dir, command);
        println!("{command}\n{said}");
        if command.ends_with("accept") || command.ends_with("prepare") {
            let again = run(&dir, command);
            assert!(again.starts_with("done already at version"), "{again}");
        }
        wait_seconds(2);
    }
    let shown = dump(&dir, name);
    for proposer in shown["proposers"].as_array().unwrap() {
        let configuration = &proposer["configuration"];
        assert_eq!(
            (&configuration["configVersion"], &configuration["settled"]),
            (&4.into(), &true.into())
        );
        for list in ["prepare", "accept"] {
            let ids =
                configuration[list]["nodes"].as_array().unwrap().iter().map(|node| &node["id"]);
            assert_eq!(ids.collect::<Vec<_>>(), ["a1", "a2", "a3", "a4"], "{shown:#}");
            assert_eq!(configuration[list]["quorum"], 3, "{shown:#}");
        }
    }
    clients.signal("INT");
    assert!(clients.wait().success());
    let log = clients.log();
    assert!(log.contains("# proposers: 3\n# keys: 9\n# clients: 3\n0\t[0-0-0 0]\t"), "{log}");
    for (second, row) in seconds(&clients).iter().enumerate().skip(2) {
        for [attempts, reads, writes, errors] in row {
            assert!(attempts == reads && reads == writes && *errors == 0, "{second}: {log}");
            assert!(*writes > 0, "nothing in second {second}: {log}");
        }
    }
    // Each counts up by one, so the keys hold what the clients have changed;
    // one iteration of each may have been cut off by its end.
    let value =
        |key: u16| get(&format!("http://{address}:{first_port}/key{key}")).text().parse::<u64>();
    let sum: u64 = (1..=9).map(|key| value(key).unwrap()).sum();
    let counted = counted(&clients);
    assert!((counted..=counted + 3).contains(&sum), "{sum}, and {counted} were counted: {log}");
    println!("{log}");
    servers.signal("INT");
    assert_eq!(servers.wait().code(), Some(0), "{}", servers.log());
    assert_eq!(processes_in(&dir), 0);
    assert!(dir.join("data").join(name).is_dir());
}

#[test]
fn on_embedded_stores() {
    a_fourth_acceptor_joins_while_clients_count("example", 8041);
}

#[test]
fn on_redis_servers() {
    a_fourth_acceptor_joins_while_clients_count("example-redis", 8051);
}
