//! Progress bars and result lines.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over a known number of things.
pub fn bar(what: &str, total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total);
    if let Ok(style) = ProgressStyle::with_template("{msg:<28} {bar:32} {human_pos}/{human_len} {per_sec}") {
        bar.set_style(style);
    }
    bar.with_message(what.to_owned())
}

/// A spinner for a wait of unknown length.
pub fn spinner(what: &str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}

/// Prints a finished step with its time.
pub fn done(what: &str, since: Instant) {
    println!("✓ {what} ({})", human(since.elapsed()));
}

/// A duration as people read it.
pub fn human(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}
