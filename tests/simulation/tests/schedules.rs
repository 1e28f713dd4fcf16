//! A whole batch logout, simulated: every promise under every fault, in seeded schedules and with a death at every call.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use simulation::estate::{Estate, KINDS, Wish, drafts, estates};
use simulation::rail::Dice;
use simulation::sim::{Climate, World};

/// Schedules that are simulated.
const SCHEDULES: u64 = 20_000;
const THREADS: u64 = 2;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// A small company and a job over it, by their number.
fn scene(seed: u64, kind: usize) -> (Estate, Wish) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config { failure_persistence: None, ..Config::default() }, rng);
    let scene = (estates(1..6, 2), drafts(kind..=kind, 3)).new_tree(&mut runner).unwrap().current();
    let wish = scene.1.fit(&scene.0);
    (scene.0, wish)
}

/// One schedule, from its seed; what happened, as a number of steps and a hash.
async fn one(seed: u64) -> (u64, u64) {
    let dice = Arc::new(Dice::new(seed));
    let kind = usize::try_from(dice.roll(KINDS as u64)).unwrap();
    // A company is drawn once for several schedules: drawing it takes as long as playing it.
    let (estate, wish) = scene(seed / 4, kind);
    let climate = Climate::any(&dice);
    let mut world = World::new(dice.clone(), climate, estate, wish).await;
    world.storm(60 + dice.roll(400)).await;
    world.calm().await;
    world.judge_the_end().await;
    world.trace()
}

/// Runs something for each number in several threads; a failure names its number.
fn for_each(numbers: u64, name: &str, run: impl Fn(&tokio::runtime::Runtime, u64) + Sync) {
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let runtime = runtime();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= numbers {
                        return;
                    }
                    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&runtime, number)));
                    if let Err(cause) = outcome {
                        next.store(numbers, Ordering::Relaxed);
                        eprintln!("{name} {number} fails");
                        std::panic::resume_unwind(cause);
                    }
                }
            });
        }
    });
}

#[test]
fn cut_1_in_every_schedule_what_is_acknowledged_is_refused_and_every_number_is_a_fact() {
    for_each(SCHEDULES, "seed", |runtime, seed| {
        runtime.block_on(one(seed));
    });
}

#[test]
fn a_seed_takes_the_same_steps_every_time() {
    let runtime = runtime();
    let mut different = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let trace = runtime.block_on(one(seed));
        assert_eq!(runtime.block_on(one(seed)), trace, "seed {seed}");
        different.insert(trace);
    }
    assert!(different.len() > 190, "{} of 200 seeds differ", different.len());
}

#[test]
fn cut_6_whoever_dies_after_whichever_call_the_job_ends_as_if_nobody_had() {
    let scenes = 6 * KINDS as u64;
    let deaths = AtomicU64::new(0);
    for_each(scenes, "scene", |runtime, number| {
        let kind = usize::try_from(number).unwrap() % KINDS;
        for of in ["accept", "plan", "chunk", "notice", "redrive", "guard"] {
            for last_step in 1.. {
                let died = runtime.block_on(async {
                    let dice = Arc::new(Dice::new(number));
                    let (estate, wish) = scene(1_000_000 + number, kind);
                    let mut world = World::new(dice, Climate::CALM, estate, wish).await;
                    let died = world.with_one_death(of, last_step).await;
                    world.judge_the_end().await;
                    died
                });
                if !died {
                    break;
                }
                deaths.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let deaths = deaths.into_inner();
    assert!(deaths > 1_000, "{deaths} deaths");
}
