//! The text form of cutoffs in Redis, written by the merge scripts.

use domain::cutoff::{Basis, Cutoff, Kinds, Scope, Spares};
use domain::error::PortError;
use domain::ids::JobId;
use domain::ports::PortResult;
use domain::time::Epoch;

/// The variety of a cutoff in one word: basis, kinds, what it spares, and whose list that is.
pub fn write_variety(cutoff: &Cutoff) -> String {
    let basis = match cutoff.basis {
        Basis::SignIn => 's',
        Basis::Issued => 'i',
    };
    let kinds = match cutoff.kinds {
        Kinds::Both => 'b',
        Kinds::AccessOnly => 'a',
        Kinds::RefreshOnly => 'r',
    };
    let service = if cutoff.spares.service_tokens { 't' } else { '-' };
    let listed = if cutoff.spares.listed_users { format!("l{}", cutoff.job) } else { "-".to_owned() };
    format!("{basis}{kinds}{service}{listed}")
}

/// Something that cannot be read.
pub fn corrupt(what: &str) -> PortError {
    PortError::Corrupt { service: "Redis", cause: format!("{what:?} is no denylist entry") }
}

/// A number as the scripts write it, and in no other form.
fn number(text: &str) -> Option<i64> {
    text.parse::<i64>().ok().filter(|number| number.to_string() == text)
}

fn read_cutoff(scope: &Scope, line: &str) -> Option<Cutoff> {
    let mut words = line.split(' ');
    let (variety, at, job, retires_at) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let mut letters = variety.chars();
    let basis = match letters.next()? {
        's' => Basis::SignIn,
        'i' => Basis::Issued,
        _ => return None,
    };
    let kinds = match letters.next()? {
        'b' => Kinds::Both,
        'a' => Kinds::AccessOnly,
        'r' => Kinds::RefreshOnly,
        _ => return None,
    };
    let service_tokens = letters.next()? == 't';
    let listed_users = letters.next()? == 'l';
    if words.next().is_some() {
        return None;
    }
    let cutoff = Cutoff {
        scope: scope.clone(),
        basis,
        kinds,
        spares: Spares { service_tokens, listed_users },
        at: Epoch(number(at)?),
        job: JobId::parse(job).ok()?,
        retires_at: Epoch(number(retires_at).filter(|at| *at >= 0)?),
    };
    // What would not be written so is not of ours, whatever could be made of it.
    (write_variety(&cutoff) == variety).then_some(cutoff)
}

/// The lines of a key. One that is there says something, and every line of it has an end: a line feed and nothing else.
fn lines_of(value: &[u8]) -> PortResult<std::str::Split<'_, char>> {
    let text = str::from_utf8(value).ok().and_then(|text| text.strip_suffix('\n'));
    text.map(|text| text.split('\n')).ok_or_else(|| corrupt(&String::from_utf8_lossy(value)))
}

/// Reads the lines of one scope. What is unreadable is an error, never "no cutoff".
pub fn read_cutoffs(scope: &Scope, value: &[u8], into: &mut Vec<Cutoff>) -> PortResult<()> {
    for line in lines_of(value)? {
        into.push(read_cutoff(scope, line).ok_or_else(|| corrupt(line))?);
    }
    Ok(())
}

/// Reads the jobs that spare a user.
pub fn read_spared(value: &[u8]) -> PortResult<Vec<JobId>> {
    let job = |line: &str| {
        let (job, retires_at) = line.split_once(' ')?;
        number(retires_at).filter(|at| *at >= 0)?;
        JobId::parse(job).ok()
    };
    lines_of(value)?.map(|line| job(line).ok_or_else(|| corrupt(line))).collect()
}
