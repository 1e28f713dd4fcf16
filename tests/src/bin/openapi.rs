//! Writes the OpenAPI document of all functions. Started by `cargo xtask openapi`.

fn main() -> std::io::Result<()> {
    std::fs::write(tests::openapi::file(), tests::openapi::document())
}
