//! `perseus run` prints the original programs' lines, byte for byte in form,
//! about a real etcd, also while it is dead, and about a cluster of each
//! protocol; it always ends with a summary.

mod etcd;
#[macro_use]
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use etcd::{DEADLINE, Etcd, REFUSING_ADDRESS};
use gryadka::actors::LoadGenerator;
use gryadka::client::{Connection, Endpoint};
use gryadka::perseus::load::{Format, LoadPlan};
use jiff::civil::DateTime;
use support::{Cluster, Protocol};

on_both_protocols! {
    totals_of_a_cluster_add_up
    counters_of_a_cluster_agree_in_every_line
}

fn perseus() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perseus"));
    command.env_remove("RUST_LOG").stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn endpoints(nodes: &[Etcd]) -> String {
    let endpoints = nodes.iter().zip(1..).map(|(node, number)| format!("n{number}={}", node.url()));
    endpoints.collect::<Vec<_>>().join(",")
}

/// Runs for three seconds, and gives the lines that are no comment.
fn three_seconds(arguments: &[&str]) -> (Output, Vec<String>) {
    let output = perseus().args(["run", "--duration", "3s"]).args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success(), "{text}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let lines = text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
    (output, lines)
}

/// The second and the numbers of a line that is only numbers.
fn numbers(line: &str) -> (u64, Vec<u64>) {
    let cells: Vec<u64> = line.split('\t').map(|cell| cell.parse().unwrap()).collect();
    let again: Vec<String> = cells.iter().map(u64::to_string).collect();
    assert_eq!(again.join("\t"), line, "the numbers are written plainly");
    (cells[0], cells[1..].to_vec())
}

/// The second and the numbers of a Perseus line; its end is a time.
fn perseus_numbers(line: &str) -> (u64, Vec<u64>) {
    let (rest, time) = line.rsplit_once('\t').unwrap();
    let parsed = DateTime::strptime("%Y/%m/%d %H:%M:%S", time).unwrap();
    assert_eq!(parsed.strftime("%Y/%m/%d %H:%M:%S").to_string(), time);
    numbers(rest)
}

/// The second and `[attempts-reads-writes errors]` of each client.
fn counters(line: &str) -> (u64, Vec<[u64; 4]>) {
    let mut cells = line.split('\t');
    let second = cells.next().unwrap().parse().unwrap();
    let clients = cells.map(|cell| {
        let inner = cell.strip_prefix('[').and_then(|cell| cell.strip_suffix(']')).unwrap();
        let counts: Vec<u64> = inner.split(['-', ' ']).map(|cell| cell.parse().unwrap()).collect();
        let [attempts, reads, writes, errors] = counts.try_into().unwrap();
        assert_eq!(cell, format!("[{attempts}-{reads}-{writes} {errors}]"));
        [attempts, reads, writes, errors]
    });
    (second, clients.collect())
}

/// The number before this word in the summary's first line.
fn in_summary(output: &str, word: &str) -> u64 {
    let words: Vec<&str> = output.lines().find(|line| line.contains(" iterations (")).map_or_else(
        || panic!("no summary: {output}"),
        |line| line.split([' ', ',']).filter(|word| !word.is_empty()).collect(),
    );
    let position = words.iter().position(|found| *found == word).unwrap();
    words[position - 1].parse().unwrap()
}

fn assert_totals_add_up(urls: &[String]) {
    let endpoints = urls.iter().zip(1..).map(|(url, number)| format!("n{number}={url}"));
    let endpoints = endpoints.collect::<Vec<_>>().join(",");
    let (output, lines) = three_seconds(&["--endpoints", &endpoints, "--connections", "2"]);
    let mut sums = vec![0; 1 + urls.len()];
    for (line, expected_second) in lines.iter().zip(1..) {
        let (second, counts) = numbers(line);
        assert_eq!((second, counts.len()), (expected_second, sums.len()), "{line}");
        assert_eq!(counts[0], counts[1..].iter().sum::<u64>(), "{line}");
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    assert_eq!(lines.len(), 3);
    assert!(sums.iter().all(|sum| *sum > 0), "{lines:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(in_summary(&text, "iterations"), sums[0], "{text}");
    assert_eq!((in_summary(&text, "errors"), in_summary(&text, "writes")), (0, 0), "{text}");
}

#[actix::test]
async fn totals_of_a_real_etcd_add_up() {
    let etcd = Etcd::start().await;
    assert_totals_add_up(&[etcd.url(), etcd.url()]);
}

fn totals_of_a_cluster_add_up(protocol: Protocol) {
    assert_totals_add_up(&Cluster::start(protocol, 3).urls());
}

#[actix::test]
async fn perseus_lines_carry_errors_and_the_time() {
    let etcd = Etcd::start().await;
    let endpoints = format!("n1={},dead=http://{}", etcd.url(), REFUSING_ADDRESS);
    let (output, lines) = three_seconds(&["--endpoints", &endpoints, "--format", "perseus"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().next(), Some("#legend: time|n1|dead|n1:err|dead:err"));
    for (line, expected_second) in lines.iter().zip(1..) {
        let (second, counts) = perseus_numbers(line);
        let [alive, dead, alive_errors, dead_errors] = counts.try_into().unwrap();
        assert_eq!(second, expected_second, "{line}");
        assert!(alive > 0 && alive_errors == 0 && dead == 0, "{line}");
        assert!((1..=11).contains(&dead_errors), "a dead node is not asked in a loop: {line}");
    }
    assert_eq!(lines.len(), 3);
    assert!(text.contains("cannot connect"), "{text}");
}

fn assert_counters_agree_in_every_line(urls: &[String]) {
    for clients in [1, 3] {
        let (endpoints, count) = (urls.join(","), clients.to_string());
        let arguments = ["--endpoints", &endpoints, "--format", "counters", "--clients", &count];
        let (output, lines) = three_seconds(&arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        let proposers = urls.len();
        let header =
            format!("# proposers: {proposers}\n# keys: 9\n# clients: {clients}\n0\t[0-0-0 0]");
        assert!(text.starts_with(&header), "{text}");
        for (line, expected_second) in lines.iter().zip(0..) {
            let (second, rows) = counters(line);
            assert_eq!((second, rows.len()), (expected_second, clients), "{line}");
            for [attempts, reads, writes, errors] in rows {
                assert_eq!((attempts, reads, errors), (reads, writes, 0), "{line}");
                assert_eq!(attempts > 0, second > 0, "{line}");
            }
        }
        assert_eq!(lines.len(), 4);
    }
}

#[actix::test]
async fn counters_of_a_real_etcd_agree_in_every_line() {
    let etcd = Etcd::start().await;
    assert_counters_agree_in_every_line(&[etcd.url()]);
}

fn counters_of_a_cluster_agree_in_every_line(protocol: Protocol) {
    assert_counters_agree_in_every_line(&Cluster::start(protocol, 3).urls());
}

#[actix::test]
async fn the_next_run_goes_on_from_the_stored_values() {
    let etcd = Etcd::start().await;
    let mut iterations = 0;
    for run in 1..=2 {
        let (output, lines) = three_seconds(&["--endpoints", &etcd.url(), "--quiet"]);
        assert_eq!(lines, Vec::<String>::new());
        iterations += in_summary(&String::from_utf8(output.stdout).unwrap(), "iterations");
        let node = Connection::new(&etcd.url(), DEADLINE).get("key0").await.unwrap().unwrap();
        let writes = node.value.parse::<u64>().unwrap() + 1;
        // A run may end between a write and its answer.
        assert!((iterations..=iterations + run).contains(&writes), "{iterations} {writes}");
    }
}

/// A `perseus run` that is under way, ended by force when it is dropped.
struct Running {
    process: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(arguments: &[&str]) -> Running {
        let mut process = perseus().arg("run").args(arguments).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Running { process, lines }
    }

    /// Reads lines until one is as wanted.
    fn until(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            let line = self.lines.next().expect("it goes on").unwrap();
            if wanted(&line) {
                return line;
            }
        }
        panic!("no line: {what}");
    }

    /// Sends the signal; gives the exit code and what was printed after.
    fn signal(mut self, signal: &str) -> (Option<i32>, String) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        let rest: Result<Vec<String>, _> = self.lines.by_ref().collect();
        (self.process.wait().unwrap().code(), rest.unwrap().join("\n"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has usually ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[actix::test]
async fn a_killed_node_shows_as_zeros_until_it_is_back() {
    let mut etcd = Etcd::start().await;
    let url = etcd.url();
    let mut run = Running::start(&["--endpoints", &format!("n1={url}"), "--format", "perseus"]);
    run.until("legend", |line| line == "#legend: time|n1|n1:err");
    run.until("alive", |line| perseus_numbers(line).1[0] > 0);
    etcd.kill();
    run.until("dead", |line| {
        let counts = perseus_numbers(line).1;
        counts[0] == 0 && counts[1] > 0
    });
    etcd.run();
    run.until("back", |line| {
        let counts = perseus_numbers(line).1;
        counts[0] > 0 && counts[1] == 0
    });
    let (code, rest) = run.signal("-INT");
    assert_eq!(code, Some(0), "{rest}");
    assert!(in_summary(&rest, "errors") > 0, "{rest}");
    assert!(rest.lines().any(|line| line.starts_with("# node")), "{rest}");
    assert!(rest.lines().any(|line| line.starts_with("# n1: last error: ")), "{rest}");
}

#[actix::test]
async fn two_nodes_of_three_go_on_without_the_third() {
    let mut nodes = Etcd::cluster(3).await;
    let mut run = Running::start(&["--endpoints", &endpoints(&nodes)]);
    run.until("all alive", |line| numbers(line).1.iter().all(|count| *count > 0));
    nodes[1].kill();
    run.until("two alive", |line| {
        let counts = numbers(line).1;
        counts[1] > 0 && counts[2] == 0 && counts[3] > 0
    });
    let (code, rest) = run.signal("-TERM");
    assert_eq!(code, Some(0), "{rest}");
    assert!(in_summary(&rest, "errors") > 0, "{rest}");
}

#[actix::test]
async fn counters_avoid_a_dead_node_while_others_live() {
    let etcd = Etcd::start().await;
    let endpoints = format!("{},{}", etcd.url(), REFUSING_ADDRESS);
    let (_, lines) =
        three_seconds(&["--endpoints", &endpoints, "--format", "counters", "--clients", "1"]);
    let seconds: Vec<[u64; 4]> = lines.iter().map(|line| counters(line).1[0]).collect();
    let sum = |column: usize| seconds.iter().map(|counts| counts[column]).sum::<u64>();
    assert_eq!(sum(3), 1, "asked once, then avoided for ten seconds: {lines:?}");
    assert_eq!((sum(0), sum(1)), (sum(1) + 1, sum(2)), "{lines:?}");
}

#[actix::test]
async fn a_reader_that_leaves_ends_the_run_quietly() {
    let etcd = Etcd::start().await;
    let mut process = perseus().args(["run", "--endpoints", &etcd.url()]).spawn().unwrap();
    let mut output = BufReader::new(process.stdout.take().unwrap());
    output.read_line(&mut String::new()).unwrap();
    drop(output);
    assert_eq!(process.wait().unwrap().code(), Some(0));
    let mut errors = String::new();
    process.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!(errors, "");
}

#[test]
fn lines_come_once_a_second_without_drift() {
    let started = Instant::now();
    let mut run = Running::start(&["--endpoints", REFUSING_ADDRESS]);
    for second in 1..=4 {
        run.until("this second", |line| line == format!("{second}\t0\t0"));
        let late = started.elapsed().checked_sub(Duration::from_secs(second));
        let late = late.expect("no line comes early");
        assert!(late < Duration::from_millis(500), "second {second} is {late:?} late");
    }
    let (code, rest) = run.signal("-INT");
    assert_eq!(code, Some(1), "nothing succeeded: {rest}");
}

#[test]
fn a_run_without_any_success_says_so() {
    let arguments = ["run", "--duration", "300ms", "--endpoints", REFUSING_ADDRESS];
    let output = perseus().args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("no iteration succeeded"), "{errors}");
}

#[test]
fn bad_arguments_are_named_with_a_remedy() {
    let sound = ["--endpoints", "n1=127.0.0.1:1"];
    for (arguments, expected) in [
        (&["run"][..], &["--endpoints"][..]),
        (&["run", "--endpoints", "nowhere"], &["--endpoints", "\"nowhere\"", "HOST:PORT"]),
        (&["run", "--endpoints", "n1=h:1,n1=h:2"], &["--endpoints", "\"n1\"", "its own name"]),
        (&["run", "--endpoints", "n1=https://h:1"], &["--endpoints", "https", "http://HOST"]),
        (&["run", sound[0], sound[1], "--duration", "soon"], &["--duration", "\"soon\"", "10s"]),
        (&["run", sound[0], sound[1], "--duration", "0s"], &["--duration", "\"0s\"", "10s"]),
        (&["run", sound[0], sound[1], "--timeout", "0ms"], &["--timeout", "\"0ms\""]),
        (&["run", sound[0], sound[1], "--format", "pretty"], &["--format", "\"pretty\"", "totals"]),
        (&["run", sound[0], sound[1], "--connections", "0"], &["--connections", "\"0\"", "from 1"]),
        (&["run", sound[0], sound[1], "--keys", "x"], &["--keys", "\"x\"", "from 1"]),
        (&["run", sound[0], sound[1], "--clients", "-1"], &["--clients"]),
        (&["run", sound[0], sound[1], "--loud"], &["--loud"]),
        (&[], &["perseus"]),
    ] {
        let output = perseus().args(arguments).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
        for part in expected {
            assert!(errors.contains(part), "{arguments:?}: {part} is not in: {errors}");
        }
    }
    let help = perseus().args(["run", "--help"]).output().unwrap();
    assert!(help.status.success());
    assert!(String::from_utf8(help.stdout).unwrap().contains("EXAMPLES"));
}

/// An output that a test can read.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[actix::test]
async fn the_actor_reports_when_it_is_stopped_and_ends_when_it_is_dropped() {
    let etcd = Etcd::start().await;
    let endpoint = Endpoint::new("n1", &etcd.url()).unwrap();
    let arbiter = actix::Arbiter::new();
    for is_dropped in [false, true] {
        let output = Shared::default();
        let mut plan = LoadPlan::new(vec![endpoint.clone()], Box::new(output.clone()));
        plan.format = Format::Counters;
        let mut load = LoadGenerator::start_on(&arbiter.handle(), plan);
        wait_for("the first line", || output.text().contains("\n1\t[")).await;
        if is_dropped {
            drop(load);
            wait_for("the summary", || output.text().contains("# client")).await;
        } else {
            load.stop();
            let report = load.report().await.expect("the arbiter runs");
            assert_eq!((report.rows.len(), report.output_error), (3, None));
            for row in &report.rows {
                let counts = row.counts;
                assert!(counts.writes > 0 && row.latency.is_some(), "{row:?}");
                assert_eq!((counts.attempts, counts.reads), (counts.writes, counts.writes));
                assert!(row.failures.is_empty() && row.unknown == 0, "{row:?}");
            }
        }
    }
    arbiter.stop();
}
