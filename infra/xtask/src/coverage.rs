//! What a measurement says of the domain's lines: how many tests reach, and which ones none does.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use crate::failure::{Context, Result};

/// Fewer of the lines than this must not be reached.
pub const WANTED_PERCENT: usize = 95;

/// How many lines there are, and how many tests reach.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reached {
    lines: usize,
    hit: usize,
    /// Those that no test reaches.
    missed: BTreeMap<String, Vec<u32>>,
}

impl Reached {
    /// Reads a tracefile of LCOV, as far as it is about files of `folder`.
    pub fn read(lcov: &Path, folder: &Path) -> Result<Self> {
        let text = fs::read_to_string(lcov).context(lcov.display())?;
        let mut found = Self::default();
        for record in text.split("end_of_record") {
            let Some(path) = record.lines().find_map(|line| line.strip_prefix("SF:")) else { continue };
            let Ok(name) = Path::new(path).strip_prefix(folder) else { continue };
            let source = fs::read_to_string(path).context(path)?;
            found.add(&name.display().to_string(), record, &source);
        }
        Ok(found)
    }

    /// Adds the lines of a file but for those of its tests: a test reaches itself.
    fn add(&mut self, name: &str, record: &str, source: &str) {
        let tests = source.split_once("#[cfg(test)]\nmod tests {").map_or(usize::MAX, |(code, _)| code.lines().count());
        let mut missed = Vec::new();
        for line in record.lines().filter_map(|line| line.strip_prefix("DA:")) {
            let mut fields = line.split(',');
            let Some(number) = fields.next().and_then(|number| number.parse::<u32>().ok()) else { continue };
            if usize::try_from(number).is_ok_and(|number| number > tests) {
                continue;
            }
            self.lines += 1;
            if fields.next() == Some("0") {
                missed.push(number);
            } else {
                self.hit += 1;
            }
        }
        if !missed.is_empty() {
            self.missed.insert(name.to_owned(), missed);
        }
    }

    /// Whether as many are reached as is wanted.
    pub fn is_enough(&self) -> bool {
        self.lines > 0 && self.hit * 100 >= self.lines * WANTED_PERCENT
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, missed) in &self.missed {
            writeln!(f, "{name}: {}", ranges(missed))?;
        }
        // In tenths, cut off, so that what is not enough never looks like enough.
        let tenths = self.hit * 1_000 / self.lines.max(1);
        writeln!(f, "{}.{} % of the lines are reached ({} of {})", tenths / 10, tenths % 10, self.hit, self.lines)
    }
}

/// "3,7-9" for 3, 7, 8, 9.
fn ranges(lines: &[u32]) -> String {
    let parts = lines.chunk_by(|line, next| line + 1 == *next).map(|run| match run {
        [line] => line.to_string(),
        run => format!("{}-{}", run[0], run[run.len() - 1]),
    });
    parts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "fn f() {\n    g();\n}\n\n#[cfg(test)]\nmod tests {\n    fn t() {}\n}\n";

    fn of(counts: &[(u32, u32)]) -> Reached {
        let lines: Vec<String> = counts.iter().map(|(line, count)| format!("DA:{line},{count}")).collect();
        let mut reached = Reached::default();
        reached.add("f.rs", &lines.join("\n"), SOURCE);
        reached
    }

    #[test]
    fn lines_that_no_test_reaches_are_named_and_those_of_tests_do_not_count() {
        let told = of(&[(1, 3), (2, 0), (3, 0), (7, 1)]).to_string();
        assert_eq!(told, "f.rs: 2-3\n33.3 % of the lines are reached (1 of 3)\n");
        assert_eq!(ranges(&[1, 3, 4, 5, 9]), "1,3-5,9");
    }

    #[test]
    fn too_few_lines_and_none_at_all_are_not_enough() {
        let of_hundred = |hit| Reached { lines: 100, hit, ..Reached::default() };
        assert_eq!([94, 95, 96].map(|hit| of_hundred(hit).is_enough()), [false, true, true]);
        assert!(!Reached::default().is_enough(), "nothing was measured");
    }
}
