//! `cargo xtask bench`: the figures of the README, each as a ratio to a floor measured in the same run.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that cannot measure has failed")]

use tests::bench::{check, effective, functions, settle};

#[tokio::main]
async fn main() {
    println!("| figure | value | floor or peer | ratio |\n|---|---|---|---|");
    for figure in [effective::run().await, settle::run().await, check::run().await, functions::run().await].concat() {
        println!("{figure}");
    }
}
