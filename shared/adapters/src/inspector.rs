//! The whole check of a token, put together: the same in every function that is asked about one.

use std::sync::Arc;

use domain::check::Checker;
use domain::inspect::Inspector;
use domain::ports::TokenLookup;
use domain::settings::{AuthorityKind, Issuer};
use domain::time::Clock;
use domain::upstream::Authority;

use crate::cached_lookup::Remembered;
use crate::oidc::JwtVerifier;
use crate::upstream::{AuthMe, Discovery, Remembering, Userinfo};

/// Those who vouch for tokens, in the order they are asked; what they say is remembered for less than a minute.
fn authorities(
    kinds: &[AuthorityKind],
    issuer: &Issuer,
    discovery: &Arc<Discovery>,
    clock: &Arc<dyn Clock>,
) -> Arc<[Arc<dyn Authority>]> {
    let authority = |kind: &AuthorityKind| -> Arc<dyn Authority> {
        match kind {
            AuthorityKind::Userinfo => {
                let userinfo = Userinfo::new(discovery.clone(), issuer.roles_claim.clone());
                Arc::new(Remembering::new(userinfo, clock.clone()))
            }
            AuthorityKind::AuthMe => Arc::new(Remembering::new(AuthMe::new(discovery.clone()), clock.clone())),
        }
    };
    kinds.iter().map(authority).collect()
}

/// The check of an issuer's tokens.
pub fn inspector<L: TokenLookup + 'static>(
    issuer: &Issuer,
    kinds: &[AuthorityKind],
    discovery: &Arc<Discovery>,
    verifier: Arc<JwtVerifier>,
    lookup: Arc<L>,
    checker: Checker,
    clock: Arc<dyn Clock>,
) -> Inspector {
    Inspector {
        checker,
        authorities: authorities(kinds, issuer, discovery, &clock),
        verifier,
        lookup: Arc::new(Remembered::new(lookup, clock.clone())),
        clock,
    }
}
