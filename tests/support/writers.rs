//! Clients that write as quickly as they are answered, and when they were.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::wait_until;

/// Writers under way, one connection each; each writes a key of its own.
pub struct Writers {
    stop: Arc<AtomicBool>,
    logs: Vec<Arc<Mutex<Log>>>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Log {
    successes: Vec<Instant>,
    /// What a client that may try elsewhere could not mend.
    failures: Vec<String>,
}

/// What came of one try.
enum Try {
    Done,
    /// Certainly nothing was written, so it may be tried elsewhere.
    Failed(String),
    Unknown(String),
}

impl Writers {
    /// One writer for each of these nodes; it never asks another one.
    pub fn start(urls: &[String]) -> Writers {
        Writers::with(urls.iter().map(|url| vec![url.clone()]).collect())
    }

    /// One writer for each of these nodes; it goes on to the next one when
    /// nothing was written for certain.
    pub fn retrying(urls: &[String]) -> Writers {
        let from = |first: usize| urls.iter().cycle().skip(first).take(urls.len()).cloned();
        Writers::with((0..urls.len()).map(|first| from(first).collect()).collect())
    }

    fn with(endpoints: Vec<Vec<String>>) -> Writers {
        let stop: Arc<AtomicBool> = Arc::default();
        let mut writers = Writers { stop, logs: Vec::new(), threads: Vec::new() };
        for (number, urls) in endpoints.into_iter().enumerate() {
            let log: Arc<Mutex<Log>> = Arc::default();
            let (stop, shared) = (writers.stop.clone(), log.clone());
            writers.logs.push(log);
            writers.threads.push(std::thread::spawn(move || write(number, &urls, &shared, &stop)));
        }
        writers
    }

    /// Waits until a writer has succeeded so many times more.
    pub fn wait_for(&self, writer: usize, more: usize) {
        let count = || self.logs[writer].lock().unwrap().successes.len();
        let goal = count() + more;
        wait_until(&format!("writer {writer} has succeeded {more} times"), || count() >= goal);
    }

    /// The longest time without a success of one writer that ended after `from`
    /// and before `to`.
    pub fn gap(&self, writer: usize, from: Instant, to: Instant) -> Duration {
        let log = self.logs[writer].lock().unwrap();
        let pairs = log.successes.windows(2).filter(|pair| pair[1] >= from && pair[0] <= to);
        pairs.map(|pair| pair[1] - pair[0]).max().expect("it went on")
    }

    /// How long after `from` a writer succeeded first.
    pub fn next(&self, writer: usize, from: Instant) -> Duration {
        let log = self.logs[writer].lock().unwrap();
        let next = log.successes.iter().find(|success| **success >= from);
        *next.expect("it went on") - from
    }

    /// Stops them. How many writes succeeded, and the failures.
    pub fn finish(mut self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().expect("a writer"));
        let logs = self.logs.iter().map(|log| std::mem::take(&mut *log.lock().unwrap()));
        logs.fold((0, Vec::new()), |(count, mut failures), log| {
            failures.extend(log.failures);
            (count + log.successes.len(), failures)
        })
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn write(number: usize, urls: &[String], log: &Mutex<Log>, stop: &AtomicBool) {
    let mut agent = agent();
    let mut endpoints = (0..urls.len()).cycle();
    let mut endpoint = endpoints.next().expect("one at least");
    for value in 0_u64.. {
        let mut tries = 0;
        loop {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            tries += 1;
            let why = match put(&agent, &format!("{}/writer{number}", urls[endpoint]), value) {
                Try::Done => {
                    log.lock().unwrap().successes.push(Instant::now());
                    break;
                }
                Try::Failed(_) if tries < 3 * urls.len() && urls.len() > 1 => {
                    endpoint = endpoints.next().expect("it has no end");
                    continue;
                }
                Try::Failed(why) | Try::Unknown(why) => why,
            };
            log.lock()
                .unwrap()
                .failures
                .push(format!("writer {number}: {}: {why}", urls[endpoint]));
            // The next one on another connection, and not all at once while the
            // node is away.
            agent = self::agent();
            std::thread::sleep(Duration::from_millis(5));
            break;
        }
    }
}

fn put(agent: &ureq::Agent, url: &str, value: u64) -> Try {
    let answer = agent.put(url).send(value.to_string());
    let mut answer = match answer {
        Ok(answer) => answer,
        Err(ureq::Error::ConnectionFailed) => return Try::Failed("no connection".into()),
        Err(ureq::Error::Io(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            return Try::Failed(error.to_string());
        }
        Err(error) => return Try::Unknown(error.to_string()),
    };
    let (status, body) = (answer.status().as_u16(), answer.body_mut().read_to_string());
    match (status, body) {
        (204, Ok(_)) => Try::Done,
        (_, Ok(body)) if body.contains("\"failed\"") => Try::Failed(format!("{status} {body}")),
        (_, Ok(body)) => Try::Unknown(format!("{status} {body}")),
        (_, Err(error)) => Try::Unknown(error.to_string()),
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(10)))
        .build()
        .into()
}
