//! What the programs have in common: arguments, the log, signals, exit codes.

use std::env;
use std::fmt::Display;
use std::io::{self, Write, copy, sink, stdin, stdout};

use structopt::StructOpt;
use structopt::clap::ErrorKind;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Deployment, EXIT_BAD_CONFIG};
use crate::node;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Logs to standard error: what `RUST_LOG` says, or else what matters to an
/// operator.
pub fn start_log() {
    // openraft calls it an error when a change of members must be finished by
    // another leader, which then does so.
    let filter = "info,fjall=warn,lsm_tree=warn,actix_server=warn,openraft=error,\
                  openraft::raft::api::management=off,tracing=warn";
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(filter)).init();
}

/// The program's arguments. Ends the process when they ask for help, or are bad.
pub fn arguments<Arguments: StructOpt>() -> Arguments {
    // clap would panic.
    if let Some(bad) = env::args_os().skip(1).find(|argument| argument.to_str().is_none()) {
        fail(EXIT_BAD_CONFIG, format!("error: the argument {bad:?} is not UTF-8; write it so"));
    }
    Arguments::from_args_safe().unwrap_or_else(|error| match error.kind {
        ErrorKind::HelpDisplayed | ErrorKind::VersionDisplayed => show(&error.message),
        // It prints its version by itself, and does not say why it could not.
        ErrorKind::Io => fail(1, "error: the output cannot be written"),
        _ => fail(EXIT_BAD_CONFIG, with_whole_usage::<Arguments>(error.message)),
    })
}

/// Prints a text on standard output and ends the process.
fn show(text: &str) -> ! {
    let mut output = stdout();
    match writeln!(output, "{text}").and_then(|()| output.flush()) {
        // A reader that has left had what it wanted.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            fail(1, format!("error: the output cannot be written: {error}"))
        }
        Ok(()) | Err(_) => std::process::exit(0),
    }
}

/// clap's message with the usage that the help shows. Of its own, clap shows the
/// options that were given as if they had to be.
fn with_whole_usage<Arguments: StructOpt>(message: String) -> String {
    const USAGE: &str = "USAGE:\n";
    let Some((why, rest)) = message.split_once(USAGE) else { return message };
    let (shown, more) = rest.split_once("\n\n").unwrap_or((rest, ""));
    let words = shown.split_whitespace();
    let command = words.take_while(|word| !word.starts_with(['<', '[', '-'])).chain(["--help"]);
    let help = Arguments::from_iter_safe(command).err().map(|error| error.message);
    let usage = help.as_deref().and_then(|help| help.split_once(USAGE));
    let usage = usage.and_then(|(_, rest)| rest.split_once("\n\n")).map(|(usage, _)| usage);
    format!("{why}{USAGE}{}\n\n{more}", usage.unwrap_or(shown))
}

/// Ends the process with a message on standard error.
pub fn fail(status: i32, error: impl Display) -> ! {
    eprintln!("{error}");
    std::process::exit(status)
}

/// Runs a node until the process is [told to stop](told_to_stop). When the node
/// cannot start, the process ends with a message that begins with `source`,
/// which is where the deployment is from.
pub fn run_node(source: impl Display, deployment: Deployment, exits_with_stdin: bool) {
    end_on_panic();
    allow_descriptors();
    let stop = async {
        // A terminal that is closed ends no node: who has a handler goes on.
        let _ignored = signal(SignalKind::hangup()).expect("a handler for SIGHUP");
        told_to_stop(exits_with_stdin).await
    };
    if let Err(error) = node::run(deployment, stop) {
        fail(EXIT_BAD_CONFIG, format!("{source}: {error}"));
    }
}

/// Has the system allow as many descriptors as it may: by default it is often 1,024,
/// for what uses select(2).
fn allow_descriptors() {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        log::warn!("the limit of open files stays as it is: {error}");
    }
}

/// A panic is a broken invariant. Without this it would end one actor or one
/// thread, and the node would live on as half a node.
fn end_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}

/// Waits for SIGTERM, Ctrl-C or, if asked, the end of standard input; says
/// which it was.
pub async fn told_to_stop(exits_with_stdin: bool) -> &'static str {
    let mut terminate = signal(SignalKind::terminate()).expect("a handler for SIGTERM");
    let mut interrupt = signal(SignalKind::interrupt()).expect("a handler for SIGINT");
    let stdin_closed = async {
        match exits_with_stdin {
            true => end_of_stdin().await,
            false => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = terminate.recv() => "told to stop by SIGTERM",
        _ = interrupt.recv() => "told to stop by Ctrl-C",
        () = stdin_closed => "told to stop by the end of standard input",
    }
}

async fn end_of_stdin() {
    let (closed, is_closed) = tokio::sync::oneshot::channel();
    // A thread of its own: a read of stdin cannot be cancelled.
    std::thread::spawn(move || {
        // However reading ends, nothing more will come.
        let _ = copy(&mut stdin(), &mut sink());
        let _ = closed.send(());
    });
    let _ = is_closed.await;
}
