//! From source to a deployed template: build once, package, `sam deploy`.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::UNIX_EPOCH;

use serde_json::{Map, Value};

use crate::failure::{Context, Failure, Result};
use crate::process;
use crate::settings::Settings;
use crate::state::State;
use crate::tools::Environment;
use crate::ui;

/// Region of the local stack.
pub const REGION: &str = "us-east-1";
/// Both halves of the local AWS's root key.
pub const KEY: &str = "test";
const STACK: &str = "batch-logout";
/// An API as another team writes it, behind this repository's authorizer.
pub const SAMPLE: &str = "infra/sample-api/template.yaml";
const SAMPLE_STACK: &str = "batch-logout-sample-api";
const CODE: &str = "CodeUri: functions/";

/// Builds every binary of the workspace, by the one command whose features equal the tests', so that nothing is
/// compiled twice.
pub fn build(settings: &Settings) -> Result<()> {
    let mut cargo = Command::new(&settings.cargo);
    cargo.args(["build", "--workspace", "--bins"]).current_dir(&settings.root);
    // Cargo's lines, one per crate, are for a terminal; its complaints are shown either way.
    if !ui::is_interactive() {
        cargo.arg("--quiet");
    }
    ui::shown("cargo build --workspace --bins", || process::visible(&mut cargo, "cargo build"))
}

/// Brings the deployment up to date; does nothing if it is.
pub fn deploy(settings: &Settings, state: &mut State, aws: &Environment, sam: &Environment) -> Result<()> {
    let build = settings.local.join("build");
    let template = fs::read_to_string(settings.root.join("template.yaml")).context("template.yaml")?;
    let functions = functions(&template);
    let parameters = parameters(state)?;
    let sample = settings.root.join(SAMPLE);
    let sample_text = fs::read_to_string(&sample).context(SAMPLE)?;
    let stamp = stamp(settings, &[&template, &sample_text], &functions, &parameters)?;
    if state.deployed.as_ref() == Some(&stamp) && state.outputs.is_some() {
        return Ok(());
    }

    // What `sam build` leaves behind: a package per function with its `bootstrap`, and a template that names it. SAM
    // would start cargo-lambda once per function and compile for Lambda's processor; here one cargo call made them all.
    ui::step("package the functions", |bar| {
        for name in &functions {
            bar.set_message(name.clone());
            strip(settings, &build, name)?;
        }
        helper(settings, state, aws, "package", &[&build])?;
        let packaged = package_uris(&template);
        fs::write(build.join("template.yaml"), packaged).context(build.display())
    })?;

    ui::step("sam deploy", |bar| {
        let packaged = build.join("template.yaml");
        sam_deploy(settings, state, sam, (STACK, &packaged), &parameters, |line| bar.set_message(short(line)))
    })?;
    let outputs = helper(settings, state, aws, "outputs", &[Path::new(STACK)])?;
    let authorizer = outputs["AuthorizerFunctionArn"].as_str().unwrap_or_default();
    ui::step("sam deploy the sample API", |bar| {
        let parameters = [format!("AuthorizerArn={authorizer}")];
        sam_deploy(settings, state, sam, (SAMPLE_STACK, &sample), &parameters, |line| bar.set_message(short(line)))
    })?;
    let sample_outputs = helper(settings, state, aws, "outputs", &[Path::new(SAMPLE_STACK)])?;
    state.outputs = outputs.as_object().cloned();
    state.sample_outputs = sample_outputs.as_object().cloned();
    state.deployed = Some(stamp);
    state.save(settings)
}

/// Deploys a template as a stack of this name.
fn sam_deploy(
    settings: &Settings,
    state: &State,
    sam: &Environment,
    (stack, template): (&str, &Path),
    parameters: &[String],
    show: impl Fn(&str),
) -> Result<()> {
    let mut deploy = Command::new(sam.program("sam"));
    deploy.args(["deploy", "--template-file"]).arg(template);
    deploy.args(["--stack-name", stack, "--region", REGION, "--s3-bucket", STACK]);
    deploy.args(["--capabilities", "CAPABILITY_IAM", "--no-confirm-changeset", "--no-fail-on-empty-changeset"]);
    deploy.args(["--no-progressbar", "--parameter-overrides"]).args(parameters);
    // Away from samconfig.toml, which is about AWS.
    deploy.current_dir(settings.local.join("build"));
    deploy.env("SAM_CLI_TELEMETRY", "0").env("SAM_CLI_POLL_DELAY", "0.3");
    let deploy = on_local_aws(settings, state, &mut deploy);
    process::logged(deploy, "sam deploy", &settings.logs().join(format!("deploy-{stack}.log")), show)
}

/// Runs `infra/local/stack.py` with the local AWS's Python.
pub fn helper(settings: &Settings, state: &State, aws: &Environment, action: &str, args: &[&Path]) -> Result<Value> {
    let mut python = Command::new(aws.program("python"));
    python.arg(settings.root.join("infra/local/stack.py")).arg(action).args(args).env("PYTHONIOENCODING", "utf-8");
    let log = settings.logs().join(format!("{action}.log"));
    let printed = process::output(on_local_aws(settings, state, &mut python), action, &log)?;
    serde_json::from_str(&printed).context(action)
}

/// Points AWS's clients at the local stack and at nothing of the user's.
pub fn on_local_aws<'a>(settings: &Settings, state: &State, command: &'a mut Command) -> &'a mut Command {
    let no_file = settings.local.join("none");
    for name in ["AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"] {
        command.env_remove(name);
    }
    command
        .env("AWS_ENDPOINT_URL", state.endpoint())
        .env("AWS_ACCESS_KEY_ID", KEY)
        .env("AWS_SECRET_ACCESS_KEY", KEY)
        .env("AWS_REGION", REGION)
        .env("AWS_DEFAULT_REGION", REGION)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", &no_file)
        .env("AWS_SHARED_CREDENTIALS_FILE", &no_file)
        .env("NO_PROXY", "127.0.0.1,localhost")
        .env("no_proxy", "127.0.0.1,localhost")
}

fn functions(template: &str) -> Vec<String> {
    let names = template.lines().filter_map(|line| line.trim().strip_prefix(CODE));
    names.map(|name| name.trim().to_owned()).collect()
}

/// The template with the packages in place of the sources.
fn package_uris(template: &str) -> String {
    let line = |line: &str| {
        if line.trim().starts_with(CODE) {
            format!("{}.zip\n", line.replace(CODE, "CodeUri: "))
        } else {
            format!("{line}\n")
        }
    };
    template.lines().map(line).collect()
}

fn parameters(state: &State) -> Result<Vec<String>> {
    let identity = state.identity.as_ref().and_then(Value::as_object).ok_or_else(|| Failure::new("no issuer"))?;
    let told = |identity: &Map<String, Value>, name: &str| identity[name].as_str().unwrap_or_default().to_owned();
    Ok(vec![
        "Target=local".to_owned(),
        format!("Architecture={}", if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" }),
        format!("LocalRedisPort={}", state.redis_port),
        format!("OidcIssuer={}", told(identity, "issuer")),
        format!("OidcJwksUri={}", told(identity, "jwks_uri")),
        "OidcRequiredClaim=token_use=access".to_owned(),
        "OidcSessionClaim=origin_jti".to_owned(),
        "OidcRolesClaim=cognito:groups".to_owned(),
        // The issuer's address leads to AWS; its endpoints are here.
        format!("OidcAuthorizationEndpoint={}", told(identity, "authorization_endpoint")),
        format!("OidcTokenEndpoint={}", told(identity, "token_endpoint")),
        format!("OidcUserinfoEndpoint={}", told(identity, "userinfo_endpoint")),
        format!("OidcRevocationEndpoint={}", told(identity, "revocation_endpoint")),
        "MailFrom=no-reply@example.com".to_owned(),
        "SecurityTeamEmail=security-team@example.com".to_owned(),
        "AuditorEmails=auditor@example.com=ko,audit-office@example.com".to_owned(),
        // A worker that dies is seen to have died when its messages come back: here within seconds.
        "PlanVisibilityTimeout=20".to_owned(),
        "ChunkVisibilityTimeout=15".to_owned(),
        "IngestVisibilityTimeout=15".to_owned(),
        "AccountVisibilityTimeout=15".to_owned(),
        "AlertVisibilityTimeout=5".to_owned(),
        "ExportRecordAge=60".to_owned(),
        // A message's hundred mails take half of this at the local SES's pace.
        "NoticeVisibilityTimeout=40".to_owned(),
    ])
}

/// Changes when the deployment would.
fn stamp(settings: &Settings, templates: &[&str], functions: &[String], parameters: &[String]) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    (templates, parameters).hash(&mut hasher);
    for name in functions {
        let binary = settings.binaries().join(name);
        let about = fs::metadata(&binary).context(binary.display())?;
        let changed = about.modified().context(binary.display())?.duration_since(UNIX_EPOCH);
        (name, about.len(), changed.map(|since| since.as_nanos()).unwrap_or_default()).hash(&mut hasher);
    }
    Ok(format!("{:016x}", hasher.finish()))
}

/// Puts a function's binary where SAM looks for it, without the debug information that would only be uploaded.
fn strip(settings: &Settings, build: &Path, name: &str) -> Result<()> {
    let folder = build.join(name);
    fs::create_dir_all(&folder).context(folder.display())?;
    let (from, to) = (settings.binaries().join(name), folder.join("bootstrap"));
    let strip = settings.program("strip").map(|program| {
        let mut strip = Command::new(program);
        strip.arg("-o").arg(&to).arg(&from);
        strip
    });
    let stripped =
        strip.is_some_and(|mut strip| strip.stderr(Stdio::null()).status().is_ok_and(|status| status.success()));
    if !stripped {
        fs::copy(&from, &to).context(to.display())?;
    }
    Ok(())
}

/// A line of SAM's tables without their borders and padding.
fn short(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().filter(|word| !word.starts_with("---")).collect();
    words.join(" ").chars().take(70).collect()
}
