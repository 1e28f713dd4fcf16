//! `cargo xtask soak` runs this against the stack it troubles: `soak STACK.json MINUTES SEED`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a soak that cannot go on has failed")]

use std::path::Path;
use std::process::ExitCode;

use ops::stack::Stack;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [stack, minutes, seed] = &arguments[..] else { panic!("soak STACK.json MINUTES SEED") };
    let stack = Stack::read(Path::new(stack)).unwrap();
    let sound = tests::soak::run(stack, minutes.parse().unwrap(), seed.parse().unwrap()).await;
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
