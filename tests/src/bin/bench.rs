//! `cargo xtask bench`: the figures of the README, each as a ratio to a floor measured in the same run.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that cannot measure has failed")]

use tests::bench::{check, effective, emergency, functions, settle};

#[tokio::main]
async fn main() {
    println!("| figure | value | floor or peer | ratio |\n|---|---|---|---|");
    let figures = [
        emergency::run().await,
        effective::run().await,
        settle::run().await,
        check::run().await,
        functions::run().await,
    ];
    for figure in figures.concat() {
        println!("{figure}");
    }
}
