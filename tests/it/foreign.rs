//! What reads bytes from outside, with every file of the corpora and with seeded mutations of them: the same functions
//! as a fuzzer runs, for a few seconds, on any toolchain. `cargo xtask fuzz` goes further.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use tests::foreign::{TARGETS, corpus, mutate::mutate};
use tests::rail::Dice;

/// How long each target is tried with mutations. What is found depends on the seed and not on the time.
const LONGEST: Duration = Duration::from_secs(2);
/// Mutations of each file, if there is time.
const PER_FILE: u64 = 60;

fn run(target: &str, run: fn(&[u8]) -> bool, bytes: &[u8], what: &str) -> bool {
    catch_unwind(AssertUnwindSafe(|| run(bytes))).unwrap_or_else(|_| {
        panic!(
            "{target}: {what}: {:?}\nas a file of the corpus: printf '%s' {}",
            String::from_utf8_lossy(bytes),
            hex(bytes)
        )
    })
}

/// As `xxd -r -p` reads it.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Every target with its corpus: none fails, and each takes something and refuses something.
#[test]
fn foreign_bytes_of_every_corpus_are_taken_or_refused_and_break_no_promise() {
    for (name, target) in TARGETS {
        let files = corpus(name);
        let taken = files.iter().filter(|(file, bytes)| run(name, target, bytes, file)).count();
        assert!(taken > 0 && taken < files.len(), "{name}: {taken} of {} files were taken", files.len());
    }
}

#[test]
fn foreign_bytes_that_are_mutated_break_no_promise_either() {
    std::thread::scope(|scope| {
        // Two at a time, as many as the smallest machine has cores.
        let (first, second) = TARGETS.split_at(TARGETS.len() / 2);
        for half in [first, second] {
            scope.spawn(move || {
                for (name, target) in half {
                    mutated(name, *target);
                }
            });
        }
    });
}

fn mutated(name: &str, target: fn(&[u8]) -> bool) {
    let (begun, files, mut runs) = (Instant::now(), corpus(name), 0);
    'all: for round in 0..PER_FILE {
        for (number, (file, bytes)) in files.iter().enumerate() {
            let seed = round << 32 | number as u64;
            let dice = Dice::new(seed);
            let (_, other) = &files[usize::try_from(dice.roll(files.len() as u64)).unwrap()];
            run(name, target, &mutate(&dice, bytes, other), &format!("{file}, seed {seed}"));
            runs += 1;
            if begun.elapsed() > LONGEST {
                break 'all;
            }
        }
    }
    println!("{name}: {runs} mutations of {} files in {:?}", files.len(), begun.elapsed());
    assert!(runs >= files.len(), "{name}: each file at least once");
}
