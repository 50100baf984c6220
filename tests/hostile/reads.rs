//! Tenants that lie to those who look.

use super::server::{Person, Reply, Site, Tenant, accepted, count, found, paged, people};
use serde_json::{Value, json};
use std::sync::Mutex;

/// Between look-up and send a profile is merged away. Its address then answers with the profile that took its place: of
/// another person, who has the handle. The batch passes over it and is called a success.
/// Attacks "the right profile", and "silently missed".
#[test]
fn a_profile_is_merged_away_and_its_address_leads_to_another() {
    let tenant = Tenant::with(people(6), |ask, world| match ask.site {
        Site::Write => {
            let number = world.accept(ask, world.takes);
            let mut other = people(50).pop().unwrap();
            other.has.insert("vip".into());
            world.people.remove(2);
            world.people.push(other);
            Some(accepted(&world.batches[number].id))
        }
        Site::Profile if ask.name == people(3)[2].id && !world.batches.is_empty() => {
            Some(found(world.people.last()))
        }
        _ => None,
    });
    let scene = tenant.scene();
    let options = ["--confirm", "all", "--settle-deadline", "3s"];
    tenant.live(&scene, "assign", &options);
    let export = tenant.judge(&scene, "assign");
    assert_ne!(export["m2@example.com"]["state"], "confirmed");
}

/// Every third search is answered with whom the search before it found, as a cache does whose keys collide.
/// Attacks "silently missed": `not_found` for those who exist, and "the right profile".
#[test]
fn a_search_answers_the_question_before() {
    let last: Mutex<Option<Vec<Person>>> = Mutex::default();
    let tenant = Tenant::with(people(20), move |ask, world| {
        if ask.site != Site::Search || ask.email().is_none() {
            return None;
        }
        let now = world.found(ask);
        if now.is_empty() {
            return None;
        }
        let before = last.lock().unwrap().replace(now.clone());
        let answer = if ask.earlier % 3 == 1 {
            before.unwrap_or(now)
        } else {
            now
        };
        let rows: Vec<Value> = answer.iter().map(Person::shown).collect();
        Some(Reply::Json(200, json!({"data": rows})))
    });
    let scene = tenant.scene();
    let options = ["--resolve", "one", "--batch-size", "5"];
    tenant.live(&scene, "assign", &options).expect(0);
    let export = tenant.judge(&scene, "assign");
    assert_eq!(count(&export, "confirmed"), 20);
}

/// An email has two bearers, and its search says that there is one, on one page; the second comes with the page to which
/// `links.next` leads. Another search has one bearer on each of four billion pages.
/// Attacks "the right profile": a shared email looks like one that is not. And "every run ends".
#[test]
fn totals_and_last_pages_lie() {
    let mut all = people(6);
    all[1].email = all[0].email.clone();
    let tenant = Tenant::with(all, |ask, world| {
        if ask.site != Site::Search {
            return None;
        }
        let mut rows: Vec<Value> = world.found(ask).iter().map(Person::shown).collect();
        let next = json!({"next": "/api/v3/profiles?page[number]=2", "prev": null});
        if ask.email() == Some("m3@example.com") {
            let meta =
                json!({"current_page": ask.page(), "last_page": "4000000000", "total": "1", "per_page": 1});
            return Some(Reply::Json(
                200,
                json!({"data": rows, "links": next, "meta": meta}),
            ));
        }
        if rows.len() < 2 || ask.email().is_none() {
            return None;
        }
        let page = rows.split_off(1);
        let page = if ask.page() == 1 { rows } else { page };
        let links = if ask.page() == 1 {
            next
        } else {
            json!({"next": null})
        };
        let meta = json!({"current_page": ask.page(), "last_page": null, "total": "1", "per_page": "100"});
        Some(Reply::Json(
            200,
            json!({"data": page, "links": links, "meta": meta}),
        ))
    });
    let scene = tenant.scene();
    tenant.live(&scene, "assign", &["--resolve", "one"]);
    let export = tenant.judge(&scene, "assign");
    assert_eq!(export["m0@example.com"]["state"], "ambiguous");
}

/// Profiles show their statuses by display name. The name of `vip` is "Very important", and "vip" is the name of `gold`.
/// Attacks "silently missed": those who have `gold` are shown as if they had `vip`.
#[test]
fn statuses_are_shown_by_a_name_that_is_anothers_handle() {
    let mut all = people(8);
    for (number, person) in all.iter_mut().enumerate() {
        match number % 4 {
            0 => person.has.insert("gold".into()),
            1 => person.has.insert("vip".into()),
            _ => continue,
        };
    }
    fn shown(person: &Person) -> Value {
        let name = |handle: &String| {
            if handle == "vip" { "Very important" } else { "vip" }
        };
        let names: Vec<&str> = person.has.iter().map(name).collect();
        let original = person.has.iter();
        let original =
            original.map(|handle| json!({"handle": handle, "name": name(handle), "is_active": true}));
        let original: Vec<Value> = original.collect();
        json!({"id": person.id, "email": person.email, "statuses": names, "statuses_original": original})
    }
    let tenant = Tenant::with(all, |ask, world| match ask.site {
        Site::Statuses => Some(Reply::Json(
            200,
            json!({"data": [{"id": 1, "name": "Very important", "handle": "vip"},
            {"id": 2, "name": "vip", "handle": "gold"}]}),
        )),
        Site::Search => {
            let rows: Vec<Value> = world.found(ask).iter().map(shown).collect();
            Some(paged(ask, &rows))
        }
        Site::Profile => {
            let person = world.people.iter().find(|person| person.id == ask.name)?;
            Some(Reply::Json(200, json!({"data": shown(person)})))
        }
        _ => None,
    });
    let scene = tenant.scene();
    tenant.live(&scene, "assign", &[]).expect(0);
    let export = tenant.judge(&scene, "assign");
    assert_eq!(count(&export, "confirmed"), 6);
}

/// Profiles show handles in capitals, wherever they are shown, and nothing beside them.
/// Attacks "silently missed": a change never shows. And "every run ends".
#[test]
fn handles_are_shown_in_capitals() {
    fn shown(person: &Person) -> Value {
        let names: Vec<String> = person.has.iter().map(|handle| handle.to_uppercase()).collect();
        json!({"id": person.id, "email": person.email, "statuses": names})
    }
    for (verb, others) in [("assign", "already_assigned"), ("remove", "not_assigned")] {
        let mut all = people(8);
        for (number, person) in all.iter_mut().enumerate() {
            if (verb == "assign") == (number < 2) {
                person.has.insert("vip".into());
            }
            if number % 2 == 0 {
                person.has.insert("gold".into());
            }
        }
        let tenant = Tenant::with(all, |ask, world| match ask.site {
            Site::Search => {
                let rows: Vec<Value> = world.found(ask).iter().map(shown).collect();
                Some(paged(ask, &rows))
            }
            Site::Profile => {
                let person = world.people.iter().find(|person| person.id == ask.name)?;
                Some(Reply::Json(200, json!({"data": shown(person)})))
            }
            _ => None,
        });
        let scene = tenant.scene();
        tenant.live(&scene, verb, &["--confirm", "all"]).expect(0);
        let export = tenant.judge(&scene, verb);
        assert_eq!(count(&export, "confirmed"), 6);
        assert_eq!(export["m1@example.com"]["reason"], others);
    }
}

/// Two handles differ in case only, and a third status is called by one of them in capitals.
/// Attacks "silently missed": those who have the other are taken for those who have this one.
#[test]
fn two_handles_differ_in_case_only() {
    let mut all = people(6);
    for person in &mut all[..3] {
        person.has.insert("VIP".into());
    }
    let tenant = Tenant::with(all, |ask, _| {
        let handles = [("vip", "Very important"), ("VIP", "More so"), ("gold", "Vip")];
        let status = |(handle, name): &(&str, &str)| json!({"id": 1, "name": name, "handle": handle});
        let data: Vec<Value> = handles.iter().map(status).collect();
        (ask.site == Site::Statuses).then(|| Reply::Json(200, json!({"data": data})))
    });
    let scene = tenant.scene();
    tenant.live(&scene, "assign", &["--confirm", "all"]).expect(0);
    let export = tenant.judge(&scene, "assign");
    assert_eq!(count(&export, "confirmed"), 6);
}

/// One search is answered with nobody, once, and all others are right.
/// Attacks "silently missed": `not_found` for somebody who exists.
#[test]
fn one_search_is_wrong_once() {
    let tenant = Tenant::with(people(9), |ask, world| {
        let is_wrong =
            ask.email() == Some("m4@example.com") && world.memory.insert("once".into(), 1).is_none();
        is_wrong.then(|| Reply::Json(200, json!({"data": []})))
    });
    let scene = tenant.scene();
    tenant.live(&scene, "assign", &["--resolve", "one"]).expect(0);
    let export = tenant.judge(&scene, "assign");
    assert_eq!(count(&export, "confirmed"), 9);
}

/// Lists do not say what profiles have, and a profile is known by its id only at the third time that it is asked for.
/// Attacks "silently missed": it looks as if it were gone.
#[test]
fn a_young_profile_is_not_known_by_its_id_yet() {
    let tenant = Tenant::with(people(9), |ask, world| match ask.site {
        Site::Search => {
            let mut rows: Vec<Value> = world.found(ask).iter().map(Person::shown).collect();
            rows.iter_mut().for_each(|row| {
                let fields = row.as_object_mut().unwrap();
                fields.remove("statuses");
                fields.remove("statuses_original");
            });
            Some(paged(ask, &rows))
        }
        Site::Profile if ask.name == people(9)[4].id => {
            let asked = world.memory.entry("asked".into()).or_default();
            *asked += 1;
            (*asked <= 2).then(super::server::missing)
        }
        _ => None,
    });
    let scene = tenant.scene();
    tenant.live(&scene, "assign", &[]).expect(0);
    let export = tenant.judge(&scene, "assign");
    assert_eq!(count(&export, "confirmed"), 9);
}
