//! The check of the functions in this process, against the running stack: the same code, Redis, DynamoDB and issuer.

use std::sync::Arc;

use adapters::http::Http;
use adapters::oidc::JwtVerifier;
use domain::check::Checker;
use domain::inspect::Inspector;
use domain::settings::Issuer;
use domain::time::SystemClock;
use ops::stack::Stack;

use crate::fleet::LIMITS;

/// A verifier of the stack.
pub async fn verifier(stack: &Stack) -> Inspector {
    let clock = Arc::new(SystemClock);
    let issuer = Issuer {
        issuer: stack.issuer.clone(),
        jwks_uri: Some(stack.jwks_uri.clone()),
        audience: None,
        required_claim: Some(("token_use".to_owned(), "access".to_owned())),
        session_claim: "origin_jti".to_owned(),
        client_claim: None,
        roles_claim: None,
        hs256_secret: None,
    };
    let store = stack.store().await;
    Inspector {
        checker: Checker::new(stack.cache().await.unwrap(), store.clone(), clock.clone(), LIMITS),
        verifier: Arc::new(JwtVerifier::new(issuer, Http::new(), clock.clone())),
        lookup: store,
        authorities: Arc::new([]),
        clock,
    }
}
