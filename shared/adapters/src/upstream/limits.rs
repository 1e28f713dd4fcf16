//! How long the issuer may take, in one place (`[OAUTH-3]`).

use std::time::Duration;

/// Time limits, each for all that its call does: discovery, tries and pauses together.
///
/// All work at the issuer of one request has to fit in 20 s, as the gateway ends a request after 29:
///
/// | request | may take | seconds |
/// |---|---|---|
/// | a sign-in: grant, the new token's signature, its user's profile, and, if it was cut off, its end | `token` + `keys` + `vouch` + `revoke` | 20 |
/// | any call with a token: both who vouch for it, and its signature | 2 × `vouch` + `keys` | 11 |
/// | the same, and it ends a token at the issuer | the same + `revoke` | 15 |
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The keys, or the discovery document.
    pub keys: Duration,
    /// A grant.
    pub token: Duration,
    /// One who vouches for a token.
    pub vouch: Duration,
    /// A revocation.
    pub revoke: Duration,
    /// Whether the issuer answers at all.
    pub reachable: Duration,
}

impl Limits {
    /// For a check that another API's request waits for: both who vouch, and the keys, in 7 s.
    pub fn of_a_check() -> Self {
        Self { keys: Duration::from_secs(2), vouch: Duration::from_millis(2_500), ..Self::default() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            keys: Duration::from_secs(3),
            token: Duration::from_secs(9),
            vouch: Duration::from_secs(4),
            revoke: Duration::from_secs(4),
            reachable: Duration::from_secs(3),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_work_at_the_issuer_of_one_request_fits_in_20_seconds() {
        let Limits { keys, token, vouch, revoke, reachable } = Limits::default();
        let check = 2 * vouch + keys;
        for sum in [token + keys + vouch + revoke, check + revoke, reachable] {
            assert!(sum <= Duration::from_secs(20), "{sum:?}");
        }
        assert!(keys < token && keys < vouch && keys < revoke, "discovery leaves time for what follows");
    }

    #[test]
    fn a_check_before_another_apis_request_takes_7_seconds_at_most() {
        let Limits { keys, vouch, .. } = Limits::of_a_check();
        assert!(2 * vouch + keys <= Duration::from_secs(7));
        assert!(keys < vouch, "discovery leaves time for what follows");
    }
}
