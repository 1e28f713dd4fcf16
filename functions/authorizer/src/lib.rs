//! The check for other REST APIs of the company: a Lambda authorizer of type REQUEST (`[CHECK-4]`).
//!
//! What a token must be is decided by [`Inspector`] as everywhere else; here is only how API Gateway asks and is
//! answered. `infra/sample-api` shows what another team writes to be protected.

mod allowed;
mod request;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use domain::inspect::Inspector;
use domain::time::Clock;
use domain::token::TokenKind;
use futures::FutureExt as _;
use lambda_kit::metrics::{self, Unit};
use lambda_kit::{caller, checked};
use lambda_runtime::{Diagnostic, LambdaEvent};

pub use allowed::Allowed;
pub use request::Request;

/// What the check needs.
#[derive(Clone)]
pub struct Deps {
    /// The check.
    pub inspector: Inspector,
    /// Time, for metrics.
    pub clock: Arc<dyn Clock>,
    /// How long a check may take. Less than the function's time-out, which would end it uncounted.
    pub budget: Duration,
}

/// Why the gateway is not told to let the request pass. To API Gateway both are errors of the function; it tells them
/// apart by the message.
pub enum NotAllowed {
    /// The token is missing or not good: 401.
    Refused,
    /// Nobody could tell: the gateway's `AUTHORIZER_FAILURE`, 503. The cause is for the log.
    CannotTell(String),
}

/// The runtime logs this.
impl fmt::Debug for NotAllowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused",
            Self::CannotTell(_) => "cannot tell",
        })
    }
}

impl From<NotAllowed> for Diagnostic {
    fn from(why: NotAllowed) -> Self {
        let (kind, message) = match why {
            // Exactly this message makes API Gateway answer 401; with any other it answers that it failed.
            NotAllowed::Refused => ("Refused", "Unauthorized"),
            NotAllowed::CannotTell(_) => ("CannotTell", "The token could not be checked."),
        };
        Self { error_type: kind.to_owned(), error_message: message.to_owned() }
    }
}

/// Answers API Gateway. Whatever goes wrong inside, a panic and a store that never answers included, is never an allow
/// (`[CHECK-3]`), and counted.
pub async fn handle(event: LambdaEvent<Request>, deps: &Deps) -> Result<Allowed, NotAllowed> {
    let check = tokio::time::timeout(deps.budget, check(&event.payload, deps));
    let answer = match AssertUnwindSafe(check).catch_unwind().await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(NotAllowed::CannotTell(format!("no decision within {:?}", deps.budget))),
        Err(_) => Err(NotAllowed::CannotTell("panicked".to_owned())),
    };
    if let Err(NotAllowed::CannotTell(cause)) = &answer {
        tracing::error!(cause, "a token could not be checked");
        // Refusals are errors of the function, too, so that Lambda's own metric says nothing here.
        metrics::emit(deps.clock.as_ref(), "AuthorizerUnavailable", Unit::Count, 1, &[]);
    }
    answer
}

async fn check(request: &Request, deps: &Deps) -> Result<Allowed, NotAllowed> {
    let token = request.authorization().and_then(caller::bearer_token).ok_or(NotAllowed::Refused)?;
    let inspected = deps.inspector.inspect(&token).await;
    let inspected = inspected.map_err(|error| NotAllowed::CannotTell(error.to_string()))?;
    checked::report(deps.clock.as_ref(), &inspected);
    let accepted = inspected.verdict.map_err(|_| NotAllowed::Refused)?;
    if accepted.active.kind() != TokenKind::Access {
        tracing::info!("a token was refused that is no access token");
        return Err(NotAllowed::Refused);
    }
    Allowed::new(&accepted, request.method_arn())
}

#[cfg(test)]
mod tests;
