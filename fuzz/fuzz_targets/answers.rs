//! Any bytes, taken for each of the tenant's answers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rollbook::api::fuzzing;
use rollbook::model::ids::ProfileId;

fuzz_target!(|bytes: &[u8]| {
    let shown = |text: &str| assert!(!text.contains(char::is_control), "{text:?} goes to a terminal");
    for failure in [
        fuzzing::statuses(bytes, 1).err(),
        fuzzing::profiles(bytes, 2).err(),
        fuzzing::holding(bytes, &ProfileId::new("p-1")).err(),
        fuzzing::queued(bytes).err(),
        fuzzing::batches(bytes, 1).err(),
    ]
    .into_iter()
    .flatten()
    {
        shown(&failure);
    }
    if let Ok(Some(page)) = fuzzing::statuses(bytes, 1) {
        page.items.iter().for_each(|status| shown(&status.name));
    }
    if let Ok(report) = fuzzing::batch(bytes) {
        shown(&report.status);
        report.failed.iter().for_each(|(_, reason)| shown(reason));
    }
    let complaint = fuzzing::complaint(bytes);
    shown(&complaint.message);
    complaint.members.iter().for_each(|(_, objection)| shown(objection));
});
