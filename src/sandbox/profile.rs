//! What a profile looks like from outside: some two kilobytes of JSON, made up anew for every answer.
//!
//! Only the id, the email and the statuses mean anything; the rest is there to give answers a true weight.

use serde::Serialize;

use super::answers::{status_id, title};
use super::names::TOWNS;
use super::people::{self, Salt, mix};
use super::world::{Definition, Snapshot};

/// A profile as it is answered.
#[derive(Debug, Serialize)]
pub(super) struct ProfileShape {
    id: String,
    title: Option<&'static str>,
    first_name: String,
    last_name: String,
    full_name: String,
    email: String,
    mobile_phone: String,
    secondary_email: Option<&'static str>,
    birth_date: String,
    gender: Option<&'static str>,
    profile_type: &'static str,
    is_active: bool,
    is_staff: bool,
    joined_at: String,
    joined_location_id: u64,
    preferred_location_id: u64,
    card_pos: String,
    registered_from: &'static str,
    currency: &'static str,
    total_spend: String,
    total_points: u64,
    points_expiring_at: Option<&'static str>,
    reward_balance: String,
    tier: TierShape,
    address: AddressShape,
    tags: Vec<&'static str>,
    statuses: Vec<String>,
    statuses_original: Vec<HeldShape>,
    comms: CommsShape,
    identities: Vec<IdentityShape>,
    custom_attributes: Vec<AttributeShape>,
    created_at: String,
    updated_at: String,
}

#[derive(Debug, Serialize)]
struct TierShape {
    handle: &'static str,
    name: &'static str,
    expires_at: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct AddressShape {
    address_line_1: String,
    address_line_2: Option<&'static str>,
    city: &'static str,
    postcode: String,
    country: &'static str,
    is_default: bool,
}

#[derive(Debug, Serialize)]
struct HeldShape {
    id: usize,
    handle: String,
    name: String,
    is_active: bool,
    expires_at: Option<&'static str>,
    created_at: &'static str,
}

#[derive(Debug, Serialize)]
struct CommsShape {
    email_promo: bool,
    sms_promo: bool,
    mail_promo: bool,
    email_transactional: bool,
    sms_transactional: bool,
    updated_at: &'static str,
}

#[derive(Debug, Serialize)]
struct IdentityShape {
    handle: &'static str,
    identifier: String,
    is_active: bool,
    external_id: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct AttributeShape {
    namespace: &'static str,
    handle: &'static str,
    r#type: &'static str,
    value: String,
}

impl HeldShape {
    fn new(definition: &Definition) -> Self {
        Self {
            id: status_id(definition),
            handle: definition.handle.to_string(),
            name: title(&definition.handle),
            is_active: true,
            expires_at: None,
            created_at: "2024-01-01T00:00:00.000000Z",
        }
    }
}

impl ProfileShape {
    pub(super) fn new(seed: u64, snapshot: Snapshot) -> Self {
        let index = snapshot.index;
        let bits = mix(seed, u64::from(index), Salt::Details);
        let (first_name, last_name) = people::names(seed, index);
        let full_name = format!("{first_name} {last_name}");
        let date = |bits: u64, year: u64| {
            let (month, day) = (1 + (bits >> 8) % 12, 1 + (bits >> 16) % 28);
            format!("{year}-{month:02}-{day:02}")
        };
        let joined = date(bits >> 20, 2015 + bits % 9);
        Self {
            id: people::profile_id(seed, index),
            title: None,
            full_name,
            first_name,
            last_name,
            email: snapshot.email,
            // These numbers are set aside for films and plays, so nobody's phone rings.
            mobile_phone: format!("+614915701{:02}", bits % 100),
            secondary_email: None,
            birth_date: date(bits, 1945 + (bits >> 40) % 60),
            gender: None,
            profile_type: "active",
            is_active: true,
            is_staff: false,
            joined_at: format!("{joined} 00:00:00"),
            joined_location_id: 1 + bits % 40,
            preferred_location_id: 1 + (bits >> 6) % 40,
            card_pos: format!("{:013}", bits % 10_000_000_000_000),
            registered_from: "store",
            currency: "AUD",
            total_spend: format!("{}.{:02}", bits % 4_000, (bits >> 12) % 100),
            total_points: (bits >> 24) % 9_000,
            points_expiring_at: None,
            reward_balance: format!("{}.00", (bits >> 30) % 50),
            tier: tier(bits),
            address: address(bits),
            tags: tags(bits),
            statuses: handles(&snapshot.statuses),
            statuses_original: snapshot.statuses.iter().map(HeldShape::new).collect(),
            comms: comms(bits),
            identities: identities(bits),
            custom_attributes: attributes(bits),
            created_at: format!("{joined}T02:14:07.000000Z"),
            updated_at: "2024-06-30T11:05:42.000000Z".to_owned(),
        }
    }
}

fn handles(statuses: &[Definition]) -> Vec<String> {
    let handles = statuses.iter().map(|status| status.handle.to_string());
    handles.collect()
}

fn tier(bits: u64) -> TierShape {
    let (handle, name) = match (bits >> 3) % 3 {
        0 => ("entry", "Entry"),
        1 => ("regular", "Regular"),
        _ => ("devoted", "Devoted"),
    };
    TierShape {
        handle,
        name,
        expires_at: None,
    }
}

fn address(bits: u64) -> AddressShape {
    AddressShape {
        address_line_1: format!("{} Example Street", 1 + bits % 300),
        address_line_2: None,
        city: TOWNS[(bits >> 44) as usize % TOWNS.len()],
        postcode: format!("{}", 2_000 + (bits >> 32) % 5_000),
        country: "AU",
        is_default: true,
    }
}

fn tags(bits: u64) -> Vec<&'static str> {
    let all = ["loyalty", "web", "survey-2023", "click-and-collect"];
    let worn = all
        .into_iter()
        .enumerate()
        .filter(|(place, _)| bits >> place & 1 == 1);
    worn.map(|(_, tag)| tag).collect()
}

fn comms(bits: u64) -> CommsShape {
    CommsShape {
        email_promo: bits & 16 != 0,
        sms_promo: bits & 32 != 0,
        mail_promo: false,
        email_transactional: true,
        sms_transactional: true,
        updated_at: "2024-02-11T09:00:00.000000Z",
    }
}

fn identities(bits: u64) -> Vec<IdentityShape> {
    let identity = |handle, identifier| IdentityShape {
        handle,
        identifier,
        is_active: true,
        external_id: None,
    };
    vec![
        identity("pos", format!("POS-{:08}", bits % 100_000_000)),
        identity("web", format!("{:010}", (bits >> 20) % 10_000_000_000)),
    ]
}

fn attributes(bits: u64) -> Vec<AttributeShape> {
    let attribute = |handle, value| AttributeShape {
        namespace: "preferences",
        handle,
        r#type: "string",
        value,
    };
    vec![
        attribute("shoe_size", (5 + (bits >> 10) % 9).to_string()),
        attribute("favourite_store", (1 + (bits >> 18) % 40).to_string()),
        attribute("receipt", "email".to_owned()),
        attribute("interests", "running,cycling".to_owned()),
        attribute("how_heard", "friend".to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::options::Options;
    use super::super::world::World;
    use super::*;

    #[test]
    fn profiles_have_the_weight_of_real_ones() {
        let world = World::new(&Options {
            profiles: 200,
            ..Options::default()
        });
        for index in 0..200 {
            let shape = ProfileShape::new(1, world.snapshot(index));
            let length = serde_json::to_vec(&shape).unwrap().len();
            assert!((1_500..2_100).contains(&length), "{length} bytes");
        }
    }

    #[test]
    fn statuses_are_told_twice() {
        let mut world = World::new(&Options {
            profiles: 10,
            ..Options::default()
        });
        world.replace(4, world.bits(["staff", "gold"]));
        let shape = ProfileShape::new(1, world.snapshot(4));
        let value = serde_json::to_value(&shape).unwrap();
        assert_eq!(value["statuses"], serde_json::json!(["gold", "staff"]));
        assert_eq!(value["statuses_original"][1]["handle"], "staff");
        assert_eq!(value["id"], world.profile_id(4));
    }
}
