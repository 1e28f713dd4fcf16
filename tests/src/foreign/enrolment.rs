//! Enrolment files of accounts, in YAML.

use domain::accounts::{Account, Provider, SecretRef};
use ops::accounts::enrolment::parse;
use serde_json::json;

/// Bytes as a file; and as what somebody wrote where the reference to a secret belongs.
pub fn enrolment(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    secret(text);
    match parse(text) {
        Ok((account, _)) => {
            assert_eq!(account.check(), [], "what is imported can be used");
            let written = file(&account);
            let again = parse(&written).map(|(again, _)| again);
            assert_eq!(again.as_ref(), Ok(&account), "{written}");
            true
        }
        Err(wrong) => {
            assert!(!wrong.is_empty(), "a refusal says why");
            // A carriage return ends a line of YAML, too.
            let ends = text.matches(['\n', '\r']).count() as u64;
            assert!(wrong.iter().all(|wrong| wrong.line <= ends + 2 && !wrong.detail.contains('\n')), "{wrong:?}");
            false
        }
    }
}

/// An account as a file of JSON, which is YAML, too.
fn file(account: &Account) -> String {
    let mut oauth = json!({
        "client_id": account.client, "redirect_uri": account.redirect_uri, "auth_type": "Authorization Code Flow",
        "delegated_permissions": account.scopes,
    });
    match &account.provider {
        Provider::AzureAd { tenant, authority } => {
            oauth["provider"] = "azure_ad".into();
            oauth["tenant"] = tenant.as_str().into();
            oauth["authority"] = authority.as_str().into();
        }
        Provider::Oidc { issuer, authorization_endpoint, token_endpoint } => {
            oauth["provider"] = "oidc".into();
            oauth["issuer"] = issuer.as_str().into();
            oauth["authorization_endpoint"] = authorization_endpoint.clone().into();
            oauth["token_endpoint"] = token_endpoint.clone().into();
        }
    }
    if let Some(secret) = &account.secret {
        oauth["client_secret"] = secret.to_string().into();
    }
    let file = json!({
        "user_id": account.user, "name": account.name, "sign_in_name": account.sign_in_name,
        "active": account.active, "oauth": oauth,
    });
    file.to_string()
}

/// A secret that somebody wrote down is refused, and not repeated.
fn secret(literal: &str) {
    let file = json!({ "user_id": "u", "oauth": {
        "provider": "azure_ad", "tenant": "t", "client_id": "c", "redirect_uri": "https://api.example.com/callback",
        "auth_type": "Authorization Code Flow", "delegated_permissions": ["Mail.Send"], "client_secret": literal,
    }});
    match parse(&file.to_string()) {
        Ok((account, _)) => assert_eq!(account.secret.as_ref().map(SecretRef::to_string).as_deref(), Some(literal)),
        Err(wrong) => {
            let told = format!("{wrong:?}");
            // A short one may be a word of the complaint.
            assert!(literal.chars().count() < 16 || !told.contains(literal), "{told}");
        }
    }
}
