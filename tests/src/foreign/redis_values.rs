//! What Redis answers: the lines of a scope's cutoffs, and those of the jobs that spare a user.

use adapters::denylist::lines;
use domain::cutoff::{Cutoff, CutoffSet, Scope};
use domain::ids::UserId;

/// A value, read as either.
pub fn redis_values(bytes: &[u8]) -> bool {
    let scope = Scope::User(UserId::parse("u").unwrap());
    let mut cutoffs = Vec::new();
    let read = lines::read_cutoffs(&scope, bytes, &mut cutoffs);
    if read.is_ok() {
        // What is there says something: an empty value is a value that was lost.
        assert!(!cutoffs.is_empty() && bytes.ends_with(b"\n"));
        let line = |cutoff: &Cutoff| {
            let variety = lines::write_variety(cutoff);
            format!("{variety} {} {} {}\n", cutoff.at.0, cutoff.job, cutoff.retires_at.0)
        };
        let written: String = cutoffs.iter().map(line).collect();
        assert_eq!(written.as_bytes(), bytes, "one form only, which the merge scripts read, too");
        let set: CutoffSet = cutoffs.iter().cloned().collect();
        assert!(
            set.iter().all(|kept| cutoffs
                .iter()
                .all(|cutoff| { cutoff.variety() != kept.variety() || cutoff.at <= kept.at }))
        );
    }
    let spared = lines::read_spared(bytes);
    if let Ok(jobs) = &spared {
        let text = std::str::from_utf8(bytes).unwrap();
        assert!(!jobs.is_empty() && jobs.len() == text.lines().count());
        for (job, line) in jobs.iter().zip(text.lines()) {
            let retires_at = line.strip_prefix(job.as_str()).and_then(|rest| rest.strip_prefix(' ')).unwrap();
            assert!(retires_at.bytes().all(|byte| byte.is_ascii_digit()), "{line:?}");
        }
    }
    assert!(read.is_err() || spared.is_err(), "a list of cutoffs is no list of jobs");
    read.is_ok() || spared.is_ok()
}
