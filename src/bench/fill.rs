//! Keys that are there before something is measured.

use std::ops::Range;
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use indicatif::ProgressBar;

use super::BenchError;

const CONNECTIONS: usize = 64;
const PATIENCE: Duration = Duration::from_secs(10);

/// Writes each of these keys once, as [`Load`](super::Load) names them, over
/// etcd's v2 API, which all but v3 share. A server that stalls is given time:
/// etcd does so for its snapshots of many keys.
pub async fn fill(url: &str, keys: Range<u64>, value_bytes: usize) -> Result<(), BenchError> {
    let progress = ProgressBar::new(keys.end - keys.start).with_message("keys");
    let filler = Filler {
        client: awc::Client::builder().timeout(PATIENCE).finish(),
        form: format!("value={}", "v".repeat(value_bytes)),
        pause: Duration::from_secs(1),
    };
    let puts = stream::iter(keys).map(|key| filler.put(format!("{url}/v2/keys/k{key}")));
    let puts = puts.buffer_unordered(CONNECTIONS).inspect_ok(|()| progress.inc(1));
    let filled = puts.try_collect().await;
    progress.finish_and_clear();
    filled
}

struct Filler {
    client: awc::Client,
    form: String,
    /// Between two attempts.
    pause: Duration,
}

impl Filler {
    const ATTEMPTS: u32 = 10;

    /// Sets a key, which does no harm when it is done twice.
    async fn put(&self, url: String) -> Result<(), BenchError> {
        let mut why = String::new();
        for attempt in 0..Self::ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(self.pause).await;
            }
            let request = self.client.put(&url);
            let request = request.content_type("application/x-www-form-urlencoded");
            why = match request.send_body(self.form.clone()).await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => answer.status().to_string(),
                Err(error) => error.to_string(),
            };
        }
        Err(BenchError::NotFilled { url, attempts: Self::ATTEMPTS, why })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use actix_web::{App, HttpResponse, HttpServer, web};

    use super::*;

    /// Sets a key at a server that is unavailable to this many requests;
    /// tells how many came.
    async fn put(failures: u32) -> (Result<(), BenchError>, u32) {
        let requests: Arc<AtomicU32> = Arc::default();
        let count = requests.clone();
        let answer = move || {
            let is_failure = count.fetch_add(1, Ordering::Relaxed) < failures;
            let answer = if is_failure {
                HttpResponse::ServiceUnavailable().finish()
            } else {
                HttpResponse::Created().finish()
            };
            std::future::ready(answer)
        };
        let app = move || App::new().default_service(web::to(answer.clone()));
        let server = HttpServer::new(app).workers(1).disable_signals();
        let server = server.bind(("127.0.0.1", 0)).unwrap();
        let address = server.addrs()[0];
        let server = server.run();
        let handle = server.handle();
        actix::spawn(server);
        let (client, form, pause) = (awc::Client::new(), "value=v".into(), Duration::ZERO);
        let result = Filler { client, form, pause }.put(format!("http://{address}/k")).await;
        handle.stop(false).await;
        (result, requests.load(Ordering::Relaxed))
    }

    #[actix::test]
    async fn a_write_that_fails_is_tried_again_but_not_for_ever() {
        assert!(matches!(put(0).await, (Ok(()), 1)));
        assert!(matches!(put(3).await, (Ok(()), 4)));
        let (result, requests) = put(u32::MAX).await;
        assert_eq!(requests, Filler::ATTEMPTS);
        let error = result.unwrap_err().to_string();
        assert!(error.contains("/k failed 10 times") && error.contains("503"), "{error}");
    }
}
