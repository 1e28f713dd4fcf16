//! What is installed, exactly as pinned, and nothing outside the tools folder.
//!
//! To add a Python tool: a line in a `requirements-*.txt` of `infra/local` (with the exact version of everything it
//! needs), and a function that answers its path.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Context, Failure, Result};
use crate::process;
use crate::settings::Settings;
use crate::ui;

const NEXTEST: &str = "cargo-nextest@0.9.143";
const DENY: &str = "cargo-deny@0.20.2";
const FUZZ: &str = "cargo-fuzz@0.13.2";
const COVERAGE: &str = "cargo-llvm-cov@0.9.1";
const MUTANTS: &str = "cargo-mutants@27.1.0";

/// A Python environment with the programs of one requirements file.
pub struct Environment {
    folder: PathBuf,
}

impl Environment {
    /// A program of the environment.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join("bin").join(name)
    }
}

/// The local AWS, and a Redis for machines without one.
pub fn local_aws(settings: &Settings) -> Result<Environment> {
    environment(settings, "stack")
}

/// SAM's command line and linter.
pub fn sam(settings: &Settings) -> Result<Environment> {
    environment(settings, "sam")
}

/// The tester that makes its requests from an OpenAPI document.
pub fn fuzzer(settings: &Settings) -> Result<PathBuf> {
    Ok(environment(settings, "fuzz")?.program("schemathesis"))
}

/// A Python with an OAuth client library in it.
pub fn oauth_client(settings: &Settings) -> Result<PathBuf> {
    Ok(environment(settings, "oauth")?.program("python"))
}

/// Installs everything there is and answers the folders with the programs.
pub fn all(settings: &Settings) -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for name in ["stack", "sam", "lambda", "fuzz", "oauth"] {
        folders.push(environment(settings, name)?.folder.join("bin"));
    }
    for (program, package) in [("cargo-nextest", NEXTEST), ("cargo-deny", DENY)] {
        folders.extend(cargo_tool(settings, program, package, &settings.tools)?.parent().map(Path::to_path_buf));
    }
    folders.dedup();
    Ok(folders)
}

/// Refuses if an environment of `names` is missing and cannot be made here.
pub fn check(settings: &Settings, names: &[&str]) -> Result<()> {
    if names.iter().all(|name| is_installed(settings, name)) {
        return Ok(());
    }
    let complete = Command::new(python(settings)?).args(["-c", "import ensurepip, venv"]).output();
    if complete.is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    Err(Failure::new("Python's venv module is missing (Debian: apt-get install python3-venv)"))
}

/// Makes the environments of `names` that are missing, side by side.
pub fn prepare(settings: &Settings, names: &[&str]) -> Result<()> {
    let missing: Vec<&str> = names.iter().copied().filter(|name| !is_installed(settings, name)).collect();
    std::thread::scope(|scope| {
        let installing: Vec<_> =
            missing.iter().map(|&name| scope.spawn(move || install(settings, name, |_| ()))).collect();
        installing.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err(Failure::new("an installation was interrupted")))
        })
    })
}

/// Redis or Valkey: the machine's own, else the one that came with the Python environment.
pub fn redis_server(settings: &Settings) -> Result<PathBuf> {
    ["valkey-server", "redis-server"].iter().find_map(|name| settings.program(name)).map_or_else(
        || {
            let bundled = local_aws(settings)?.program("redis-server");
            if bundled.is_file() {
                Ok(bundled)
            } else {
                Err(Failure::new(
                    "no Redis: install redis-server or valkey-server (Debian: apt-get install redis-server)",
                ))
            }
        },
        Ok,
    )
}

/// The test runner, or nothing where it can be neither found nor installed.
pub fn nextest(settings: &Settings) -> Option<PathBuf> {
    cargo_tool(settings, "cargo-nextest", NEXTEST, &settings.tools)
        .inspect_err(|failure| ui::note(&format!("using `cargo test` instead of nextest: {failure}")))
        .ok()
}

/// The dependency checker.
pub fn deny(settings: &Settings) -> Result<PathBuf> {
    cargo_tool(settings, "cargo-deny", DENY, &settings.shared_tools)
}

/// What builds for libFuzzer.
pub fn fuzz(settings: &Settings) -> Result<PathBuf> {
    cargo_tool(settings, "cargo-fuzz", FUZZ, &settings.shared_tools)
}

/// What measures which lines tests reach.
pub fn coverage(settings: &Settings) -> Result<PathBuf> {
    cargo_tool(settings, "cargo-llvm-cov", COVERAGE, &settings.shared_tools)
}

/// What plants bugs, to see whether tests notice.
pub fn mutants(settings: &Settings) -> Result<PathBuf> {
    cargo_tool(settings, "cargo-mutants", MUTANTS, &settings.shared_tools)
}

fn cargo_tool(settings: &Settings, program: &str, package: &str, root: &Path) -> Result<PathBuf> {
    let own = root.join("bin").join(program);
    if own.is_file() {
        return Ok(own);
    }
    if let Some(path) = settings.program(program) {
        return Ok(path);
    }
    ui::step(&format!("compile {package} (once)"), |bar| {
        let mut install = Command::new(&settings.cargo);
        install.args(["install", "--locked", package, "--root"]).arg(root).current_dir(&settings.root);
        // Its own dependencies, not the workspace's target folder.
        install.env_remove("CARGO_TARGET_DIR").env("CARGO_TERM_PROGRESS_WHEN", "never");
        let log = settings.logs().join(format!("install-{program}.log"));
        process::logged(&mut install, &format!("{package} cannot be installed"), &log, |line| {
            bar.set_message(line.to_owned());
        })
    })?;
    Ok(own)
}

fn environment(settings: &Settings, name: &str) -> Result<Environment> {
    let environment = Environment { folder: settings.tools.join(name) };
    if !is_installed(settings, name) {
        ui::step(&format!("install {}", requirements(settings, name).display()), |bar| {
            install(settings, name, |line| bar.set_message(line.to_owned()))
        })?;
    }
    Ok(environment)
}

fn requirements(settings: &Settings, name: &str) -> PathBuf {
    settings.root.join(format!("infra/local/requirements-{name}.txt"))
}

/// A copy of the requirements is left behind last, so that half an installation, or an older one, does not count.
fn marker(settings: &Settings, name: &str) -> PathBuf {
    settings.tools.join(name).join("installed.txt")
}

fn is_installed(settings: &Settings, name: &str) -> bool {
    let wanted = fs::read_to_string(requirements(settings, name));
    let present = fs::read_to_string(marker(settings, name));
    // A moved checkout breaks the environment's links to its Python.
    wanted.is_ok_and(|wanted| present.is_ok_and(|present| present == wanted))
        && settings.tools.join(name).join("bin/python").exists()
}

fn install(settings: &Settings, name: &str, show: impl Fn(&str)) -> Result<()> {
    let python = python(settings)?;
    let folder = settings.tools.join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).context(folder.display())?;
    }
    fs::create_dir_all(&settings.tools).context(settings.tools.display())?;
    let log = settings.logs().join(format!("install-{name}.log"));
    process::logged(
        Command::new(python).args(["-m", "venv"]).arg(&folder),
        "no Python environment can be made",
        &log,
        &show,
    )?;
    let file = requirements(settings, name);
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-compile", "--no-deps", "-r"]).arg(&file);
    let what = format!("pip cannot install {}; is a Python package registry reachable?", file.display());
    process::logged(&mut pip, &what, &log, &show)?;
    fs::copy(&file, marker(settings, name)).context(folder.display())?;
    Ok(())
}

fn python(settings: &Settings) -> Result<PathBuf> {
    let recent = "import sys; sys.exit(sys.version_info < (3, 10))";
    ["python3", "python", "python3.14", "python3.13", "python3.12", "python3.11", "python3.10"]
        .iter()
        .filter_map(|name| settings.program(name))
        .find(|python| Command::new(python).args(["-c", recent]).status().is_ok_and(|status| status.success()))
        .ok_or_else(|| Failure::new("Python 3.10 or newer is missing (Debian: apt-get install python3 python3-venv)"))
}
