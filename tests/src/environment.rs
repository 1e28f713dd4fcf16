//! What `cargo xtask test` tells the tests. A missing part fails the test that needs it; nothing is skipped.

use std::path::PathBuf;

use ops::stack::Stack;

#[allow(clippy::disallowed_methods, reason = "the one place where tests read the environment")]
fn var(name: &str) -> PathBuf {
    std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: run the tests with `cargo xtask test`")).into()
}

/// The running stack.
pub fn stack() -> Stack {
    Stack::read(&var("BATCH_LOGOUT_STACK")).unwrap()
}

/// A function's binary.
pub fn binary(name: &str) -> PathBuf {
    let path = var("BATCH_LOGOUT_BIN_DIR").join(name);
    assert!(path.is_file(), "{} is missing: build with `cargo build --workspace --bins`", path.display());
    path
}

/// A Redis or Valkey server.
pub fn redis_server() -> PathBuf {
    var("REDIS_SERVER_BIN")
}

/// The tester that makes its requests from the OpenAPI document.
pub fn schemathesis() -> PathBuf {
    var("SCHEMATHESIS_BIN")
}

/// A Python with an OAuth client library in it.
pub fn oauth_client() -> PathBuf {
    var("OAUTH_CLIENT_PYTHON")
}

/// The checkout that the tests run in: build output that is shared may have been compiled in another.
pub fn root() -> PathBuf {
    var("CARGO_MANIFEST_DIR").parent().unwrap().to_owned()
}

/// A name that no other test has used.
pub fn unique(name: &str) -> String {
    use domain::source::{IdSource as _, SystemIds};
    format!("{name}-{}", &SystemIds.uuid()[..8])
}
