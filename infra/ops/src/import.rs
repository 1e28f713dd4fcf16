//! `import FILE.ndjson`: records of tokens, sessions, users, groups, memberships and clients, one per line.

use std::io::BufRead as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use domain::decision::Limits;
use domain::deny::Denier;
use domain::ingest::Ingest;
use domain::ports::Applied;
use domain::records::Record;
use domain::sign_out::SignOuts;
use domain::source::SystemIds;
use domain::time::SystemClock;
use futures::stream::{self, StreamExt as _};

use crate::failure::{Context as _, Failure, Result};
use crate::progress;
use crate::stack::Stack;

const RECORDS_AT_ONCE: usize = 32;
/// Of more wrong lines than this only the number is told.
const WRONG_LINES_SHOWN: usize = 20;

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Imported {
    /// Records written.
    pub written: u64,
    /// Records that were not newer than what is stored.
    pub stale: u64,
}

/// Reads a whole file before anything is written, so that a wrong line loses nothing.
pub fn read(path: &Path) -> Result<Vec<Record>> {
    let file = std::fs::File::open(path).context(path.display())?;
    let mut records = Vec::new();
    let mut wrong = Vec::new();
    for (number, line) in std::io::BufReader::new(file).lines().enumerate() {
        let line = line.context(format!("{}:{}", path.display(), number + 1))?;
        if line.trim().is_empty() {
            continue;
        }
        match Record::parse(&line) {
            Ok(record) => records.push(record),
            Err(error) => wrong.push(format!("{}:{}: {error}", path.display(), number + 1)),
        }
    }
    if wrong.is_empty() {
        return Ok(records);
    }
    let more = wrong.len().saturating_sub(WRONG_LINES_SHOWN);
    wrong.truncate(WRONG_LINES_SHOWN);
    if more > 0 {
        wrong.push(format!("and {more} more"));
    }
    Err(Failure(format!("nothing was imported\n{}", wrong.join("\n"))))
}

/// Imports a file as the ingest queue would take its lines.
pub async fn import(stack: &Stack, path: &Path, limits: Limits) -> Result<Imported> {
    let begun = Instant::now();
    let records = read(path)?;
    let store = stack.store().await;
    let (cache, ids) = (stack.cache().await?, Arc::new(SystemIds));
    let denier = Denier { denylist: store.clone(), cache, ids, limits };
    let sign_outs = SignOuts { tokens: store.clone(), denier, clock: Arc::new(SystemClock) };
    let ingest = Ingest { records: store, sign_outs };
    let bar = progress::bar("importing", records.len() as u64);
    let (written, stale) = (AtomicU64::new(0), AtomicU64::new(0));
    let outcomes = stream::iter(&records).map(|record| async {
        let applied = ingest.apply(record).await;
        bar.inc(1);
        match applied? {
            Applied::Written => written.fetch_add(1, Ordering::Relaxed),
            Applied::Stale => stale.fetch_add(1, Ordering::Relaxed),
        };
        Ok::<_, domain::error::WorkError>(())
    });
    let failed: Vec<_> =
        outcomes.buffer_unordered(RECORDS_AT_ONCE).filter_map(|outcome| async { outcome.err() }).collect().await;
    bar.finish_and_clear();
    if let Some(first) = failed.first() {
        let count = failed.len();
        return Err(Failure(format!(
            "{count} records were not written ({first}); import the file again: what is written stays"
        )));
    }
    let imported = Imported { written: written.into_inner(), stale: stale.into_inner() };
    progress::done(
        &format!("imported {} records, {} were not newer than what is stored", imported.written, imported.stale),
        begun,
    );
    Ok(imported)
}
