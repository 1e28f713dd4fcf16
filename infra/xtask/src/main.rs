//! One command for the local stack, the demo, the tests and the benchmarks. `cargo xtask help` lists what it does.
//!
//! To add a command: a variant of [`Task`], and an arm in [`run`]. What a command needs from outside (paths, ports,
//! tools) comes from [`settings`]; nothing else reads the environment.

mod checks;
mod coverage;
mod deploy;
mod failure;
mod fuzz;
mod planted;
mod process;
mod settings;
mod soak;
mod stack;
mod state;
mod tools;
mod ui;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use failure::Result;
use settings::Settings;

#[derive(Parser)]
#[command(name = "cargo xtask", about, disable_version_flag = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Starts the local stack, deploys template.yaml to it and loads the demo company
    Up(Up),
    /// Stops what `up` started
    Down,
    /// Runs one group logout for real and shows what happens
    Demo(Rest),
    /// Prints an access token of one user
    Token(Rest),
    /// Loads records from an NDJSON file
    Import(Rest),
    /// Enrols accounts and signs them in: `accounts import DIR`, `accounts signin`
    Accounts(Rest),
    /// Looks at the running stack's audit trail: `audit verify`
    Audit(Rest),
    /// Looks at dead letters and sends them back: `dlq list`, `dlq redrive NAME`
    Dlq(Rest),
    /// Builds for release and measures; prints the figures of the README
    Bench(Rest),
    /// Jobs and checks at a steady load while Redis and workers are killed; then every token is audited
    Soak(soak::Soak),
    /// Plants the bugs of tests/planted.json, all or those named, and sees each caught by its test
    Planted {
        /// Names of the list
        names: Vec<String>,
    },
    /// Writes the OpenAPI document from the handlers' types
    Openapi,
    /// Runs all tests against the local stack
    Test(Rest),
    /// Measures which lines of the domain the tests reach without a stack, and names the others
    Coverage {
        /// By the domain's own tests alone, which are built much faster
        #[arg(long)]
        own: bool,
    },
    /// Plants bugs in the safety core, one at a time, and names those that no test of the domain notices
    Mutants(Rest),
    /// Looks for bytes that break a promise of whatever reads them, led by coverage
    Fuzz(Fuzz),
    /// Checks format, lints, dependencies and the template
    Lint,
    /// Installs every tool (also cargo-lambda, for `sam build`) and prints where they are
    Tools,
}

#[derive(Args, Default)]
struct Up {
    /// Port of the local AWS [default: any free one]
    #[arg(long)]
    port: Option<u16>,
    /// Port of Redis [default: any free one]
    #[arg(long)]
    redis_port: Option<u16>,
    /// Leaves the tables empty
    #[arg(long)]
    no_company: bool,
}

#[derive(Args)]
struct Fuzz {
    /// One of those in `tests/fuzzing` [default: all, one after another]
    target: Option<String>,
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

#[derive(Args)]
struct Rest {
    /// Passed on as they are
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

fn main() -> ExitCode {
    let outcome = Settings::read().and_then(|settings| run(&settings, Cli::parse().task));
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            ui::error(&failure);
            ExitCode::FAILURE
        }
    }
}

fn run(settings: &Settings, task: Task) -> Result<ExitCode> {
    match task {
        Task::Up(up) => {
            let ports = stack::Ports { aws: up.port, redis: up.redis_port };
            stack::up(settings, ports, !up.no_company)?;
            stack::summary(settings)?;
        }
        Task::Down => stack::down(settings)?,
        Task::Demo(rest) => {
            stack::up(settings, stack::Ports::default(), true)?;
            return stack::ops(settings, "demo", &rest.args);
        }
        Task::Bench(rest) => return checks::bench(settings, &rest.args),
        Task::Soak(wanted) => return soak::soak(settings, &wanted),
        Task::Planted { names } => return planted::planted(settings, &names),
        Task::Openapi => return checks::openapi(settings),
        Task::Token(rest) => return on_running_stack(settings, "token", &rest.args),
        Task::Import(rest) => return on_running_stack(settings, "import", &rest.args),
        Task::Accounts(rest) => return on_running_stack(settings, "accounts", &rest.args),
        Task::Audit(rest) => return on_running_stack(settings, "audit", &rest.args),
        Task::Dlq(rest) => return on_running_stack(settings, "dlq", &rest.args),
        Task::Test(rest) => return checks::test(settings, &rest.args),
        Task::Coverage { own } => checks::coverage(settings, own)?,
        Task::Mutants(rest) => checks::mutants(settings, &rest.args)?,
        Task::Fuzz(Fuzz { target, seconds }) => fuzz::run(settings, target.as_deref(), seconds)?,
        Task::Lint => checks::lint(settings)?,
        Task::Tools => {
            for folder in tools::all(settings)? {
                println!("{}", folder.display());
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn on_running_stack(settings: &Settings, command: &str, args: &[String]) -> Result<ExitCode> {
    stack::require_running(settings)?;
    // Files and folders are named from where the command was called.
    let named =
        args.iter().enumerate().map(|(place, arg)| existing_path(arg, place > 0).unwrap_or_else(|| arg.clone()));
    let args: Vec<String> = named.collect();
    stack::ops(settings, command, &args)
}

/// A folder may be called like what is to be done with it, which comes first.
fn existing_path(arg: &str, may_be_folder: bool) -> Option<String> {
    let path = PathBuf::from(arg);
    (path.is_file() || (may_be_folder && path.is_dir()))
        .then(|| path.canonicalize().ok())
        .flatten()
        .map(|path| path.display().to_string())
}
