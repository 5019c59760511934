//! Rescans every key, page by page.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;

use super::output::say;
use super::plan::{Lists, Step};
use super::survey::Survey;
use super::{Control, ControlError};
use crate::client::OperatorError;

/// How fast keys are rescanned.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pace {
    /// No more keys a second than this; as fast as it goes unless given.
    pub keys_per_second: Option<u32>,
}

impl Pace {
    /// The most keys of a page: a tenth of a second's.
    fn page(self) -> Option<u32> {
        self.keys_per_second.map(|rate| rate.div_ceil(10))
    }

    /// How long so many keys take at least.
    fn time_of(self, keys: u64) -> Duration {
        match self.keys_per_second {
            None => Duration::ZERO,
            Some(rate) => Duration::from_secs_f64(keys as f64 / f64::from(rate.max(1))),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    rescanned: u64,
    config_version: u64,
    after: Option<String>,
}

impl Control {
    /// How long a node may take for a page.
    const PAGE_PATIENCE: Duration = Duration::from_secs(60);
    /// How long a page that fails is tried again, at one proposer after the
    /// other.
    const PAGE_RETRIES: Duration = Duration::from_secs(10);

    /// Rescans every key and tells the cluster so. Repeated, it does it anew.
    pub async fn rescan(&self, pace: Pace) -> Result<(), ControlError> {
        let survey = Survey::agreed(self.proposers()).await?;
        self.tell_down(&survey, &mut Vec::new());
        let up: Vec<usize> = survey.up().map(|(index, _)| index).collect();
        self.rescan_and_settle(survey.newest().expect("one answered"), &up, pace).await
    }

    /// Rescans every key through these proposers under this configuration, and
    /// makes the step that says so.
    pub(super) async fn rescan_and_settle(
        &self,
        lists: &Lists,
        up: &[usize],
        pace: Pace,
    ) -> Result<(), ControlError> {
        let started = Instant::now();
        let bar = self.progress_bar(up).await;
        let rescanned = self.rescan_pages(lists, up, pace, &bar).await;
        bar.finish_and_clear();
        let rescanned = rescanned?;
        let seconds = started.elapsed().as_secs_f64();
        let per_second = rescanned as f64 / seconds.max(1e-6);
        let words = format!("rescanned {rescanned} keys in {seconds:.1} s, {per_second:.0} keys/s");
        if !lists.rescan_needed {
            say(&format!("{words}; version {} needed no rescan", lists.epoch.0));
            return Ok(());
        }
        let step = Step { prepare: lists.prepare.clone(), accept: lists.accept.clone() };
        // The pages may have taken long, and the first proposer be gone since.
        let survey = Survey::agreed(self.proposers()).await?;
        let (index, _) = survey.up().next().expect("one answered");
        self.make(&self.proposers()[index], lists, &step, true, &words).await
    }

    async fn rescan_pages(
        &self,
        lists: &Lists,
        up: &[usize],
        pace: Pace,
        bar: &ProgressBar,
    ) -> Result<u64, ControlError> {
        let started = Instant::now();
        let (mut rescanned, mut after) = (0, None);
        loop {
            let page = self.rescan_page(up, pace, after.as_deref()).await?;
            if page.config_version != lists.epoch.0 {
                return Err(ControlError::NotNow(format!(
                    "the configuration changed from version {} to {} during the rescan, which \
                     begins anew",
                    lists.epoch.0, page.config_version
                )));
            }
            rescanned += page.rescanned;
            bar.set_position(rescanned);
            if page.after.is_none() {
                return Ok(rescanned);
            }
            after = page.after;
            let rest = pace.time_of(rescanned).saturating_sub(started.elapsed());
            tokio::time::sleep(rest).await;
        }
    }

    /// One page, at the first proposer that does it.
    async fn rescan_page(
        &self,
        up: &[usize],
        pace: Pace,
        after: Option<&str>,
    ) -> Result<Page, ControlError> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(key) = after {
            query.append_pair("after", key);
        }
        if let Some(most) = pace.page() {
            query.append_pair("limit", &most.to_string());
        }
        let path = format!("/rescan?{}", query.finish());
        let started = Instant::now();
        for &index in up.iter().cycle() {
            let proposer = &self.proposers()[index];
            let nothing = serde_json::json!({});
            let answer = proposer.admin.post(&path, &nothing, Self::PAGE_PATIENCE).await;
            match answer {
                Ok(answer) => {
                    let page = Page::deserialize(&answer);
                    return page.map_err(|error| {
                        let name = &proposer.name;
                        ControlError::NotNow(format!("{name}: unusable answer: {error}"))
                    });
                }
                Err(error) if is_changed(&error) || started.elapsed() > Self::PAGE_RETRIES => {
                    return Err(ControlError::NotNow(error.to_string()));
                }
                Err(_) => tokio::time::sleep(Self::RETRY_AFTER).await,
            }
        }
        unreachable!("one proposer at least is up")
    }

    /// Shows on a terminal how far it is; the number of keys is that of the
    /// acceptor that holds most.
    async fn progress_bar(&self, up: &[usize]) -> ProgressBar {
        let proposer = &self.proposers()[up[0]];
        let acceptors = proposer.admin.get("/acceptors", Self::STATUS_PATIENCE).await;
        let registers = |acceptor: &serde_json::Value| acceptor["status"]["registers"].as_u64();
        let acceptors = acceptors.unwrap_or_default();
        let keys = acceptors.as_array().into_iter().flatten().filter_map(registers).max();
        let style = "rescan {bar:40} {pos}/{len} keys, {per_sec}, {eta} left";
        let style = ProgressStyle::with_template(style).expect("a good template");
        ProgressBar::new(keys.unwrap_or(0)).with_style(style)
    }
}

/// Whether the configuration is another one by now.
fn is_changed(error: &OperatorError) -> bool {
    matches!(error, OperatorError::Refused { code, .. } if code == "ConfigVersionMismatch")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_bounds_pages_and_their_time() {
        let pace = Pace { keys_per_second: Some(25) };
        assert_eq!((pace.page(), pace.time_of(50)), (Some(3), Duration::from_secs(2)));
        assert_eq!((Pace::default().page(), Pace::default().time_of(9)), (None, Duration::ZERO));
    }
}
