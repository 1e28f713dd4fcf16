//! `audit verify`: is the trail what was written, and if not, where is it not?

use std::sync::Arc;
use std::time::Instant;

use adapters::s3::S3Heads;
use domain::audit::check::Examiner;
use domain::audit::head::Publisher;
use domain::time::SystemClock;

use crate::failure::{Context as _, Result, ensure};
use crate::progress;
use crate::stack::Stack;

/// Defects that are printed.
const NAMED: usize = 100;

async fn heads(stack: &Stack) -> Arc<S3Heads> {
    Arc::new(S3Heads::new(&stack.aws().await, stack.audit_heads_bucket.clone()))
}

/// Publishes the heads of what was written so far, without waiting for the schedule.
pub async fn publish(stack: &Stack) -> Result<()> {
    let (trail, heads) = (stack.store().await, heads(stack).await);
    let publisher = Publisher { trail, heads, clock: Arc::new(SystemClock) };
    publisher.publish().await.context("the audit's heads cannot be published").map(drop)
}

/// Verifies a stack's audit trail, and says what it looked at. Fails if anything is wrong.
pub async fn verify(stack: &Stack) -> Result<()> {
    let begun = Instant::now();
    let examiner = Examiner { trail: stack.store().await, heads: heads(stack).await };
    let examination = examiner.examine().await.context("the audit trail cannot be read")?;
    let (published, verdict) = (&examination.published, &examination.verdict);
    println!("  {} entries in {} chains", verdict.entries, verdict.chains);
    match published.newest() {
        Some(at) => println!("  {} publications of heads, the newest of {}", published.count(), at.to_rfc3339()),
        None => println!("  no heads published yet: entries missing from the end of a chain would not be noticed"),
    }
    for defect in verdict.defects.iter().take(NAMED) {
        println!("✗ {defect}");
    }
    let wrong = verdict.defects.len();
    if wrong > NAMED {
        println!("✗ and {} more", wrong - NAMED);
    }
    ensure(wrong == 0, format!("the audit trail was tampered with; places: {wrong}"))?;
    progress::done("audit trail verified: nothing altered, removed, inserted or moved", begun);
    Ok(())
}
