//! Progress as JSON lines on stderr, for programs that watch. Fields are only ever added; `docs/scripting.md` names them.

use super::{Renderer, say_json};
use crate::audit::SCHEMA_VERSION;
use crate::audit::summary::iso_time;
use crate::ledger::{Loaded, now_ms};
use crate::model::entry::EntryState;
use crate::runner::event::{Event, Progress};
use serde_json::{Value, json};

pub(super) struct Json;

impl Renderer for Json {
    fn render(&mut self, event: &Event) {
        let mut object = object(event);
        object["schema_version"] = SCHEMA_VERSION.into();
        object["at"] = iso_time(now_ms()).into();
        say_json(&object);
    }
}

fn object(event: &Event) -> Value {
    match event {
        Event::Loading { list, rows, share } => {
            json!({"event": "loading", "list": list, "rows": rows, "share": share})
        }
        Event::ListRead { list, layout, loaded } => match loaded {
            Loaded::New(counts) => json!({
                "event": "list_read", "list": list, "layout": layout, "rows": counts.rows,
                "entries": counts.entries, "repeats": counts.repeats, "rejected": counts.rejects,
            }),
            Loaded::Known(name) => {
                json!({"event": "list_known", "list": list, "layout": layout, "known_as": name})
            }
        },
        Event::Asking { requests, about } => {
            json!({"event": "asking", "requests": requests, "requests_about": about})
        }
        Event::Planned(plan) => {
            let mut object = super::plan::object(plan);
            object["event"] = "planned".into();
            object
        }
        Event::Began { progress } => with("began", progress),
        Event::Progress(progress) => with("progress", progress),
        Event::Accepted {
            batch,
            members,
            batch_id,
        } => {
            json!({"event": "accepted", "batch": batch.0, "members": members, "batch_id": batch_id.as_str()})
        }
        Event::Notice(text) => json!({"event": "notice", "text": text}),
        Event::Stopping { why, under_way, .. } => {
            json!({"event": "stopping", "why": why, "under_way": under_way, "requests_under_way": under_way})
        }
        Event::Ended { time, requests } => {
            let mut object = super::summary::run_object(time, *requests);
            object["event"] = "ended".into();
            object
        }
    }
}

fn with(event: &str, progress: &Progress) -> Value {
    let mut object = json!({
        "event": event,
        "stage": progress.stage(),
        "entries": progress.total(),
        "done": progress.done(),
        "batches_accepted": progress.accepted,
        "batches_in_doubt": progress.in_doubt,
        "batches_held": progress.held,
        "batches_awaiting_ruling": progress.held,
        "requests": progress.requests,
        "requests_per_second": (progress.per_second * 10.0).round() / 10.0,
        "elapsed_seconds": progress.elapsed.as_secs(),
        "left_seconds": progress.left.map(|left| left.as_secs()),
        "remaining_seconds": progress.left.map(|left| left.as_secs()),
        "waiting": progress.waiting,
    });
    for state in EntryState::ALL {
        object[state.as_str()] = progress.in_state(state).into();
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_field() {
        let object = with("progress", &Progress::default());
        assert!(
            EntryState::ALL
                .iter()
                .all(|state| object.get(state.as_str()).is_some())
        );
        assert_eq!(object["left_seconds"], Value::Null);
    }
}
