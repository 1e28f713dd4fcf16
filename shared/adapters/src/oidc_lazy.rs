//! The verifier of signatures for a function that must start fast: reading the system's root certificates takes longer
//! than all the rest of its start.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use domain::ids::RawToken;
use domain::ports::{Claims, TokenVerifier, VerifyError};
use domain::settings::Issuer;
use domain::time::Clock;

use crate::http::Http;
use crate::oidc::JwtVerifier;

/// [`JwtVerifier`], made when it is first asked, or beforehand by [`LazyVerifier::warm_up`].
pub struct LazyVerifier {
    issuer: Issuer,
    clock: Arc<dyn Clock>,
    made: OnceLock<Result<JwtVerifier, String>>,
}

impl LazyVerifier {
    /// Costs nothing yet.
    pub fn new(issuer: Issuer, clock: Arc<dyn Clock>) -> Self {
        Self { issuer, clock, made: OnceLock::new() }
    }

    /// Makes it. Meant for another thread: whoever asks meanwhile waits for that, and nobody does it twice.
    pub fn warm_up(&self) {
        let _ = self.made();
    }

    fn made(&self) -> Result<&JwtVerifier, VerifyError> {
        let make = || Ok(JwtVerifier::new(self.issuer.clone(), Http::new()?, Arc::clone(&self.clock)));
        // Without root certificates nobody can tell, which is not the token's fault.
        self.made.get_or_init(make).as_ref().map_err(|cause| VerifyError::NoKeys(cause.clone()))
    }
}

#[async_trait]
impl TokenVerifier for LazyVerifier {
    fn peek(&self, token: &RawToken) -> Result<Claims, VerifyError> {
        self.made()?.peek(token)
    }

    async fn verify(&self, token: &RawToken) -> Result<Claims, VerifyError> {
        self.made()?.verify(token).await
    }
}
