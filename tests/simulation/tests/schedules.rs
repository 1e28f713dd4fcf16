//! A whole batch logout, simulated: every promise under every fault, in seeded schedules and with a death at every call.
//!
//! A schedule that fails prints its seed. To play that one again and no other, bit for bit, and to be told what happens:
//!
//! ```console
//! $ SIMULATION_SEED=12345 cargo nextest run -p simulation every_schedule --no-capture
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed unwrap is a failed test")]

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use simulation::estate::KINDS;
use simulation::rail::Dice;
use simulation::sim::{Climate, Scene, World};

/// Schedules that are simulated, in four tests side by side.
const SCHEDULES: u64 = 100_000;
/// Schedules that share a company and a job: drawing them takes as long as playing them.
const OF_A_SCENE: u64 = 20;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// The seed that somebody wants to see again.
#[allow(clippy::disallowed_methods, reason = "the one place where the simulation reads the environment")]
fn wanted() -> Option<u64> {
    std::env::var("SIMULATION_SEED").ok().map(|seed| seed.parse().expect("SIMULATION_SEED is a number"))
}

/// The company and the job of a seed.
async fn scene(seed: u64) -> Arc<Scene> {
    let number = seed / OF_A_SCENE;
    Arc::new(Scene::draw(number, usize::try_from(number).unwrap() % KINDS).await)
}

/// One schedule, from its seed; what happened, as a number of steps and a hash.
async fn one(seed: u64, scene: Arc<Scene>) -> (u64, u64) {
    let dice = Arc::new(Dice::new(seed));
    let climate = Climate::any(&dice);
    let mut world = World::new(dice.clone(), climate, scene).await;
    if wanted().is_some() {
        world.think_aloud();
    }
    // Some storms last until everything is over, others stop half-way.
    let most = [460, 460, 460, 2_000][usize::try_from(dice.roll(4)).unwrap()];
    world.storm(60 + dice.roll(most - 60)).await;
    world.calm().await;
    world.judge_the_end().await;
    world.trace()
}

/// Plays schedules; one that fails names its seed. If one is wanted, that alone, by whichever test it belongs to.
fn play(seeds: std::ops::Range<u64>) {
    let seeds = match wanted() {
        Some(seed) if seeds.contains(&seed) => seed..seed + 1,
        Some(_) => return,
        None => seeds,
    };
    let runtime = runtime();
    let mut drawn = None;
    for seed in seeds {
        let scene = match &drawn {
            Some((number, scene)) if *number == seed / OF_A_SCENE => Arc::clone(scene),
            _ => {
                let scene = runtime.block_on(scene(seed));
                drawn = Some((seed / OF_A_SCENE, Arc::clone(&scene)));
                scene
            }
        };
        let played = std::panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(one(seed, scene))));
        if let Err(cause) = played {
            eprintln!("seed {seed} fails; SIMULATION_SEED={seed} plays it again");
            std::panic::resume_unwind(cause);
        }
    }
}

fn quarter(number: u64) {
    play(SCHEDULES / 4 * number..SCHEDULES / 4 * (number + 1));
}

#[test]
fn cut_1_in_every_schedule_what_is_acknowledged_is_refused_and_every_number_is_a_fact() {
    quarter(0);
}

#[test]
fn cut_1_in_every_schedule_of_the_second_quarter() {
    quarter(1);
}

#[test]
fn cut_1_in_every_schedule_of_the_third_quarter() {
    quarter(2);
}

#[test]
fn cut_1_in_every_schedule_of_the_last_quarter() {
    quarter(3);
}

#[test]
fn a_seed_takes_the_same_steps_every_time() {
    let runtime = runtime();
    let mut different = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let play = || runtime.block_on(async { one(seed, scene(seed).await).await });
        let trace = play();
        assert_eq!(play(), trace, "seed {seed}");
        different.insert(trace);
    }
    assert!(different.len() > 190, "{} of 200 seeds differ", different.len());
}

/// Everything that can die, and after how many messages it starts where that is to be said.
const MORTALS: [(&str, usize); 11] = [
    ("accept", 0),
    ("plan", 0),
    ("chunk", 0),
    ("notice", 0),
    ("redrive", 0),
    ("guard", 0),
    ("cancel", 0),
    ("cancel", 1),
    ("cancel", 2),
    ("sign out", 0),
    ("sign out", 1),
];

#[test]
fn cut_6_whoever_dies_after_whichever_call_the_job_ends_as_if_nobody_had() {
    let deaths = AtomicU64::new(0);
    let runtime = runtime();
    for number in 0..6 * KINDS as u64 {
        let kind = usize::try_from(number).unwrap() % KINDS;
        let scene = Arc::new(runtime.block_on(Scene::draw(1_000_000 + number, kind)));
        for (of, after) in MORTALS {
            for last_step in 1.. {
                let play = || {
                    runtime.block_on(async {
                        let mut world = World::new(Arc::new(Dice::new(number)), Climate::CALM, scene.clone()).await;
                        let died = world.with_one_death(of, last_step, after).await;
                        world.judge_the_end().await;
                        died
                    })
                };
                let died = std::panic::catch_unwind(AssertUnwindSafe(play)).unwrap_or_else(|cause| {
                    eprintln!("scene {number} fails: {of}, after {after}, dies at step {last_step}");
                    std::panic::resume_unwind(cause)
                });
                if !died {
                    break;
                }
                deaths.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    let deaths = deaths.into_inner();
    assert!(deaths > 2_000, "{deaths} deaths");
}
