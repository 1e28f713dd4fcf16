//! Planted bugs: each of `tests/planted.json` must be caught by the test that it names.
//!
//! A copy of the checkout gets all of them at once, each behind a name in the environment, so that it is compiled once.
//! First the named tests run with no bug awake, and must pass; then each with its bug, and must fail.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use serde_json::Value;

use crate::failure::{Context, Failure, Result};
use crate::settings::Settings;
use crate::{process, tools, ui};

const LIST: &str = "tests/planted.json";
/// The exit code by which nextest says that tests ran and failed.
const TESTS_FAILED: i32 = 100;
/// What of a checkout is compiled.
const PARTS: [&str; 10] = [
    ".cargo",
    ".config",
    "Cargo.lock",
    "Cargo.toml",
    "events",
    "functions",
    "infra",
    "rust-toolchain.toml",
    "shared",
    "tests",
];
/// Asks whether a bug is awake; goes into the copy of the domain.
const AWAKE: &str = r#"
/// Whether a planted bug is awake.
#[allow(clippy::disallowed_methods, missing_docs)]
pub fn planted(name: &str) -> bool {
    static AWAKE: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    AWAKE.get_or_init(|| std::env::var("PLANTED_BUG").ok()).as_deref() == Some(name)
}
"#;

/// One of the list.
struct Bug {
    name: String,
    rule: String,
    file: String,
    /// A piece of the file that is there once, with the expression between « and ».
    place: String,
    /// What stands there instead.
    planted: String,
    /// Where its test is.
    package: String,
    /// The test.
    caught_by: String,
}

/// Plants them all, or those named, and says which were caught.
pub fn planted(settings: &Settings, names: &[String]) -> Result<ExitCode> {
    let bugs = read(settings)?;
    let unknown = names.iter().find(|name| bugs.iter().all(|bug| bug.name != **name));
    if let Some(unknown) = unknown {
        return Err(Failure::new(format!("{LIST} has no bug {unknown}")));
    }
    let folder = settings.target.join("planted");
    let tree = folder.join("tree");
    for part in PARTS {
        copy(&settings.root.join(part), &tree.join(part), &bugs, part)?;
    }
    let nextest = tools::nextest(settings).ok_or_else(|| Failure::new("this needs cargo-nextest"))?;
    let redis = tools::redis_server(settings)?;
    // The runner's exit code.
    let run = |filter: &str, bug: Option<&str>, log: &str| {
        let log = settings.logs().join(log);
        let output = process::create(&log)?;
        let errors = output.try_clone().context(log.display())?;
        let mut run = Command::new(&nextest);
        run.args(["nextest", "run", "--package", "domain", "--package", "simulation", "--package", "tests"])
            .args(["--filterset", filter])
            .current_dir(&tree)
            .env("CARGO_TARGET_DIR", folder.join("target"))
            .env("REDIS_SERVER_BIN", &redis)
            .stdout(output)
            .stderr(errors);
        if let Some(bug) = bug {
            run.env("PLANTED_BUG", bug);
        }
        run.status().context("the tests").map(|status| status.code())
    };
    let chosen: Vec<&Bug> = bugs.iter().filter(|bug| names.is_empty() || names.contains(&bug.name)).collect();
    let all: BTreeSet<String> = chosen.iter().map(|bug| bug.filter()).collect();
    let all: Vec<String> = all.into_iter().collect();
    ui::step("the tests with no bug awake (compiles the copy first)", |_| run(&all.join(" | "), None, "planted.log"))?;
    println!("| planted bug | rule | caught by |\n|---|---|---|");
    let mut missed = 0;
    for bug in chosen {
        let log = format!("planted-{}.log", bug.name);
        let caught = run(&bug.filter(), Some(&bug.name), &log)? == Some(TESTS_FAILED);
        missed += u32::from(!caught);
        let by = if caught { bug.caught_by.as_str() } else { "**nothing**" };
        println!("| {} | {} | {by} |", bug.name, bug.rule);
    }
    if missed > 0 {
        return Err(Failure::new(format!("{missed} planted bugs were not caught")));
    }
    Ok(ExitCode::SUCCESS)
}

impl Bug {
    /// The test, as nextest's filter names it.
    fn filter(&self) -> String {
        format!("package({}) & test(={})", self.package, self.caught_by)
    }

    /// The file's text with the bug in it, asleep.
    fn plant(&self, text: &str) -> Result<String> {
        let parts: Vec<&str> = self.place.split(['«', '»']).collect();
        let [before, right, after] = parts[..] else {
            return Err(Failure::new(format!("{}: mark one expression with « and »", self.name)));
        };
        let whole = format!("{before}{right}{after}");
        if text.matches(&whole).count() != 1 {
            return Err(Failure::new(format!("{}: {} does not have once: {whole}", self.name, self.file)));
        }
        let home = if self.file.starts_with("shared/domain/") { "crate" } else { "domain" };
        let wrong = &self.planted;
        let name = &self.name;
        let either = format!("{before}{{ if {home}::planted({name:?}) {{ {wrong} }} else {{ {right} }} }}{after}");
        Ok(text.replacen(&whole, &either, 1))
    }
}

fn read(settings: &Settings) -> Result<Vec<Bug>> {
    let text = fs::read_to_string(settings.root.join(LIST)).context(LIST)?;
    let list: Vec<Value> = serde_json::from_str(&text).context(LIST)?;
    let bug = |value: &Value| -> Result<Bug> {
        let text = |name: &str| {
            let text = value[name].as_str().map(str::to_owned);
            text.ok_or_else(|| Failure::new(format!("{LIST}: a bug without {name}: {value}")))
        };
        Ok(Bug {
            name: text("name")?,
            rule: text("rule")?,
            file: text("file")?,
            place: text("where")?,
            planted: text("planted")?,
            package: text("package")?,
            caught_by: text("caught_by")?,
        })
    };
    list.iter().map(bug).collect()
}

/// Copies a file or folder with its bugs. What is as it was keeps its time, so that it is not compiled again.
fn copy(from: &Path, to: &Path, bugs: &[Bug], name: &str) -> Result<()> {
    if from.is_dir() {
        fs::create_dir_all(to).context(to.display())?;
        for entry in fs::read_dir(from).context(from.display())? {
            let entry = entry.context(from.display())?.file_name();
            copy(&from.join(&entry), &to.join(&entry), bugs, &format!("{name}/{}", entry.display()))?;
        }
        return Ok(());
    }
    let mut bytes = fs::read(from).context(from.display())?;
    if bugs.iter().any(|bug| bug.file == name) || name == "shared/domain/src/lib.rs" {
        let mut text = String::from_utf8(bytes).context(from.display())?;
        for bug in bugs.iter().filter(|bug| bug.file == name) {
            text = bug.plant(&text)?;
        }
        if name == "shared/domain/src/lib.rs" {
            text.push_str(AWAKE);
        }
        bytes = text.into_bytes();
    }
    if fs::read(to).is_ok_and(|before| before == bytes) {
        return Ok(());
    }
    fs::write(to, bytes).context(to.display())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    /// The list does not go stale: every place is there once, and every test that it names exists.
    #[test]
    fn every_planted_bug_has_its_place_and_its_test() {
        let settings = Settings::read().unwrap();
        let bugs = read(&settings).unwrap();
        assert!(bugs.len() >= 15, "{} bugs", bugs.len());
        let names: BTreeSet<&str> = bugs.iter().map(|bug| bug.name.as_str()).collect();
        assert_eq!(names.len(), bugs.len(), "each has a name of its own");
        for bug in &bugs {
            let text = fs::read_to_string(settings.root.join(&bug.file)).unwrap();
            let planted = bug.plant(&text).unwrap_or_else(|failure| panic!("{failure}"));
            assert_ne!(planted, text, "{}", bug.name);
            let path: Vec<&str> = bug.caught_by.split("::").collect();
            let files = match bug.package.as_str() {
                "domain" => {
                    let module = path[..path.len() - 2].join("/");
                    vec![format!("shared/domain/src/{module}.rs"), format!("shared/domain/src/{module}/tests.rs")]
                }
                "simulation" => {
                    ["schedules", "rebuild", "chunks"].map(|name| format!("tests/simulation/tests/{name}.rs")).to_vec()
                }
                _ => vec![format!("tests/it/{}.rs", path[0])],
            };
            let sources: Vec<String> =
                files.iter().filter_map(|file| fs::read_to_string(settings.root.join(file)).ok()).collect();
            let function = format!("fn {}(", path[path.len() - 1]);
            let exists = sources.iter().any(|source| source.contains(&function));
            assert!(exists, "{}: {files:?} have no {function}", bug.name);
        }
    }
}
