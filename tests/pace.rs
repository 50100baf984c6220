//! The pace as the server counts it.

use crate::support::{Scene, cast, options};
use rollbook::sandbox::Options;
use std::time::Duration;

fn scene(latency_ms: u64) -> (Scene, usize) {
    let options = Options {
        latency: Duration::from_millis(latency_ms),
        ..options()
    };
    let cast = cast(&options, 400, "already_assigned", "confirmed");
    let scene = Scene::with(options);
    scene.write("list.csv", &cast.list);
    (scene, cast.wanted.len())
}

#[test]
fn no_second_holds_more_than_the_rate() {
    for (rate, per_second, latency_ms) in [("50/s", 50, 0), ("100/s", 100, 25), ("6000/min", 100, 5)] {
        let (scene, entries) = scene(latency_ms);
        scene
            .run(&[
                "assign",
                "--status",
                "vip",
                "list.csv",
                "--yes",
                "--rate",
                rate,
                "--concurrency",
                "32",
                "--resolve",
                "one",
            ])
            .expect(0);
        let (seen, busiest) = (scene.tenant().requests(), scene.tenant().busiest_second());
        println!("{rate}: {} requests, busiest second {busiest}", seen.len());
        assert!(busiest <= per_second, "{rate}: {busiest} requests in a second");
        assert!(seen.len() >= entries);
    }
}

/// Killed and started again in quick succession, the process still keeps the rate: the new one cannot know
/// what its predecessor sent in its last moments, and behaves as if that had been all it may.
#[test]
fn restarts_in_quick_succession_keep_the_rate() {
    let (scene, _) = scene(5);
    let job = [
        "assign",
        "--status",
        "vip",
        "list.csv",
        "--yes",
        "--rate",
        "40/s",
        "--resolve",
        "one",
    ];
    for _ in 0..6 {
        let mut child = scene.spawn(&job);
        std::thread::sleep(Duration::from_millis(1_700));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let busiest = scene.tenant().busiest_second();
    println!(
        "{} requests over six kills, busiest second {busiest}",
        scene.tenant().requests().len()
    );
    assert!(busiest <= 40, "{busiest}");
    assert!(scene.tenant().requests().len() > 40, "something was sent at all");
}
