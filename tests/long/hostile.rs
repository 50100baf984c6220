//! Hostile tenants whom only patience beats: see `tests/hostile`.

use crate::server::{Reply, Site, Tenant, accepted, count, found, missing, people};
use crate::support::Ran;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn rungs(export: &std::collections::BTreeMap<String, crate::support::Row>) -> Vec<&str> {
    export.values().map(|row| row["rung"].as_str()).collect()
}

/// A cache before the tenant keeps each read of a profile for two minutes, whoever asks, and says so in `Age`. Our answer
/// is lost; a look before the change fills the cache, and the looks after the maximum request lifetime come out of it.
/// Attacks "nothing is sent twice": nobody shows the change, and other batches have shown theirs at once.
#[test]
fn a_cache_keeps_what_was_seen_before_the_change() {
    let cache: Mutex<HashMap<String, (Instant, Value)>> = Mutex::default();
    let tenant = Tenant::with(people(12), move |ask, world| match ask.site {
        Site::Write if ask.earlier == 1 => {
            world.accept(ask, seconds(8));
            Some(Reply::Reset)
        }
        Site::Profile | Site::Search => {
            let mut cache = cache.lock().unwrap();
            let fresh = cache
                .get(&ask.target)
                .filter(|kept| kept.0.elapsed() < seconds(125));
            if let Some((since, body)) = fresh {
                let age = since.elapsed().as_secs();
                let headers = format!("Age: {age}\r\nCache-Control: public, max-age=125\r\nX-Cache: HIT\r\n");
                return Some(Reply::Whole(200, headers.leak(), body.to_string().into_bytes()));
            }
            let Reply::Json(200, body) = world.good(ask) else {
                return None;
            };
            cache.insert(ask.target.clone(), (Instant::now(), body.clone()));
            let headers = "Age: 0\r\nCache-Control: public, max-age=125\r\nX-Cache: MISS\r\n";
            Some(Reply::Whole(200, headers, body.to_string().into_bytes()))
        }
        Site::Batches => Some(missing()),
        _ => None,
    });
    let scene = tenant.scene();
    let options = ["--batch-size", "4", "--settle-deadline", "100s"];
    tenant.live(&scene, "assign", &options);
    tenant.judge(&scene, "assign");
}

/// Batches take half a second, until an answer is lost: from then on they take a minute, the one in doubt included. We
/// are killed ten seconds later. There is no list of batches.
/// Attacks "nothing is sent twice": what the tenant was seen to take says nothing about what it takes now.
#[test]
fn processing_slows_down_a_hundredfold_amid_a_doubt() {
    let tenant = Tenant::with(people(12), |ask, world| match ask.site {
        Site::Write => {
            let takes = [Duration::from_millis(500), seconds(60)][usize::from(ask.earlier > 1)];
            let number = world.accept(ask, takes);
            if ask.earlier != 2 {
                return Some(accepted(&world.batches[number].id.clone()));
            }
            world.later(seconds(10), |world| {
                world.memory.insert("due".into(), 1);
            });
            Some(Reply::Reset)
        }
        Site::Profile if world.memory.remove("due").is_some() => Some(Reply::Kill),
        Site::Batches => Some(missing()),
        _ => None,
    });
    let scene = tenant.scene();
    let options = ["--batch-size", "2", "--settle-deadline", "150s"];
    tenant.live(&scene, "assign", &options).expect(0);
    let export = tenant.judge(&scene, "assign");
    assert_eq!(count(&export, "confirmed"), 12);
}

/// A request is swallowed, and found absent in time. Sent once more, it is accepted; that answer is lost as well, we are
/// killed, and it takes forty seconds. There is no list of batches.
/// Attacks "once in a profile's life": the second doubt looks just like the first.
#[test]
fn the_answer_is_lost_again_when_it_is_sent_once_more() {
    let tenant = Tenant::with(people(9), |ask, world| match (ask.site, ask.earlier) {
        (Site::Write, 1) => Some(Reply::Reset),
        (Site::Write, 3) => {
            world.accept(ask, seconds(40));
            Some(Reply::Kill)
        }
        (Site::Batches, _) => Some(missing()),
        _ => None,
    });
    let scene = tenant.scene();
    let options = ["--batch-size", "3", "--settle-deadline", "150s"];
    let Ran { code, .. } = tenant.live(&scene, "assign", &options);
    let export = tenant.judge(&scene, "assign");
    assert_eq!(code, Some(0), "{:?}", rungs(&export));
    assert_eq!(count(&export, "confirmed"), 9);
}

/// A gateway keeps a request for seventy seconds, long after we have gone, and only then hands it on. The list of batches
/// shows all others, and says that it is complete.
/// Attacks "nothing is sent twice" at the last seconds of the maximum request lifetime.
#[test]
fn a_gateway_hands_a_request_on_when_everybody_has_gone() {
    let tenant = Tenant::with(people(9), |ask, world| match (ask.site, ask.earlier) {
        (Site::Write, 1) => {
            let (members, takes) = (ask.clone(), seconds(2));
            world.later(seconds(70), move |world| {
                world.accept(&members, takes);
            });
            Some(Reply::Hang)
        }
        _ => None,
    });
    let scene = tenant.scene();
    let options = ["--batch-size", "3", "--settle-deadline", "150s"];
    tenant.live(&scene, "assign", &options);
    tenant.judge(&scene, "assign");
}

/// A request never arrives. Half a minute later another job gives the handle to half of its members, and takes it away
/// again from all but one before the maximum request lifetime is over.
/// Attacks "silently missed": the looks see a change that is not ours, and then none.
#[test]
fn another_job_gives_and_takes_while_absence_is_being_proved() {
    let tenant = Tenant::with(people(12), |ask, world| match (ask.site, ask.earlier) {
        (Site::Write, 1) => {
            let ids = ask.body["profiles"].as_array().unwrap().iter();
            let ids: Vec<String> = ids
                .map(|member| member["profile_id"].as_str().unwrap().to_owned())
                .collect();
            let given = ids[..2].to_vec();
            world.later(seconds(30), move |world| {
                for id in &given {
                    world.change(id, &["vip".into()], false);
                }
            });
            world.later(seconds(60), move |world| {
                world.change(&ids[0], &["vip".into()], true)
            });
            Some(Reply::Reset)
        }
        (Site::Batches, _) => Some(missing()),
        _ => None,
    });
    let scene = tenant.scene();
    let options = ["--batch-size", "4", "--settle-deadline", "100s"];
    tenant.live(&scene, "assign", &options);
    tenant.judge(&scene, "assign");
}

/// Every other connection leads to a replica that is six seconds behind and calls each batch unknown. The first answer is
/// lost, and we are killed amid the second.
/// Attacks "nothing is sent twice" (the replica shows nobody) and "silently missed" (it makes changes vanish again).
#[test]
fn replicas_flap_with_the_connection() {
    let tenant = Tenant::with(people(12), |ask, world| {
        let behind = !ask.connection.is_multiple_of(2);
        match ask.site {
            Site::Write if ask.earlier < 2 => {
                world.accept(ask, Duration::from_millis(500));
                Some([Reply::Reset, Reply::Kill].into_iter().nth(ask.earlier).unwrap())
            }
            Site::Batch | Site::Batches if behind => Some(Reply::Json(404, json!({"message": "Not found."}))),
            Site::Profile if behind => {
                let people = world.people_ago(Duration::from_secs(6));
                Some(found(people.iter().find(|person| person.id == ask.name)))
            }
            // No connection lives long.
            Site::Search if ask.earlier.is_multiple_of(3) => Some(Reply::Reset),
            _ => None,
        }
    });
    let scene = tenant.scene();
    let options = ["--batch-size", "3", "--confirm", "all"];
    tenant.live(&scene, "assign", &options).expect(0);
    let export = tenant.judge(&scene, "assign");
    assert_eq!(count(&export, "confirmed"), 12);
}

/// A batch is called failed, every item with an error, and is applied a minute later.
/// Attacks "silently missed": `failed` for those who have it, and "nothing is sent twice" where that is taken as a leave.
#[test]
fn a_batch_called_failed_is_applied_a_minute_later() {
    let tenant = Tenant::with(people(8), |ask, world| match ask.site {
        Site::Write => {
            let number = world.accept(ask, seconds(60));
            world.batches[number].status = "failed";
            Some(accepted(&world.batches[number].id.clone()))
        }
        Site::Batch => {
            let number = world.batches.iter().position(|batch| batch.id == ask.name)?;
            let mut row = world.batches[number].row(number);
            let items = world.batches[number].members.iter().enumerate();
            row["items"] = items
                .map(|(at, (id, _))| json!({"id": at, "entity_id": id, "status": "failed", "error": "Profile locked"}))
                .collect();
            row["status"] = json!("failed");
            row["failed_count"] = json!("4");
            Some(Reply::Json(200, json!({"data": row})))
        }
        _ => None,
    });
    let scene = tenant.scene();
    tenant.live(&scene, "assign", &["--batch-size", "4"]);
    tenant.judge(&scene, "assign");
}
