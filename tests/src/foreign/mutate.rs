//! Seeded changes of corpus files: without a fuzzer's guidance, but the same on every machine.

use crate::rail::Dice;

/// What is worth writing anywhere: ends of number ranges, characters that mean something somewhere, texts of all kinds.
const WORDS: [&str; 30] = [
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "4294967296",
    "-1",
    "0",
    "1e400",
    "1.5",
    "null",
    "true",
    "\"\"",
    "[]",
    "{}",
    "\0",
    "\n",
    "\r\n",
    " ",
    "%00",
    "%",
    "&",
    "=",
    ";",
    ",",
    ".",
    "\\u0000",
    "\u{202E}",
    "한글",
    "🙂",
    "0.0.0.0/0",
    "::ffff:1.2.3.4/128",
];
/// No file grows beyond this.
const LONGEST: usize = 16 * 1_024;

/// A file with one to eight changes, one of which may be a piece of another file.
pub fn mutate(dice: &Dice, file: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = file.to_vec();
    for _ in 0..=below(dice, 8) {
        change(dice, &mut bytes, other);
    }
    bytes.truncate(LONGEST);
    bytes
}

fn below(dice: &Dice, sides: usize) -> usize {
    usize::try_from(dice.roll(sides.max(1) as u64)).unwrap()
}

/// A piece of so many bytes.
fn piece(dice: &Dice, length: usize) -> std::ops::Range<usize> {
    let start = below(dice, length + 1);
    start..start + below(dice, (length - start).min(32) + 1)
}

fn change(dice: &Dice, bytes: &mut Vec<u8>, other: &[u8]) {
    let at = below(dice, bytes.len() + 1);
    let here = piece(dice, bytes.len());
    match dice.roll(9) {
        0 if at < bytes.len() => bytes[at] ^= 1 << dice.roll(8),
        1 if at < bytes.len() => bytes[at] = u8::try_from(dice.roll(256)).unwrap(),
        2 => drop(bytes.drain(here)),
        3 => {
            let copy = bytes[here].to_vec();
            bytes.splice(at..at, copy);
        }
        4 => drop(bytes.splice(at..at, other[piece(dice, other.len())].iter().copied())),
        5 => drop(bytes.splice(here, other[piece(dice, other.len())].iter().copied())),
        6 => bytes.truncate(at),
        7 => {
            // A number, where there is one.
            let is_digit = |at: &usize| bytes[*at].is_ascii_digit();
            let Some(start) = (at..bytes.len()).find(is_digit) else { return };
            let end = (start..bytes.len()).find(|at| !is_digit(at)).unwrap_or(bytes.len());
            bytes.splice(start..end, WORDS[below(dice, 8)].bytes());
        }
        _ => drop(bytes.splice(at..at, WORDS[below(dice, WORDS.len())].bytes())),
    }
}
