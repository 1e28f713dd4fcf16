//! The soak: a steady load on the local stack (`tests/src/soak`), and here the trouble: Redis and workers are killed
//! at random until the load ends. What is killed comes back as it would on AWS: a worker with the next message, Redis
//! empty.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use crate::failure::{Context, Failure, Result};
use crate::settings::Settings;
use crate::stack::{self, Ports};
use crate::{process, ui};

/// A worker dies after so many seconds, Redis after so many; from, and up to.
const WORKERS: (u64, u64) = (2, 6);
const REDIS: (u64, u64) = (60, 150);
/// Seconds that Redis stays away, at most.
const AWAY: u64 = 15;

/// How long, and which.
#[derive(clap::Args)]
pub struct Soak {
    /// Minutes of load
    #[arg(long, default_value_t = 20.0)]
    minutes: f64,
    /// Which blocks, jobs and deaths [default: others each time]
    #[arg(long)]
    seed: Option<u64>,
}

/// Runs the soak on a stack of its own, which is stopped afterwards, and looks at the audit trail.
pub fn soak(settings: &Settings, soak: &Soak) -> Result<ExitCode> {
    if stack::require_running(settings).is_ok() {
        return Err(Failure::new("the soak kills what runs; stop the stack first with `cargo xtask down`"));
    }
    let mut build = Command::new(&settings.cargo);
    build.args(["build", "--package", "tests", "--features", "soak", "--bin", "soak"]).current_dir(&settings.root);
    process::visible(&mut build, "cargo build of the soak")?;
    let outcome = stack::up(settings, Ports::default(), false).and_then(|()| {
        let sound = run(settings, soak)?;
        process::visible(stack::ops_command(settings, "audit").arg("verify"), "the audit trail")?;
        Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    });
    stack::down(settings)?;
    outcome
}

fn run(settings: &Settings, soak: &Soak) -> Result<bool> {
    let seed = soak.seed.unwrap_or_else(|| u64::from(std::process::id()));
    let mut load = Command::new(settings.binaries().join("soak"));
    load.arg(settings.stack_file()).args([soak.minutes.to_string(), seed.to_string()]);
    let mut load = load.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start the load")?;
    let lines = load.stdout.take().map(BufReader::new).ok_or_else(|| Failure::new("the load says nothing"))?;
    let under_load = AtomicBool::new(false);
    let over = AtomicBool::new(false);
    let (deaths, status) = std::thread::scope(|scope| {
        let trouble = scope.spawn(|| trouble(settings, seed, &under_load, &over));
        for line in lines.lines().map_while(std::result::Result::ok) {
            println!("{line}");
            if line.starts_with("load begins") {
                under_load.store(true, Ordering::Relaxed);
            } else if line.starts_with("load ends") {
                under_load.store(false, Ordering::Relaxed);
            }
        }
        under_load.store(false, Ordering::Relaxed);
        over.store(true, Ordering::Relaxed);
        let deaths = trouble.join().unwrap_or_else(|_| Err(Failure::new("the trouble ended early")));
        (deaths, load.wait().context("the load"))
    });
    let (workers, redis) = deaths?;
    println!("killed: {workers} workers, Redis {redis} times");
    Ok(status?.success())
}

/// Kills until it is over. Answers how many workers, and how often Redis.
fn trouble(settings: &Settings, seed: u64, under_load: &AtomicBool, over: &AtomicBool) -> Result<(u32, u32)> {
    let mut dice = Dice(seed);
    let (mut workers, mut redis) = (0, 0);
    let (mut next_worker, mut next_redis) = (dice.between(WORKERS), dice.between(REDIS));
    while !over.load(Ordering::Relaxed) {
        sleep(Duration::from_secs(1));
        if !under_load.load(Ordering::Relaxed) {
            continue;
        }
        next_worker -= 1;
        next_redis -= 1;
        if next_worker == 0 {
            next_worker = dice.between(WORKERS);
            workers += u32::from(kill_worker(settings, &mut dice));
        }
        if next_redis == 0 {
            next_redis = dice.between(REDIS);
            let away = dice.between((0, AWAY));
            ui::note(&format!("Redis is killed, and away for {away} s"));
            stack::lose_redis(settings, Duration::from_secs(away))?;
            redis += 1;
        }
    }
    Ok((workers, redis))
}

/// Kills one of the functions' processes at once, as a lost host would.
fn kill_worker(settings: &Settings, dice: &mut Dice) -> bool {
    let workers = stack::workers(settings);
    let Some(chosen) = workers.get(usize::try_from(dice.below(workers.len().max(1) as u64)).unwrap_or_default()) else {
        return false;
    };
    process::kill(&chosen.to_string())
}

/// Numbers that look random and follow from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % sides.max(1)
    }

    fn between(&mut self, (from, to): (u64, u64)) -> u64 {
        from + self.below(to - from + 1)
    }
}
