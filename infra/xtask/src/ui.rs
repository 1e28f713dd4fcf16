//! What the person at the terminal sees. Goes to standard error, so that output can be piped.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::failure::{Failure, Result};

/// Does `work` under a spinner that becomes one line with the time it took.
pub fn step<T>(what: &str, work: impl FnOnce(&ProgressBar) -> Result<T>) -> Result<T> {
    let started = Instant::now();
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{spinner:.cyan} {prefix} {msg:.dim} {elapsed:.dim}") {
        bar.set_style(style);
    }
    bar.set_prefix(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(120));
    let outcome = work(&bar);
    bar.finish_and_clear();
    match &outcome {
        Ok(_) => eprintln!("✔ {what} ({:.1} s)", started.elapsed().as_secs_f64()),
        Err(_) => eprintln!("✘ {what}"),
    }
    outcome
}

/// Does `work` that shows its own progress, and says how long it took.
pub fn shown<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    note(what);
    let outcome = work()?;
    eprintln!("✔ {what} ({:.1} s)", started.elapsed().as_secs_f64());
    Ok(outcome)
}

/// A line about what comes next.
pub fn note(text: &str) {
    eprintln!("• {text}");
}

/// The last line of a run that failed.
pub fn error(failure: &Failure) {
    eprintln!("error: {failure}");
}

/// Whether somebody is watching.
pub fn is_interactive() -> bool {
    std::io::stderr().is_terminal()
}
