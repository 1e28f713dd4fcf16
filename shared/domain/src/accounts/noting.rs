//! Failures, written down in the audit.

use super::failure::Failure;
use crate::audit::{Action, Auditor, Entry, Level, Origin};
use crate::directory::Actor;
use crate::ids::UserId;

/// Writes down that something came to nothing. A failure to do so is logged as an error, which rings.
pub(super) async fn failed(
    auditor: &Auditor,
    action: Action,
    by: &Actor,
    user: &UserId,
    failure: &Failure,
    origin: &Origin,
) {
    let metadata = serde_json::json!({ "account": user, "failure": failure });
    let entry = auditor.entry(action, by.clone(), None, origin);
    let entry = Entry { level: Level::Warning, success: false, metadata, ..entry };
    if let Err(error) = auditor.log.append(&entry).await {
        tracing::error!(%error, action = action.as_str(), account = %user, "a failure could not be audited");
    }
}
