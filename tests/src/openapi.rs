//! The OpenAPI document of the whole API, put together from what each function says of its own calls (`[API-10]`).

use std::path::PathBuf;

use utoipa::openapi::security::{Http, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::server::Server;
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{InfoBuilder, License, OpenApi, OpenApiBuilder, SecurityRequirement};

use crate::environment;

/// Where the document is kept; the function that serves it takes it from there.
pub fn file() -> PathBuf {
    environment::root().join("functions/admin-api/openapi.json")
}

/// Of two schemas of one name only one would be in the document.
fn one_meaning(one: &OpenApi, other: &OpenApi) {
    let schemas = |of: &OpenApi| of.components.clone().map(|components| components.schemas).unwrap_or_default();
    let others = schemas(other);
    for (name, schema) in schemas(one) {
        assert!(others.get(&name).is_none_or(|other| *other == schema), "two different schemas are called {name}");
    }
}

/// The document.
pub fn document() -> String {
    let info = InfoBuilder::new()
        .title("batch-logout")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Ends exactly the right OAuth tokens and sessions, at once, for many users."))
        .license(Some(License::new("Apache-2.0")));
    let tag = |name: &str, text: &str| TagBuilder::new().name(name).description(Some(text)).build();
    let mut whole: OpenApi = OpenApiBuilder::new()
        .info(info)
        .servers(Some([Server::new("/")]))
        .tags(Some([
            tag("jobs", "Batch logouts."),
            tag("tokens", "Whether a token is good."),
            tag("accounts", "Service accounts at their mail providers."),
            tag("service", "The service itself."),
        ]))
        .security(Some([SecurityRequirement::new("bearer", [""; 0])]))
        .build();
    let (admin, auth) = (admin_api::described(), auth_api::described());
    one_meaning(&admin, &auth);
    whole.merge(admin);
    whole.merge(auth);
    let components = whole.components.get_or_insert_with(Default::default);
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("An access token of the issuer."));
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
    components.add_security_scheme("client", SecurityScheme::Http(Http::new(HttpAuthScheme::Basic)));
    whole.to_pretty_json().unwrap() + "\n"
}
