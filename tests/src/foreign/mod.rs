//! Everything that reads bytes from outside, called with whatever bytes there are.
//!
//! Each target is a function that takes bytes and panics if a promise does not hold: not only that nothing crashes, but
//! that what was read and is written again reads the same, that nothing opens but what was sealed, that a signature
//! with one bit changed is none. Two callers run them: `tests/it/foreign.rs`, on any toolchain, with the corpus
//! (`tests/fuzzing/corpus`) and seeded mutations of it; and `libFuzzer`, led by coverage (`cargo xtask fuzz`).
//!
//! To add a target: a function here and its line in [`TARGETS`]; some files that are taken and some that are not in
//! `tests/fuzzing/corpus/NAME`; and `tests/fuzzing/fuzz_targets/NAME.rs` with its `[[bin]]`, like the others.

mod bodies;
mod enrolment;
mod events;
mod issuer;
mod jwt;
mod messages;
mod mint;
pub mod mutate;
mod networks;
mod records;
mod redis_values;
mod requests;
mod sealed;
mod stand;
mod token_answer;
mod trail;

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use domain::testing::TestClock;
use domain::time::from_millis;

use crate::environment::root;

pub use bodies::bodies;
pub use enrolment::enrolment;
pub use events::events;
pub use issuer::issuer;
pub use jwt::jwt;
pub use messages::messages;
pub use networks::networks;
pub use records::records;
pub use redis_values::redis_values;
pub use requests::requests;
pub use sealed::sealed;
pub use token_answer::token_answer;
pub use trail::trail;

/// The second in which all of it happens.
const NOW: i64 = 1_900_000_000;

/// A target: its name, and what it does with bytes. It answers whether they were taken for something rather than
/// refused, so that a target that refuses everything is noticed.
pub type Target = (&'static str, fn(&[u8]) -> bool);

/// All of them.
pub const TARGETS: [Target; 13] = [
    ("bodies", bodies),
    ("enrolment", enrolment),
    ("events", events),
    ("issuer", issuer),
    ("jwt", jwt),
    ("messages", messages),
    ("networks", networks),
    ("records", records),
    ("redis_values", redis_values),
    ("requests", requests),
    ("sealed", sealed),
    ("token_answer", token_answer),
    ("trail", trail),
];

/// The corpus of a target: the names of its files and what is in them, in the order of the names.
pub fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder: PathBuf = root().join("tests/fuzzing/corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let read = |path: PathBuf| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap());
    let mut files: Vec<_> = entries.map(|entry| read(entry.unwrap().path())).collect();
    files.sort();
    files
}

/// Runs what has to wait to its end.
fn wait<T>(work: impl Future<Output = T>) -> T {
    static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
        // One thread beside the caller's, for the server of the issuer's documents.
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    });
    RUNTIME.block_on(work)
}

fn clock() -> Arc<TestClock> {
    Arc::new(TestClock::at(from_millis(NOW * 1_000)))
}

/// The first line, and the rest.
fn first_line(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 1..]))
}
