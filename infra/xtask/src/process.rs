//! Running programs: to their end, or on in the background until `down`.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::failure::{Context, Failure, Result};

/// A process that was started here. A number alone may by now be somebody else's; with its start time it is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    pid: u32,
    since: String,
}

impl Started {
    /// Reads what [`Self::to_json`] wrote.
    pub fn from_json(value: &Value) -> Option<Self> {
        let pid = u32::try_from(value.get("pid")?.as_u64()?).ok()?;
        Some(Self { pid, since: value.get("since")?.as_str()?.to_owned() })
    }

    /// For the state file.
    pub fn to_json(&self) -> Value {
        json!({ "pid": self.pid, "since": self.since })
    }

    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        start_time(self.pid).is_some_and(|since| since == self.since)
    }

    /// Those of the processes in its group that were started with a variable in their environment.
    pub fn with_variable(&self, name: &str) -> Vec<u32> {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let wanted = |pid: &u32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let named = |pair: &[u8]| pair.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"="));
            fields(*pid).is_some_and(|fields| fields.get(2) == Some(&self.pid.to_string()))
                && environment.split(|&byte| byte == 0).any(named)
        };
        let mut found: Vec<u32> = ids.filter(wanted).collect();
        found.sort_unstable();
        found
    }

    /// Ends it at once, as a lost host would.
    pub fn kill(&self) {
        if self.is_alive() {
            kill(&self.pid.to_string());
        }
    }

    /// Ends it and its children: first asks, after five seconds insists.
    pub fn stop(&self) {
        for (signal, patience) in [("TERM", Duration::from_secs(5)), ("KILL", Duration::from_secs(5))] {
            if !self.is_alive() {
                return;
            }
            // It leads a process group of its own, in which its children are.
            let _ = Command::new("sh")
                .args(["-c", "kill -s \"$0\" -- -\"$1\"", signal, &self.pid.to_string()])
                .stderr(Stdio::null())
                .status();
            let asked = Instant::now();
            while self.is_alive() && asked.elapsed() < patience {
                sleep(Duration::from_millis(50));
            }
        }
    }
}

/// What the kernel says of a process after its name: first its state, third its group, twentieth its start time.
fn fields(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    Some(stat.get(stat.rfind(')')? + 1..)?.split_whitespace().map(str::to_owned).collect())
}

/// Ends a process at once. Answers whether it was there.
pub fn kill(pid: &str) -> bool {
    let kill = Command::new("sh").args(["-c", "kill -s KILL \"$0\"", pid]).stderr(Stdio::null()).status();
    kill.is_ok_and(|status| status.success())
}

/// When a process started, or nothing if there is none (or only its remains).
fn start_time(pid: u32) -> Option<String> {
    if Path::new("/proc/self/stat").exists() {
        let fields = fields(pid)?;
        return (fields.first()? != "Z").then(|| fields.get(19).cloned()).flatten();
    }
    let listed = Command::new("ps").args(["-o", "lstart=", "-p", &pid.to_string()]).output().ok()?;
    let since = String::from_utf8_lossy(&listed.stdout).trim().to_owned();
    (!since.is_empty()).then_some(since)
}

/// Starts a program that goes on after this one has ended, with its output in `log`.
pub fn start(mut command: Command, log: &Path) -> Result<Started> {
    let out = create(log)?;
    let errors = out.try_clone().context(log.display())?;
    let mut child = command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(errors)
        .spawn()
        .context(format!("cannot start {}", command.get_program().display()))?;
    let pid = child.id();
    let since = start_time(pid);
    // Reaped here if it ends early, so that it does not look alive.
    std::thread::spawn(move || child.wait());
    since.map(|since| Started { pid, since }).ok_or_else(|| {
        Failure::new(format!("{} ended at once; see {}", command.get_program().display(), log.display()))
    })
}

/// Runs a program to its end and answers what it printed. Its complaints go to `log`, their end into the failure.
pub fn output(command: &mut Command, what: &str, log: &Path) -> Result<String> {
    let printed = command
        .stdin(Stdio::null())
        .output()
        .context(format!("{what}: cannot start {}", command.get_program().display()))?;
    let mut file = create(log)?;
    file.write_all(&printed.stdout).and_then(|()| file.write_all(&printed.stderr)).context(log.display())?;
    if printed.status.success() {
        return String::from_utf8(printed.stdout).context(what);
    }
    Err(Failure::new(format!("{what}: {} (all of it in {})", last_line(log), log.display())))
}

/// Runs a program to its end with its output in `log`, and shows each line in passing.
pub fn logged(command: &mut Command, what: &str, log: &Path, show: impl Fn(&str)) -> Result<()> {
    let mut file = create(log)?;
    let (reader, writer) = std::io::pipe().context(what)?;
    let errors = writer.try_clone().context(what)?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(errors)
        .spawn()
        .context(format!("{what}: cannot start {}", command.get_program().display()))?;
    // The command holds the writing ends; the reader sees the end only when they are gone.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    for line in BufReader::new(reader).lines() {
        let line = line.context(what)?;
        writeln!(file, "{line}").context(log.display())?;
        show(line.trim());
    }
    if child.wait().context(what)?.success() {
        return Ok(());
    }
    Err(Failure::new(format!("{what}: {} (all of it in {})", last_line(log), log.display())))
}

/// Runs a program to its end on this terminal.
pub fn visible(command: &mut Command, what: &str) -> Result<()> {
    let status = command.status().context(format!("{what}: cannot start {}", command.get_program().display()))?;
    if status.success() { Ok(()) } else { Err(Failure::new(format!("{what} failed ({status})"))) }
}

/// The last line of a log that says anything.
pub fn last_line(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no output");
    line.trim().chars().take(300).collect()
}

/// Begins a log.
pub fn create(log: &Path) -> Result<File> {
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder).context(folder.display())?;
    }
    File::create(log).context(log.display())
}
