//! The fuzzer: `libFuzzer` over the targets of `tests/fuzzing`, led by coverage. The ordinary tests run the same targets
//! without it (`tests/it/foreign.rs`).

use std::fs;
use std::process::Command;

use crate::failure::{Context, Failure, Result};
use crate::process;
use crate::settings::Settings;
use crate::tools;
use crate::ui;

/// Longer inputs than this show nothing that shorter ones do not, and are slow.
const LONGEST: u32 = 16 * 1_024;
/// Seconds after which one input counts as hanging.
const HANGS: u32 = 10;

/// Runs all targets one after another, or one of them, for so many seconds each. What it comes to know of interesting
/// inputs is kept for the next run, outside of the corpora in the tree.
pub fn run(settings: &Settings, target: Option<&str>, seconds: u32) -> Result<()> {
    let all = targets(settings)?;
    let chosen: Vec<&String> = all.iter().filter(|name| target.is_none_or(|target| target == *name)).collect();
    if chosen.is_empty() {
        return Err(Failure::new(format!("there is no such target; there are {}", all.join(", "))));
    }
    let program = tools::fuzz(settings)?;
    for name in chosen {
        let (kept, corpus) = (settings.local.join("fuzz").join(name), format!("fuzzing/corpus/{name}"));
        fs::create_dir_all(&kept).context(kept.display())?;
        ui::note(&format!("{name}: {seconds} s"));
        let mut fuzz = Command::new(&program);
        // Without a sanitizer, which the pinned toolchain has not; there is no unsafe code here for it to look at.
        fuzz.args(["fuzz", "run", "--fuzz-dir", "fuzzing", "--sanitizer", "none", name]).arg(&kept).arg(&corpus);
        fuzz.arg("--").args([
            format!("-max_total_time={seconds}"),
            format!("-max_len={LONGEST}"),
            format!("-timeout={HANGS}"),
            "-print_final_stats=1".to_owned(),
        ]);
        fuzz.current_dir(settings.root.join("tests")).env("CARGO_TARGET_DIR", settings.target.join("fuzz"));
        let what = format!("{name}: cargo fuzz (what was found is in tests/fuzzing/artifacts/{name})");
        process::visible(&mut fuzz, &what)?;
    }
    Ok(())
}

/// The targets there are.
fn targets(settings: &Settings) -> Result<Vec<String>> {
    let folder = settings.root.join("tests/fuzzing/fuzz_targets");
    let entries = fs::read_dir(&folder).context(folder.display())?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry.context(folder.display())?.path();
        names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}
