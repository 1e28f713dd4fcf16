//! What the members of the denylist's sets say, each in one form only: written by the scripts, read here.

use domain::cutoff::{Basis, Cutoff, Kinds, Scope, Spares};
use domain::error::PortError;
use domain::ids::JobId;
use domain::time::Epoch;

/// What one member says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said<'a> {
    /// Of which generation and server the denylist is complete.
    Marker(&'a str),
    /// The token that was asked about is revoked.
    Denied,
    /// A cutoff of one of the scopes that were asked about.
    Cutoff(Cutoff),
    /// A job that spares the user.
    SparedBy(JobId),
}

/// The marker as it is written.
pub fn marker(generation: &str, server: &str) -> String {
    format!("M {generation}@{server}")
}

/// The member that says that a token is revoked.
pub const DENIED: &str = "T";

/// The letter of a kind of scope. No question asks about two scopes of a kind, so that it says which one is meant.
fn letter(scope: &Scope) -> char {
    match scope {
        Scope::Everything => 'A',
        Scope::User(_) => 'U',
        Scope::Client(_) => 'C',
        Scope::UserClient(..) => 'P',
        Scope::Session(_) => 'S',
    }
}

/// The variety of a cutoff in one word: kind of scope, basis, kinds, what it spares, and whose list that is. With a job's
/// UUID a member of the usual variety has 64 bytes; Valkey keeps sets of longer ones in twice the memory.
pub fn write_variety(cutoff: &Cutoff) -> String {
    let scope = letter(&cutoff.scope);
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
    format!("{scope}{basis}{kinds}{service}{listed}")
}

/// Something that cannot be read.
pub fn corrupt(what: &str) -> PortError {
    PortError::Corrupt { service: "Redis", cause: format!("{what:?} is no denylist entry") }
}

/// A number as the scripts write it, and in no other form.
fn number(text: &str) -> Option<i64> {
    text.parse::<i64>().ok().filter(|number| number.to_string() == text)
}

fn retirement(text: &str) -> Option<Epoch> {
    number(text).filter(|at| *at >= 0).map(Epoch)
}

fn read_cutoff(scopes: &[Scope], [variety, at, job, retires_at]: [&str; 4]) -> Option<Cutoff> {
    let mut letters = variety.chars();
    let kind = letters.next()?;
    let scope = scopes.iter().find(|scope| letter(scope) == kind)?;
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
    let cutoff = Cutoff {
        scope: scope.clone(),
        basis,
        kinds,
        spares: Spares { service_tokens, listed_users },
        at: Epoch(number(at)?),
        job: JobId::parse(job).ok()?,
        retires_at: retirement(retires_at)?,
    };
    // What would not be written so is not of ours, whatever could be made of it.
    (write_variety(&cutoff) == variety).then_some(cutoff)
}

/// Reads a member of what a question about these scopes found. `None` if it is not of ours; nobody may take that for
/// "nothing there".
pub fn read<'a>(member: &'a [u8], scopes: &[Scope]) -> Option<Said<'a>> {
    let text = str::from_utf8(member).ok()?;
    let mut words = text.split(' ');
    let first = words.next()?;
    if first == "M" {
        return text.strip_prefix("M ").map(Said::Marker);
    }
    let mut word = || words.next();
    let said = match first {
        DENIED => Said::Denied,
        "X" => {
            let job = JobId::parse(word()?).ok()?;
            retirement(word()?)?;
            Said::SparedBy(job)
        }
        variety => Said::Cutoff(read_cutoff(scopes, [variety, word()?, word()?, word()?])?),
    };
    words.next().is_none().then_some(said)
}
