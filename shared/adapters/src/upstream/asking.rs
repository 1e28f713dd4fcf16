//! How a question to the issuer is put, and what its answers mean.

use std::future::Future;
use std::time::Duration;

use backon::{ConstantBuilder, Retryable as _};
use domain::upstream::{Refused, UpstreamError};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Map, Value};

use crate::http::{Answer, HttpError};

/// Before something is asked again.
const PAUSE: Duration = Duration::from_millis(100);
/// What is asked twice is given half of its time each time: a connection that died unnoticed costs no more than that.
pub(super) const TRIES: u32 = 2;

impl From<HttpError> for UpstreamError {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::TimedOut(_) => Self::TimedOut(error.to_string()),
            HttpError::Failed(cause) => Self::Failed(cause),
        }
    }
}

/// The JSON object of an answer, if it is one.
pub(super) fn object(answer: &Answer) -> Option<Map<String, Value>> {
    serde_json::from_slice(&answer.body).ok()
}

/// Tells a yes (2xx) from an explicit no (4xx) and from everything that is neither. 408 and 429 are no word on what
/// was asked (RFC 9110 §15.5.9, RFC 6585 §4).
pub(super) fn judge(answer: Answer) -> Result<Answer, UpstreamError> {
    let status = answer.status;
    if status.is_success() {
        return Ok(answer);
    }
    if !status.is_client_error() || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) {
        return Err(UpstreamError::Failed(format!("answered {status}")));
    }
    Err(UpstreamError::Refused(Refused { status: status.as_u16(), body: object(&answer).unwrap_or_default() }))
}

/// Ends the work when its time is over. Boxes it, as futures that are handed on grow with every hand.
pub(crate) fn within<'a, T: 'a>(
    limit: Duration,
    work: impl Future<Output = Result<T, UpstreamError>> + Send + 'a,
) -> BoxFuture<'a, Result<T, UpstreamError>> {
    let timed_out = move || UpstreamError::TimedOut(format!("all tries together took {limit:?}"));
    let work = tokio::time::timeout(limit, work);
    async move { work.await.unwrap_or_else(|_| Err(timed_out())) }.boxed()
}

/// Asks once more if there was no answer. For what may be asked twice without harm only.
pub(super) async fn twice<T, F, A>(ask: F) -> Result<T, UpstreamError>
where
    F: FnMut() -> A,
    A: Future<Output = Result<T, UpstreamError>>,
{
    let pause = ConstantBuilder::default().with_delay(PAUSE).with_max_times(TRIES as usize - 1);
    ask.retry(pause).when(|error| matches!(error, UpstreamError::TimedOut(_) | UpstreamError::Failed(_))).await
}

/// Headers with these credentials, which are marked so that nothing prints them.
pub(super) fn authorized(credentials: &str) -> Result<HeaderMap, UpstreamError> {
    let mut value = HeaderValue::from_bytes(credentials.as_bytes())
        .map_err(|_| UpstreamError::Failed("these credentials do not fit in a header".to_owned()))?;
    value.set_sensitive(true);
    Ok(HeaderMap::from_iter([(header::AUTHORIZATION, value)]))
}
