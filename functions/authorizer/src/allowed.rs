//! What API Gateway is answered when a token is good.
//!
//! Source: "Output from an API Gateway Lambda authorizer", Amazon API Gateway developer guide.

use std::collections::BTreeMap;

use chrono::SecondsFormat;
use domain::identity::VerifiedUser;
use domain::inspect::{Accepted, Active};
use serde::Serialize;

use crate::NotAllowed;

/// Lets the request pass, and tells the API behind whose it is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Allowed {
    principal_id: String,
    policy_document: Policy,
    /// `$context.authorizer.*` in mapping templates, `requestContext.authorizer` in proxy events. The gateway takes
    /// texts only, so lists are JSON in a text; what is not known is left out.
    context: BTreeMap<&'static str, String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Policy {
    version: &'static str,
    statement: [Statement; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    action: &'static str,
    effect: &'static str,
    resource: String,
}

impl Allowed {
    /// The answer for a token at a method. The principal is for logs and quotas: an API that asks who calls reads
    /// `user_id`, which a service token does not have.
    pub fn new(accepted: &Accepted, method_arn: &str) -> Result<Self, NotAllowed> {
        let context = context(accepted);
        let service = || context.get("client_id").map(|client| format!("client:{client}"));
        let principal_id = context.get("user_id").cloned().or_else(service).ok_or(NotAllowed::Refused)?;
        let statement = Statement { action: "execute-api:Invoke", effect: "Allow", resource: stage(method_arn)? };
        let policy_document = Policy { version: "2012-10-17", statement: [statement] };
        Ok(Self { principal_id, policy_document, context })
    }
}

/// The whole stage of a method. The token is good or not, whatever is called; what its user may do there is for the API
/// to say. A policy for this one method would change nothing at a TTL of 0, and an API whose authorizer was set to
/// cache by accident would refuse good callers at every other method.
fn stage(method_arn: &str) -> Result<String, NotAllowed> {
    let mut parts = method_arn.splitn(3, '/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(api), Some(stage), Some(_)) if api.contains(":execute-api:") => Ok(format!("{api}/{stage}/*")),
        _ => Err(NotAllowed::CannotTell(format!("{method_arn:?} is no method of an API"))),
    }
}

fn context(accepted: &Accepted) -> BTreeMap<&'static str, String> {
    let (client, scope, token) = match &accepted.active {
        Active::Jwt(claims) => (claims.facts.client.as_ref(), &claims.scope, &claims.facts.id),
        Active::Opaque(row) => (Some(&row.client), &row.scope, &row.id),
    };
    let mut told = vec![
        ("token_id", Some(token.to_string())),
        ("client_id", client.map(ToString::to_string)),
        ("scope", scope.clone()),
    ];
    told.extend(accepted.user.iter().flat_map(of_user));
    told.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn of_user(user: &VerifiedUser) -> [(&'static str, Option<String>); 9] {
    let list = |items: &[String]| Some(serde_json::Value::from(items).to_string());
    let profile = &user.profile;
    [
        ("user_id", Some(user.user_id.to_string())),
        ("email", profile.email.clone()),
        ("name", profile.name.clone()),
        ("avatar", profile.avatar.clone()),
        ("roles", list(&profile.roles)),
        ("permissions", list(&profile.permissions)),
        ("groups", list(&profile.groups)),
        ("verification_source", Some(user.verification_source.as_str().to_owned())),
        ("verified_at", Some(user.verified_at.to_rfc3339_opts(SecondsFormat::Millis, true))),
    ]
}
