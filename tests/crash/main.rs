//! kill -9 at random instants: every acknowledged change is there after the restart, every live token verifies, nothing
//! is half-written.
//!
//! `cargo test --features outside-tests --test crash`; `CRASH_ROUNDS` (50) and `CRASH_SEED` (the time) change a run.
//! Starts the real program on loopback in a folder of its own and ends only what it started.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a test that runs as a program: it reports by panics and prints its figures"
)]

mod full_disk;
#[path = "../support/ports.rs"]
mod ports;
mod program;
mod world;

use std::sync::Arc;
use std::time::{Duration, Instant};

use program::Program;
use world::{Dice, World};

const WORKERS: u64 = 6;

fn main() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let rounds = number("CRASH_ROUNDS").unwrap_or(50);
    #[expect(clippy::disallowed_methods, reason = "a seed that differs from run to run, and is printed")]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |since| since.as_secs());
    let seed = number("CRASH_SEED").unwrap_or(now);
    rustls::crypto::ring::default_provider().install_default().expect("installed once");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    println!("running 2 tests: a full disk, and {rounds} rounds, CRASH_SEED={seed}");
    runtime.block_on(full_disk::run());
    runtime.block_on(run(rounds, seed));
    println!("2 passed, 0 failed");
}

async fn run(rounds: u64, seed: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut dice = Dice(seed);
    let world = Arc::new(World::default());
    let started = Instant::now();
    let (mut restart_total, mut restart_worst) = (Duration::ZERO, Duration::ZERO);
    for round in 0..rounds {
        let began = Instant::now();
        let program = Program::start(folder.path()).await;
        let took = began.elapsed();
        restart_total += took;
        restart_worst = restart_worst.max(took);
        let operator = program.operator_token().await;
        world.check(&program, &operator, round).await;
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                let (world, program, operator) = (Arc::clone(&world), program.address(), operator.clone());
                let dice = Dice(dice.roll());
                tokio::spawn(async move { world.work(program, &operator, dice).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(50 + dice.roll() % 700)).await;
        program.kill();
        for worker in workers {
            worker.await.expect("a worker that did not panic");
        }
    }
    let program = Program::start(folder.path()).await;
    let operator = program.operator_token().await;
    world.check(&program, &operator, rounds).await;
    program.kill();
    println!("{}", world.summary());
    println!(
        "{rounds} rounds in {:.1} s; restart to ready: mean {:.0} ms, worst {:.0} ms",
        started.elapsed().as_secs_f64(),
        restart_total.as_secs_f64() * 1000.0 / rounds.max(1) as f64,
        restart_worst.as_secs_f64() * 1000.0
    );
}
