//! Enrolment files: one account each, in YAML. What is wrong is told by file, line and field, and never by what a field
//! holds: somebody may have written a secret into it.
//!
//! ```yaml
//! user_id: kimghw
//! name: 김광현
//! oauth:
//!   provider: azure_ad
//!   tenant: contoso.onmicrosoft.com
//!   client_id: 3f2c7a52-8a55-4c7e-9c5b-2f6f2a1f0b11
//!   client_secret: secretsmanager:batch-logout/accounts/contoso-mail
//!   redirect_uri: https://api.example.com/live/api/v1/accounts/auth/callback
//!   auth_type: Authorization Code Flow
//!   delegated_permissions: [Mail.ReadWrite, Mail.Send, offline_access]
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use domain::accounts::account::AZURE_AUTHORITY;
use domain::accounts::{Account, Provider, SecretRef};
use domain::ids::{ClientId, UserId};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::failure::{Context as _, Failure, Result};

/// What `auth_type` has to say.
const AUTH_TYPE: &str = "Authorization Code Flow";

/// Something that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The line; 0 if nobody knows.
    pub line: u64,
    /// The field, as a path; empty if it is about the whole file.
    pub field: String,
    /// What is wrong with it.
    pub detail: String,
}

/// A text that may be a secret: whatever it is, it is taken, so that no parser complains about it by repeating it.
struct Hidden(Option<String>);

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Anything;

        impl<'de> Visitor<'de> for Anything {
            type Value = Hidden;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a reference to a secret")
            }

            fn visit_str<E>(self, text: &str) -> std::result::Result<Hidden, E> {
                Ok(Hidden(Some(text.to_owned())))
            }

            fn visit_bool<E>(self, _: bool) -> std::result::Result<Hidden, E> {
                Ok(Hidden(None))
            }

            fn visit_i64<E>(self, _: i64) -> std::result::Result<Hidden, E> {
                Ok(Hidden(None))
            }

            fn visit_u64<E>(self, _: u64) -> std::result::Result<Hidden, E> {
                Ok(Hidden(None))
            }

            fn visit_f64<E>(self, _: f64) -> std::result::Result<Hidden, E> {
                Ok(Hidden(None))
            }

            fn visit_unit<E>(self) -> std::result::Result<Hidden, E> {
                Ok(Hidden(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> std::result::Result<Hidden, A::Error> {
                while items.next_element::<Hidden>()?.is_some() {}
                Ok(Hidden(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> std::result::Result<Hidden, A::Error> {
                while members.next_entry::<Hidden, Hidden>()?.is_some() {}
                Ok(Hidden(None))
            }
        }

        deserializer.deserialize_any(Anything)
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    user_id: Spanned<String>,
    name: Option<String>,
    sign_in_name: Option<String>,
    #[serde(default = "yes")]
    active: bool,
    oauth: Oauth,
}

fn yes() -> bool {
    true
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Oauth {
    provider: Spanned<String>,
    tenant: Option<Spanned<String>>,
    authority: Option<Spanned<String>>,
    issuer: Option<Spanned<String>>,
    authorization_endpoint: Option<Spanned<String>>,
    token_endpoint: Option<Spanned<String>>,
    client_id: Spanned<String>,
    client_secret: Option<Spanned<Hidden>>,
    redirect_uri: Spanned<String>,
    auth_type: Spanned<String>,
    delegated_permissions: Spanned<Vec<String>>,
}

type Text<'a> = Option<&'a Spanned<String>>;

impl Oauth {
    /// The line of a field.
    fn line_of(&self, field: &str) -> u64 {
        let text = |text: Text<'_>| text.map_or(self.provider.referenced.line(), |text| text.referenced.line());
        match field {
            "tenant" => text(self.tenant.as_ref()),
            "authority" => text(self.authority.as_ref()),
            "issuer" => text(self.issuer.as_ref()),
            "authorization_endpoint" => text(self.authorization_endpoint.as_ref()),
            "token_endpoint" => text(self.token_endpoint.as_ref()),
            "redirect_uri" => self.redirect_uri.referenced.line(),
            "delegated_permissions" => self.delegated_permissions.referenced.line(),
            _ => self.provider.referenced.line(),
        }
    }
}

/// Collects what is wrong.
#[derive(Default)]
struct Complaints(Vec<Wrong>);

impl Complaints {
    fn add(&mut self, line: u64, field: &str, detail: impl Into<String>) {
        self.0.push(Wrong { line, field: field.to_owned(), detail: detail.into() });
    }

    fn taken<T>(&mut self, line: u64, field: &str, value: std::result::Result<T, impl fmt::Display>) -> Option<T> {
        value.map_err(|error| self.add(line, field, error.to_string())).ok()
    }

    /// Fields that the kind of provider has no use for are mistakes.
    fn none_of(&mut self, kind: &str, fields: &[(&str, Text<'_>)]) {
        for (name, field) in fields {
            if let Some(field) = field {
                self.add(field.referenced.line(), &format!("oauth.{name}"), format!("means nothing to {kind}"));
            }
        }
    }
}

fn provider(oauth: &Oauth, wrong: &mut Complaints) -> Option<Provider> {
    let value = |text: Text<'_>| text.map(|text| text.value.clone());
    let line = oauth.provider.referenced.line();
    let kind = oauth.provider.value.as_str();
    match kind {
        "azure_ad" => {
            let others = [
                ("issuer", oauth.issuer.as_ref()),
                ("authorization_endpoint", oauth.authorization_endpoint.as_ref()),
                ("token_endpoint", oauth.token_endpoint.as_ref()),
            ];
            wrong.none_of(kind, &others);
            let Some(tenant) = value(oauth.tenant.as_ref()) else {
                wrong.add(line, "oauth.tenant", "is missing: azure_ad needs it");
                return None;
            };
            let authority = value(oauth.authority.as_ref()).unwrap_or_else(|| AZURE_AUTHORITY.to_owned());
            Some(Provider::AzureAd { tenant, authority })
        }
        "oidc" => {
            wrong.none_of(kind, &[("tenant", oauth.tenant.as_ref()), ("authority", oauth.authority.as_ref())]);
            let Some(issuer) = value(oauth.issuer.as_ref()) else {
                wrong.add(line, "oauth.issuer", "is missing: oidc needs it");
                return None;
            };
            let authorization_endpoint = value(oauth.authorization_endpoint.as_ref());
            let token_endpoint = value(oauth.token_endpoint.as_ref());
            Some(Provider::Oidc { issuer, authorization_endpoint, token_endpoint })
        }
        _ => {
            wrong.add(line, "oauth.provider", "must be azure_ad or oidc");
            None
        }
    }
}

/// Reads one file's text: the account and the line that names its user.
pub fn parse(text: &str) -> std::result::Result<(Account, u64), Vec<Wrong>> {
    let mut path = String::new();
    let parsed = serde_saphyr::with_deserializer_from_str(text, |deserializer| {
        let mut track = serde_path_to_error::Track::new();
        let file = File::deserialize(serde_path_to_error::Deserializer::new(deserializer, &mut track));
        path = track.path().to_string();
        file
    });
    let file = parsed.map_err(|error| {
        let line = error.location().map_or(0, |location| location.line());
        let told = error.without_snippet().to_string();
        let told = told.split(" at line ").next().unwrap_or_default();
        let field = path.trim_end_matches(".value").trim_matches('.').to_owned();
        vec![Wrong { line, field, detail: told.lines().next().unwrap_or_default().to_owned() }]
    })?;
    let (mut wrong, oauth) = (Complaints::default(), &file.oauth);
    let user_line = file.user_id.referenced.line();
    let user = wrong.taken(user_line, "user_id", UserId::parse(file.user_id.value));
    let client =
        wrong.taken(oauth.client_id.referenced.line(), "oauth.client_id", ClientId::parse(&*oauth.client_id.value));
    let secret = oauth.client_secret.as_ref().and_then(|secret| {
        let reference = SecretRef::try_from(secret.value.0.clone().unwrap_or_default());
        wrong.taken(secret.referenced.line(), "oauth.client_secret", reference)
    });
    if oauth.auth_type.value != AUTH_TYPE {
        wrong.add(oauth.auth_type.referenced.line(), "oauth.auth_type", format!("must be {AUTH_TYPE}"));
    }
    let provider = provider(oauth, &mut wrong);
    let (Some(user), Some(client), Some(provider)) = (user, client, provider) else { return Err(wrong.0) };
    let account = Account {
        user,
        name: file.name,
        sign_in_name: file.sign_in_name,
        active: file.active,
        provider,
        client,
        secret,
        redirect_uri: oauth.redirect_uri.value.clone(),
        scopes: oauth.delegated_permissions.value.clone(),
    };
    for error in account.check() {
        let field = error.pointer.trim_start_matches("/oauth/");
        wrong.add(oauth.line_of(field), &format!("oauth.{field}"), error.detail);
    }
    if wrong.0.is_empty() { Ok((account, user_line)) } else { Err(wrong.0) }
}

fn is_enrolment(path: &Path) -> bool {
    path.is_file() && path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

/// Reads all `*.yaml` and `*.yml` of a folder. Nothing is imported if one of them is wrong.
pub fn read(folder: &Path) -> Result<Vec<Account>> {
    let entries = std::fs::read_dir(folder).context(folder.display())?;
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()
        .context(folder.display())?;
    paths.retain(|path| is_enrolment(path));
    paths.sort();
    if paths.is_empty() {
        return Err(Failure(format!("{} holds no enrolment file (*.yaml)", folder.display())));
    }
    let (mut accounts, mut complaints) = (Vec::new(), Vec::new());
    let mut seen: BTreeMap<UserId, PathBuf> = BTreeMap::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).context(path.display())?;
        let mut complain = |wrong: Wrong| {
            let field = if wrong.field.is_empty() { String::new() } else { format!("{}: ", wrong.field) };
            complaints.push(format!("{}:{}: {field}{}", path.display(), wrong.line, wrong.detail));
        };
        match parse(&text) {
            Ok((account, line)) => {
                if let Some(other) = seen.insert(account.user.clone(), path.clone()) {
                    let detail = format!("is enrolled by {}, too", other.display());
                    complain(Wrong { line, field: "user_id".to_owned(), detail });
                }
                accounts.push(account);
            }
            Err(wrong) => wrong.into_iter().for_each(complain),
        }
    }
    if complaints.is_empty() {
        return Ok(accounts);
    }
    Err(Failure(format!("nothing was imported\n{}", complaints.join("\n"))))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    const GOOD: &str = "\
user_id: kimghw
name: 김광현 👩‍💻
oauth:
  provider: azure_ad
  tenant: contoso.onmicrosoft.com
  client_id: 3f2c7a52-8a55-4c7e-9c5b-2f6f2a1f0b11
  client_secret: ssm:/batch-logout/accounts/contoso
  redirect_uri: https://api.example.com/live/api/v1/accounts/auth/callback
  auth_type: \"Authorization Code Flow\"
  delegated_permissions:
    - Mail.ReadWrite
    - offline_access
";

    /// A line of the good file replaced by another.
    fn with(line: &str, other: &str) -> String {
        assert!(GOOD.contains(line), "{line}");
        GOOD.replace(line, other)
    }

    #[test]
    fn account_an_enrolment_file_says_all_that_a_sign_in_needs() {
        let (account, line) = parse(GOOD).unwrap();
        assert_eq!((account.user.as_str(), line, account.active), ("kimghw", 1, true));
        assert_eq!(account.name.as_deref(), Some("김광현 👩‍💻"));
        assert_eq!(account.secret, Some(SecretRef::Ssm("/batch-logout/accounts/contoso".to_owned())));
        assert_eq!(account.scopes, ["Mail.ReadWrite", "offline_access"]);
        let azure =
            Provider::AzureAd { tenant: "contoso.onmicrosoft.com".to_owned(), authority: AZURE_AUTHORITY.to_owned() };
        assert_eq!(account.provider, azure);
        let oidc = with(
            "  provider: azure_ad\n  tenant: contoso.onmicrosoft.com\n",
            "  provider: oidc\n  issuer: https://login.example.com\n",
        );
        assert!(matches!(parse(&oidc).unwrap().0.provider, Provider::Oidc { .. }));
        assert!(!parse(&with("name: 김", "active: false\nname: 김")).unwrap().0.active);
    }

    #[test]
    fn account_what_is_wrong_in_a_file_is_told_by_line_and_field() {
        for (line, other, at, field) in [
            ("user_id: kimghw", "user_id: ''", 1, "user_id"),
            ("  provider: azure_ad", "  provider: gmail", 4, "oauth.provider"),
            ("  tenant: contoso.onmicrosoft.com", "  tenant: a/b", 5, "oauth.tenant"),
            ("  tenant: contoso.onmicrosoft.com\n", "", 4, "oauth.tenant"),
            ("  tenant: contoso", "  issuer: https://x\n  tenant: contoso", 5, "oauth.issuer"),
            ("  redirect_uri: https://api", "  redirect_uri: http://api", 8, "oauth.redirect_uri"),
            ("Authorization Code Flow", "Implicit Flow", 9, "oauth.auth_type"),
            ("    - Mail.ReadWrite", "    - Mail Read", 11, "oauth.delegated_permissions"),
            ("  client_id: 3f2c7a52-8a55-4c7e-9c5b-2f6f2a1f0b11", "  client_id: ''", 6, "oauth.client_id"),
        ] {
            let wrong = parse(&with(line, other)).unwrap_err();
            assert_eq!(wrong.len(), 1, "{wrong:?}");
            assert_eq!((wrong[0].line, wrong[0].field.as_str()), (at, field), "{wrong:?}");
        }
        // What the parser itself finds.
        for (line, other, at, named) in [
            ("name: 김", "nmae: 김", 2, "nmae"),
            ("  client_id: 3f2c7a52-8a55-4c7e-9c5b-2f6f2a1f0b11\n", "", 9, "client_id"),
            ("  tenant: contoso", "  tenant: [contoso]\n  #", 5, "tenant"),
            ("  auth_type", "\tauth_type", 9, ""),
        ] {
            let wrong = parse(&with(line, other)).unwrap_err();
            let told = format!("{wrong:?}");
            assert!(told.contains(named), "{told}");
            assert!(wrong[0].line.abs_diff(at) <= 1, "line {at}: {told}");
        }
    }

    #[test]
    fn account_a_secret_in_a_file_is_refused_and_not_repeated() {
        for literal in ["hush-hush", "12345678", "true", "[hush-hush]", "{hush-hush: hush-hush}", "'ssm:hush-hush'"] {
            let wrong = parse(&with("ssm:/batch-logout/accounts/contoso", literal)).unwrap_err();
            let told = format!("{wrong:?}");
            assert!(told.contains("client_secret") && told.contains("line: 7"), "{told}");
            assert!(!told.contains("hush") && !told.contains("12345678"), "{told}");
        }
        let misspelt = parse(&with("client_secret: ssm:/batch", "client_secrt: hush-hush")).unwrap_err();
        assert!(!format!("{misspelt:?}").contains("hush"), "{misspelt:?}");
    }

    #[test]
    fn account_one_wrong_file_keeps_all_out_and_two_for_one_account_are_wrong() {
        let folder = std::env::temp_dir().join(format!("enrolment-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        assert!(read(&folder).unwrap_err().to_string().contains("no enrolment file"));
        write("a.yaml", GOOD);
        write("notes.txt", "not one");
        assert_eq!(read(&folder).unwrap().len(), 1);
        write("b.yml", GOOD);
        let twice = read(&folder).unwrap_err().to_string();
        assert!(twice.contains("b.yml:1: user_id: is enrolled by") && twice.contains("a.yaml"), "{twice}");
        write("b.yml", &with("azure_ad", "gmail").replace("kimghw", "leehs"));
        let wrong = read(&folder).unwrap_err().to_string();
        assert!(
            wrong.contains("nothing was imported") && wrong.contains("b.yml:4: oauth.provider: must be"),
            "{wrong}"
        );
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn account_the_demo_companys_enrolments_can_be_imported() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../enrolment");
        let accounts = read(&folder).unwrap();
        assert!(accounts.len() >= 3 && accounts.iter().any(|account| !account.active));
    }
}
