//! Entries as events of the Open Cybersecurity Schema Framework, <https://schema.ocsf.io/1.5.0>.
//!
//! | what was done | class |
//! |---|---|
//! | jobs: accepted, through, failed, cancelled; a key was mailed | Entity Management (3004) |
//! | a sign-in or token ended; a key was wrong | Authentication (3002) |
//! | a request was refused | API Activity (6003) |
//! | the trail or the cache cannot be trusted | Detection Finding (2004) |
//!
//! What the schema requires of these classes stands in `ocsf-1.5.0.json`, which a test holds every event to.
//! `metadata.uid` is the entry's id, by which a consumer knows an event that comes twice; all that has no place in the
//! schema is in `unmapped`, the entry's place in its chain and its hash among it: a witness outside of the trail.

use serde_json::{Map, Value, json};

use crate::audit::chain::{Hash, Sealed};
use crate::audit::{Action, Entry, Level};
use crate::directory::{Actor, SCHEDULE};
use crate::ids::ChainId;

/// The schema's version.
pub const VERSION: &str = "1.5.0";
const PRODUCT: &str = "batch-logout";

/// An entry's place in the trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    chain: ChainId,
    seq: u64,
    hash: Hash,
}

impl From<&Sealed> for At {
    fn from(sealed: &Sealed) -> Self {
        Self { chain: sealed.chain.clone(), seq: sealed.seq, hash: sealed.hash }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    DetectionFinding,
    Authentication,
    EntityManagement,
    ApiActivity,
}

impl Class {
    /// Number and name, of itself and of its category.
    fn numbers(self) -> ((u64, &'static str), (u64, &'static str)) {
        match self {
            Self::DetectionFinding => ((2004, "Detection Finding"), (2, "Findings")),
            Self::Authentication => ((3002, "Authentication"), (3, "Identity & Access Management")),
            Self::EntityManagement => ((3004, "Entity Management"), (3, "Identity & Access Management")),
            Self::ApiActivity => ((6003, "API Activity"), (6, "Application Activity")),
        }
    }
}

/// What an action is to a SIEM: its class, number and name of the activity, and what is said of it.
fn kind(action: Action) -> (Class, (u64, &'static str), &'static str) {
    let other = |name| (99, name);
    let finding = (1, "Create");
    match action {
        Action::BatchLogoutInitiated => (Class::EntityManagement, (1, "Create"), "A batch logout was accepted"),
        Action::BatchLogoutCompleted => (Class::EntityManagement, (3, "Update"), "A batch logout is through"),
        Action::BatchLogoutFailed => {
            (Class::EntityManagement, (3, "Update"), "A batch logout could not end everything")
        }
        Action::BatchLogoutCancelled => (Class::EntityManagement, (11, "Deactivate"), "A batch logout was cancelled"),
        Action::EmergencyKeyGenerated => (Class::EntityManagement, (1, "Create"), "An emergency key was mailed"),
        Action::EmergencyKeyVerificationFailed => {
            (Class::Authentication, other("Emergency key verification"), "An emergency key was wrong")
        }
        Action::PermissionDenied => (Class::ApiActivity, other("Denied"), "Somebody asked for what they may not do"),
        Action::RateLimited => (Class::ApiActivity, other("Rate limited"), "Somebody asked too often"),
        Action::TokenRevoked => (Class::Authentication, (2, "Logoff"), "A client revoked a token"),
        Action::UserLogout => (Class::Authentication, (2, "Logoff"), "A user signed out"),
        Action::AccountSignInStarted => {
            (Class::Authentication, other("Account sign-in"), "An account is to sign in at its provider")
        }
        Action::AccountSignInCompleted => {
            (Class::Authentication, (1, "Logon"), "An account was signed in at its provider")
        }
        Action::AccountSignInFailed => (Class::Authentication, (1, "Logon"), "An account's sign-in came to nothing"),
        Action::AccountRefreshFailed => {
            (Class::Authentication, other("Token refresh"), "An account's tokens could not be refreshed")
        }
        Action::AccountSignInsCleanedUp => {
            (Class::Authentication, other("Clean-up"), "Sign-ins of accounts were ended")
        }
        Action::AuditChainBroken => (Class::DetectionFinding, finding, "The audit trail is not what was written"),
        Action::CacheNotSafe => (Class::DetectionFinding, finding, "The cache of revocations cannot be trusted"),
    }
}

/// An entry as an event.
pub fn event(entry: &Entry, at: &At) -> Value {
    let (class, (activity_id, activity), message) = kind(entry.action);
    let ((class_uid, class_name), (category_uid, category_name)) = class.numbers();
    let (severity_id, severity) = match entry.level {
        Level::Info => (1, "Informational"),
        Level::Warning => (3, "Medium"),
        Level::Critical => (5, "Critical"),
    };
    let (status_id, status) = match (class, entry.success) {
        (Class::DetectionFinding, _) => (1, "New"),
        (_, true) => (1, "Success"),
        (_, false) => (2, "Failure"),
    };
    let mut event = json!({
        "activity_id": activity_id,
        "activity_name": activity,
        "category_uid": category_uid,
        "category_name": category_name,
        "class_uid": class_uid,
        "class_name": class_name,
        "type_uid": class_uid * 100 + activity_id,
        "type_name": format!("{class_name}: {activity}"),
        "time": entry.at.timestamp_millis(),
        "severity_id": severity_id,
        "severity": severity,
        "status_id": status_id,
        "status": status,
        "message": message,
        "metadata": {
            "version": VERSION,
            "product": { "name": PRODUCT, "vendor_name": PRODUCT, "version": env!("CARGO_PKG_VERSION") },
            "uid": entry.id,
            "correlation_uid": entry.job_id,
            "event_code": entry.action.as_str(),
            "log_name": "audit",
            "original_time": entry.at.to_rfc3339(),
        },
        "unmapped": {
            "level": entry.level,
            "details": entry.metadata,
            "chain": at.chain,
            "seq": at.seq,
            "hash": at.hash,
        },
    });
    if let Value::Object(event) = &mut event {
        match class {
            Class::EntityManagement => entity(event, entry),
            Class::Authentication => authentication(event, entry),
            Class::ApiActivity => api(event, entry),
            Class::DetectionFinding => finding(event, entry, message),
        }
    }
    without_nulls(event)
}

fn entity(event: &mut Map<String, Value>, entry: &Entry) {
    let job = entry.job_id.as_ref().map(|job| json!({ "uid": job, "name": "batch logout", "type": "job" }));
    let key = || json!({ "uid": entry.actor.id, "name": "emergency key", "type": "credential" });
    event.insert("entity".to_owned(), job.unwrap_or_else(key));
    event.insert("actor".to_owned(), json!({ "user": user(&entry.actor) }));
    request(event, entry);
}

fn authentication(event: &mut Map<String, Value>, entry: &Entry) {
    event.insert("user".to_owned(), user(&entry.actor));
    event.insert("service".to_owned(), json!({ "name": PRODUCT }));
    event.insert("is_remote".to_owned(), true.into());
    request(event, entry);
}

fn api(event: &mut Map<String, Value>, entry: &Entry) {
    let operation = entry.metadata["asked_for"].as_str().unwrap_or(entry.action.as_str());
    let request_id = entry.origin.request_id.as_ref().map(|id| json!({ "uid": id }));
    let api = json!({ "operation": operation, "service": { "name": PRODUCT }, "request": request_id });
    event.insert("api".to_owned(), api);
    event.insert("actor".to_owned(), json!({ "user": user(&entry.actor) }));
    let job = entry.job_id.as_ref().map(|job| json!([{ "uid": job, "type": "job" }]));
    event.insert("resources".to_owned(), job.unwrap_or_default());
    // Required; the gateway knows the address of every request, and what comes from nowhere comes from ourselves.
    event.insert("src_endpoint".to_owned(), json!({ "svc_name": PRODUCT }));
    request(event, entry);
}

fn finding(event: &mut Map<String, Value>, entry: &Entry, title: &str) {
    let at = entry.at.timestamp_millis();
    let about = json!({ "uid": entry.id, "title": title, "types": [entry.action.as_str()], "created_time": at });
    event.insert("finding_info".to_owned(), about);
    event.insert("is_alert".to_owned(), true.into());
}

fn user(actor: &Actor) -> Value {
    let (type_id, kind) = if actor.id.as_str() == SCHEDULE { (3, "System") } else { (1, "User") };
    json!({ "uid": actor.id, "name": actor.name, "email_addr": actor.email, "type_id": type_id, "type": kind })
}

/// Where a request came from, as far as that is known.
fn request(event: &mut Map<String, Value>, entry: &Entry) {
    let origin = &entry.origin;
    if let Some(ip) = &origin.source_ip {
        event.insert("src_endpoint".to_owned(), json!({ "ip": ip }));
    }
    if origin.user_agent.is_some() || origin.request_id.is_some() {
        let request = json!({ "user_agent": origin.user_agent, "uid": origin.request_id });
        event.insert("http_request".to_owned(), request);
    }
}

/// What is not known is left out: no attribute of the schema may be null. What is our own stays as it is.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(_, value)| !value.is_null());
            let clean = |(name, value)| {
                let value = if name == "unmapped" { value } else { without_nulls(value) };
                (name, value)
            };
            Value::Object(kept.map(clean).collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests;
