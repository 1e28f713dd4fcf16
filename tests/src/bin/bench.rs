//! `cargo xtask bench`: the figures of the README, each as a ratio to a floor measured in the same run.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that cannot measure has failed")]

use tests::bench::{check, effective, emergency, functions, settle, sign_out, whole_check};

#[tokio::main]
async fn main() {
    // The groups to measure; all of them if none is named.
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    println!("| figure | value | floor or peer | ratio |\n|---|---|---|---|");
    for name in ["emergency", "effective", "sign-out", "settle", "check", "whole-check", "functions"]
        .into_iter()
        .filter(|name| is_wanted(name))
    {
        let figures = match name {
            "emergency" => emergency::run().await,
            "effective" => effective::run().await,
            "settle" => settle::run().await,
            "check" => check::run().await,
            "sign-out" => sign_out::run().await,
            "whole-check" => whole_check::run().await,
            _ => functions::run().await,
        };
        figures.iter().for_each(|figure| println!("{figure}"));
    }
}
