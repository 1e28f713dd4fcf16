//! What Redis answers: the members of the denylist's sets.

use adapters::denylist::lines::{self, Said};
use domain::cutoff::Scope;
use domain::ids::{ClientId, SessionId, UserId};

/// A member of what a question about all kinds of scope found.
pub fn redis_values(bytes: &[u8]) -> bool {
    let (user, client) = (UserId::parse("u").unwrap(), ClientId::parse("c").unwrap());
    let scopes = [
        Scope::Everything,
        Scope::User(user.clone()),
        Scope::Client(client.clone()),
        Scope::UserClient(user, client),
        Scope::Session(SessionId::parse("s").unwrap()),
    ];
    let Some(said) = lines::read(bytes, &scopes) else { return false };
    let text = std::str::from_utf8(bytes).unwrap();
    let written = match &said {
        Said::Marker(marker) => format!("M {marker}"),
        Said::Denied => lines::DENIED.to_owned(),
        Said::Cutoff(cutoff) => {
            let variety = lines::write_variety(cutoff);
            format!("{variety} {} {} {}", cutoff.at.0, cutoff.job, cutoff.retires_at.0)
        }
        Said::SparedBy(job) => {
            let retires_at: u64 = text.rsplit(' ').next().unwrap().parse().unwrap();
            format!("X {job} {retires_at}")
        }
    };
    assert_eq!(written, text, "one form only, which the merge scripts read, too");
    let unasked = lines::read(bytes, &[]).is_none();
    assert_eq!(unasked, matches!(said, Said::Cutoff(_)), "whose scope nobody asked about, that cutoff is none of ours");
    true
}
