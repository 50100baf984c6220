//! Power cuts on a real file system: the ledger on ext4 on a loop device, the process stopped, and the image copied
//! as it is. What was not flushed is not in the copy. The job goes on there, at the same place.

use crate::proof::{GoOn, Running, in_parallel, is_whole, pick, random, verdict};
use crate::support::{Cast, Ran, Scene, cast, options};
use rollbook::sandbox::Options;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const FIGURE: usize = 100;
const IMAGE_BYTES: u64 = 24 << 20;

/// An image that is mounted for as long as this lives.
struct Mounted {
    at: PathBuf,
}

impl Mounted {
    /// Mounts an image; its loop device goes when it is unmounted.
    fn new(image: &Path, at: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(at).unwrap();
        done(Command::new("mount").args(["-o", "loop"]).arg(image).arg(at))?;
        Ok(Self { at: at.to_owned() })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Whatever still has a file open there was killed, and may take a moment to be gone.
        for _ in 0..50 {
            if done(Command::new("umount").arg(&self.at)).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = done(Command::new("umount").arg("-l").arg(&self.at));
    }
}

fn done(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}

fn make_image(path: &Path) -> Result<(), String> {
    std::fs::File::create(path).unwrap().set_len(IMAGE_BYTES).unwrap();
    done(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(path))
}

/// Why nothing can be mounted here, where that is so.
fn obstacle() -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("try.img");
    let tried = make_image(&image).and_then(|()| Mounted::new(&image, &folder.path().join("disk")));
    tried.err()
}

/// One job and the power cuts it goes through.
struct Chain {
    cuts: usize,
    /// How emails are looked up. One by one there is work for all of the cuts.
    way: &'static str,
    /// Whether the last cut's disk is put elsewhere, and the ledger adopted there.
    adopt: bool,
    wait: bool,
    seed: u64,
}

impl Chain {
    /// Returns how many cuts found the process at work.
    fn live(&self) -> usize {
        let mut random = fastrand::Rng::with_seed(self.seed);
        let options = Options {
            profiles: 900,
            latency: Duration::from_millis(60),
            ..options()
        };
        let cast = cast(&options, 800, "already_assigned", "confirmed");
        // Declared before the mounts, so that it outlives them.
        let scene = Scene::with(options);
        scene.write("list.csv", &cast.list);
        let at = scene.path("disk");
        let ledger = at.join("rollbook.db");
        let mut image = scene.path("0.img");
        make_image(&image).unwrap();
        let mut mounted = Mounted::new(&image, &at).unwrap();
        let job = self.job(ledger.to_str().unwrap());
        let mut cuts = 0;
        for number in 1..=self.cuts {
            let mut child = Running::start(&mut scene.command(&job));
            // It is slower to start where there is a ledger: it waits a second before it asks anything.
            let from = if cuts == 0 { 5 } else { 900 };
            std::thread::sleep(Duration::from_millis(random.u64(from..2_200)));
            if !child.stop() {
                break;
            }
            let copy = scene.path(&format!("{number}.img"));
            std::fs::copy(&image, &copy).unwrap();
            assert!(child.kill(), "stopped, and gone all the same");
            drop(mounted);
            std::fs::remove_file(&image).unwrap();
            image = copy;
            mounted = Mounted::new(&image, &at).unwrap();
            cuts += 1;
        }
        scene.tenant().set_latency(Duration::ZERO);
        if self.adopt && ledger.exists() {
            drop(mounted);
            let elsewhere = scene.path("elsewhere");
            let _mounted = Mounted::new(&image, &elsewhere).unwrap();
            self.adopt_at(&scene, &elsewhere.join("rollbook.db"), &cast);
        } else {
            let go_on = GoOn {
                job: &job,
                resume: random.bool(),
                wait: self.wait,
            };
            go_on.finish(&scene, &cast, &format!("chain {}", self.seed));
            drop(mounted);
        }
        cuts
    }

    /// The ledger refuses to go on as a copy, and goes on once it is said to be meant.
    fn adopt_at(&self, scene: &Scene, ledger: &Path, cast: &Cast) {
        let job = self.job(ledger.to_str().unwrap());
        let adopting = |arguments: &[&str]| -> Ran {
            let refused = scene.run(arguments);
            // A ledger that was cut before it was first used anywhere is not a copy yet.
            if refused.code == Some(6) && refused.stderr.contains("--adopt") {
                scene.run(&[arguments, &["--adopt"]].concat())
            } else {
                refused
            }
        };
        let go_on = GoOn {
            job: &job,
            resume: false,
            wait: self.wait,
        };
        go_on.finish_with(scene, cast, &format!("chain {} adopted", self.seed), adopting);
    }

    fn job<'a>(&self, ledger: &'a str) -> Vec<&'a str> {
        let mut job = vec!["assign", "--status", "vip", "list.csv", "--yes"];
        job.extend(["--rate", "unlimited", "--batch-size", "10", "--concurrency", "4"]);
        job.extend(["--resolve", self.way, "--ledger", ledger]);
        job
    }
}

#[test]
fn power_cuts_on_a_real_file_system() {
    if let Some(why) = obstacle() {
        println!("power cuts on a loop device: skipped: {why}");
        return;
    }
    let mut random = random("power cuts on a loop device");
    // A job that is done before its next cut ends its chain, and how often that happens is up to the machine.
    let (chains, cuts) = pick((1, 2), (2, 3), (24, 7));
    let chains = (0..chains).map(|number| Chain {
        cuts,
        way: if number % 3 == 1 { "auto" } else { "one" },
        adopt: is_whole() && number % 4 == 3,
        wait: is_whole(),
        seed: random.u64(..),
    });
    let cuts = in_parallel(pick(2, 2, 4), chains.collect(), |chain| chain.live());
    verdict("power cuts on a loop device", cuts.iter().sum(), FIGURE);
}
