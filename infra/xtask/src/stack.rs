//! The local stack: Redis and the local AWS, the people who sign in, the deployment, the demo company.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::failure::{Context, Failure, Result};
use crate::process::{self, Started};
use crate::settings::Settings;
use crate::state::{self, State};
use crate::tools::{self, Environment};
use crate::{deploy, ui};

const ENVIRONMENTS: &[&str] = &["stack", "sam"];

/// Ports asked for.
#[derive(Clone, Copy, Default)]
pub struct Ports {
    /// Of the local AWS.
    pub aws: Option<u16>,
    /// Of Redis.
    pub redis: Option<u16>,
}

/// Starts what is not running and brings the rest up to date.
pub fn up(settings: &Settings, ports: Ports, company: bool) -> Result<()> {
    let _lock = state::lock(settings)?;
    // What cannot work is said now, not after minutes of compiling.
    check_ports(&State::load(settings), ports)?;
    tools::check(settings, ENVIRONMENTS)?;
    // Python's packages come in while cargo compiles.
    std::thread::scope(|scope| {
        let tools = scope.spawn(|| tools::prepare(settings, ENVIRONMENTS));
        let built = deploy::build(settings);
        let waits = !tools.is_finished();
        let join = || tools.join().unwrap_or_else(|_| Err(Failure::new("the installation was interrupted")));
        built?;
        if waits { ui::step("install Python tools", |_| join()) } else { join() }
    })?;
    let (aws, sam) = (tools::local_aws(settings)?, tools::sam(settings)?);

    let mut state = State::load(settings);
    start_processes(settings, &mut state, &aws, ports)?;
    if state.identity.is_none() {
        let identity = ui::step("user pool", |_| {
            deploy::helper(settings, &state, &aws, "bucket", &[])?;
            deploy::helper(settings, &state, &aws, "identity", &[])
        })?;
        state.identity = Some(identity);
        state.save(settings)?;
    }
    deploy::deploy(settings, &mut state, &aws, &sam)?;
    describe(settings, &state)?;
    if company && !state.company {
        let mut load = ops_command(settings, "load-company");
        process::visible(&mut load, "loading the demo company")?;
        state.company = true;
        state.save(settings)?;
    }
    Ok(())
}

/// Stops what [`up`] started, and nothing else.
pub fn down(settings: &Settings) -> Result<()> {
    let _lock = state::lock(settings)?;
    let state = State::load(settings);
    let running: Vec<&Started> = [&state.aws, &state.redis].into_iter().flatten().filter(|p| p.is_alive()).collect();
    if running.is_empty() {
        ui::note("the stack is not running");
    } else {
        ui::step("stop the stack", |_| {
            for process in running {
                process.stop();
            }
            Ok(())
        })?;
    }
    for name in ["state.json", "stack.json"] {
        let path = settings.local.join(name);
        if path.exists() {
            fs::remove_file(&path).context(path.display())?;
        }
    }
    Ok(())
}

/// Refuses if there is no stack.
pub fn require_running(settings: &Settings) -> Result<()> {
    let state = State::load(settings);
    let running = [&state.aws, &state.redis].into_iter().all(|p| p.as_ref().is_some_and(Started::is_alive));
    if running && settings.stack_file().exists() {
        Ok(())
    } else {
        Err(Failure::new("the local stack is not running; start it with `cargo xtask up`"))
    }
}

/// Becomes the operator's tool, on this stack.
pub fn ops(settings: &Settings, command: &str, args: &[String]) -> Result<ExitCode> {
    let failed = ops_command(settings, command).args(args).exec();
    Err(Failure::new(format!("cannot start ops: {failed}")))
}

/// Prints where the stack is.
pub fn summary(settings: &Settings) -> Result<()> {
    let path = settings.stack_file();
    let stack: Value =
        serde_json::from_str(&fs::read_to_string(&path).context(path.display())?).context("stack.json")?;
    for (what, name) in [("API", "api_url"), ("AWS", "endpoint_url"), ("Redis", "redis_url")] {
        println!("{what:<6}{}", stack[name].as_str().unwrap_or_default());
    }
    println!("{:<6}{}", "more", path.display());
    Ok(())
}

/// The operator's tool, on this stack.
pub fn ops_command(settings: &Settings, command: &str) -> Command {
    let mut ops = Command::new(settings.binaries().join("ops"));
    ops.arg(command).arg("--stack").arg(settings.stack_file()).current_dir(&settings.root);
    ops
}

fn start_processes(settings: &Settings, state: &mut State, aws: &Environment, ports: Ports) -> Result<()> {
    let aws_runs = state.aws.as_ref().is_some_and(Started::is_alive) && answers_http(state.aws_port);
    if !aws_runs {
        // Nothing of an earlier run is worth keeping: the local AWS starts empty.
        [&state.aws, &state.redis].into_iter().flatten().for_each(Started::stop);
        let (aws_port, redis_port) = free_ports(ports)?;
        *state = State { aws_port, redis_port, ..State::default() };
    }

    // Redis may have been stopped on its own; it comes back where the deployment expects it.
    let redis_runs = state.redis.as_ref().is_some_and(Started::is_alive) && answers_redis(state.redis_port);
    if !redis_runs {
        if let Some(silent) = &state.redis {
            silent.stop();
        }
        start_redis(settings, state)?;
    }
    if !aws_runs {
        let log = settings.logs().join("aws.log");
        let aws = process::start(local_aws(settings, state, aws)?, &log)?;
        state.aws = Some(aws.clone());
        state.save(settings)?;
        ui::step("start the local AWS", |_| wait_until(&aws, &log, "the local AWS", || answers_http(state.aws_port)))?;
    }
    Ok(())
}

fn start_redis(settings: &Settings, state: &mut State) -> Result<()> {
    let server = tools::redis_server(settings)?;
    let log = settings.logs().join("redis.log");
    let redis = process::start(redis(settings, &server, state.redis_port), &log)?;
    // Known before it answers, so that `down` finds it whatever happens.
    state.redis = Some(redis.clone());
    state.save(settings)?;
    ui::step("start Redis", |_| wait_until(&redis, &log, "Redis", || answers_redis(state.redis_port)))
}

/// Loses Redis with everything in it; an empty one comes back after a while.
pub fn lose_redis(settings: &Settings, away: Duration) -> Result<()> {
    let _lock = state::lock(settings)?;
    let mut state = State::load(settings);
    state.redis.iter().for_each(Started::kill);
    sleep(away);
    start_redis(settings, &mut state)
}

/// The functions' processes on this stack.
pub fn workers(settings: &Settings) -> Vec<u32> {
    State::load(settings).aws.map(|aws| aws.with_variable("AWS_LAMBDA_FUNCTION_NAME")).unwrap_or_default()
}

/// Refuses, before anything takes time, ports that cannot be had.
fn check_ports(state: &State, ports: Ports) -> Result<()> {
    if !state.aws.as_ref().is_some_and(Started::is_alive) {
        return free_ports(ports).map(drop);
    }
    for (asked, port, name) in [(ports.aws, state.aws_port, "--port"), (ports.redis, state.redis_port, "--redis-port")]
    {
        if asked.is_some_and(|asked| asked != port) {
            return Err(Failure::new(format!(
                "the stack already runs with {name} {port}; stop it first with `cargo xtask down`"
            )));
        }
    }
    Ok(())
}

fn redis(settings: &Settings, server: &Path, port: u16) -> Command {
    let mut redis = Command::new(server);
    // As on AWS: full means refusing writes, never forgetting; and nothing survives a restart.
    redis.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"]);
    redis.args(["--maxmemory-policy", "noeviction"]).current_dir(&settings.local);
    redis
}

fn local_aws(settings: &Settings, state: &State, aws: &Environment) -> Result<Command> {
    let folder = settings.local.join("aws");
    let temporary = folder.join("tmp");
    if folder.exists() {
        fs::remove_dir_all(&folder).context(folder.display())?;
    }
    fs::create_dir_all(&temporary).context(temporary.display())?;
    let mut command = Command::new(aws.program("python"));
    // The functions inherit this environment, so it holds nothing of the user's.
    command.arg(settings.root.join("infra/local/aws.py")).current_dir(&folder).env_clear();
    command
        .env("PATH", &settings.path)
        .env("HOME", &settings.home)
        .env("LANG", "C.UTF-8")
        .env("TMPDIR", &temporary)
        .env("STATE_DIR", &folder)
        .env("S3_DATA_DIR", folder.join("s3"))
        .env("BIND_HOST", "127.0.0.1")
        .env("MINISTACK_HOST", "127.0.0.1")
        .env("MINISTACK_REGION", deploy::REGION)
        .env("GATEWAY_PORT", state.aws_port.to_string())
        .env("AWS_ENDPOINT_URL", state.endpoint())
        // The functions act under their own roles, so that a right missing from the template is missing here too.
        .env("AUTH", "true")
        .env("LAMBDA_EXECUTOR", "local")
        .env("LAMBDA_ACCOUNT_CONCURRENCY", "64")
        // Its cache's endpoint is our Redis.
        .env("REDIS_HOST", "127.0.0.1")
        .env("REDIS_PORT", state.redis_port.to_string())
        // Would take a fixed port.
        .env("IOT_MTLS_ENABLED", "0");
    Ok(command)
}

/// Writes `stack.json`, the one thing tests and tools know about the stack.
fn describe(settings: &Settings, state: &State) -> Result<()> {
    let outputs = Value::Object(state.outputs.clone().unwrap_or_default());
    let sample = Value::Object(state.sample_outputs.clone().unwrap_or_default());
    let identity = state.identity.clone().unwrap_or_default();
    let text = |name: &str| outputs[name].as_str().unwrap_or_default().to_owned();
    let api_url = |outputs: &Value| {
        format!("{}/restapis/{}/live/_user_request_", state.endpoint(), outputs["ApiId"].as_str().unwrap_or_default())
    };
    let pool = identity["user_pool_id"].as_str().unwrap_or_default();
    let signing_key = settings.local.join(format!("aws/cognito-pool-keys/{pool}-access.pem"));
    let stack = json!({
        "api_url": api_url(&outputs),
        "authorizer": text("AuthorizerFunctionArn"),
        "sample_api_url": api_url(&sample),
        "endpoint_url": state.endpoint(),
        "region": deploy::REGION,
        // The local AWS's root; it checks every other key's rights.
        "access_key_id": deploy::KEY,
        "secret_access_key": deploy::KEY,
        "redis_url": format!("redis://127.0.0.1:{}", state.redis_port),
        "tables": {
            "tokens": text("TokensTable"),
            "directory": text("DirectoryTable"),
            "jobs": text("JobsTable"),
            "denylist": text("DenylistTable"),
            "audit": text("AuditTable"),
            "accounts": text("AccountsTable"),
        },
        "audit_heads_bucket": text("AuditHeadsBucket"),
        "reports_bucket": text("ReportsBucket"),
        "scheduled": text("ScheduledFunctionName"),
        "export_audit": text("ExportAuditFunctionName"),
        "queues": {
            "plan": text("PlanQueueUrl"),
            "plan_high": text("PlanQueueHighUrl"),
            "plan_immediate": text("PlanQueueImmediateUrl"),
            "chunk": text("ChunkQueueUrl"),
            "chunk_high": text("ChunkQueueHighUrl"),
            "chunk_immediate": text("ChunkQueueImmediateUrl"),
            "notice": text("NoticeQueueUrl"),
            "mail_event": text("MailEventQueueUrl"),
            "account": text("AccountQueueUrl"),
            "ingest": text("IngestQueueUrl"),
            "siem": text("SiemQueueUrl"),
            "alert": text("AlertQueueUrl"),
            "plan_dlq": text("PlanDeadLettersUrl"),
            "chunk_dlq": text("ChunkDeadLettersUrl"),
            "notice_dlq": text("NoticeDeadLettersUrl"),
            "mail_event_dlq": text("MailEventDeadLettersUrl"),
            "account_dlq": text("AccountDeadLettersUrl"),
            "ingest_dlq": text("IngestDeadLettersUrl"),
            "siem_dlq": text("SiemDeadLettersUrl"),
            "alert_dlq": text("AlertDeadLettersUrl"),
            "export_dlq": text("ExportDeadLettersUrl"),
        },
        "issuer": identity["issuer"],
        "jwks_uri": identity["jwks_uri"],
        "client_id": identity["client_id"],
        "redirect_uri": identity["redirect_uri"],
        "user_pool_id": pool,
        "signing_key_file": signing_key,
        "users": identity["users"],
    });
    state::write(settings, "stack.json", &stack)
}

fn wait_until(process: &Started, log: &Path, name: &str, ready: impl Fn() -> bool) -> Result<()> {
    let started = Instant::now();
    while started.elapsed() < Duration::from_mins(1) {
        if ready() {
            return Ok(());
        }
        if !process.is_alive() {
            return Err(Failure::new(format!(
                "{name} ended at once: {} (see {})",
                process::last_line(log),
                log.display()
            )));
        }
        sleep(Duration::from_millis(50));
    }
    process.stop();
    Err(Failure::new(format!("{name} does not answer; see {}", log.display())))
}

fn free_ports(asked: Ports) -> Result<(u16, u16)> {
    let bind = |port: Option<u16>, option: &str| {
        TcpListener::bind((Ipv4Addr::LOCALHOST, port.unwrap_or(0))).map_err(|cause| {
            let port = port.unwrap_or(0);
            Failure::new(format!("port {port} cannot be had ({cause}); choose another with {option}"))
        })
    };
    // Both are held until both are known, or they might be the same.
    let (aws, redis) = (bind(asked.aws, "--port")?, bind(asked.redis, "--redis-port")?);
    let number = |listener: &TcpListener| listener.local_addr().map(|address| address.port()).context("free port");
    Ok((number(&aws)?, number(&redis)?))
}

fn answers_http(port: u16) -> bool {
    ask(port, b"GET /_ministack/health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        .is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

fn answers_redis(port: u16) -> bool {
    ask(port, b"PING\r\n").is_some_and(|answer| answer.starts_with("+PONG"))
}

fn ask(port: u16, question: &[u8]) -> Option<String> {
    let patience = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), patience).ok()?;
    stream.set_read_timeout(Some(patience)).ok()?;
    stream.write_all(question).ok()?;
    let mut answer = [0; 64];
    let length = stream.read(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer[..length]).into_owned())
}
