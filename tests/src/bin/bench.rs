//! `cargo xtask bench`: the figures of the README, each as a ratio to a floor measured in the same run.
//!
//! Takes the names of the groups to measure, all of them if none is named, and `--json FILE`, where the rounds go.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that cannot measure has failed")]

use std::time::Instant;

use domain::time::{Clock as _, SystemClock};
use serde_json::{Value, json};
use tests::bench::{self, GROUPS, figure};

#[tokio::main]
async fn main() {
    let (mut wanted, mut file) = (Vec::new(), None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => file = Some(arguments.next().expect("--json names a file")),
            group => wanted.push(group.to_owned()),
        }
    }
    if wanted.is_empty() {
        wanted = GROUPS.map(str::to_owned).to_vec();
    }
    println!("{}", figure::HEAD);
    let (date, mut groups) = (SystemClock.now(), serde_json::Map::new());
    for group in wanted {
        let begun = Instant::now();
        let figures = bench::run(&group).await;
        figures.iter().for_each(|figure| println!("{figure}"));
        eprintln!("{group}: {:.0} s", begun.elapsed().as_secs_f64());
        groups.insert(group, Value::Array(figures.iter().map(figure::Figure::to_json).collect()));
        if let Some(file) = &file {
            let all = json!({ "date": date.to_rfc3339(), "groups": groups });
            std::fs::write(file, serde_json::to_vec_pretty(&all).unwrap()).unwrap();
        }
    }
}
