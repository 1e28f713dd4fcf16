//! Loading the demo company into a stack.

use std::path::{Path, PathBuf};
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};

use crate::company::{Company, Plan};
use crate::failure::{Context as _, Result};
use crate::progress;
use crate::stack::Stack;

/// Records handed to the store at a time.
const BATCH: usize = 1_000;
/// A loaded company older than this has too many expired tokens to show anything with.
const FRESH: TimeDelta = TimeDelta::minutes(30);

fn note(stack: &Path) -> PathBuf {
    stack.with_file_name("company.json")
}

/// Loads a new company, and notes it beside the stack's description.
pub async fn company(path: &Path, stack: &Stack, now: DateTime<Utc>) -> Result<(Plan, Company)> {
    let begun = Instant::now();
    let plan = Plan::demo(now);
    let company = plan.company(&stack.users)?;
    let records = company.records(now.timestamp_millis());
    let store = stack.store().await;
    let bar = progress::bar("loading the demo company", records.len() as u64);
    for batch in records.chunks(BATCH) {
        store.load(batch).await.context("loading the demo company")?;
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    let sessions = company.sessions.len();
    progress::done(
        &format!("demo company: {} users, {} tokens, {sessions} sessions", plan.users, company.tokens.len()),
        begun,
    );
    let text = serde_json::to_string(&plan).context("company.json")?;
    std::fs::write(note(path), text).context(note(path).display())?;
    Ok((plan, company))
}

/// The company that was loaded last, unless it has been used or grown old; else a new one.
pub async fn unused_company(path: &Path, stack: &Stack, now: DateTime<Utc>) -> Result<(Plan, Company)> {
    let noted = std::fs::read_to_string(note(path)).ok().and_then(|text| serde_json::from_str::<Plan>(&text).ok());
    if let Some(plan) = noted.filter(|plan| now - plan.now < FRESH) {
        // It is used from here on, whatever comes of it.
        std::fs::remove_file(note(path)).context(note(path).display())?;
        let company = plan.company(&stack.users)?;
        return Ok((plan, company));
    }
    let loaded = company(path, stack, now).await?;
    std::fs::remove_file(note(path)).context(note(path).display())?;
    Ok(loaded)
}
