//! Keys that are there before something is measured.

use std::ops::Range;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use indicatif::ProgressBar;

use super::BenchError;

const CONNECTIONS: usize = 64;
const PATIENCE: Duration = Duration::from_secs(10);

/// Writes each of these keys once, as [`Load`](super::Load) names them, over
/// etcd's v2 API, which all but v3 share.
pub async fn fill(url: &str, keys: Range<u64>, value_bytes: usize) -> Result<(), BenchError> {
    let client = awc::Client::builder().timeout(PATIENCE).finish();
    let progress = ProgressBar::new(keys.end - keys.start).with_message("keys");
    let form = format!("value={}", "v".repeat(value_bytes));
    let put = |key: u64| {
        let request = client.put(format!("{url}/v2/keys/k{key}"));
        let request = request.content_type("application/x-www-form-urlencoded");
        let request = request.send_body(form.clone());
        let progress = &progress;
        async move {
            progress.inc(1);
            request.await.is_ok_and(|answer| answer.status().is_success())
        }
    };
    let puts = stream::iter(keys.map(put)).buffer_unordered(CONNECTIONS);
    let failed = puts.filter(|is_done| std::future::ready(!is_done)).count().await;
    progress.finish_and_clear();
    match failed {
        0 => Ok(()),
        _ => Err(BenchError::NotFilled { failed, url: url.to_owned() }),
    }
}
