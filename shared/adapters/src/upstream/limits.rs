//! How long the issuer may take, in one place (`[OAUTH-3]`).

use std::time::Duration;

/// Time limits, each for all that its call does: discovery, tries and pauses together.
///
/// All work at the issuer of one request has to fit in 20 s, as the gateway ends a request after 29:
///
/// | request | may take | seconds |
/// |---|---|---|
/// | a sign-in: grant, then both who vouch for the new token, then its signature | `token` + 2 × `vouch` + `keys` | 20 |
/// | any call with a token | 2 × `vouch` + `keys` | 11 |
/// | the same, and it ends tokens at the issuer, all of them at the same time | the same + `revoke` | 16 |
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

impl Default for Limits {
    fn default() -> Self {
        Self {
            keys: Duration::from_secs(3),
            token: Duration::from_secs(9),
            vouch: Duration::from_secs(4),
            revoke: Duration::from_secs(5),
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
        for sum in [token + check, check + revoke, reachable] {
            assert!(sum <= Duration::from_secs(20), "{sum:?}");
        }
        assert!(keys < token && keys < vouch && keys < revoke, "discovery leaves time for what follows");
    }
}
