//! Any text, taken for what stands in headers, addresses and settings.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rollbook::api::base_url::BaseUrl;
use rollbook::api::fuzzing;
use rollbook::model::rate::Rate;

fuzz_target!(|text: &str| {
    let (value, date) = text.split_once('\n').unwrap_or((text, ""));
    let _ = fuzzing::retry_after(value, None);
    let _ = fuzzing::retry_after(value, Some(date));
    for base in [BaseUrl::parse(value), BaseUrl::of_tenant(value)].into_iter().flatten() {
        let again = BaseUrl::parse(&base.to_string()).expect("an address reads itself back");
        assert_eq!(again.to_string(), base.to_string());
        let joined = fuzzing::join(&base, &["profiles", date]);
        assert!(joined.starts_with(&base.to_string()), "{joined} leaves {base}");
    }
    if let Ok(rate) = value.parse::<Rate>() {
        assert!(rate.per_second().is_none_or(|rate| rate > 0.0 && rate.is_finite()));
        assert!(rate.windows().iter().all(|(most, length)| *most > 0 && !length.is_zero()));
        assert_eq!(rate.to_string().parse(), Ok(rate));
    }
});
