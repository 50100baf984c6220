//! Killed while the tenant holds an answer: before the request took effect, after it, and with the effect still
//! to come.

use crate::gate::{Fate, Gate, Hold, Site};
use crate::proof::{GoOn, in_parallel, is_whole, pick, verdict};
use crate::support::share::{Share, share};
use crate::support::{Scene, cast, options};
use rollbook::sandbox::Options;
use std::time::Duration;

const FIGURE: usize = 30;

fn holds() -> Vec<Hold> {
    let mut holds = Vec::new();
    let late = |seconds| Fate::Late(Duration::from_secs(seconds));
    for nth in 1..=if is_whole() { 3 } else { 1 } {
        for site in [Site::LookUp, Site::Write, Site::Poll, Site::ReadBack] {
            holds.extend([Fate::Dropped, Fate::Answered].map(|fate| Hold { site, nth, fate }));
        }
        // What a client that died has sent may take effect when the next one is already asking.
        for fate in pick(&[late(3)][..], &[late(3), late(45)], &[late(3), late(45)])
            .iter()
            .copied()
        {
            let site = Site::Write;
            holds.push(Hold { site, nth, fate });
        }
    }
    holds
}

#[test]
fn killed_while_an_answer_is_held() {
    // Only the quick share leaves what never arrived to a person: waiting for it takes over a minute.
    let waits = share() > Share::Quick;
    let figures = in_parallel(FIGURE, holds(), |hold| {
        let about = format!("{hold:?}");
        let options = Options {
            profiles: 80,
            ..options()
        };
        let cast = cast(&options, 40, "already_assigned", "confirmed");
        let scene = Scene::with(options);
        scene.write("list.csv", &cast.list);
        let gate = Gate::before(&scene, hold);
        let mut job = vec!["assign", "--status", "vip", "list.csv", "--yes"];
        job.extend(["--rate", "unlimited", "--batch-size", "8"]);
        assert!(
            gate.kill_while_holding(&scene, &job),
            "{about}: nothing was held up"
        );
        let go_on = GoOn {
            job: &job,
            resume: hold.nth != 2,
            wait: waits,
        };
        go_on.finish_with(&scene, &cast, &about, |arguments| gate.run(&scene, arguments))
    });
    assert!(!waits || figures.iter().all(|held| *held == 0));
    verdict("kills while an answer is held", figures.len(), FIGURE);
}
