//! The tests and the lints, the same on a desk and in CI.

use std::process::{Command, ExitCode};

use crate::coverage::{Reached, WANTED_PERCENT};
use crate::failure::{Context, Failure, Result};
use crate::settings::Settings;
use crate::stack::{self, Ports};
use crate::{deploy, process, tools, ui};

/// Runs every test on a running stack. Stops the stack afterwards if it was not running before.
pub fn test(settings: &Settings, args: &[String]) -> Result<ExitCode> {
    let ran_before = stack::require_running(settings).is_ok();
    // Every test makes the company that it needs; a large one besides would only make whole tables long.
    let code = stack::up(settings, Ports::default(), false).and_then(|()| run_tests(settings, args));
    if !ran_before {
        stack::down(settings)?;
    }
    code
}

fn run_tests(settings: &Settings, args: &[String]) -> Result<ExitCode> {
    let redis = tools::redis_server(settings)?;
    let fuzzer = tools::fuzzer(settings)?;
    let oauth_client = tools::oauth_client(settings)?;
    let mut tests = tools::nextest(settings).map_or_else(
        || {
            let mut cargo = Command::new(&settings.cargo);
            cargo.arg("test");
            cargo
        },
        |nextest| {
            let mut runner = Command::new(nextest);
            runner.args(["nextest", "run"]);
            runner
        },
    );
    tests
        .arg("--workspace")
        .args(args)
        .current_dir(&settings.root)
        .env("BATCH_LOGOUT_STACK", settings.stack_file())
        .env("BATCH_LOGOUT_BIN_DIR", settings.binaries())
        .env("REDIS_SERVER_BIN", redis)
        .env("SCHEMATHESIS_BIN", fuzzer)
        .env("OAUTH_CLIENT_PYTHON", oauth_client);
    let status = tests.status().context("cannot start the tests")?;
    // Ended by a signal: no code.
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Tests that need a stack, the functions' binaries, or minutes.
const NOT_MEASURED: [&str; 4] = ["stack::", "killed_", "measured::", "planner_memory::"];

/// Measures which lines of the domain the tests reach that need no stack and none of the functions' binaries, or only the
/// domain's own. Fails if all of them together reach too few. Needs the toolchain's `llvm-tools`.
pub fn coverage(settings: &Settings, own: bool) -> Result<()> {
    let lcov = settings.local.join("coverage.lcov");
    std::fs::create_dir_all(&settings.local).context(settings.local.display())?;
    let mut measure = Command::new(tools::coverage(settings)?);
    measure.args(["llvm-cov", "test", "--package", "domain", "--lcov", "--output-path"]).arg(&lcov);
    // Everything but the domain; and of that what is a test itself: ports in memory, and suites for stores.
    measure.args([
        "--ignore-filename-regex",
        "/adapters/|/lambda/|/functions/|/infra/|/tests/|/testing/|tests.rs|properties.rs",
    ]);
    if own {
        measure.arg("--lib");
    } else {
        measure.args(["--package", "tests", "--"]).args(NOT_MEASURED.iter().flat_map(|name| ["--skip", *name]));
        measure.env("REDIS_SERVER_BIN", tools::redis_server(settings)?);
    }
    measure.current_dir(&settings.root);
    process::visible(&mut measure, "cargo llvm-cov (rustup component add llvm-tools)")?;
    let reached = Reached::read(&lcov, &settings.root.join("shared/domain/src"))?;
    print!("{reached}");
    if own || reached.is_enough() {
        return Ok(());
    }
    Err(Failure::new(format!("fewer than {WANTED_PERCENT} % of the domain's lines are reached")))
}

/// Plants bugs as `.cargo/mutants.toml` says, one at a time, in a copy of the checkout.
pub fn mutants(settings: &Settings, args: &[String]) -> Result<()> {
    let mut plant = Command::new(tools::mutants(settings)?);
    // Another copy's build has the same names in a target folder: with one for all, a second job, or the checkout itself,
    // would take what has a bug in it for its own. Kept, so that what the domain needs is built once.
    plant.args(["mutants", "--package", "domain", "--jobs", "1", "--output"]).arg(&settings.local).args(args);
    plant.env("CARGO_TARGET_DIR", settings.target.join("mutants"));
    // That a property fails is all that is asked: not how small the example can be, nor that the next mutant meets it.
    plant.env("PROPTEST_MAX_SHRINK_ITERS", "0").env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1");
    process::visible(plant.current_dir(&settings.root), "cargo mutants")
}

/// Measures the release build. Needs no stack: the benchmarks start what they measure. The rounds go to
/// `.local/bench.json`, unless `--json` names another file.
pub fn bench(settings: &Settings, args: &[String]) -> Result<ExitCode> {
    tools::prepare(settings, &["stack"])?;
    let mut build = Command::new(&settings.cargo);
    build
        .args(["build", "--release", "--workspace", "--bins", "--features", "tests/bench"])
        .current_dir(&settings.root);
    process::visible(&mut build, "cargo build --release")?;
    let binaries = settings.target.join("release");
    let mut bench = Command::new(binaries.join("bench"));
    bench.args(args).env("BATCH_LOGOUT_BIN_DIR", &binaries).env("REDIS_SERVER_BIN", tools::redis_server(settings)?);
    if !args.iter().any(|arg| arg == "--json") {
        std::fs::create_dir_all(&settings.local).context(settings.local.display())?;
        bench.arg("--json").arg(settings.local.join("bench.json"));
    }
    process::visible(&mut bench, "the benchmarks")?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the OpenAPI document from the handlers' types.
pub fn openapi(settings: &Settings) -> Result<ExitCode> {
    cargo(settings, &["run", "--package", "tests", "--features", "openapi", "--bin", "openapi"])?;
    Ok(ExitCode::SUCCESS)
}

/// Runs every lint, all of them even if one finds something.
pub fn lint(settings: &Settings) -> Result<()> {
    let failed: Vec<Failure> = [
        cargo(settings, &["fmt", "--all", "--check"]),
        cargo(settings, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
        dependencies(settings),
        template(settings),
    ]
    .into_iter()
    .filter_map(Result::err)
    .collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(failed.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))
}

fn cargo(settings: &Settings, args: &[&str]) -> Result<()> {
    let what = format!("cargo {}", args[0]);
    let mut command = Command::new(&settings.cargo);
    command.arg(args[0]).current_dir(&settings.root);
    if !ui::is_interactive() {
        command.arg("--quiet");
    }
    ui::shown(&what, || process::visible(command.args(&args[1..]), &what))
}

/// Licences, bans, sources and, where the database can be had, known vulnerabilities.
fn dependencies(settings: &Settings) -> Result<()> {
    let deny = tools::deny(settings)?;
    let check = |args: &[&str]| {
        let mut command = Command::new(&deny);
        command.args(args).current_dir(&settings.root);
        command
    };
    let log = settings.logs().join("advisories.log");
    let database = ui::step("fetch the advisory database", |_| {
        process::logged(&mut check(&["fetch", "db"]), "cargo deny fetch", &log, |_| ())
    });
    if let Err(cause) = &database {
        ui::note(&format!("known vulnerabilities are NOT checked, their database cannot be fetched: {cause}"));
    }
    let args: &[&str] = if database.is_ok() {
        &["check", "--hide-inclusion-graph"]
    } else {
        &["--offline", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"]
    };
    ui::shown("cargo deny", || process::visible(&mut check(args), "cargo deny"))
}

fn template(settings: &Settings) -> Result<()> {
    let sam = tools::sam(settings)?;
    let log = settings.logs().join("validate.log");
    ui::step("sam validate --lint", |_| {
        for template in ["template.yaml", deploy::SAMPLE] {
            let mut validate = Command::new(sam.program("sam"));
            validate.args(["validate", "--lint", "--region", "us-east-1", "--template-file", template]);
            validate.current_dir(&settings.root).env("SAM_CLI_TELEMETRY", "0");
            process::output(&mut validate, &format!("sam validate --lint of {template}"), &log)?;
        }
        Ok(())
    })
}
